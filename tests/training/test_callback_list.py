"""Which callbacks a configuration asks for, and their order."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from helpers.small_runs import small_config
from helpers.stage1_runs import save_stage_1
from pisam.config.schema import Config
from pisam.core.errors import PisamError
from pisam.training.callback_list import build_callbacks
from pisam.training.callbacks.click_simulation import ClickSimulation
from pisam.training.callbacks.ends import EarlyStop
from pisam.training.callbacks.mask_panels import MaskPanels
from pisam.training.callbacks.weight_average import WeightAverage
from pisam.training.from_config import build_stage


def built_callbacks(config: Config, number: int) -> list[Callback]:
    save_stage_1(config, Path(config.run_dir))
    return build_callbacks(config, number, build_stage(config, number), {"val": {"val": 2}})


def test_callbacks_take_the_configured_clicks_and_pictures(tmp_path: Path) -> None:
    overrides = ["clicks.max_clicks=3", "clicks.margin=0.5", "stage2.views=2", "logging.images=5"]
    callbacks = built_callbacks(small_config(tmp_path, tmp_path, *overrides), 2)
    (simulation,) = (callback for callback in callbacks if isinstance(callback, ClickSimulation))
    assert (simulation.max_clicks, simulation.simulation["margin"]) == (3, 0.5)
    assert simulation.frozen_features is not None
    assert [panels.images for panels in callbacks if isinstance(panels, MaskPanels)] == [5]
    assert [saved.monitor for saved in callbacks if isinstance(saved, ModelCheckpoint)] == ["val/iou_after"]


def test_stage_1_has_no_clicks_and_no_pictures_unless_asked(tmp_path: Path) -> None:
    callbacks = built_callbacks(small_config(tmp_path, tmp_path), 1)
    assert not [c for c in callbacks if isinstance(c, ClickSimulation | MaskPanels)]
    assert [saved.monitor for saved in callbacks if isinstance(saved, ModelCheckpoint)] == ["val/iou"]


def test_options_of_a_stage_become_callbacks(tmp_path: Path) -> None:
    options = ["stage1.ema=0.9", "stage1.early_stop=3", "stage1.monitor=val/val/biou"]
    config = small_config(tmp_path, tmp_path, *options)
    callbacks = built_callbacks(config, 1)
    (early,) = [c for c in callbacks if isinstance(c, EarlyStop)]
    assert (early.monitor, early.patience) == ("val/val/biou", 3)
    assert "val/val/biou" in [c.monitor for c in callbacks if isinstance(c, ModelCheckpoint)]
    assert len([c for c in callbacks if isinstance(c, WeightAverage)]) == 1
    plain = built_callbacks(small_config(tmp_path, tmp_path, f"run_dir={tmp_path / 'plain'}"), 1)
    assert not [c for c in plain if isinstance(c, EarlyStop | WeightAverage)]


def test_monitor_that_no_validation_gives_is_named_with_those_there_are(tmp_path: Path) -> None:
    config = small_config(tmp_path, tmp_path, "stage1.monitor=val/val/iuo")
    with pytest.raises(
        PisamError, match=r"stage1\.monitor: no score val/val/iuo; .*did you mean val/val/iou\?"
    ):
        built_callbacks(config, 1)
