"""`pisam cache`: filled once, training computes no frozen feature again and learns the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.small_runs import logged, small_config, write_sets
from helpers.stage1_runs import save_stage_1
from pisam.commands.cache import fill_cache
from pisam.commands.train import train
from pisam.core.errors import PisamError
from pisam.modeling.pisam import PiSam
from pisam.modeling.sam_encoder import SamEncoder


def losses(run: Path, stage: int) -> torch.Tensor:
    return torch.tensor([row["train/loss"] for row in logged(run, stage) if "train/loss" in row])


@pytest.mark.parametrize("stage", [1, 2])
def test_training_reads_what_was_filled_and_learns_the_same(
    stage: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_sets(tmp_path / "sets", {"a": 4, "b": 2, "val": 2, "other": 2})
    keys = [f"stage{stage}.views=1", f"stage{stage}.epochs=2", f"stage{stage}.val_every=2"]
    keys += ["data.batch_size=1"]  # features of a batch differ from those of its samples in the last bits
    plain = small_config(tmp_path, root, *keys)
    if stage == 2:
        save_stage_1(plain, tmp_path / "from")
        keys.append(f"stage2.from={tmp_path / 'from' / 'stage1' / 'checkpoints' / 'best.ckpt'}")
        plain = small_config(tmp_path, root, *keys)
    train(plain, stage)
    expected = losses(tmp_path / "run", stage)

    config = small_config(
        tmp_path, root, *keys, f"run_dir={tmp_path / 'other'}", f"stage{stage}.cache={tmp_path / 'features'}"
    )
    fill_cache(config, stage)
    assert "10 views in" in capsys.readouterr().out

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the encoder ran again")

    monkeypatch.setattr(SamEncoder, "forward", never)
    monkeypatch.setattr(PiSam, "encode", never)
    train(config, stage)
    found = losses(tmp_path / "other", stage)
    torch.testing.assert_close(found[0], expected[0], atol=1e-5, rtol=1e-5)
    # Adam makes the last bits of a gradient that is almost 0 as large as its learning rate.
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-2)


def test_views_that_never_return_are_refused(tmp_path: Path) -> None:
    root = write_sets(tmp_path / "sets", {"a": 2, "b": 1, "val": 1, "other": 1})
    config = small_config(tmp_path, root, f"stage1.cache={tmp_path / 'features'}")
    with pytest.raises(PisamError, match="no augmented view ever returns"):
        fill_cache(config, 1)


def test_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PisamError, match=r"add stage1\.cache=DIR"):
        fill_cache(small_config(tmp_path, tmp_path), 1)
