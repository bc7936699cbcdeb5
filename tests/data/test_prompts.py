"""Prompts tell of the object they are drawn from, in the mix that was asked for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from pisam.data.dataset import PairDataset, collate
from pisam.data.prompts import PromptMix, draw_prompt, jitter_box, noisy_mask, points_on
from pisam.data.sources.rows import resolve_sources

S = 256


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def mask() -> np.ndarray:
    """A block and a comb of lines two pixels wide."""
    mask = np.zeros((S, S), bool)
    mask[20:240, 20:140] = True
    mask[40:200, 170:230:8] = mask[40:200, 171:230:8] = True
    return mask


BOX = np.array([20, 20, 228, 240], np.float32)


def test_default_is_the_box_itself(mask: np.ndarray) -> None:
    mix = PromptMix()
    assert mix.only_boxes
    for seed in range(20):
        prompt = draw_prompt(mask, BOX, (S, S), mix, rng(seed))
        assert prompt.kind == "box"
        np.testing.assert_array_equal(prompt.box, BOX)


def test_kinds_come_in_proportion(mask: np.ndarray) -> None:
    mix = PromptMix(box=1, jittered_box=1, points=3, noisy_mask=5)
    prompts = [draw_prompt(mask, BOX, (S, S), mix, rng(seed)) for seed in range(400)]
    counts = Counter(prompt.kind for prompt in prompts)
    moved = sum(not np.array_equal(prompt.box, BOX) for prompt in prompts)
    assert counts["points"] / 400 == pytest.approx(0.3, abs=0.07)
    assert counts["mask"] / 400 == pytest.approx(0.5, abs=0.08)
    assert moved / 400 == pytest.approx(0.1, abs=0.05)
    assert {len(prompt.points) for prompt in prompts if prompt.kind == "points"} == set(range(1, 11))


def test_jittered_edges_scatter_as_asked_and_stay_inside() -> None:
    box = np.array([60, 80, 100, 180], np.float32)
    moved = np.stack([jitter_box(box, (S, S), 1024, 0.1, rng(seed)) for seed in range(500)]) - box
    np.testing.assert_allclose(moved.mean(axis=0), 0, atol=1)
    np.testing.assert_allclose(moved.std(axis=0), [4, 10, 4, 10], rtol=0.15)
    for seed in range(200):
        x0, y0, x1, y1 = jitter_box(np.array([0, 90, 3, 100], np.float32), (200, 100), S, 2.0, rng(seed))
        assert 0 <= x0 < x1 <= 200 and 0 <= y0 < y1 <= 100


def test_large_boxes_move_at_most_20_of_1024_pixels() -> None:
    box = np.array([100, 100, 900, 900], np.float32)
    moved = np.stack([jitter_box(box, (1024, 1024), 1024, 0.1, rng(seed)) for seed in range(50)]) - box
    assert np.abs(moved).max() == 20


def test_points_are_centres_of_different_object_pixels(mask: np.ndarray) -> None:
    points = points_on(mask, 10, rng())
    x, y = points.T
    assert mask[y.astype(int), x.astype(int)].all() and (points % 1 == 0.5).all()
    assert len({tuple(point) for point in points}) == 10
    single = np.zeros((8, 8), bool)
    single[5, 3] = True
    assert points_on(single, 3, rng()).tolist() == [[3.5, 5.5]] * 3


def test_noise_sits_in_the_fine_parts(mask: np.ndarray) -> None:
    clean = mask.reshape(S // 4, 4, S // 4, 4).mean(axis=(1, 3)) >= 0.5
    wrong = noisy_mask(mask, rng()) != clean
    assert not wrong[14:48, 14:26].any(), "the inside of the block is not fine"
    assert wrong[12:48, 43:56].mean() > 0.15


def test_a_tiny_object_never_vanishes() -> None:
    mask = np.zeros((S, S), bool)
    mask[100, 100] = True
    for seed in range(20):
        assert noisy_mask(mask, rng(seed)).any()


def dataset(root: Path, rows: dict, **options: object) -> PairDataset:
    mix = PromptMix(box=1, jittered_box=1, points=2, noisy_mask=2)
    sources = resolve_sources([rows["a"]], root, training=True)
    return PairDataset(sources, image_size=64, training=True, **{"prompts": mix, **options})


def test_samples_carry_prompts_that_depend_on_seed_epoch_and_name(tiny_root: Path, rows: dict) -> None:
    data = dataset(tiny_root, rows)
    one, again, later = (collate([data[i, epoch] for i in range(9)]) for epoch in (0, 0, 1))
    reseeded = dataset(tiny_root, rows, seed=1)
    other = collate([reseeded[i, 0] for i in range(9)])
    assert one.prompts and again.prompts and later.prompts and other.prompts
    assert set(one.prompts.kinds) == {"box", "points", "mask"}
    assert list(one.prompts.kinds) == list(again.prompts.kinds)
    assert torch.equal(one.prompts.points.points, again.prompts.points.points)
    assert torch.equal(one.prompts.mask, again.prompts.mask) and torch.equal(one.box, again.box)
    for drawn in (later.prompts, other.prompts):
        assert list(drawn.kinds) != list(one.prompts.kinds)
    for row, kind in enumerate(one.prompts.kinds):
        x, y = one.prompts.points.points[row][one.prompts.points.valid[row]].long().T
        assert (len(x) > 0) == (kind == "points")
        assert one.mask[row, 0, y, x].all()
        assert one.prompts.mask[row].any() == (kind == "mask")


def test_prompts_return_with_their_views(tiny_root: Path, rows: dict) -> None:
    data = dataset(tiny_root, rows, views=2)
    first, again, other = (collate([data[i, epoch] for i in range(9)]).prompts for epoch in (0, 2, 1))
    assert first and again and other
    assert first.kinds == again.kinds != other.kinds
    assert torch.equal(first.points.points, again.points.points)


def test_boxes_alone_leave_the_batch_without_prompts_and_the_view_as_it_was(
    tiny_root: Path, rows: dict
) -> None:
    plain, mixed = dataset(tiny_root, rows, prompts=None), dataset(tiny_root, rows)
    assert collate([plain[0, 0]]).prompts is None
    for index in range(9):
        assert torch.equal(plain[index, 0].image, mixed[index, 0].image)
    validation = PairDataset(mixed.sources, image_size=64, training=False, prompts=mixed.prompts)
    assert collate([validation[0]]).prompts is None
