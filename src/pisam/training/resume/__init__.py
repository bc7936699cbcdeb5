"""Stop and go on exactly: checkpoints, preemption, ranks that leave together."""
