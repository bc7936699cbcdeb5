"""Callbacks of a stage: one concern a file."""
