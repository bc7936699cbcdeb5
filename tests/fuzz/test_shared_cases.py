"""The small failing inputs among the development inputs: each right, or refused in one line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.small_runs import ROOT, SOURCE

pytestmark = pytest.mark.slow

LAUNCHER = ROOT / "tests" / "helpers" / "earlier_names.py"


@pytest.fixture
def cases(shared: Path) -> Path:
    if not (shared / "cases").is_dir():
        pytest.skip(f"development inputs absent: no folder {shared / 'cases'}")
    return shared / "cases"


def printed(*command: object, **variables: object) -> str:
    """What a command prints; nothing in it is a traceback."""
    environment = os.environ | {"PYTHONPATH": f"{SOURCE}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    environment |= {name: str(value) for name, value in variables.items()}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr[-2000:]
    return done.stdout


def test_annotations_that_lose_or_invent_pixels(cases: Path) -> None:
    found = printed(sys.executable, LAUNCHER, cases / "coco_ids.py")
    every = re.findall(r"(refused: .*\n)?(.*?) read +(\d+), right: (.*)", found)
    assert len(every) == 5
    for refused, what, read, right in every:
        assert refused or read == right.split()[0], f"{what}: {read} in place of {right}"


def test_annotations_that_end_the_process(cases: Path) -> None:
    found = printed("bash", cases / "coco_crash.sh", PY=f"{sys.executable} {LAUNCHER}")
    assert found.count("refused: ") == found.count("-> exit 0") == 3, found


def test_masks_and_pictures_read_wrong(cases: Path) -> None:
    lines = printed(sys.executable, LAUNCHER, cases / "masks.py").splitlines()
    assert lines[0].startswith("16-bit TIFF, white is 0: 200 ")
    assert lines[1].startswith("refused: ") or "200 right 200 of 200" in lines[1]
    assert " max 255 " in lines[-1], lines


def test_transforms_that_change_the_kind_of_the_image(cases: Path) -> None:
    lines = printed(sys.executable, LAUNCHER, cases / "photometric.py").splitlines()
    assert lines[0].startswith("refused: data.photometric: Normalize: ")
    for frame, image in re.findall(r"mean of the frame ([\d.]+) of the image ([\d.]+)", "\n".join(lines)):
        assert float(frame) == pytest.approx(float(image), abs=5)


def test_labels_of_clicks(cases: Path) -> None:
    lines = printed(sys.executable, cases / "predictor.py").splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["click", "2", "ValueError"],
        ["click", "None", "ValueError"],
    ]


def test_commands_of_users(cases: Path, tmp_path: Path) -> None:
    pisam = tmp_path / "pisam"
    pisam.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pisam "$@"\n')
    pisam.chmod(0o755)
    found = printed("bash", cases / "training.sh", PISAM=pisam, PY=sys.executable, TMPDIR=tmp_path)
    gradients = re.findall(r'accumulate=\d "train/grad_norm": ([\d.]+)', found)
    assert len(gradients) == 3 and len({*gradients}) == 1
    assert "\nbest.ckpt\n" in found and "\n20261126_1530\n" in found
    rates = [rate for _, rate in json.loads(found.splitlines()[-3].replace("(", "[").replace(")", "]"))]
    assert rates == sorted(rates, reverse=True), "they climb again"
    assert found.splitlines()[-1].startswith("error: trainer.accelerator: gpu is asked for")
