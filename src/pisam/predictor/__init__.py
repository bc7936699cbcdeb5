"""Masks by boxes, points, given masks and clicks, on images of any size: one session for every model."""

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
