"""Kept features count only where all that decides them is as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.small_runs import small_config, write_sets
from pisam.core.errors import PisamError
from pisam.training.features.feature_store import FeatureStore
from pisam.training.features.from_config import open_store, view_stamps
from pisam.training.from_config import build_data, build_network


def opened(folder: Path, root: Path, *keys: str) -> FeatureStore | None:
    config = small_config(folder, root, "stage1.views=1", f"stage1.cache={folder / 'features'}", *keys)
    data = build_data(config, 1)
    data.setup("fit")
    return open_store(config, 1, build_network(config), data)


@pytest.mark.parametrize("key", ["data.composites=0.5", "data.flip=false", "data.jitter=[0.5,1.5]", "seed=3"])
def test_features_of_other_views_are_refused(tmp_path: Path, key: str) -> None:
    root = write_sets(tmp_path / "sets", {"a": 2, "b": 1, "val": 1, "other": 1})
    opened(tmp_path, root)
    with pytest.raises(PisamError, match="its features were made with views"):
        opened(tmp_path, root, key)


def test_features_of_composites_are_of_the_pictures_that_were_there(tmp_path: Path) -> None:
    """Any of them may have been pasted."""
    root = write_sets(tmp_path / "sets", {"a": 2, "b": 1, "val": 1, "other": 1})
    opened(tmp_path, root, "data.composites=1")
    opened(tmp_path, root, "data.composites=1")
    for part, suffix in (("images", "jpg"), ("masks", "png")):
        file = root / "a" / part / f"0.{suffix}"
        (root / "a" / part / f"9.{suffix}").write_bytes(file.read_bytes())
    with pytest.raises(PisamError, match="its features were made with views"):
        opened(tmp_path, root, "data.composites=1")


def test_a_stamp_changes_with_the_meaning_of_masks(tmp_path: Path) -> None:
    root = write_sets(tmp_path / "sets", {"a": 2, "b": 1, "val": 1, "other": 1})
    row = "name: a, images: a/images, masks: a/masks"
    stamps = []
    for more in ("", ", ignore: 7", ", ids: true"):
        keys = ["stage1.views=1", f"data.train=[{{{row}{more}}}]"]
        data = build_data(small_config(tmp_path, root, *keys), 1)
        data.setup("fit")
        stamps.append(tuple(view_stamps(data).values()))
    assert len({*stamps}) == 3
