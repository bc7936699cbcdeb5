"""Training: stages, losses, and what happens around the steps."""
