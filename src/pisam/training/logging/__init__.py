"""Logs of numbers and pictures of a run."""
