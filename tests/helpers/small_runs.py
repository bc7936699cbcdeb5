"""Small pictures, configurations and runs for the tests of stages, callbacks and verbs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from PIL import Image
from torch.utils.data import DataLoader

from pisam.config.load import load_config
from pisam.config.schema import Config
from pisam.core.types import Batch
from pisam.modeling.pisam import build_model

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
HARD_TIMEOUT = 600  # seconds for a process that takes ten to thirty where nothing else runs
SETS = {"a": 6, "b": 2, "val": 3, "other": 2}

EXPERIMENT = """
model: {{backbone: nano, image_size: 64}}
data:
  root: {root}
  train: [{{name: a, images: a/images, masks: a/masks}}, {{name: b, images: b/images, masks: b/masks}}]
  val:
    - {{name: val, images: val/images, masks: val/masks}}
    - {{name: other, images: other/images, masks: other/masks}}
  batch_size: 2
  workers: 0
stage1: {{epochs: 2, lr: 0.01}}
stage2: {{epochs: 2, lr: 0.01}}
clicks: {{min_area: 2}}
trainer: {{accelerator: cpu, devices: 1}}
logging: {{mode: disabled, images: 0}}
"""


def write_sets(root: Path, sets: Mapping[str, int] = SETS) -> Path:
    """Pictures of a bright ring each, 60 to 100 pixels a side: 8 to train on, 5 to validate on."""
    rng = np.random.default_rng(0)
    for name, count in sets.items():
        for part in ("images", "masks"):
            (root / name / part).mkdir(parents=True)
        for index in range(count):
            height, width = rng.integers(60, 100, 2)
            y, x = np.ogrid[:height, :width]
            distance = np.hypot(x - width * rng.uniform(0.4, 0.6), y - height * rng.uniform(0.4, 0.6))
            mask = (distance < 24) & (distance > rng.uniform(6, 14))
            image = rng.integers(0, 120, (height, width, 3)) + 120 * mask[..., None]
            Image.fromarray(image.astype(np.uint8)).save(root / name / "images" / f"{index}.jpg")
            Image.fromarray(mask.astype(np.uint8) * 255).save(root / name / "masks" / f"{index}.png")
    return root


def write_experiment(folder: Path, root: Path) -> Path:
    """The experiment above as a file."""
    file = folder / "small.yaml"
    file.write_text(EXPERIMENT.format(root=root))
    return file


def small_config(folder: Path, root: Path, *overrides: str) -> Config:
    """The experiment above, with its run in `folder/run`."""
    return load_config(write_experiment(folder, root), [f"run_dir={folder / 'run'}", *overrides])


def small_model(size: int = 64) -> Any:
    """An untrained network, always the same."""
    torch.manual_seed(0)
    return build_model("nano", image_size=size)


def small_batch(count: int = 2, size: int = 64, seed: int = 0) -> Batch:
    """Random pictures with a square object each, as the data module delivers them in training."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(count, 1, size, size, dtype=torch.bool)
    mask[..., 16:48, 12:40] = True
    return Batch(
        image=torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8),
        mask=mask,
        box=torch.tensor([[12.0, 16, 40, 48]]).repeat(count, 1),
        extent=torch.full((count, 2), float(size)),
        ids=[str(index) for index in range(count)],
        sets=["val"] * count,
        seeds=[seed * 100 + index for index in range(count)],
        views=[0] * count,
        original_masks=list(mask[:, 0]),
    )


def loader(*batches: Batch) -> DataLoader:
    """Ready batches as Lightning wants them."""
    return DataLoader(list(batches), batch_size=None, collate_fn=lambda batch: batch)  # type: ignore[arg-type]


def quiet_trainer(*callbacks: Callback, **options: Any) -> Trainer:
    """Lightning's trainer on one CPU that writes nothing."""
    settings: dict[str, Any] = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    settings |= {"max_steps": 1, "precision": "32-true"}
    return Trainer(
        devices=1,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        **{**settings, **options},
    )


def command(
    *arguments: str, program: Sequence[str] = ("-m", "pisam.cli"), **options: Any
) -> subprocess.Popen[str]:
    """The `pisam` command, or another program, in a process of its own with one thread a rank."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{SOURCE}{os.pathsep}{ROOT / 'tests'}",
        "OMP_NUM_THREADS": "1",
    }
    for variable in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT"):
        environment.pop(variable, None)
    return subprocess.Popen(
        [sys.executable, *program, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def logged(run: Path, stage: int) -> list[dict[str, float]]:
    """The rows of a stage's metrics.jsonl."""
    return [json.loads(line) for line in (run / f"stage{stage}" / "metrics.jsonl").read_text().splitlines()]


def summary(run: Path, stage: int) -> dict[str, Any]:
    """A stage's summary.json."""
    return json.loads((run / f"stage{stage}" / "summary.json").read_text())


def steps(run: Path, stage: int = 1) -> list[float]:
    """Those that a stage has logged, in the order of its rows; none before its first."""
    if not (run / f"stage{stage}" / "metrics.jsonl").exists():
        return []
    return [row["step"] for row in logged(run, stage) if "train/loss" in row]


def wait_until(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Fails where the process ends before the condition holds; what it writes meanwhile is kept."""
    while not condition():
        try:
            output, error = process.communicate(timeout=0.05)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"ended too early with {process.returncode}: {(error or output)[-3000:]}")


def on_this_machine(seconds: float) -> float:
    """A limit that holds where nothing else runs, stretched by what others compute here now."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
