"""Which images a figure shows."""

from __future__ import annotations

from pathlib import Path

from pisam.data.sources.pairs import Pair
from pisam.evaluation.interaction.click_file import ClickedImage
from pisam.report.examples import Files, sets_in_turn


def test_the_largest_common_errors_of_all_sets_in_turn() -> None:
    names = ["a/0", "a/1", "b/2", "a/3", "c/4", "b/5"]
    files = [
        Files(
            Pair(image, Path(), Path()), Path(), ClickedImage(set_, image, 1, 1, 1, ((0.5, 0.5, 1),)), 1, {}
        )
        for set_, image in (name.split("/") for name in names)
    ]

    def chosen(number: int) -> list[str]:
        return [f"{one.clicked.set}/{one.clicked.image}" for one in sets_in_turn(files, number)]

    assert chosen(4) == ["a/0", "b/2", "c/4", "a/1"]
    assert chosen(100) == ["a/0", "b/2", "c/4", "a/1", "b/5", "a/3"]
