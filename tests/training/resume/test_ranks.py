"""Ranks that do not begin alike are told apart before their first step."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from helpers.small_runs import small_config, write_sets
from pisam.config.schema import decisive_settings
from pisam.core.errors import PisamError
from pisam.training.from_config import build_data
from pisam.training.resume import ranks
from pisam.training.resume.ranks import SameStart


class Network(nn.Module):
    def own_state(self) -> dict[str, Any]:
        return self.state_dict()

    def frozen_hash(self) -> str:
        return "SAM"


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small pictures, not to be changed."""
    return write_sets(tmp_path_factory.mktemp("small") / "sets")


def begin(folder: Path, sets: Path, monkeypatch: pytest.MonkeyPatch, others: list[dict[str, Any]]) -> None:
    """The start of rank 0 beside what others found; adds what it found to them if there are none."""
    config = small_config(folder, sets)
    data = build_data(config, 1)
    data.setup("fit")
    trainer: Any = SimpleNamespace(world_size=2, is_global_zero=True, datamodule=data, global_step=0)

    def exchange(_: Any, facts: dict[str, Any]) -> list[dict[str, Any]]:
        if not others:
            others.append(facts)
        return [facts, *others]

    monkeypatch.setattr(ranks, "from_every_rank", exchange)
    SameStart(decisive_settings(config, 1)).setup(trainer, SimpleNamespace(model=Network()), "fit")


def test_other_settings_names_and_files_of_a_rank_are_refused(
    tmp_path: Path, sets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[dict[str, Any]] = []
    begin(tmp_path, sets, monkeypatch, found)
    (facts,) = found
    begin(tmp_path, sets, monkeypatch, [dict(facts)])
    for key, other in (
        ("stage1.lr", 0.5),
        ("data.batch_size", 1),
        ("number of samples", {"train": {"a": 1}, "val": {}}),
        ("names of samples", {**facts["names of samples"], "val": "other"}),
        ("sizes of the samples' files", {**facts["sizes of the samples' files"], "train": "other"}),
    ):
        with pytest.raises(PisamError, match=f"do not start alike: {key} of rank 0 .*, of rank 1 "):
            begin(tmp_path, sets, monkeypatch, [{**facts, key: other}])


def test_other_contents_under_the_same_names_are_seen(
    tmp_path: Path, sets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[dict[str, Any]] = []
    begin(tmp_path, sets, monkeypatch, found)
    other = write_sets(tmp_path / "other")
    mask = next((other / "a" / "masks").iterdir())
    mask.write_bytes(mask.read_bytes() + b"more")
    with pytest.raises(PisamError, match="sizes of the samples' files of rank 0"):
        begin(tmp_path, other, monkeypatch, found)
