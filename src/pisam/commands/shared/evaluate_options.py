"""The arguments of `pisam evaluate` that are no part of an experiment's configuration."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pisam.core.errors import PisamError, nearest
from pisam.core.set_names import refuse_reserved
from pisam.core.yaml_text import parse_texts

FOLDER_KEYS = ("predictions", "masks", "out", "name", "set", "workers", "ignore")


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of an evaluation of trained models.

    Attributes:
        models: out of sam, hq, pi and sam1024; empty for what the checkpoints hold, or else the run's own.
        checkpoints: files or run folders; empty for the run's own.
        sets: evaluate on data.val or data.test.
        predictions: also save what was scored, as 8-bit PNG.
        out: in place of RUN_DIR/evaluate.
    """

    models: Sequence[str] = ()
    checkpoints: Sequence[Path] = ()
    sets: str = "val"
    predictions: bool = False
    out: Path | None = None


def is_folder_evaluation(given: dict[str, str]) -> bool:
    """True where the keys ask for a folder of predictions to be scored, without a model."""
    predictions = given.get("predictions", "true")
    if predictions not in ("true", "false") and predictions.lower() in ("true", "false"):
        raise PisamError(f"predictions={predictions}: did you mean {predictions.lower()}?")
    return "masks" in given or predictions not in ("true", "false")


def folder_options(given: dict[str, str]) -> dict[str, Any]:
    """The arguments of `rescore_folder`, from predictions=DIR masks=DIR out=DIR [name=...] [set=...] ...

    Raises:
        PisamError: an unknown or missing key, or a wrong value.
    """
    for key in given:
        if key not in FOLDER_KEYS:
            raise PisamError(
                f"evaluate predictions=DIR: unknown key {key}; expected {', '.join(FOLDER_KEYS)}"
                f"{nearest(key, FOLDER_KEYS)}"
            )
    for key in ("predictions", "masks", "out"):
        if not given.get(key):
            raise PisamError(f"evaluate: {key}=DIR is missing; expected predictions=DIR masks=DIR out=DIR")
    predictions, masks = Path(given["predictions"]), Path(given["masks"])
    set_name = given.get("set") or masks.resolve().name
    refuse_reserved(set_name, "evaluate: set")
    return {
        "predictions": predictions,
        "masks": masks,
        "out": Path(given["out"]),
        "name": given.get("name") or predictions.resolve().name,
        "set_name": set_name,
        "workers": int(given.get("workers", "0")),
        "ignore": ignored_value(given.get("ignore")),
    }


def ignored_value(given: str | None) -> int | None:
    """What ignore= says, as `Source.ignore`.

    Raises:
        PisamError: no such value.
    """
    value = int(given) if given and given.isdecimal() and len(given) < 6 else 0
    if given not in (None, "false") and not 1 <= value <= 65535:
        raise PisamError(f"ignore={given}: expected the value of ignored mask pixels, 1 to 65535, or false")
    return None if given is None else value or -1


def evaluate_options(given: dict[str, str]) -> EvaluateOptions:
    """The options of an evaluation of models.

    Raises:
        PisamError: a wrong value.
    """
    return EvaluateOptions(
        models=as_list("models", given.get("models", "[]")),
        checkpoints=[Path(path) for path in as_list("checkpoint", given.get("checkpoint", "[]"))],
        sets=given.get("sets", "val"),
        predictions=given.get("predictions") == "true",
        out=Path(given["out"]) if given.get("out") else None,
    )


def as_list(key: str, value: str) -> list[str]:
    """A text, or several as [one, another]."""
    if not value.startswith("["):
        return [value]
    return [os.path.expanduser(item) if item.startswith("~/") else item for item in parse_texts(value, key)]
