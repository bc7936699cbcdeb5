"""Frozen features of each view, kept in memory or on disk for the epochs where it returns."""
