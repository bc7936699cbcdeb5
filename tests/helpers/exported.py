"""A small model, as a checkpoint and exported, for tests of everything that uses a model."""

from __future__ import annotations

from pathlib import Path

import torch

from pisam.modeling.checkpoint import checkpoint_of
from pisam.modeling.deformable_conv import DeformableConv
from pisam.modeling.pisam import PiSam, build_model

SIDE = 128


def pisam(*arguments: object) -> int:
    """Run the command line here; its exit code."""
    from pisam.cli import main

    return main([str(argument) for argument in arguments])


def small_model(side: int = SIDE) -> PiSam:
    """A nano model whose interactor and deformable convolutions act as if trained."""
    torch.manual_seed(0)
    model = build_model("nano", image_size=side).eval()
    with torch.no_grad():
        for parameter in model.interactor.parameters():
            parameter.normal_(0, 0.1)
        for module in model.modules():
            if isinstance(module, DeformableConv):
                module.offset.weight.normal_(0, 0.02)
                module.modulator.weight.normal_(0, 0.02)
    return model


def write_checkpoint(model: PiSam, path: Path) -> Path:
    """A checkpoint of ours."""
    torch.save(checkpoint_of(model), path)
    return path
