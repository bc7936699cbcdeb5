"""Image and mask pairs: where they lie, how they are read, transformed, ordered and batched.

| step | modules |
|---|---|
| which files | `known_sets`, `sources` (a row of the configuration), `pairs`, `coco` |
| file to array | `image_files`, `reading` (the rules), `reduction`, `targets` (which object), `instances` |
| array to sample | `transforms`, `photometric`, `prompts`, `dataset` |
| sample to batch | `sampler`, `worker`, `datamodule` |
| before training | `audit` (`pair_facts`, `fingerprints`, `duplicates`); `prepared`; by `cache`, `threads` |
| quick start | `synthetic`, `synthetic_scene`, `synthetic_shapes` |
"""
