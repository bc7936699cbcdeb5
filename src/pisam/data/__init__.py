"""Image and mask pairs: where they lie, how they are read, transformed, ordered and batched.

| step | modules |
|---|---|
| files of a set | `sources`: `rows`, `known_sets`, `pairs`, `coco` with `segmentation`, `instances` |
| file to array | `reading`: `image_files`, `wide`, `channels`, `values` (the rules), `reader`, `targets` |
| array to sample | `transforms`, `photometric`, `prompts`, `dataset` |
| sample to batch | `loader`, `datamodule` |
| before training | `audit`: `audit`, `facts`, `duplicates`, `cache`; `prepared` |
| quick start | `generated` |
"""
