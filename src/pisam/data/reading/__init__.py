"""From file to array: image files, the rules of reading, masks and targets."""
