"""Image and mask pairs: where they lie, how they are read, transformed, ordered and batched."""
