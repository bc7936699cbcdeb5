"""The configuration: its fields, what they may hold, and how it is read and saved."""
