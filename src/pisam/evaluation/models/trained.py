"""Trained models of a run, and the facts that stand beside every number made with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pisam.config.schema import Config
from pisam.core.errors import PisamError
from pisam.core.provenance import git_revision
from pisam.metrics.protocol import Protocol
from pisam.modeling.hq_sam import HqSam, is_published_hq, load_published_hq
from pisam.modeling.pisam import PiSam, load_checkpoint, read_own_checkpoint
from pisam.modeling.sam_network import SamNetwork
from pisam.modeling.sam_weights import hash_tensors
from pisam.modeling.weights_file import read_checkpoint
from pisam.training.from_config import build_hq_network, build_network


def trained_model(config: Config, checkpoint: Path) -> PiSam:
    """The configured network with the weights of a checkpoint, in evaluation mode.

    Raises:
        PisamError: unreadable, or of another model.
    """
    contents = read_own_checkpoint(checkpoint)
    model = build_network(config)
    load_checkpoint(model, contents, checkpoint)
    return model.eval()


def trained_hq_sam(config: Config, checkpoint: Path) -> HqSam:
    """An HQ-SAM of the configured backbone and frame, in evaluation mode.

    Args:
        config: of the run that it is compared with.
        checkpoint: of a run of `model.decoder=hq`, or one that the authors published.

    Raises:
        PisamError: unreadable, or of another model.
    """
    contents = read_checkpoint(checkpoint)
    if is_published_hq(contents):
        model = load_published_hq(checkpoint, config.model.image_size)
        if model.backbone != config.model.backbone:
            raise PisamError(
                f"checkpoint {checkpoint}: made with backbone {model.backbone}, this run has "
                f"{config.model.backbone}"
            )
        return model
    model = build_hq_network(config)
    load_checkpoint(model, contents, checkpoint)
    return model.eval()


def checkpoint_facts(model: SamNetwork) -> dict[str, Any]:
    """The identity of a model's weights."""
    return {**model.identity(), "checkpoint_hash": hash_tensors(model.own_state())}


def facts(config: Config, model: SamNetwork) -> dict[str, Any]:
    """Facts that the numbers of a model depend on beside the data."""
    protocol = Protocol(image_size=model.image_size, checkpoint_hash=hash_tensors(model.own_state()))
    return {
        "name": config.name,
        "seed": config.seed,
        **model.identity(),
        **git_revision(),
        "precision": config.trainer.precision,
        "protocol": protocol.as_dict(),
    }
