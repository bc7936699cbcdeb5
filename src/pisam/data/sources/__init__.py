"""The files of a data set: rows of the configuration, known sets, pairs, COCO files, instances."""
