"""HQ-SAM through the verbs: trained like stage 1, refused as stage 2, its checkpoint told apart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.small_runs import logged, small_config, summary, write_experiment, write_sets
from pisam import cli
from pisam.commands.train import train
from pisam.core.errors import PisamError
from pisam.modeling.hq_sam import HQ_PARTS


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small pictures, not to be changed."""
    return write_sets(tmp_path_factory.mktemp("small") / "sets")


def test_hq_sam_is_trained_and_its_checkpoint_is_no_pi_sam(tmp_path: Path, sets: Path) -> None:
    config = small_config(tmp_path, sets, "model.decoder=hq", "stage1.epochs=1")
    train(config, 1)
    run = Path(config.run_dir)
    losses = [row["train/loss"] for row in logged(run, 1) if "train/loss" in row]
    assert len(losses) == 4 and len(set(losses)) == 4
    facts = summary(run, 1)
    assert facts["decoder"] == "hq" and 0 < facts["best"]["val/iou"] < 1

    best = torch.load(run / "stage1" / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["pisam"]["decoder"] == "hq"
    assert {name.split(".")[2] for name in best["state_dict"]} == set(HQ_PARTS)
    pi = small_config(tmp_path, sets, f"stage2.from={run}", f"run_dir={tmp_path / 'pi'}")
    with pytest.raises(PisamError, match=r"made with decoder hq, this model has pi"):
        train(pi, 2)


def test_stage_2_of_hq_sam_is_refused_in_one_line(
    tmp_path: Path, sets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = str(write_experiment(tmp_path, sets))
    run_dir = tmp_path / "run"
    assert cli.main(["train", experiment, "stage=2", "model.decoder=hq", f"run_dir={run_dir}"]) == 2
    error = capsys.readouterr().err
    assert "model.decoder=hq has none" in error and error.count("\n") == 1
    assert not run_dir.exists()


def test_keys_that_hq_sam_has_no_use_for_are_named(
    tmp_path: Path, sets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = str(write_experiment(tmp_path, sets))
    set_ = ["model.from_sam=true", "model.guard=true", "stage1.window=0.5", f"run_dir={tmp_path / 'run'}"]
    absent = f"data.root={tmp_path / 'absent'}"  # ends before the first step
    assert cli.main(["train", experiment, "stage=1", "model.decoder=hq", absent, *set_]) == 2
    said = capsys.readouterr().out
    assert "HQ-SAM makes no use of model.from_sam, model.guard, stage1.window\n" in said
    assert cli.main(["train", experiment, "stage=1", absent, *set_]) == 2
    assert "makes no use" not in capsys.readouterr().out
