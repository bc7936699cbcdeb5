"""Trained models of a run, and the facts that stand beside every number made with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pisam import build
from pisam.config import Config
from pisam.metrics.protocol import Protocol
from pisam.modeling.pisam import PiSam, load_checkpoint
from pisam.modeling.sam_weights import hash_tensors, read_checkpoint


def trained_model(config: Config, checkpoint: Path) -> PiSam:
    """The configured network with the weights of a checkpoint, in evaluation mode.

    Raises:
        PisamError: unreadable, or of another model.
    """
    contents = read_checkpoint(checkpoint)
    model = build.build_network(config)
    load_checkpoint(model, contents, checkpoint)
    return model.eval()


def facts(config: Config, model: PiSam) -> dict[str, Any]:
    """What the numbers of a model depend on beside the data."""
    protocol = Protocol(image_size=model.image_size, checkpoint_hash=hash_tensors(model.own_state()))
    return {
        "name": config.name,
        "seed": config.seed,
        **model.identity(),
        **build.git_revision(),
        "precision": config.trainer.precision,
        "protocol": protocol.as_dict(),
    }
