"""Stage 2 on top of the stage 1 that belongs to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from helpers.small_runs import small_config
from helpers.stage1_runs import save_stage_1
from pisam.core.errors import PisamError
from pisam.training import assemble as build


def test_stage_2_starts_from_the_best_of_stage_1(tmp_path: Path) -> None:
    config = small_config(tmp_path, tmp_path)
    state = save_stage_1(config, Path(config.run_dir))
    loaded = build.build_stage(config, 2).model.own_state()
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
        build.build_stage(config, 2)


def test_damaged_stage_1_checkpoint_is_one_error(tmp_path: Path) -> None:
    config = small_config(tmp_path, tmp_path)
    save_stage_1(config, Path(config.run_dir))
    path = build.stage1_checkpoint(config)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(PisamError, match=str(path)):
        build.build_stage(config, 2)
