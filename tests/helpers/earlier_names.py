"""Runs a script that was written for earlier places of some functions.

Its arguments: FILE, or -c CODE ARGUMENT ...
What is refused is printed as `refused: ...`, and nothing is given in its place, so the script goes on.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from pisam.core.errors import PisamError
from pisam.data import photometric, reading
from pisam.data.reading import reader
from pisam.data.sources.coco import open_coco


def or_nothing(function: Callable[..., Any], nothing: Any) -> Callable[..., Any]:
    """The function, which says where it refuses something, and then gives `nothing`."""

    @wraps(function)
    def asked(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except PisamError as error:
            print(f"refused: {error}")
            return nothing

    return asked


def read_coco(file: Path) -> Any:
    """Objects with a method `mask`, by the name of their image."""
    empty = np.zeros((60, 80), bool)

    def of(shapes: Any) -> Any:
        return SimpleNamespace(mask=or_nothing(shapes.mask, empty))

    nothing = SimpleNamespace(shapes=None)
    found = or_nothing(open_coco, nothing)(file).shapes
    if found is None:
        return defaultdict(lambda: SimpleNamespace(mask=lambda: empty))
    return {name: of(shapes) for name, shapes in found.items()}


def main(arguments: Sequence[str]) -> None:
    module("pisam.data.coco", read_coco=read_coco)
    module("pisam.data.reduction", reduce_mask=reader.reduce_mask)
    names: Any = reading
    names.open_mask, names.read_image = reader.open_mask, reader.read_image
    names.read_mask = or_nothing(reader.read_mask, np.zeros((40, 60), bool))
    names = photometric
    names.Photometric = or_nothing(photometric.Photometric, lambda image, seed: image)
    if arguments[0] == "-c":
        code, sys.argv = arguments[1], ["-c", *arguments[2:]]
    else:
        code, sys.argv = Path(arguments[0]).read_text(encoding="utf-8"), list(arguments)
    exec(compile(code, arguments[0], "exec"), {"__name__": "__main__"})


def module(name: str, **content: Any) -> None:
    """A module that can be imported."""
    sys.modules[name] = ModuleType(name)
    vars(sys.modules[name]).update(content)


if __name__ == "__main__":
    main(sys.argv[1:])
