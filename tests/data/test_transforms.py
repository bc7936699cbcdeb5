"""Views keep image and mask together, thin structures alive, and padding where it belongs."""

from __future__ import annotations

import numpy as np
import pytest

from pisam.data.transforms import PAD_VALUE, box_of, frame_for_training, frame_for_validation

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
            assert frame_for_training(image, mask, S, rng(seed), jitter=(4.0, 6.0)).mask.any()


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
