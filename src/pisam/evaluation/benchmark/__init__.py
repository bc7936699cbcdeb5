"""The number-of-clicks benchmark that any model can enter, and its file format."""
