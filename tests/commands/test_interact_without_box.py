"""`interact.prompt` other than box: the own models in the number-of-clicks benchmark, on any ranks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pisam import cli
from pisam.evaluation.benchmark.interaction_file import read_interaction

EXPERIMENT = """
model: {{backbone: nano, image_size: 64}}
data: {{root: {root}, train: [DIS5K-TR], val: [{{name: DIS5K-VD, limit: 2}}], workers: 0}}
stage1: {{max_steps: 1}}
stage2: {{max_steps: 2, lr: 0.05}}
trainer: {{accelerator: cpu, precision: 32-true}}
logging: {{mode: disabled, images: 0}}
interact: {{prompt: clicks, rounds: 3}}
run_dir: {run}
"""


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pisam.data.generated.sets import write_quickstart

    folder = tmp_path_factory.mktemp("boxless")
    write_quickstart(folder / "sets", train=2, val=2)
    file = folder / "short.yaml"
    file.write_text(EXPERIMENT.format(root=folder / "sets", run=folder / "run"))
    for stage in (1, 2):
        assert cli.main(["train", str(file), f"stage={stage}"]) == 0
    return file


def test_sam_and_pi_sam_start_from_the_first_click(
    experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.main(["interact", str(experiment)])
    folder = experiment.parent / "run/interact/clicks-ritm-3"
    records = {path.stem: read_interaction(path) for path in folder.glob("*.json")}
    assert set(records) == {"SAM", "SAM+mask", "Pi-SAM"}
    assert code == 1  # two images of a set that has 470
    for record in records.values():
        assert len(record.images) == 2 and record.sets == {"DIS5K-VD": 470} and record.status == "partial"
        assert record.model["backbone"] == "nano"
    one, other, pi = (records[name].images[0] for name in ("SAM", "SAM+mask", "Pi-SAM"))
    assert one.clicks[0] == other.clicks[0] == pi.clicks[0] and one.iou[0] == other.iou[0]
    assert "2 of 470 images of DIS5K-VD" in capsys.readouterr().out


def test_random_points_are_the_same_for_all_models(experiment: Path) -> None:
    cli.main(["interact", str(experiment), "interact.prompt=points"])
    folder = experiment.parent / "run/interact/points-3"
    clicks = [read_interaction(path).images[0].clicks for path in folder.glob("*.json")]
    assert len(clicks) == 3 and len(set(clicks)) == 1


@pytest.mark.slow
def test_two_ranks_share_the_images(experiment: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pisam.cli", "benchmark", str(experiment), "clicks=3"]
    for devices in (1, 2):
        given = (f"trainer.devices={devices}", f"out={tmp_path / str(devices)}")
        subprocess.run([*command, *given], check=False, capture_output=True, timeout=900)
    for name in ("SAM", "Pi-SAM"):
        alone, shared = (read_interaction(tmp_path / devices / f"{name}.json") for devices in "12")
        assert [(i.image, i.clicks, i.iou) for i in alone.images] == [
            (i.image, i.clicks, i.iou) for i in shared.images
        ]
        assert len(shared.images) == len(alone.images) > 1
        assert json.loads((tmp_path / "2" / f"{name}.json").read_text())["status"] == "partial"
