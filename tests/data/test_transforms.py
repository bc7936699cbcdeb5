"""Image and mask come into the frame aligned, also where an object is pasted on another picture."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.frame_maps import map_back, to_frame, to_original
from pisam.core.types import Window
from pisam.data.reading.reader import read_reduced, reduce_mask
from pisam.data.transforms import (
    PAD_VALUE,
    Framed,
    View,
    box_of,
    draw_view,
    frame_for_validation,
    frame_view,
    paste,
)

S = 128


def pair(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """An image whose red channel shows its mask: a block off centre."""
    mask = np.zeros((height, width), bool)
    mask[height // 5 : height // 2, width // 6 : width // 2] = True
    image = np.random.default_rng(seed).integers(0, 60, (height, width, 3), dtype=np.uint8)
    image[..., 0] = np.where(mask, 220, 20)
    return image, mask


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def view_of(mask: np.ndarray, size: int, rng: np.random.Generator, **options: object) -> View:
    return draw_view(mask.shape, partial(reduce_mask, mask), size, rng, **options)


def frame_for_training(
    image: np.ndarray, mask: np.ndarray, size: int, rng: np.random.Generator, **options: object
) -> Framed:
    """A random view of an image in memory, reduced here as reading would reduce it."""
    view = view_of(mask, size, rng, **options)
    if view.reduction > 1:
        image = np.array(Image.fromarray(image).reduce(view.reduction))
    return frame_view(view, image, size)


@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (90, 60), (128, 128), (40, 700)])
@pytest.mark.parametrize("seed", range(6))
def test_view_is_aligned_padded_and_boxed(shape: tuple[int, int], seed: int) -> None:
    image, mask = pair(*shape)
    view = frame_for_training(image, mask, S, rng(seed))
    width, height = view.extent
    assert view.image.shape == (S, S, 3) and view.image.dtype == np.uint8
    assert (view.image[height:] == PAD_VALUE).all() and (view.image[:, width:] == PAD_VALUE).all()
    assert not view.mask[height:].any() and not view.mask[:, width:].any()
    content = np.s_[:height, :width]
    assert ((view.image[..., 0] > 120)[content] != view.mask[content]).mean() < 0.05
    ys, xs = view.mask.nonzero()
    assert view.box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    assert max(width, height) > 0.79 * S


def test_scale_below_one_leaves_the_long_side_short_and_keeps_the_aspect() -> None:
    image, mask = pair(300, 200)
    view = frame_for_training(image, mask, S, rng(0), jitter=(0.8, 0.8))
    assert view.extent == (round(0.8 * S * 200 / 300), round(0.8 * S))


def test_scale_above_one_crops_a_part_enlarged() -> None:
    image, mask = pair(300, 300)
    image[..., 1] = np.arange(300) * 255 // 300  # green says where a column came from
    starts = set()
    for seed in range(20):
        view = frame_for_training(image, mask, S, rng(seed), flip=False, jitter=(1.5, 1.5))
        green = view.image[..., 1].astype(float).mean(axis=0)
        assert view.extent == (S, S)
        assert (green[-1] - green[0]) / 255 == pytest.approx(1 / 1.5, abs=0.03)
        starts.add(round(green[0]))
    assert len(starts) > 10


def test_scales_fill_their_range() -> None:
    image, mask = pair(200, 200)
    sides = [frame_for_training(image, mask, S, rng(seed), jitter=(0.5, 1.0)).extent[0] for seed in range(60)]
    assert min(sides) < 0.55 * S and max(sides) > 0.95 * S and min(sides) >= S // 2


def test_flip_mirrors_half_of_the_views_of_image_and_mask() -> None:
    image, mask = pair(100, 100)
    straight = frame_for_training(image, mask, S, rng(0), flip=False, jitter=None)
    mirrored = 0
    for seed in range(40):
        view = frame_for_training(image, mask, S, rng(seed), jitter=None)
        turned = not np.array_equal(view.mask, straight.mask)
        mirrored += turned
        step = -1 if turned else 1
        np.testing.assert_array_equal(view.mask, straight.mask[:, ::step])
        np.testing.assert_array_equal(view.image, straight.image[:, ::step])
    assert 10 < mirrored < 30


def test_without_flip_and_jitter_training_sees_the_validation_frame() -> None:
    image, mask = pair(300, 200)
    view = frame_for_training(image, mask, S, rng(0), flip=False, jitter=None)
    frame = frame_for_validation(image, mask, S)
    np.testing.assert_array_equal(view.image, frame.image)
    np.testing.assert_array_equal(view.mask, frame.mask)


def test_same_generator_same_view_other_generator_other_view() -> None:
    image, mask = pair(300, 200)
    views = [frame_for_training(image, mask, S, rng(seed)).image for seed in (7, 7, 8)]
    np.testing.assert_array_equal(views[0], views[1])
    assert not np.array_equal(views[0], views[2])


def test_a_crop_never_loses_a_tiny_object() -> None:
    image = np.zeros((600, 900, 3), np.uint8)
    for corner in ((0, 0), (599, 899), (300, 450)):
        mask = np.zeros((600, 900), bool)
        mask[corner] = True
        for seed in range(15):
            # An empty crop would become object all over.
            assert 1 <= frame_for_training(image, mask, S, rng(seed), jitter=(4.0, 6.0)).mask.sum() <= 4


@pytest.mark.parametrize("width", [1, 2, 4])
def test_thin_lines_survive_downscaling(width: int) -> None:
    mask = np.zeros((4 * S, 4 * S), bool)
    mask[:, 201 : 201 + width] = True
    frame = frame_for_validation(np.zeros((*mask.shape, 3), np.uint8), mask, S)
    assert frame.mask.any(axis=1).all()


def test_downscaling_averages() -> None:
    stripes = np.zeros((4 * S, 4 * S, 3), np.uint8)
    stripes[:, ::2] = 255
    frame = frame_for_validation(stripes, np.ones(stripes.shape[:2], bool), S)
    assert np.abs(frame.image.astype(int) - 128).max() <= 1


def test_a_panorama_is_averaged_along_its_long_side_alone() -> None:
    columns = np.arange(8 * S) % 8
    image = np.broadcast_to(np.where(columns < 2, 200, 0)[None, :, None], (S // 2, 8 * S, 3)).astype(np.uint8)
    mask = np.broadcast_to(columns < 4, (S // 2, 8 * S)).copy()
    mask[:, : 4 * S] = columns[: 4 * S] < 3
    frame = frame_for_validation(image, mask, S)
    assert (frame.image == 50).all()
    assert not frame.mask[:, : S // 2].any() and frame.mask[:, S // 2 :].all()


def test_validation_box_is_that_of_the_original_mask_scaled() -> None:
    mask = np.zeros((400, 200), bool)
    mask[41:43, 17:101] = True
    frame = frame_for_validation(np.zeros((400, 200, 3), np.uint8), mask, S)
    np.testing.assert_allclose(
        frame.box, [17 * S / 200, 41 * S / 400, 101 * S / 200, 43 * S / 400], rtol=1e-6
    )
    assert frame.extent == (S, S)


def test_box_of_one_pixel_has_its_edges() -> None:
    mask = np.zeros((9, 9), bool)
    mask[5, 3] = True
    assert box_of(mask).tolist() == [3, 5, 4, 6]


def thin_and_thick(height: int, width: int) -> np.ndarray:
    """Discs, and a comb of lines of 2 to 16 pixels."""
    y, x = np.mgrid[:height, :width]
    mask = np.hypot(y - height * 0.3, x - width * 0.3) < height * 0.2
    for number, thickness in enumerate((2, 4, 8, 16)):
        start = int(width * (0.55 + 0.1 * number))
        mask[height // 5 : -height // 5, start : start + thickness] = True
        mask[int(height * (0.6 + 0.08 * number)) :][:thickness, width // 10 :] = True
    return mask


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.25, 1.6])
@pytest.mark.parametrize("shape", [(1501, 2003), (2400, 1600)])
def test_masks_of_reduced_views_are_those_of_whole_ones_but_for_a_few_edge_pixels(
    shape: tuple[int, int], scale: float
) -> None:
    """Against the same window of the whole mask, averaged in one step."""
    mask = thin_and_thick(*shape)
    view = view_of(mask, 256, rng(3), jitter=(scale, scale))
    assert view.reduction > 1
    frame = frame_view(view, np.zeros((*[-(-side // view.reduction) for side in shape], 3), np.uint8), 256)
    window = view.window
    whole = np.pad(mask, ((0, 8), (0, 8)), mode="edge")
    cut = whole[window.top :][: window.height, window.left :][:, : window.width].astype(np.float32)
    batch = torch.from_numpy(cut)[None, None]
    covered = torch.nn.functional.interpolate(
        batch, (8 * window.out_height, 8 * window.out_width), mode="nearest-exact"
    )
    coverage = torch.nn.functional.avg_pool2d(covered, 8)[0, 0].numpy()
    content = frame.mask[: window.out_height, : window.out_width]
    content = content[:, ::-1] if window.mirrored else content
    wrong = content != (coverage >= 0.5)
    assert np.abs(coverage[wrong] - 0.5).max(initial=0) < 0.3, "only where an edge runs through the pixel"
    # A line as thick as a pixel of the frame falls into one or two of them, by a hair's breadth.
    assert wrong.sum() < 0.08 * content.sum()


def test_the_image_is_never_reduced_below_its_size_in_the_frame() -> None:
    mask = np.ones((1000, 1600), bool)
    for scale, reduction in ((6.0, 1), (3.2, 1), (3.0, 2), (1.6, 2), (1.5, 4), (0.8, 4), (0.7, 8), (0.1, 8)):
        assert view_of(mask, 256, rng(0), jitter=(scale, scale)).reduction == reduction, scale


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("scale", [0.9, 1.6, 3.0, 7.0])
def test_image_and_mask_stay_aligned_however_the_image_is_reduced(
    tmp_path: Path, suffix: str, scale: float
) -> None:
    """The image shows its mask, at odd sizes, with blocks that do not fit."""
    mask = thin_and_thick(1003, 1405)
    Image.fromarray(np.where(mask, 230, 20).astype(np.uint8)).convert("RGB").save(
        tmp_path / f"image.{suffix}", quality=95
    )
    for seed in range(4):
        view = view_of(mask, 256, rng(seed), jitter=(scale, scale))
        image, whole = read_reduced(tmp_path / f"image.{suffix}", view.reduction)
        assert whole == mask.shape
        frame = frame_view(view, image, 256)
        shown = np.s_[: view.window.out_height, : view.window.out_width]
        # Edges of the blurred image may cross 125 a little beside the mask's; a shift would show everywhere.
        assert ((frame.image[..., 1] > 125)[shown] != frame.mask[shown]).mean() < 0.012


@pytest.mark.parametrize("shape", [(300, 200), (90, 131), (1003, 1405)])
@pytest.mark.parametrize("seed", range(4))
def test_points_go_to_the_frame_and_back_exactly(shape: tuple[int, int], seed: int) -> None:
    image, mask = pair(*shape)
    frame = frame_for_training(image, mask, S, rng(seed))
    points = torch.rand(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 90
    there = to_frame(points, frame.window)
    torch.testing.assert_close(to_original(there, frame.window), points, atol=1e-9, rtol=0)
    edges = torch.tensor([[0.0, 0.0], [frame.window.out_width, frame.window.out_height]], dtype=torch.float64)
    corners = to_original(edges, frame.window)
    left, right = corners[:, 0].sort().values.tolist()
    assert (left, right) == (frame.window.left, frame.window.left + frame.window.width)


@pytest.mark.parametrize("seed", range(6))
def test_a_mask_goes_to_the_frame_and_back_exactly_where_nothing_is_averaged(seed: int) -> None:
    """Views of whole-numbered enlargement, mirrored and cropped: every pixel returns to its place."""
    mask = rng(9).random((96, 96)) < 0.5
    image = np.zeros((96, 96, 3), np.uint8)
    view = view_of(mask, S, rng(seed), jitter=(96 * 2 / S, 96 * 2 / S))
    assert (view.window.width, view.window.out_width) == (64, 128)
    frame = frame_view(view, image, S)
    assert not frame.mask.all()
    # The middle of each 2 x 2 pixels of the frame is what bilinear mapping by a half reads.
    soft = torch.from_numpy(frame.mask.astype(np.float32))[None, None]
    back = map_back(soft, view.window, (96, 96), fill=-1.0)[0, 0].numpy()
    inside = np.s_[view.window.top : view.window.top + 64, view.window.left : view.window.left + 64]
    np.testing.assert_array_equal(back[inside] >= 0.5, mask[inside])
    outside = np.ones_like(mask)
    outside[inside] = False
    assert (back[outside] == -1).all() and outside.any()


@pytest.mark.parametrize("shape", [(300, 200), (1003, 1405)])
def test_a_prediction_of_a_view_lies_on_the_object_in_the_original(shape: tuple[int, int]) -> None:
    image, mask = pair(*shape)
    for seed in range(6):
        frame = frame_for_training(image, mask, S, rng(seed))
        logits = torch.from_numpy(np.where(frame.mask, 5.0, -5.0).astype(np.float32))[None, None]
        back = map_back(logits, frame.window, shape, fill=np.nan)[0, 0].numpy()
        seen = ~np.isnan(back)
        assert seen.mean() > 0.3
        assert ((back > 0) != mask)[seen].mean() < 0.02


def test_validation_maps_back_as_the_metrics_do() -> None:
    from pisam.metrics.protocol import logits_to_original

    image, mask = pair(150, 90)
    window = frame_for_validation(image, mask, S).window
    logits = torch.randn(1, 1, S, S, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(map_back(logits, window, (150, 90)), logits_to_original(logits, (150, 90)))


def test_what_is_left_of_a_copy_averaged_down_is_interpolated() -> None:
    """Quickly, and in the same place: the copy's image is bilinear, its mask averaged as ever."""
    mask = thin_and_thick(301, 403)
    image = np.repeat(np.where(mask, 230, 20).astype(np.uint8)[..., None], 3, axis=2)
    for seed in range(4):
        options = {"jitter": (0.8, 1.0)}
        original, copy = (view_of(mask, 256, rng(seed), prepared=flag, **options) for flag in (False, True))
        assert original.window == copy.window
        one, other = frame_view(original, image, 256), frame_view(copy, image, 256)
        np.testing.assert_array_equal(one.mask, other.mask)
        difference = np.abs(one.image.astype(int) - other.image)
        assert 0 < difference.mean() < 6


