"""`pisam evaluate` as a whole: its files, several models and ranks, saved predictions, refusals."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.small_runs import command, write_experiment, write_sets
from pisam import cli
from pisam.core.lock import holding
from pisam.data.reading.reader import read_image, read_mask
from pisam.data.transforms import box_of
from pisam.evaluation.models import sam_logits
from pisam.evaluation.results import FILES
from pisam.metrics import all_scores
from pisam.metrics.protocol import logits_to_levels
from pisam.modeling.checkpoint import checkpoint_of
from pisam.modeling.hq_sam import build_hq_sam
from pisam.modeling.pisam import build_model

IMAGES = 5  # three of `val` and two of `other`


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment whose stage 1 has a checkpoint, and an HQ-SAM beside it, `hq.ckpt`."""
    folder = tmp_path_factory.mktemp("evaluate")
    write_sets(folder / "sets")
    torch.manual_seed(0)
    best = folder / "run" / "stage1" / "checkpoints" / "best.ckpt"
    best.parent.mkdir(parents=True)
    torch.save(checkpoint_of(build_model("nano", image_size=64)), best)
    torch.save(checkpoint_of(build_hq_sam("nano", image_size=64)), folder / "hq.ckpt")
    return write_experiment(folder, folder / "sets")


def evaluate(experiment: Path, *arguments: str) -> int:
    run_dir = experiment.parent / "run"
    return cli.main(["evaluate", str(experiment), f"run_dir={run_dir}", *arguments])


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "per_image.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def summary_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As ranks have: sums of two threads round differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def three(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of SAM, HQ-SAM and Pi-SAM with their predictions."""
    out = tmp_path_factory.mktemp("results") / "three"
    checkpoint = experiment.parent / "hq.ckpt"
    asked = ("models=[sam,hq,pi]", f"checkpoint={checkpoint}", "predictions=true", f"out={out}")
    assert evaluate(experiment, *asked) == 0
    return out


def test_every_model_has_its_folder_and_all_stand_in_one_table(three: Path) -> None:
    assert {path.name for path in three.iterdir()} == {
        "sam",
        "hq",
        "pi",
        "table.md",
        "table.tex",
        "summary.json",
    }
    summary = summary_of(three)
    assert summary["status"] == "complete" and list(summary["models"]) == ["SAM", "HQ-SAM", "Pi-SAM"]
    table = (three / "table.md").read_text()
    for kind, name in (("sam", "SAM"), ("hq", "HQ-SAM"), ("pi", "Pi-SAM")):
        own = summary_of(three / kind)
        assert (own["status"], own["images"], own["decoder"]) == ("complete", IMAGES, kind)
        assert own == summary["models"][name]
        assert [row["set"] for row in rows_of(three / kind)] == ["val"] * 3 + ["other"] * 2
        assert f"| {name} | {own['sets']['val']['iou']:.3f}".replace(" 0.", " .") in table
    protocol = own["protocol"]
    assert protocol["resize"] == "squash" and protocol["prompt"] == "box of the mask" and protocol["torch"]
    assert own["data"][0]["name"] == "val"


def test_saved_predictions_score_as_the_model_does(three: Path, experiment: Path, tmp_path: Path) -> None:
    saved = sorted(path.relative_to(three / "pi") for path in (three / "pi" / "predictions").rglob("*.png"))
    assert len(saved) == IMAGES
    out = tmp_path / "again"
    masks = experiment.parent / "sets" / "val" / "masks"
    predictions = three / "pi" / "predictions" / "val"
    assert (
        cli.main(["evaluate", f"predictions={predictions}", f"masks={masks}", f"out={out}", "set=val"]) == 0
    )
    assert rows_of(out) == [row for row in rows_of(three / "pi") if row["set"] == "val"]
    assert summary_of(out)["status"] == "complete"


def test_sam_by_its_own_protocol_is_asked_about_the_original_image(
    experiment: Path, three: Path, tmp_path: Path
) -> None:
    """At 1024 px and padded, whatever the frame of the others is; beside them in one table."""
    out = tmp_path / "native"
    assert evaluate(experiment, "models=[sam1024,sam]", "predictions=true", f"out={out}") == 0
    model = build_model("nano", image_size=1024).eval()
    sets = experiment.parent / "sets"
    for row in rows_of(out / "sam1024"):
        folder = sets / row["set"]
        image = read_image(folder / "images" / f"{row['image']}.jpg")
        mask = read_mask(folder / "masks" / f"{row['image']}.png")
        logits = sam_logits(model, image, torch.from_numpy(box_of(mask)))
        assert float(row["iou"]) == pytest.approx(all_scores(logits_to_levels(logits), mask)["iou"], abs=1e-6)
    assert rows_of(out / "sam") == rows_of(three / "sam")
    assert rows_of(out / "sam") != rows_of(out / "sam1024")
    assert "| SAM, 1024 px |" in (out / "table.md").read_text()
    assert "padded" in summary_of(out / "sam1024")["protocol"]["resize"]


