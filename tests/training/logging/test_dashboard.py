"""What an offline W&B run holds, read back from its file: what `wandb sync` later makes a dashboard of."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from helpers.small_repository import write_repository
from helpers.small_runs import logged, small_config, summary, write_sets
from helpers.wandb_stub import KEY
from pisam.commands.train import train
from pisam.config.schema import Config

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
    """Both stages in a folder whose code was changed, with an API key in the environment."""
    folder = tmp_path_factory.mktemp("dashboard")
    config = small_config(folder, write_sets(folder / "sets"), *OPTIONS)
    code = write_repository(folder / "code")
    (code / "code.py").write_text(f"lr = 2  # {KEY}\n")
    with pytest.MonkeyPatch.context() as environment:
        environment.chdir(code)
        environment.setenv("WANDB_API_KEY", KEY)
        environment.setenv("WANDB_MODE", "")
        environment.delenv("WANDB_DATA_DIR", raising=False)
        train(config, 1)
        train(config, 2)
    return config


def offline_run(config: Config, number: int) -> Path:
    (folder,) = (Path(config.run_dir) / f"stage{number}" / "wandb").glob("offline-run-*")
    return folder


@cache
def inspected(folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", *options, "--json", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def records(config: Config, number: int, kind: str) -> list[Record]:
    """Of one kind, in the order they were written."""
    lines = inspected(offline_run(config, number)).splitlines()
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


def test_summary_holds_the_best_values(run: Config) -> None:
    told = json.loads(inspected(offline_run(run, 2), "--summary"))["summary"]
    rows = logged(Path(run.run_dir), 2)
    for name, best in (("val/iou_after", max), ("val/other/biou_gain", max), ("train/loss", min)):
        expected = best(row[name] for row in rows if name in row)
        assert told[name] == {best.__name__: pytest.approx(expected)}
    assert told["perf/step_ms"]["mean"] > 0
    for name, value in summary(Path(run.run_dir), 2)["best"].items():
        assert told[f"best/{name}"] == pytest.approx(value)


def test_runs_of_both_stages_share_a_group_and_differ_in_tags(run: Config) -> None:
    for number in (1, 2):
        (described,) = records(run, number, "run")
        assert described["run_group"] == "both" and described["project"] == "small-tests"
        assert set(described["tags"]) == {"nano", "pi", f"stage{number}"}
        assert described["job_type"] == f"stage{number}"
        assert described["display_name"] == f"small-stage{number}"


def test_config_holds_the_keys_of_the_run_and_its_environment(run: Config) -> None:
    config: Record = {}
    for record in [*records(run, 1, "run"), *records(run, 1, "config")]:
        config |= record.get("config", record).get("update", {})
    assert config["stage1"]["early_stop"] == 2 and config["model"]["image_size"] == 64
    written = summary(Path(run.run_dir), 1)
    assert config["frozen_hash"] == written["frozen_hash"] and config["samples"] == written["samples"]
    assert config["environment"]["devices"] == ["cpu"]
    assert config["environment"]["packages"]["torch"]


def test_changes_to_the_code_are_kept_without_the_key(run: Config) -> None:
    diff = (offline_run(run, 1) / "files" / "git.diff").read_text()
    assert "-lr = 1\n+lr = 2  # <WANDB_API_KEY>\n" in diff
    saved = [file["path"] for record in records(run, 1, "files") for file in record["files"]]
    assert "git.diff" in saved, "it is uploaded too"


@pytest.mark.parametrize(("number", "columns"), [(1, ["iou", "biou"]), (2, ["iou_before", "iou_gain"])])
def test_table_has_a_row_per_image(run: Config, number: int, columns: list[str]) -> None:
    (row, *_) = [row for row in history(run, number) if "val/images._type" in row]
    table = json.loads((offline_run(run, number) / "files" / row["val/images.path"]).read_text())
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
    panels = [row for row in history(run, 2) if "panels.captions" in row]
    assert [row["panels.captions"] for row in panels] == [["val-0", "val-1", "other-0"]] * 2
    scores = [row for row in history(run, 2) if "val/iou_after" in row]
    assert [r["trainer/global_step"] for r in panels] == [r["trainer/global_step"] for r in scores]
    (row, *_) = panels
    assert row["panels.format"] == "jpg" and row["panels.width"] == 64
    assert len(list((offline_run(run, 2) / "files" / "media" / "images").glob("panels*.jpg"))) == 2 * 3


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


def test_every_panel_that_the_documents_name_is_there(run: Config) -> None:
    text = (Path(__file__).resolve().parents[3] / "experiments" / "README.md").read_text()
    section = text.partition("## Which panel answers which question")[2]
    names = set(re.findall(r"`((?:train|val|perf|grad_norm)/[\w/]+|lr-Adam|panels)`", section))
    assert len(names) > 20
    keys = {key.removesuffix("._type") for number in (1, 2) for row in history(run, number) for key in row}
    parts = {"SET": "other", "PART": "head"}
    wanted = {"/".join(parts.get(part, part) for part in name.split("/")) for name in names}
    assert wanted <= keys, wanted - keys
