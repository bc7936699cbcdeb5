"""`pisam prepare` copies what training reads, and training reads the copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.small_runs import small_config, write_experiment, write_sets
from pisam.cli import main
from pisam.commands.prepare import prepare_data
from pisam.core.errors import PisamError
from pisam.training.from_config import build_data


def test_prepare_then_train_from_the_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_sets(tmp_path / "sets")
    experiment, copy = write_experiment(tmp_path, root), f"data.prepared={tmp_path / 'copy'}"
    extra = "stage2.train=[{name: other, images: other/images, masks: other/masks}]"
    for made in (True, False):
        assert main(["prepare", str(experiment), copy, extra]) == 0
        numbers = [line.split()[-2:] for line in capsys.readouterr().out.splitlines()[1:4]]
        counts = [6, 2, 2]
        assert numbers == [[str(n), "0"] if made else ["0", str(n)] for n in counts]
    data = build_data(small_config(tmp_path, root, copy), 1)
    data.setup("fit")
    assert data.train_set and data.val_set
    assert all(pair.mask.is_relative_to(tmp_path / "copy") for _, pair in data.train_set.items)
    assert not any(pair.mask.is_relative_to(tmp_path / "copy") for _, pair in data.val_set.items)
    assert len(next(iter(data.train_dataloader())).ids) == 2


def test_training_before_preparing_is_refused(tmp_path: Path) -> None:
    root = write_sets(tmp_path / "sets")
    data = build_data(small_config(tmp_path, root, f"data.prepared={tmp_path / 'copy'}"), 1)
    with pytest.raises(PisamError, match="6 of 6 pairs of a are missing"):
        data.setup("fit")


def test_prepare_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(PisamError, match=r"data.prepared names no folder"):
        prepare_data(small_config(tmp_path, tmp_path))
