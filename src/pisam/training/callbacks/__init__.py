"""What happens around the steps of a stage: one concern a file."""
