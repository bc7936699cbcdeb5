"""The importance-sampled loss against a loop over points, and what must not influence it."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from pisam.core.seeding import derive_seed
from pisam.core.types import Clicks
from pisam.training.loss_points import sample_near, sample_points
from pisam.training.losses import MaskLoss, mask_loss

SIDE = 32
POINTS = 200


def whole(batch_size: int) -> Tensor:
    return torch.full((batch_size, 2), float(SIDE))


def random_case(batch_size: int = 4, size: int = SIDE) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = 3 * torch.randn(batch_size, 1, size, size, generator=generator)
    mask = torch.rand(batch_size, 1, SIDE, SIDE, generator=generator) > 0.6
    return logits, mask


def bilinear(image: Tensor, x: float, y: float) -> float:
    """The value of (h, w) at (x, y) in its pixels, the border repeated beyond the image, written out.

    The last column and row are left a thousandth of a pixel early, as in the loss.
    """
    height, width = image.shape
    x, y = min(x, width - 0.501), min(y, height - 0.501)
    column, row = x - 0.5, y - 0.5
    value = 0.0
    for i in (math.floor(row), math.floor(row) + 1):
        for j in (math.floor(column), math.floor(column) + 1):
            pixel = image[min(max(i, 0), height - 1), min(max(j, 0), width - 1)].item()
            value += (1 - abs(row - i)) * (1 - abs(column - j)) * pixel
    return value


@pytest.mark.parametrize("size", [SIDE, SIDE // 4])
def test_equals_a_loop_over_the_points(size: int) -> None:
    logits, mask = random_case(batch_size=2, size=size)
    extent = torch.tensor([[14.0, 32.0], [32.0, 9.0]])
    loss = mask_loss(logits, mask, extent, [5, 6], "low_res", num_points=POINTS)
    seeds = [derive_seed(seed, "loss points", "low_res") for seed in (5, 6)]
    points = sample_points(logits, extent, SIDE, seeds, num_points=POINTS)
    for b in range(2):
        width, height = extent[b].tolist()
        # Cells of the low-resolution map that hold any content, and the labels of the content alone.
        content = logits[b, 0, : math.ceil(height * size / SIDE), : math.ceil(width * size / SIDE)]
        labels = mask[b, 0, : int(height), : int(width)].float()
        bce = overlap = predicted = wanted = 0.0
        for x, y in points[b].tolist():
            probability = 1 / (1 + math.exp(-bilinear(content, x * size, y * size)))
            target = bilinear(labels, x * SIDE, y * SIDE)
            bce -= target * math.log(probability) + (1 - target) * math.log(1 - probability)
            overlap += probability * target
            predicted += probability
            wanted += target
        assert loss.bce[b].item() == pytest.approx(bce / POINTS, abs=5e-6)
        assert loss.dice[b].item() == pytest.approx(
            1 - (2 * overlap + 1) / (predicted + wanted + 1), abs=5e-6
        )


def test_a_thin_object_reaches_the_low_resolution_loss() -> None:
    logits = torch.full((1, 1, SIDE // 4, SIDE // 4), -8.0)
    thin, empty = torch.zeros(2, 1, 1, SIDE, SIDE, dtype=torch.bool)
    thin[..., 13, :] = True
    losses = [mask_loss(logits, mask, whole(1), [0], "low_res").bce.item() for mask in (thin, empty)]
    assert losses[0] == pytest.approx(losses[1] + 8 / SIDE, rel=0.3)


@pytest.mark.parametrize("size", [SIDE, SIDE // 4])
@pytest.mark.parametrize("fill", [50.0, -50.0, math.nan])
def test_padding_has_no_effect_and_no_gradient(size: int, fill: float) -> None:
    logits, mask = random_case(2, size)
    extent = torch.tensor([[32.0, 14.0], [9.0, 32.0]])
    padding = torch.ones(2, 1, size, size, dtype=torch.bool)
    padding[0, :, : math.ceil(14 * size / SIDE)] = False
    padding[1, :, :, : math.ceil(9 * size / SIDE)] = False
    other_logits = logits.masked_fill(padding, fill).requires_grad_()
    other_mask = mask.clone()
    other_mask[0, :, 14:] = True
    other_mask[1, :, :, 9:] = True

    loss = mask_loss(logits, mask, extent, [1, 2], "high_res", num_points=2000)
    other = mask_loss(other_logits, other_mask, extent, [1, 2], "high_res", num_points=2000)
    assert torch.equal(loss.bce, other.bce) and torch.equal(loss.dice, other.dice)
    (other.bce + other.dice).sum().backward()
    assert other_logits.grad is not None
    assert (other_logits.grad[padding] == 0).all()
    content = other_logits.grad[~padding]
    assert content.isfinite().all() and (content != 0).float().mean() > 0.9


@pytest.mark.parametrize("size", [SIDE, SIDE // 4])
def test_what_is_ignored_has_no_effect_and_no_gradient(size: int) -> None:
    logits, mask = random_case(2, size)
    ignored = torch.zeros(2, 1, SIDE, SIDE, dtype=torch.bool)
    ignored[0, :, 8:20, 4:28] = True
    ignored[1, :, :, 16:] = True
    within = F.avg_pool2d(ignored.float(), SIDE // size) == 1  # cells with nothing but ignored pixels
    inner = -F.max_pool2d(-within.float(), 3, stride=1, padding=1) == 1  # and their neighbours alike
    other_logits = torch.where(inner, -logits, logits).requires_grad_()

    def loss(logits: Tensor, mask: Tensor) -> MaskLoss:
        return mask_loss(logits, mask, whole(2), [1, 2], "high_res", num_points=2000, ignored=ignored)

    one, other = loss(logits, mask), loss(other_logits, mask ^ ignored)
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    (other.bce + other.dice).sum().backward()
    assert other_logits.grad is not None
    assert (other_logits.grad[inner] == 0).all() and inner.any()
    assert (other_logits.grad[~within] != 0).float().mean() > 0.9
    plain = mask_loss(logits, mask, whole(2), [1, 2], "high_res", num_points=2000)
    assert (one.bce != plain.bce).all()


def test_a_mask_that_says_nothing_has_no_loss() -> None:
    logits, mask = random_case(1)
    loss = mask_loss(logits, mask, whole(1), [1], "high_res", ignored=torch.ones_like(mask))
    assert loss.bce.item() == loss.dice.item() == 0


def test_uncertain_points_are_not_spent_on_what_is_ignored() -> None:
    ignored = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.bool)
    ignored[..., :16] = True
    logits = torch.where(ignored, 0.0, 1.0)
    points = sample_points(logits, whole(1), SIDE, [3], num_points=400, ignored=ignored)
    assert (points[0, :300, 0] > 0.5).all()


def test_points_near_clicks_take_the_place_of_others() -> None:
    logits, mask = random_case(2)
    clicks = Clicks(
        points=torch.tensor([[[4.5, 20.5]], [[16.5, 8.5]]]),
        labels=torch.ones(2, 1, dtype=torch.int64),
        valid=torch.ones(2, 1, dtype=torch.bool),
    )

    def loss(share: float) -> Tensor:
        return mask_loss(
            logits, mask, whole(2), [1, 2], "high_res", num_points=POINTS, clicks=clicks, near_clicks=share
        ).bce

    assert torch.equal(
        loss(0.0), mask_loss(logits, mask, whole(2), [1, 2], "high_res", num_points=POINTS).bce
    )
    seeds = [derive_seed(seed, "loss points", "near clicks") for seed in (1, 2)]
    near = sample_near(clicks, whole(2), SIDE, seeds, num_points=POINTS)
    pixels = zip(logits[:, 0], mask[:, 0].float(), near, strict=True)
    for own, (logit, label, points) in zip(loss(1.0), pixels, strict=True):
        values = [
            [bilinear(image, x * SIDE, y * SIDE) for x, y in points.tolist()] for image in (logit, label)
        ]
        expected = binary_cross_entropy_with_logits(*map(torch.tensor, values))
        assert own.item() == pytest.approx(expected.item(), abs=1e-4)
    assert not torch.equal(loss(0.5), loss(0.0)) and not torch.equal(loss(0.5), loss(1.0))
    with pytest.raises(ValueError, match="no clicks"):
        mask_loss(logits, mask, whole(2), [1, 2], "high_res", near_clicks=0.5)


def test_two_batches_of_two_equal_one_of_four() -> None:
    logits, mask = random_case(4)
    extent = torch.tensor([[32.0, 20.0], [32.0, 32.0], [12.0, 32.0], [32.0, 32.0]])
    together = mask_loss(logits, mask, extent, [1, 2, 3, 4], "high_res", num_points=POINTS)
    for start in (0, 2):
        part = slice(start, start + 2)
        half = mask_loss(
            logits[part], mask[part], extent[part], [1, 2, 3, 4][part], "high_res", num_points=POINTS
        )
        assert torch.equal(half.bce, together.bce[part]) and torch.equal(half.dice, together.dice[part])


def test_points_depend_on_seed_and_purpose() -> None:
    logits, mask = random_case(1)
    arguments = [([1], "high_res"), ([1], "high_res"), ([2], "high_res"), ([1], "low_res")]
    losses = [mask_loss(logits, mask, whole(1), *a, num_points=POINTS).bce.item() for a in arguments]
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3


def test_global_random_state_plays_no_part() -> None:
    logits, mask = random_case(1)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = mask_loss(logits, mask, whole(1), [1], "high_res", num_points=POINTS)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(mask_loss(logits, mask, whole(1), [1], "high_res", num_points=POINTS).bce, first.bce)


@pytest.mark.parametrize("full", [False, True])
def test_empty_and_full_masks_have_finite_losses_and_gradients(full: bool) -> None:
    mask = torch.full((1, 1, SIDE, SIDE), full)
    sign = 1.0 if full else -1.0
    losses = []
    for value in (sign * 200, 0.0, -sign * 200):
        logits = torch.full((1, 1, SIDE, SIDE), value, requires_grad=True)
        loss = mask_loss(logits, mask, whole(1), [0], "high_res", num_points=POINTS)
        losses.append((loss.bce + loss.dice).sum())
        losses[-1].backward()
        assert logits.grad is not None and logits.grad.isfinite().all()
    assert losses[0] < losses[1] < losses[2] < math.inf


def test_a_right_mask_costs_next_to_nothing() -> None:
    mask = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.bool)
    mask[..., 8:24, :] = True
    logits = torch.where(mask, 1000.0, -1000.0)
    # What is left comes from within half a pixel of the contour, where the bilinear target is grey.
    assert mask_loss(logits, mask, whole(1), [0], "high_res", num_points=POINTS).dice.item() < 0.06


def test_an_object_that_fills_the_image_can_be_right() -> None:
    logits = torch.full((1, 1, SIDE, SIDE), 20.0)
    mask = torch.ones(1, 1, SIDE, SIDE, dtype=torch.bool)
    loss = mask_loss(logits, mask, torch.tensor([[32.0, 19.0]]), [0], "high_res", num_points=POINTS)
    assert loss.bce.item() < 1e-6 and loss.dice.item() < 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_are_float32_under_autocast(dtype: torch.dtype) -> None:
    logits, mask = random_case(2)
    logits = logits.to(dtype)
    expected = mask_loss(logits.float(), mask, whole(2), [1, 2], "high_res", num_points=POINTS)
    with torch.autocast("cpu", dtype=dtype):
        loss = mask_loss(logits, mask, whole(2), [1, 2], "high_res", num_points=POINTS)
    assert loss.bce.dtype == loss.dice.dtype == torch.float32
    assert torch.equal(loss.bce, expected.bce) and torch.equal(loss.dice, expected.dice)


def test_gradient_equals_finite_differences() -> None:
    # Positive logits, all shifted alike, keep their order: the same points are chosen.
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    mask[..., 2:6, 3:] = True
    logits = torch.linspace(1, 4, 64).view(1, 1, 8, 8).clone().requires_grad_()
    extent = torch.full((1, 2), 8.0)

    def total(values: Tensor) -> Tensor:
        loss = mask_loss(values, mask, extent, [0], "high_res", num_points=1000)
        return (loss.bce + loss.dice).sum()

    (gradient,) = torch.autograd.grad(total(logits), logits)
    direction = torch.ones_like(logits)
    change = (total(logits + 5e-3 * direction) - total(logits - 5e-3 * direction)) / 1e-2
    assert change.item() == pytest.approx((gradient * direction).sum().item(), rel=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": torch.zeros(2, 1, SIDE, SIDE)}, "bool"),
        ({"mask": torch.zeros(2, 1, SIDE, 8, dtype=torch.bool)}, "S, S"),
        ({"logits": torch.zeros(3, 1, SIDE, SIDE)}, "logits: expected"),
        ({"logits": torch.zeros(2, 1, SIDE, 8)}, "logits: expected"),
        ({"extent": torch.ones(1, 2)}, "extent"),
        ({"seeds": [1]}, "1 seeds"),
    ],
)
def test_bad_arguments_are_refused(change: dict[str, object], message: str) -> None:
    logits, mask = random_case(2)
    arguments = {"logits": logits, "mask": mask, "extent": whole(2), "seeds": [1, 2], "purpose": "high_res"}
    with pytest.raises(ValueError, match=message):
        mask_loss(**(arguments | change))  # type: ignore[arg-type]
