"""The generated sets of the quick start."""
