"""Panels: which samples, where the clicks are drawn, and the files they are kept in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from helpers.small_runs import loader, quiet_trainer, small_batch, small_model
from pisam.core.drawing import BACKGROUND_CLICK, FOREGROUND_CLICK
from pisam.core.types import Batch, Clicks, Prediction
from pisam.training.callbacks.mask_panels import MaskPanels, Panel
from pisam.training.stages.decoder_stage import DecoderStage


def batches() -> list[Batch]:
    """Four images of `x`, then two of `y`."""
    made = []
    for index, name in enumerate(["x", "x", "x", "x", "y", "y"]):
        batch = small_batch(1, seed=index)
        batch.ids, batch.sets = [f"{index}#a b"], [name]
        made.append(batch)
    return made


def clicked_batch(size: int = 64) -> tuple[Batch, torch.Tensor]:
    """One sample and its clicks: foreground at (10.5, 20.5), background at (50.5, 40.5), and padding."""
    batch = small_batch(1, size=size)
    batch.image[:] = 90
    before, after = torch.full((2, 1, 1, size, size), -1.0)
    before[..., : size // 2, :] = 1
    after[..., : size // 4] = 1
    batch.straight_forward = Prediction(before[..., ::4, ::4], before)
    points = torch.tensor([[[10.5, 20.5], [50.5, 40.5], [30.5, 30.5]]]) * size / 64
    batch.clicks = Clicks(points, torch.tensor([[1, 0, 1]]), torch.tensor([[True, True, False]]))
    return batch, after


def validate(folder: Path, images: int, times: int = 1) -> list[str]:
    trainer = quiet_trainer(MaskPanels(folder, ["x", "y"], images))
    stage = DecoderStage(small_model())
    for _ in range(times):
        trainer.validate(stage, loader(*batches()), verbose=False)
    return sorted(path.name for path in folder.iterdir())


def test_fixed_samples_of_every_set_and_no_more_than_asked(tmp_path: Path) -> None:
    expected = ["x-0_a_b.jpg", "x-1_a_b.jpg", "y-4_a_b.jpg"]
    assert validate(tmp_path / "pictures", images=3, times=2) == expected


def test_strip_of_stage_1_shows_image_mask_and_prediction(tmp_path: Path) -> None:
    validate(tmp_path, images=2)
    with Image.open(tmp_path / "x-0_a_b.jpg") as strip:
        assert strip.size == (3 * 64 + 2 * 4, 64)
        shown = np.asarray(strip.convert("L"))[:, 68 : 68 + 64] > 127
    assert (shown == small_batch(1).mask[0, 0].numpy()).mean() > 0.97


def test_clicks_are_green_and_red_at_their_pixels() -> None:
    batch, after = clicked_batch()
    picture = np.asarray(Panel(batch, 0, after).picture())
    assert tuple(picture[20, 10]) == FOREGROUND_CLICK and FOREGROUND_CLICK[1] > 150 > FOREGROUND_CLICK[0]
    assert tuple(picture[40, 50]) == BACKGROUND_CLICK and BACKGROUND_CLICK[0] > 150 > BACKGROUND_CLICK[1]
    assert tuple(picture[30, 30]) == (90, 90, 90), "a padded click is not drawn"
    assert tuple(picture[10, 20]) == tuple(picture[20, 40]) == (90, 90, 90)


def test_overlays_and_strip_of_stage_2() -> None:
    batch, after = clicked_batch()
    panel = Panel(batch, 0, after)
    masks = {name: overlay["mask_data"] for name, overlay in panel.overlays().items()}
    assert list(masks) == ["mask", "before", "after"]
    assert batch.straight_forward is not None
    for name, expected in (
        ("mask", batch.mask),
        ("before", batch.straight_forward.high_res > 0),
        ("after", after > 0),
    ):
        assert (masks[name] == expected[0, 0].numpy()).all()
        assert masks[name].dtype == np.uint8
    strip = np.asarray(panel.strip())
    assert strip.shape == (64, 4 * 64 + 3 * 4, 3)
    assert tuple(strip[20, 2 * 68 + 10]) == FOREGROUND_CLICK, "clicks are shown on the mask they were made on"
    assert tuple(strip[20, 3 * 68 + 10]) == (255, 255, 255)


def test_large_frames_are_shown_at_1024_pixels_with_the_clicks_in_place() -> None:
    batch, after = clicked_batch(2048)
    panel = Panel(batch, 0, after)
    picture = np.asarray(panel.picture())
    assert picture.shape == (1024, 1024, 3)
    assert tuple(picture[int(20.5 * 16), int(10.5 * 16)]) == FOREGROUND_CLICK
    assert (panel.overlays()["before"]["mask_data"] == 1).mean() == 0.5


def test_panel_is_a_copy() -> None:
    batch, after = clicked_batch()
    panel = Panel(batch, 0, after)
    batch.image[:] = 0
    assert (panel.image == 90).all()
