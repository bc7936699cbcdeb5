"""Hyperparameter sweeps from W&B's sweep files, with its server or without one."""