def test_one_model_writes_to_the_run_and_replaces_its_earlier_results(experiment: Path, three: Path) -> None:
    folder = experiment.parent / "run" / "evaluate"
    for _ in range(2):
        assert evaluate(experiment) == 0
    assert {path.name for path in folder.iterdir()} == set(FILES)
    assert rows_of(folder) == rows_of(three / "pi")


def test_other_sets_are_those_of_data_test(experiment: Path, tmp_path: Path) -> None:
    test = "data.test=[{name: b, images: b/images, masks: b/masks}]"
    assert evaluate(experiment, "sets=test", test, f"out={tmp_path / 'test'}") == 0
    assert [row["set"] for row in rows_of(tmp_path / "test")] == ["b", "b"]


def copied(experiment: Path, folder: Path) -> str:
    shutil.copytree(experiment.parent / "sets", folder / "sets")
    return f"data.root={folder / 'sets'}"


def test_a_damaged_image_is_named_and_leaves_a_partial_result(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = copied(experiment, tmp_path)
    image = tmp_path / "sets" / "val" / "images" / "2.jpg"
    image.write_bytes(image.read_bytes()[:-100])
    out = tmp_path / "out"
    assert evaluate(experiment, root, f"out={out}") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {image}") and error.count("\n") == 1
    summary = summary_of(out)
    assert (summary["status"], summary["images"], summary["images_expected"]) == ("partial", 2, IMAGES)
    assert len(rows_of(out)) == 2 and not (out / "table.md").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("checkpoint=HERE/hq.ckpt", "models=[pi]"), "leaves out the given checkpoint of decoder hq"),
        (("model.image_size=100",), "model.image_size"),
        (("sets=test",), "data.test: no set to evaluate on"),
        (("out=HERE/sets",), "holds other files"),
        (("model.backbon=vit_t",), "unknown key model.backbon; did you mean model.backbone?"),
        (("masks=HERE/sets/val/masks",), "needs no experiment"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: tuple[str, ...], message: str, experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = str(experiment.parent)
    assert evaluate(experiment, *(argument.replace("HERE", here) for argument in arguments)) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_folder_with_missing_files_is_exit_2(
    three: Path, experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions = tmp_path / "predictions"
    shutil.copytree(three / "sam" / "predictions" / "val", predictions)
    (predictions / "1.png").unlink()
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(predictions / "x.png")
    masks = experiment.parent / "sets" / "val" / "masks"
    assert (
        cli.main(["evaluate", f"predictions={predictions}", f"masks={masks}", f"out={tmp_path / 'o'}"]) == 2
    )
    error = capsys.readouterr().err
    assert "1 masks without prediction (1); 1 predictions without mask (x)" in error


@pytest.mark.slow
def test_two_ranks_score_each_image_once_with_the_same_numbers(
    experiment: Path, three: Path, tmp_path: Path
) -> None:
    out = tmp_path / "two"
    process = command(
        *("evaluate", str(experiment), f"run_dir={experiment.parent / 'run'}", "models=[sam,pi]"),
        *("trainer.devices=2", "trainer.strategy=ddp", "predictions=true", f"out={out}"),
    )
    printed, error = process.communicate(timeout=280)
    assert process.returncode == 0, error[-3000:]
    assert printed.count("mean over sets") == 2
    for kind in ("sam", "pi"):
        assert rows_of(out / kind) == rows_of(three / kind)
        ours, theirs = summary_of(out / kind), summary_of(three / kind)
        assert ours["sets"] == theirs["sets"] and ours["status"] == "complete"
        assert len(list((out / kind / "predictions").rglob("*.png"))) == IMAGES


@pytest.mark.slow
def test_an_error_on_the_second_rank_ends_both_as_partial(experiment: Path, tmp_path: Path) -> None:
    root = copied(experiment, tmp_path)
    image = tmp_path / "sets" / "val" / "images" / "1.jpg"  # the second image is the second rank's
    image.write_bytes(image.read_bytes()[:-100])
    out = tmp_path / "out"
    process = command(
        *("evaluate", str(experiment), f"run_dir={experiment.parent / 'run'}", root),
        *("trainer.devices=2", "trainer.strategy=ddp", f"out={out}"),
    )
    _, error = process.communicate(timeout=280)
    assert process.returncode == 2 and str(image) in error
    assert summary_of(out)["status"] == "partial"


def test_two_scorings_of_a_folder_in_one_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = write_sets(tmp_path / "sets", {"val": 1}) / "val" / "masks"
    with holding(tmp_path / "out"):
        assert (
            cli.main(["evaluate", f"predictions={masks}", f"masks={masks}", f"out={tmp_path / 'out'}"]) == 2
        )
    assert "out: in use by process" in capsys.readouterr().err
