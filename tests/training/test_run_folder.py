"""Where stage 2 finds its stage 1."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.small_runs import small_config
from helpers.stage1_runs import save_stage_1
from pisam.core.errors import PisamError
from pisam.training.from_config import build_stage
from pisam.training.run_folder import best_checkpoint, stage1_checkpoint


def test_from_takes_a_run_a_stage_or_a_checkpoint(tmp_path: Path) -> None:
    other = tmp_path / "other"
    save_stage_1(small_config(tmp_path, tmp_path), other)
    checkpoint = other / "stage1" / "checkpoints" / "best.ckpt"
    for source in (other, other / "stage1", checkpoint):
        config = small_config(tmp_path, tmp_path, f"stage2.from={source}")
        assert stage1_checkpoint(config) == checkpoint


@pytest.mark.parametrize("override", [(), ("stage2.from=nowhere",)])
def test_stage_2_without_stage_1_names_what_was_looked_at(tmp_path: Path, override: tuple[str, ...]) -> None:
    config = small_config(tmp_path, tmp_path, *override)
    looked_at = "stage2.from nowhere" if override else f"run_dir {config.run_dir}"
    with pytest.raises(PisamError, match=f"stage 2 needs a trained stage 1, and {looked_at} holds none"):
        build_stage(config, 2)


def test_a_checkpoint_of_a_stage_that_is_not_complete_is_said_to_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, files in (("begun", ["last.ckpt"]), ("done", ["last.ckpt", "../summary.json"]), ("alone", [])):
        checkpoints = tmp_path / name / "stage1" / "checkpoints"
        checkpoints.mkdir(parents=True)
        for file in ("best.ckpt", *files):
            (checkpoints / file).touch()
        for source in (tmp_path / name, tmp_path / name / "stage1"):
            assert best_checkpoint(source) == checkpoints / "best.ckpt"
    (tmp_path / "begun" / "stage1" / "checkpoints" / "best.ckpt").unlink()
    best_checkpoint(tmp_path / "begun" / "stage1" / "checkpoints" / "last.ckpt")
    assert caplog.messages == [
        f"{tmp_path}/begun/stage1: not complete; best.ckpt is its best so far",
        f"{tmp_path}/begun/stage1: not complete; last.ckpt is what it saved last so far",
    ]
