"""Figures that papers print, shipped as data with their source and protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml


@dataclass(frozen=True)
class PublishedSet:
    """The published figures of one data set.

    Attributes:
        images: in the whole set.
        methods: metric -> value, for each method, in the order of the paper.
    """

    images: int
    methods: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Published:
    """All figures of a source.

    Attributes:
        source: where they are printed.
        protocol: how they were made, as far as is known.
        sets: by the name of the data set.
    """

    source: str
    protocol: str
    sets: Mapping[str, PublishedSet]


@cache
def published_figures() -> Published:
    """The figures of the Pi-SAM paper on the test sets of DIS5K."""
    text = files("pisam.evaluation").joinpath("published.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    sets = {name: PublishedSet(row["images"], row["methods"]) for name, row in content["sets"].items()}
    return Published(content["source"], content["protocol"], sets)
