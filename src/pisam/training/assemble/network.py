"""The networks that a configuration asks for."""

from __future__ import annotations

import torch

from pisam.config.schema import Config
from pisam.modeling.hq_sam import HqSam, build_hq_sam
from pisam.modeling.pisam import PiSam, build_model
from pisam.modeling.sam_network import SamNetwork


def build_network(config: Config, image_size: int | None = None) -> PiSam:
    """Pi-SAM with SAM's weights, its own parts initialised from the seed; of another frame if given."""
    torch.manual_seed(config.seed)
    return build_model(config.model.backbone, config.model.weights, image_size or config.model.image_size)


def build_hq_network(config: Config) -> HqSam:
    """HQ-SAM with SAM's weights, its own parts initialised from the seed."""
    torch.manual_seed(config.seed)
    return build_hq_sam(config.model.backbone, config.model.weights, config.model.image_size)


def compile_network(model: SamNetwork) -> None:
    """Have torch compile the parts at their first use, in place: the names of their weights stay."""
    for part in model.children():
        part.compile()
    if isinstance(model, PiSam):
        model.decoder.head.compile()  # stage 2 calls it on its own
