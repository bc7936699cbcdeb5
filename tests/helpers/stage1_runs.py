"""A trained stage 1, as far as stage 2 looks at it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pisam.config.schema import Config
from pisam.modeling.checkpoint import checkpoint_of
from pisam.training.from_config import build_network


def save_stage_1(config: Config, folder: Path, **identity: Any) -> dict[str, Any]:
    """A stage-1 run of a randomised decoder, its identity changed where asked."""
    model = build_network(config)
    torch.nn.init.normal_(model.decoder.head.parameters().__next__())
    contents = checkpoint_of(model)
    contents["pisam"] |= identity
    path = folder / "stage1" / "checkpoints" / "best.ckpt"
    path.parent.mkdir(parents=True)
    torch.save(contents, path)
    return contents["state_dict"]
