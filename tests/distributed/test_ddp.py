"""Two real ranks on the CPU do what one does: the same losses, the same scores, one set of files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from helpers.small_runs import (
    HARD_TIMEOUT,
    command,
    logged,
    small_config,
    summary,
    write_experiment,
    write_sets,
)
from helpers.two_ranks import TO_VALIDATE, validate
from pisam.commands.train import train
from pisam.config.load import save_config

pytestmark = pytest.mark.slow
TWO = ("trainer.devices=2", "trainer.strategy=ddp", "data.batch_size=2")
STEPS = ("stage1.max_steps=4", "stage1.lr=0.001", "stage2.max_steps=4", "stage2.lr=0.001")


class Measured:
    """Both stages on one rank with batches of four, and on two ranks with batches of two.

    Five images to validate on: one rank gets one more.
    """

    def __init__(self, folder: Path) -> None:
        root = write_sets(folder / "sets")
        write_sets(root, TO_VALIDATE)
        self.one, self.two = folder / "one", folder / "two"
        experiment = write_experiment(folder, root)
        shown = ("logging.mode=offline", "logging.images=3")
        stage1 = command("train", str(experiment), "stage=1", *STEPS, *TWO, *shown, f"run_dir={self.two}")

        start = small_config(
            folder, root, *STEPS, "data.batch_size=4", "stage2.lr=0.01", f"run_dir={folder / 'start'}"
        )
        for number in (1, 2):
            train(start, number)
        trained = f"stage2.from={folder / 'start' / 'stage2'}"
        alone = small_config(folder, root, *STEPS, trained, "data.batch_size=4", f"run_dir={self.one}")
        for number in (1, 2):
            train(alone, number)
        self.scores_of_one = validate(alone)

        self._end(stage1)
        both = small_config(folder, root, *STEPS, *TWO, trained, f"run_dir={self.two}")
        save_config(both, folder / "both.yaml")
        script = Path(__file__).parents[1] / "helpers" / "two_ranks.py"
        self._end(command(str(folder / "both.yaml"), str(folder / "out.json"), program=[str(script)]))
        measured = json.loads((folder / "out.json").read_text())
        self.scores_of_two, self.clickless = measured["scores"], measured["clickless"]

    @staticmethod
    def _end(process: Any) -> None:
        _, error = process.communicate(timeout=HARD_TIMEOUT)
        assert process.returncode == 0, error[-3000:]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    return Measured(tmp_path_factory.mktemp("ddp"))


@pytest.mark.parametrize("number", [1, 2])
def test_losses_of_two_ranks_with_two_images_equal_one_with_four(measured: Measured, number: int) -> None:
    one, two = (
        [row["train/loss"] for row in logged(run, number) if "train/loss" in row]
        for run in (measured.one, measured.two)
    )
    assert len(one) == len(two) == 4
    assert len({round(loss, 4) for loss in one}) == 4
    assert two == pytest.approx(one, abs=1e-4)


def test_scores_of_one_checkpoint_are_the_same_on_two_ranks(measured: Measured) -> None:
    assert measured.scores_of_two.keys() == measured.scores_of_one.keys()
    assert {
        "val/iou",
        "val/few/biou",
        "val/iou_before",
        "val/single/iou_gain",
    } <= measured.scores_of_one.keys()
    assert measured.scores_of_one["val/iou_gain"] != 0
    assert measured.scores_of_two == pytest.approx(measured.scores_of_one, abs=1e-6, nan_ok=True)


def test_images_without_an_error_to_click_count_with_no_gain(measured: Measured) -> None:
    for scores in (measured.scores_of_one, measured.scores_of_two):
        assert scores["none/val/iou_gain"] == scores["none/val/improved"] == 0
        assert scores["none/val/iou_after"] == scores["none/val/iou_before"] == scores["val/iou_before"]


def test_rank_without_any_click_neither_hangs_nor_fails(measured: Measured) -> None:
    assert measured.clickless["steps"] == 4
    assert measured.clickless["loss"] > 0
    assert measured.clickless["moved"] > 0


def test_files_are_written_once(measured: Measured) -> None:
    rows = logged(measured.two, 1)
    assert [row["step"] for row in rows if "train/loss" in row] == [0, 1, 2, 3]
    assert len([row for row in rows if "val/iou" in row]) == 1
    assert summary(measured.two, 1)["steps"] == 4
    assert len(list((measured.two / "stage1" / "wandb").glob("offline-run-*"))) == 1
    # The same as on one rank, though rank 0 validates only every second image.
    pictures = {path.name for path in (measured.two / "stage1" / "pictures").iterdir()}
    assert pictures == {"val-0.jpg", "val-1.jpg", "other-0.jpg"}
