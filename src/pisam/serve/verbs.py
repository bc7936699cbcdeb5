"""The requests to a session in JSON: each verb's body, checked, as a call of the predictor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pisam.predictor.interactive import InteractivePredictor
from pisam.serve.pictures import Refused
from pisam.serve.requests import numbers
from pisam.serve.sessions import CLICKS

Act = Callable[[InteractivePredictor], object]


def _box(asked: dict[str, Any]) -> Act:
    box = numbers(asked.get("box"), 4, "box")
    return lambda predictor: predictor.set_box(box)


def _points(asked: dict[str, Any]) -> Act:
    points = asked.get("points")
    if not isinstance(points, list) or not 0 < len(points) <= CLICKS:
        raise Refused(400, f"points: expected 1 to {CLICKS} of [x, y, label]")
    rows = [numbers(point, 3, "points") for point in points]
    labels = [int(label) for _, _, label in rows if label in (0, 1)]
    if len(labels) < len(rows):
        raise Refused(400, "points: expected labels 0 and 1")
    return lambda predictor: predictor.set_points([(x, y) for x, y, _ in rows], labels)


def _click(asked: dict[str, Any]) -> Act:
    x, y = numbers([asked.get("x"), asked.get("y")], 2, "click")
    if type(foreground := asked.get("foreground", True)) is not bool:
        raise Refused(400, "foreground: expected true or false")

    def act(predictor: InteractivePredictor) -> None:
        if len(predictor.clicks) >= CLICKS:
            raise Refused(400, f"click: expected at most {CLICKS}; download the mask, and start from it")
        predictor.click(x, y, foreground)

    return act


VERBS: dict[str, tuple[tuple[str, ...], Callable[[dict[str, Any]], Act]]] = {
    "box": (("box",), _box),
    "points": (("points",), _points),
    "click": (("x", "y", "foreground"), _click),
    "undo": ((), lambda _: InteractivePredictor.undo),
    "redo": ((), lambda _: InteractivePredictor.redo),
    "reset": ((), lambda _: InteractivePredictor.reset),
}
"""The keys of each verb, and what makes a call of its body."""


def call_of(verb: str, asked: dict[str, Any]) -> Act:
    """The call that the body of one of `VERBS` asks for.

    Raises:
        Refused: a key that the verb does not have, or a wrong value.
    """
    keys, make = VERBS[verb]
    if unknown := [key for key in asked if key not in keys]:
        raise Refused(400, f"{verb}: unknown key {unknown[0]:.40}; expected {', '.join(keys) or 'none'}")
    return make(asked)
