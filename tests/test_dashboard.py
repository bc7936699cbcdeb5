"""What an offline W&B run holds, read back from its file: what `wandb sync` later makes a dashboard of."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pisam.config import Config
from pisam.verbs.train import train
from small_runs import logged, small_config, summary, write_sets

KEY = "5d0c0ffee5d0c0ffee5d0c0ffee5d0c0ffee5d0c"  # as long as a real one
OPTIONS = (
    "logging.mode=offline",
    "logging.images=3",
    "logging.project=small-tests",
    "logging.group=both",
    "trainer.dry_run=true",
    "stage1.early_stop=2",
    "stage2.ema=0.5",
)
Record = dict[str, Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Both stages, with an API key in the environment."""
    folder = tmp_path_factory.mktemp("dashboard")
    config = small_config(folder, write_sets(folder / "sets"), *OPTIONS)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("WANDB_API_KEY", KEY)
        environment.setenv("WANDB_MODE", "")
        environment.delenv("WANDB_DATA_DIR", raising=False)
        train(config, 1)
        train(config, 2)
    return config


def records(config: Config, number: int, kind: str) -> list[Record]:
    """Of one kind, in the order they were written."""
    (folder,) = (Path(config.run_dir) / f"stage{number}" / "wandb").glob("offline-run-*")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [record[kind] for line in lines if (record := json.loads(line))["type"] == kind]


def history(config: Config, number: int) -> list[Record]:
    return [record["item"] for record in records(config, number, "history")]


@pytest.mark.parametrize("number", [1, 2])
def test_curves_are_those_of_metrics_jsonl_at_the_same_steps(run: Config, number: int) -> None:
    scores = {"val/iou", "val/other/biou"} if number == 1 else {"val/iou_after", "val/other/biou_gain"}
    curves = [row for row in history(run, number) if "train/loss" in row or scores <= row.keys()]
    assert [row["trainer/global_step"] for row in curves if "train/loss" in row] == list(range(8))
    lines = {(row["step"], key): row[key] for row in logged(Path(run.run_dir), number) for key in row}
    compared = 0
    for row in curves:
        for key in row.keys() & {"train/loss", "train/grad_norm", *scores}:
            assert row[key] == pytest.approx(lines[row["trainer/global_step"], key])
            compared += 1
    assert compared == 2 * 8 + 2 * 2
    keys = {key for row in curves for key in row}
    assert {"perf/images_per_second", "perf/step_ms", "perf/data_wait", "perf/memory_gb"} <= keys


def test_every_set_has_curves_before_after_and_gain(run: Config) -> None:
    keys = {key for row in history(run, 2) for key in row}
    for prefix in ("val/", "val/val/", "val/other/"):
        for score in ("iou", "biou"):
            assert {f"{prefix}{score}_{moment}" for moment in ("before", "after", "gain")} <= keys


def test_metrics_have_their_axis_and_their_best_value(run: Config) -> None:
    defined = {metric.get("name"): metric for metric in records(run, 2, "metric")}
    expected = {"val/iou_after": "max", "val/other/biou_gain": "max", "train/loss": "min"}
    expected |= {"perf/memory_gb": "max", "perf/step_ms": "mean"}
    for name, best in expected.items():
        assert defined[name]["step_metric"] == "trainer/global_step"
        assert defined[name]["summary"] == {best: True}


def test_runs_of_both_stages_share_a_group_and_differ_in_tags(run: Config) -> None:
    for number in (1, 2):
        (described,) = records(run, number, "run")
        assert described["run_group"] == "both" and described["project"] == "small-tests"
        assert set(described["tags"]) == {"nano", "pi", f"stage{number}"}
        assert described["job_type"] == f"stage{number}"


def test_config_holds_the_keys_of_the_run_and_its_environment(run: Config) -> None:
    config: Record = {}
    for record in [*records(run, 1, "run"), *records(run, 1, "config")]:
        config |= record.get("config", record).get("update", {})
    assert config["stage1"]["early_stop"] == 2 and config["model"]["image_size"] == 64
    written = summary(Path(run.run_dir), 1)
    assert config["frozen_hash"] == written["frozen_hash"] and config["samples"] == written["samples"]
    assert config["environment"]["devices"] == ["cpu"]
    assert config["environment"]["packages"]["torch"]


@pytest.mark.parametrize(("number", "columns"), [(1, ["iou", "biou"]), (2, ["iou_before", "iou_gain"])])
def test_table_has_a_row_per_image(run: Config, number: int, columns: list[str]) -> None:
    (row, *_) = [row for row in history(run, number) if "val/images._type" in row]
    (folder,) = (Path(run.run_dir) / f"stage{number}" / "wandb").glob("offline-run-*")
    table = json.loads((folder / "files" / row["val/images.path"]).read_text())
    assert table["columns"][:2] == ["set", "image"] and set(columns) <= set(table["columns"])
    assert [tuple(cells[:2]) for cells in table["data"]] == [
        ("val", "0"), ("val", "1"), ("val", "2"), ("other", "0"), ("other", "1"),
    ]  # fmt: skip
    score = table["columns"].index(columns[0])
    means = [row for row in history(run, number) if f"val/val/{columns[0]}" in row]
    of_val = [cells[score] for cells in table["data"] if cells[0] == "val"]
    assert sum(of_val) / 3 == pytest.approx(means[0][f"val/val/{columns[0]}"], abs=1e-6)


def test_histogram_of_gains(run: Config) -> None:
    rows = [row for row in history(run, 2) if "val/iou_gain_histogram._type" in row]
    assert len(rows) == 2
    for row in rows:
        assert sum(row["val/iou_gain_histogram.values"]) == 5, "images"


def test_panels_show_the_same_samples_after_every_validation(run: Config) -> None:
    captions = [row["panels.captions"] for row in history(run, 2) if "panels.captions" in row]
    assert captions == [["val-0", "val-1", "other-0"]] * 2
    (row, *_) = [row for row in history(run, 2) if "panels.captions" in row]
    assert row["panels.format"] == "jpg" and row["panels.width"] == 64


def artifacts(config: Config, number: int) -> list[Record]:
    return [record for record in records(config, number, "artifact") if record["type"] == "model"]


def test_checkpoints_are_artifacts_and_stage_2_uses_that_of_stage_1(run: Config) -> None:
    last, best = artifacts(run, 1)
    assert "last" in last["aliases"] and {"best", "latest"} == set(best["aliases"])
    used, *own = artifacts(run, 2)
    assert used["use_after_commit"] and not any(artifact.get("use_after_commit") for artifact in own)
    assert (used["name"], used["digest"]) == (best["name"], best["digest"]) == ("both-stage1", used["digest"])
    assert [artifact["name"] for artifact in own] == ["both-stage2"] * 2
    (entry,) = best["manifest"]["contents"]
    assert Path(entry["local_path"]) == (Path(run.run_dir) / "stage1" / "checkpoints" / "best.ckpt").resolve()


def test_api_key_is_nowhere_in_the_run(run: Config) -> None:
    files = [path for path in Path(run.run_dir).rglob("*") if path.is_file()]
    assert len(files) > 30
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
