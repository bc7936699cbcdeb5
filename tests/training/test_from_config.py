"""What a configuration asks for: networks, data, stages, stores of features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from helpers.small_runs import small_config, write_sets
from helpers.stage1_runs import save_stage_1
from pisam.core.errors import PisamError
from pisam.training.features.feature_store import FeatureStore
from pisam.training.from_config import (
    build_data,
    build_network,
    build_stage,
    check_stage,
    open_store,
    view_stamps,
)
from pisam.training.run_folder import stage1_checkpoint


def test_network_is_a_function_of_the_seed(tmp_path: Path) -> None:
    states = [
        build_network(small_config(tmp_path, tmp_path, f"seed={seed}")).own_state() for seed in (0, 0, 1)
    ]
    same, other = ([states[0][name].equal(state[name]) for name in states[0]] for state in states[1:])
    assert all(same) and not all(other)


def test_stage_2_starts_from_the_best_of_stage_1(tmp_path: Path) -> None:
    config = small_config(tmp_path, tmp_path)
    state = save_stage_1(config, Path(config.run_dir))
    loaded = build_stage(config, 2).model.own_state()
    assert {f"model.{name}" for name in loaded} == state.keys()
    assert all(value.equal(state[f"model.{name}"]) for name, value in loaded.items())


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        ({"backbone": "vit_b"}, "made with backbone vit_b, this model has nano"),
        ({"image_size": 128}, "made with image_size 128, this model has 64"),
        ({"frozen_hash": "0" * 64}, "made with frozen_hash 0000"),
    ],
)
def test_stage_2_refuses_a_stage_1_of_another_model(
    tmp_path: Path, identity: dict[str, Any], message: str
) -> None:
    config = small_config(tmp_path, tmp_path)
    save_stage_1(config, Path(config.run_dir), **identity)
    with pytest.raises(PisamError, match=rf"stage1/checkpoints/best\.ckpt: {message}"):
        build_stage(config, 2)


def test_damaged_stage_1_checkpoint_is_one_error(tmp_path: Path) -> None:
    config = small_config(tmp_path, tmp_path)
    save_stage_1(config, Path(config.run_dir))
    path = stage1_checkpoint(config)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(PisamError, match=str(path)):
        build_stage(config, 2)


def test_stage_1_goes_on_from_another_run(tmp_path: Path) -> None:
    config = small_config(tmp_path, tmp_path)
    state = save_stage_1(config, tmp_path / "other")
    going_on = small_config(tmp_path, tmp_path, f"stage1.from={tmp_path / 'other'}")
    loaded = build_stage(going_on, 1).model.own_state()
    assert all(value.equal(state[f"model.{name}"]) for name, value in loaded.items())
    fresh = build_stage(config, 1).model.own_state()
    assert not all(value.equal(fresh[name]) for name, value in loaded.items())
    larger = small_config(tmp_path, tmp_path, f"stage1.from={tmp_path / 'other'}", "model.image_size=128")
    model = build_stage(larger, 1).model
    assert model.image_size == 128 and all(
        value.equal(loaded[name]) for name, value in model.own_state().items()
    )
    with pytest.raises(PisamError, match=r"stage1\.from: .*nowhere is no checkpoint"):
        build_stage(small_config(tmp_path, tmp_path, f"stage1.from={tmp_path / 'nowhere'}"), 1)


@pytest.mark.parametrize(
    "departure", ["model.from_sam=true", "model.local=true", "clicks.reprompt=true", "model.guard=true"]
)
def test_departures_from_the_paper_are_part_of_a_model(tmp_path: Path, departure: str) -> None:
    given = ["model.from_sam=true"] if departure == "model.guard=true" else []
    paper, other = (small_config(tmp_path, tmp_path, *given, *more) for more in ([], [departure]))
    save_stage_1(other, Path(other.run_dir))
    name = departure.split("=")[0].split(".")[1]
    with pytest.raises(PisamError, match=f"made with {name} True, this model has False"):
        build_stage(paper, 2)
    assert build_stage(other, 2).model.identity()[name]


def test_a_guard_needs_sams_own_mask(tmp_path: Path) -> None:
    with pytest.raises(PisamError, match=r"model\.guard"):
        build_stage(small_config(tmp_path, tmp_path, "model.guard=true"), 1)


@pytest.mark.parametrize(
    ("number", "weights"),
    [
        (1, ("loss.low_res=0", "loss.high_res=0")),
        (1, ("loss.bce=0", "loss.dice=0")),
        (2, ("loss.high_res=0",)),
        (1, ("model.decoder=hq", "loss.low_res=0")),
    ],
)
def test_a_loss_without_any_weight_is_refused(tmp_path: Path, number: int, weights: tuple[str, ...]) -> None:
    with pytest.raises(PisamError, match=f"loss: all weights of stage {number} are 0"):
        check_stage(small_config(tmp_path, tmp_path, *weights), number)
    check_stage(small_config(tmp_path, tmp_path, "loss.bce=0"), number)


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
