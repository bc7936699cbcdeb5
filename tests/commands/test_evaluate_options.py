"""The arguments of `pisam evaluate`: read, and refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from pisam.commands.evaluate import (
    as_list,
    evaluate_options,
    folder_options,
    is_folder_evaluation,
)
from pisam.core.errors import PisamError


def test_models_and_checkpoints_may_be_one_or_several() -> None:
    options = evaluate_options({"models": "[sam, hq,pi]", "checkpoint": "runs/a=b", "sets": "test"})
    assert list(options.models) == ["sam", "hq", "pi"]
    assert options.checkpoints == [Path("runs/a=b")]
    assert (options.sets, options.predictions, options.out) == ("test", False, None)
    options = evaluate_options({"checkpoint": "[a.ckpt, 'b: c.ckpt']", "predictions": "true", "out": "x"})
    assert options.checkpoints == [Path("a.ckpt"), Path("b: c.ckpt")]
    assert (list(options.models), options.predictions, options.out) == ([], True, Path("x"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"models": "[sam"}, r"models: got \[sam, expected names or paths as \[one,another\]"),
        ({"models": "[{sam: 1}]"}, r"models: got \[{sam: 1}\], expected names or paths"),
        ({"models": "[" * 20_000}, "models: nested too deeply"),
    ],
)
def test_wrong_values_are_named(given: dict[str, str], message: str) -> None:
    with pytest.raises(PisamError, match=message):
        evaluate_options(given)


def test_a_folder_is_scored_where_masks_or_a_folder_are_given() -> None:
    assert is_folder_evaluation({"masks": "m"})
    assert is_folder_evaluation({"predictions": "p"})
    assert not is_folder_evaluation({"predictions": "true", "models": "[sam]"})
    assert not is_folder_evaluation({})
    with pytest.raises(PisamError, match="predictions=True: did you mean true"):
        is_folder_evaluation({"predictions": "True"})


def test_a_folder_names_itself() -> None:
    options = folder_options({"predictions": "a/BiRefNet", "masks": "DIS-TE1/gt", "out": "o", "workers": "3"})
    assert (options["name"], options["set_name"], options["workers"]) == ("BiRefNet", "gt", 3)
    named = folder_options({"predictions": "a", "masks": "b", "out": "o", "name": "X", "set": "DIS5K-TE1"})
    assert (named["name"], named["set_name"], named["out"]) == ("X", "DIS5K-TE1", Path("o"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"predictions": "p", "masks": "m"}, "out=DIR is missing"),
        ({"masks": "m", "out": "o"}, "predictions=DIR is missing"),
        (
            {"predictions": "p", "masks": "m", "out": "o", "mask": "x"},
            "unknown key mask.*did you mean masks?",
        ),
        *(
            (
                {"predictions": "p", "masks": "m", "out": "o", "ignore": ignore},
                f"ignore={ignore}: expected the",
            )
            for ignore in ("0", "00001999999", "65536", "1.0", "true")
        ),
        ({"predictions": "p", "masks": "pooled", "out": "o"}, "set: pooled means the images of all sets"),
    ],
)
def test_wrong_folder_arguments_are_named(given: dict[str, str], message: str) -> None:
    with pytest.raises(PisamError, match=message):
        folder_options(given)


def test_items_of_a_list_are_text_as_it_was_typed() -> None:
    assert as_list("checkpoint", "[20261126_1530, 0123,'a b']") == ["20261126_1530", "0123", "a b"]
