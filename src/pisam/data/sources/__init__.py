"""Which files: rows of the configuration, the known sets, pairs, COCO files, instances."""
