"""Masks by boxes, points, given masks and clicks, on images of any size: one session for every model.

The way of a click: `PiSamPredictor.click` checks it, `Session.click` adds it to those before, `Answer.after`
brings them all into the frame and asks the engine, whose `after` joins what the interactor answers alone and
after SAM was asked again (`core.locality.join_answers`), where the model does that. `Answer.network` takes
the logits to the image's size, and `Answer.obeying` adds the guarantee (`clicks.guarantee.obey`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pisam.predictor.predictor import PiSamPredictor

__all__ = ["PiSamPredictor"]


def __getattr__(name: str) -> Any:
    if name != "PiSamPredictor":  # its module loads torch, which a session on another engine needs not
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pisam.predictor.predictor import PiSamPredictor

    return PiSamPredictor
