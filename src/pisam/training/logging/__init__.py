"""Where numbers and pictures of a run go."""
