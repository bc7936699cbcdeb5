"""Scores of trained models, one row per image; what clicks change; SAM as the baseline."""
