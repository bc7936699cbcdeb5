"""Verbs of the command line that need no trainer, one module each."""
