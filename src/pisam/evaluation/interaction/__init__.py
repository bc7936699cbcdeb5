"""The interaction benchmark."""
