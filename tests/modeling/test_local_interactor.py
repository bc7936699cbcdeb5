"""The interactor that stays near its clicks: what the paper's promises, and that it does stay there."""

from __future__ import annotations

import pytest
import torch

from helpers.model_inputs import normal, random_clicks, random_objects, randomise
from pisam.core.types import Clicks, ObjectFeatures
from pisam.modeling.local_interactor import ClickMaps, LocalInteractor
from pisam.modeling.pisam import PiSam, build_model


@pytest.fixture
def model() -> PiSam:
    """A network whose interactor acts as if trained."""
    torch.manual_seed(0)
    model = build_model("nano", image_size=64, from_sam=True, local=True).eval()
    randomise(model.interactor, scale=0.2)
    return model


def objects_with_base(batch: int) -> ObjectFeatures:
    objects = random_objects(batch)
    return ObjectFeatures(objects.enhanced, objects.token, normal(batch, 1, 16, 16, seed=7))


def picture(batch: int) -> torch.Tensor:
    return (normal(batch, 3, 64, 64, seed=3) * 50 + 128).clamp(0, 255).byte()


@torch.no_grad()
def test_untrained_changes_nothing() -> None:
    model = build_model("nano", image_size=64, from_sam=True, local=True).eval()
    objects, image = objects_with_base(2), picture(2)
    plain = model.decoder.head.finish(objects.enhanced, model.colours(image), objects.base)
    assert torch.equal(model.interact(objects, image, random_clicks(2, 3)), plain)


@torch.no_grad()
def test_a_sample_without_a_click_keeps_its_mask_bit_by_bit(model: PiSam) -> None:
    objects, image, clicks = objects_with_base(2), picture(2), random_clicks(2, 3)
    clicks.valid[0] = False
    plain = model.decoder.head.finish(objects.enhanced, model.colours(image), objects.base)
    after = model.interact(objects, image, clicks)
    assert torch.equal(after[0], plain[0])
    assert not torch.allclose(after[1], plain[1], atol=1e-2)
    assert torch.equal(model.interact(objects, image, Clicks.none(2)), plain)


@torch.no_grad()
def test_padding_and_company_change_nothing(model: PiSam) -> None:
    objects, image, clicks = objects_with_base(3), picture(3), random_clicks(3, 4)
    clicks.valid = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 1, 0]], dtype=torch.bool)
    together = model.interact(objects, image, clicks)
    for row in range(3):
        valid = clicks.valid[row]
        own = Clicks(
            clicks.points[[row]][:, valid], clicks.labels[[row]][:, valid], clicks.valid[[row]][:, valid]
        )
        one = objects.each(lambda value, row=row: value[[row]])
        torch.testing.assert_close(
            model.interact(one, image[[row]], own)[0], together[row], atol=1e-4, rtol=1e-4
        )


@torch.no_grad()
def test_far_from_its_click_nothing_changes() -> None:
    torch.manual_seed(0)
    interactor = LocalInteractor()
    randomise(interactor, scale=0.2)
    side = 128  # a frame of 512 pixels: 48 pixels of reach
    objects = ObjectFeatures(normal(1, 32, side, side), normal(1, 32), normal(1, 1, side, side))
    click = Clicks(torch.tensor([[[60.0, 60.0]]]), torch.tensor([[1]]), torch.tensor([[True]]))
    enhanced, base = interactor.changed(objects, click)
    assert base is not None and objects.base is not None
    for after, before in ((enhanced, objects.enhanced), (base, objects.base)):
        change = (after - before).abs().amax(dim=(0, 1))
        assert change[12:18, 12:18].min() > 1e-3, "near the click"
        assert change[100:, 100:].max() < 1e-3 * change.max(), "six deviations away"


def test_maps_say_how_near_and_of_which_label() -> None:
    features = torch.ones(1, 3, 32, 32)
    features[..., 16:] = -1.0  # the right half is unlike the left
    points = torch.tensor([[[10.5 / 32, 10.5 / 32], [0.9, 0.9]]])
    labels, valid = torch.tensor([[1, 0]]), torch.tensor([[True, False]])
    maps = ClickMaps(features, points, labels, valid, [1 / 8]).whole()
    background, background_like, near, like = maps[0]
    assert background.max() == background_like.max() == 0, "the only background click is padding"
    assert near[10, 10] == 1 and like[10, 10].item() == pytest.approx(1)
    assert near[10, 14] == pytest.approx(torch.tensor(-((4 / 32) ** 2) / (2 / 64)).exp().item(), rel=1e-4)
    assert like[10, 20] == 0 < near[10, 20]
