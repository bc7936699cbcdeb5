"""A run of both stages, short and on generated sets, that the tests of this directory share."""

from __future__ import annotations

from pathlib import Path

import pytest

from pisam.commands.train import train
from pisam.config.load import load_config
from pisam.config.schema import Config
from pisam.data.generated.sets import write_quickstart

EXPERIMENT = """
model: {{backbone: nano, image_size: 128}}
data:
  root: {root}
  train: [DIS5K-TR, ThinObject5K-TR]
  val: [DIS5K-VD, {{name: HRSOD-TE, limit: 2}}]
  batch_size: 2
  workers: 0
stage1: {{max_steps: 30, lr: 0.003}}
stage2: {{max_steps: 4, lr: 0.01}}
trainer: {{accelerator: cpu, precision: {precision}}}
logging: {{mode: disabled, images: 0}}
"""


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images in each generated set."""
    root = tmp_path_factory.mktemp("generated") / "sets"
    write_quickstart(root, train=3, val=3)
    return root


def make_config(folder: Path, root: Path, precision: str = "32-true") -> Config:
    """The experiment above, with its run below `folder`."""
    file = folder / "short.yaml"
    file.write_text(EXPERIMENT.format(root=root, precision=precision))
    return load_config(file, [f"run_dir={folder / 'run'}"])


@pytest.fixture(scope="session", params=["32-true", pytest.param("bf16-mixed", marks=pytest.mark.slow)])
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, generated: Path
) -> Config:
    """The configuration of a run whose two stages are complete."""
    config = make_config(tmp_path_factory.mktemp("trained"), generated, request.param)
    train(config, 1)
    train(config, 2)
    return config


@pytest.fixture
def untrained(tmp_path: Path, generated: Path) -> Config:
    """The same configuration before anything was trained."""
    return make_config(tmp_path, generated)