def framed(mask: np.ndarray, colour: int, extent: tuple[int, int]) -> Framed:
    image = np.full((*mask.shape, 3), colour, np.uint8)
    return Framed(image, mask, box_of(mask), Window(0, 0, *extent, *extent))


def test_the_mask_is_the_own_object_the_pasted_one_or_both() -> None:
    own, other = np.zeros((2, 64, 64), bool)
    own[10:30, 5:25] = True
    other[40:60, 20:50] = True
    seen = set()
    for seed in range(40):
        result = paste(framed(own, 100, (48, 40)), framed(other, 200, (64, 64)), np.random.default_rng(seed))
        pasted = result.image[..., 0] == 200
        assert 0 < pasted.sum() <= other.sum()
        assert not pasted[40:].any() and not pasted[:, 48:].any(), "inside the content"
        assert (result.image[~pasted] == 100).all()
        kinds = {"own": own & ~pasted, "both": own | pasted, "pasted": pasted}
        fitting = [name for name, mask in kinds.items() if np.array_equal(mask, result.mask)]
        assert fitting
        seen |= set(fitting) if len(fitting) == 1 else set()  # an own object that is covered fits two
        assert np.array_equal(result.box, box_of(result.mask))
    assert seen == {"own", "both", "pasted"}


def test_an_object_covered_altogether_leaves_no_empty_mask() -> None:
    small, large = np.zeros((2, 32, 32), bool)
    small[10:12, 10:12] = True
    large[:] = True
    for seed in range(10):
        assert paste(
            framed(small, 1, (32, 32)), framed(large, 2, (32, 32)), np.random.default_rng(seed)
        ).mask.any()
