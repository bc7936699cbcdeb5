"""Interaction records made up from a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from pisam.evaluation.benchmark.record import CONTROLS, ClickProtocol, ImageRecord, Interaction


def image_record(
    name: str, *, start: bool = False, clicks: int = 3, iou: Sequence[float] | None = None, seed: int = 0
) -> ImageRecord:
    """An image of 40 x 30 pixels with made-up clicks and scores that grow."""
    rng = np.random.default_rng([seed, *name.encode()])
    ious = 1 - np.cumprod(rng.uniform(0.5, 1, clicks)) if iou is None else np.array(iou)
    places = rng.integers((0, 0, 0), (40, 30, 2), (len(ious), 3))
    digest = hashlib.sha256(name.encode()).hexdigest()
    return ImageRecord(
        "set",
        name,
        digest,
        digest[::-1],
        40,
        30,
        (float(ious[0]) / 2, 0.1) if start else None,
        tuple((x + 0.5, y + 0.5, label) for x, y, label in places.tolist()),
        tuple(ious.tolist()),
        tuple((ious * 0.9).tolist()),
        tuple(rng.uniform(0.1, 0.3, len(ious)).tolist()),
        dict(zip(CONTROLS, rng.uniform(0, 0.5, len(CONTROLS)).tolist(), strict=True)),
    )


def interaction(
    name: str = "mine",
    *,
    protocol: ClickProtocol | None = None,
    images: int = 3,
    seed: int = 0,
    **options: Any,
) -> Interaction:
    """A complete record of so many images."""
    protocol = protocol or ClickProtocol(clicks=3)
    records = [
        image_record(
            str(each),
            start=protocol.prompt == "box",
            seed=seed,
            **({"clicks": min(3, protocol.clicks)} | options),
        )
        for each in range(images)
    ]
    return Interaction(protocol, {"name": name, "size": 3}, {"torch": "2"}, {"set": images}, records)
