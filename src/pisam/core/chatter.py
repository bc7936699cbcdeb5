"""Chatter of other packages: advice, deprecations, W&B's tables; quiet unless `-v` asks for it."""

from __future__ import annotations

import logging
import os
import warnings

VERBOSE = "PISAM_VERBOSE"  # set by -v; further ranks and trials inherit it
ADVISERS = r"(lightning|pytorch_lightning|lightning_fabric|torchmetrics|timm|segment_anything|torch\.utils)"
LIGHTNINGS_TIPS = tuple(
    f"lightning.{part}"
    for part in ("fabric.utilities.rank_zero", "fabric.utilities.seed", "pytorch.utilities.rank_zero")
)


def quiet() -> None:
    """Silence advice of libraries that does not concern the user of this package."""
    if os.environ.get(VERBOSE):
        return
    for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category, module=r"(?!pisam\b)")
    warnings.filterwarnings("ignore", category=UserWarning, module=ADVISERS)
    for name in LIGHTNINGS_TIPS:
        logging.getLogger(name).setLevel(logging.WARNING)
    os.environ.setdefault("WANDB_QUIET", "true")
