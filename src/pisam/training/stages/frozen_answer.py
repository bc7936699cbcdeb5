"""The frozen network's answer and the user's clicks when an interactor begins."""

from __future__ import annotations

from dataclasses import dataclass

from pisam.core.types import Clicks, ObjectFeatures, Prediction


@dataclass(frozen=True)
class FrozenAnswer:
    """The state that an interactor starts from.

    Attributes:
        objects: the object's features.
        prediction: the mask before the interactor.
        clicks: made so far.
    """

    objects: ObjectFeatures
    prediction: Prediction
    clicks: Clicks
