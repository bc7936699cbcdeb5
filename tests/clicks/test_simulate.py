from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch.utils.data import DataLoader, Dataset

from helpers.click_scenes import batch_of, images, missed, repeated
from helpers.reference import click_components, click_count, click_interior
from pisam.clicks.simulate import simulate_clicks
from pisam.core.types import Clicks

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def clicked(clicks: Clicks, sample: int = 0) -> list[tuple[int, int, int]]:
    """The valid clicks of a sample as pixels (x, y, label)."""
    valid = clicks.valid[sample]
    points, labels = clicks.points[sample, valid], clicks.labels[sample, valid]
    assert torch.equal(points - points.floor(), torch.full_like(points, 0.5))
    return [(int(x), int(y), int(label)) for (x, y), label in zip(points, labels, strict=True)]


def equal(first: Clicks, second: Clicks) -> bool:
    return all(
        torch.equal(getattr(first, name).cpu(), getattr(second, name).cpu())
        for name in ("points", "labels", "valid")
    )


def noisy_batch(size: int = 64, samples: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Blobs, predicted some pixels beside where they are."""
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(samples, 1, size, size, generator=generator)
    smooth = torch.nn.functional.avg_pool2d(noise, 15, 1, 7)
    return smooth, torch.roll(smooth > 0.02, 5, -1)


# ---- what a click is ----


@given(images(), st.sampled_from(["paper", "released", "centre", "uniform"]), st.integers(0, 2**63 - 1))
@settings(max_examples=200, deadline=None)
def test_every_click_lies_on_an_error_of_its_label(image, policy, seed):
    wrong, mask = image
    clicks = simulate_clicks(*batch_of(wrong, mask), seeds=[seed], policy=policy, max_clicks=4)
    for x, y, label in clicked(clicks):
        assert wrong[y, x] and mask[y, x] == bool(label)


@given(images(), st.sampled_from([4, 8]), st.integers(1, 12), st.sampled_from([0.0, 0.25, 0.5, 0.9]))
@settings(max_examples=100, deadline=None)
def test_clicks_are_the_interior_points_the_supplement_asks_for(image, connectivity, min_area, margin):
    wrong, mask = image
    clicks = simulate_clicks(
        *batch_of(wrong, mask),
        seeds=[3],
        max_clicks=200,
        min_area=min_area,
        margin=margin,
        connectivity=connectivity,
    )
    points = clicked(clicks)
    planned = 0
    for component in click_components(wrong, mask, connectivity):
        count = click_count(len(component["pixels"]), min_area)
        inside = [point[:2] for point in points if point[:2] in component["pixels"]]
        assert len(inside) == count
        assert set(inside) <= click_interior(component["pixels"], margin)
        planned += count
    assert len(points) == planned


def test_number_of_clicks_grows_with_the_area_up_to_ten():
    sides = [2, 3, 19, 20, 29, 30, 99, 100, 120]
    regions, left = [], 1
    for side in sides:
        regions.append(np.s_[1 : 1 + side, left : left + side])
        left += side + 1
    points = clicked(simulate_clicks(*missed(*regions, shape=(122, left)), seeds=[0], max_clicks=100))
    found = [sum(columns.start <= x < columns.stop for x, _, _ in points) for _, columns in regions]
    assert found == [click_count(side**2) for side in sides] == [0, 1, 1, 2, 2, 3, 9, 10, 10]


@pytest.mark.parametrize("policy", ["paper", "released", "centre", "uniform", "noisy"])
def test_no_error_gives_no_click(policy):
    clicks = simulate_clicks(
        torch.ones(2, 1, 5, 6), torch.ones(2, 1, 5, 6).bool(), seeds=[0, 1], policy=policy
    )
    assert not clicks.valid.any() and clicks.points.shape == (2, 10, 2)


def test_rows_beyond_the_clicks_are_padding_of_the_stated_shape_and_type():
    clicks = simulate_clicks(*missed(np.s_[2:8, 3:9], shape=(12, 16)), seeds=[0], max_clicks=3)
    assert clicks.points.shape == (1, 3, 2) and clicks.points.dtype == torch.float32
    assert clicks.labels.dtype == torch.int64 and clicks.valid.dtype == torch.bool
    assert clicks.valid.tolist() == [[True, False, False]]
    assert not clicks.points[:, 1:].any() and not clicks.labels[:, 1:].any()


def test_image_that_is_all_error_is_clicked_away_from_its_border():
    points = clicked(simulate_clicks(*missed(np.s_[:, :], shape=(80, 100)), seeds=[0]))
    assert len(points) == 8
    assert all(10 <= x < 90 and 10 <= y < 70 and label == 1 for x, y, label in points)


def test_single_pixel_image():
    pair = missed(np.s_[:, :], shape=(1, 1))
    assert clicked(simulate_clicks(*pair, seeds=[0], min_area=1)) == [(0, 0, 1)]
    assert clicked(simulate_clicks(*pair, seeds=[0])) == []


@pytest.mark.parametrize("line", [np.s_[5, 2:14], np.s_[2:14, 5], np.s_[range(2, 14), range(2, 14)]])
def test_line_of_one_pixel_gets_its_click(line):
    assert len(clicked(simulate_clicks(*missed(line, shape=(16, 16)), seeds=[0], margin=0.99))) == 1


def test_connectivity_decides_whether_corners_join():
    pair = missed(np.s_[0:3, 0:3], np.s_[3:6, 3:6], shape=(6, 6))
    assert len(clicked(simulate_clicks(*pair, seeds=[0], connectivity=8))) == 1
    assert len(clicked(simulate_clicks(*pair, seeds=[0], connectivity=4))) == 2


def test_missed_and_false_foreground_that_touch_are_clicked_apart():
    mask = np.arange(12)[None].repeat(6, 0) < 6
    points = clicked(simulate_clicks(*batch_of(np.ones_like(mask), mask), seeds=[0]))
    assert sorted((x < 6, label) for x, _, label in points) == [(False, 0), (True, 1)]


def test_region_takes_the_place_of_the_error_and_the_mask_gives_the_labels():
    mask = torch.zeros(1, 1, 20, 20, dtype=torch.bool)
    mask[..., :10] = True
    region = torch.zeros_like(mask)
    region[..., 2:6, 2:6] = region[..., 2:6, 12:16] = True
    points = clicked(simulate_clicks(mask, mask, seeds=[0], region=region))
    assert sorted((x // 10, label) for x, _, label in points) == [(0, 1), (1, 0)]
    assert all(2 <= x % 10 < 6 and 2 <= y < 6 for x, y, _ in points)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.bool])
def test_kind_of_prediction_does_not_matter(dtype):
    prediction, mask = noisy_batch()
    logits = torch.where(prediction > 0, 1.0, 0.0)
    expected = simulate_clicks(logits, mask, seeds=range(4))
    assert equal(simulate_clicks(logits.to(dtype), mask, seeds=range(4)), expected)


def test_infinite_logits_are_sure_predictions():
    prediction, mask = noisy_batch()
    sure = prediction.sign() * torch.inf
    sure[prediction == 0] = -torch.inf
    assert equal(
        simulate_clicks(sure, mask, seeds=range(4)), simulate_clicks(prediction, mask, seeds=range(4))
    )


# ---- chance ----


def test_clicks_are_uniform_over_the_interior():
    batch = repeated(missed(np.s_[2:11, 1:14], shape=(12, 16)), 4000)
    clicks = simulate_clicks(*batch, seeds=range(4000), max_clicks=1)
    # Depth 5, so the removed boundary is the outermost ring of the 9 x 13 rectangle.
    x, y = clicks.points[clicks.valid].long().T - torch.tensor([[2], [3]])
    assert set(x.tolist()) == set(range(11)) and set(y.tolist()) == set(range(7))
    assert chisquare(np.bincount(y * 11 + x, minlength=77)).pvalue > 0.001


def test_points_of_a_component_differ_and_are_uniform_over_its_interior():
    batch = repeated(missed(np.s_[1:21, 1:21], shape=(22, 22)), 3000)
    clicks = simulate_clicks(*batch, seeds=range(3000), margin=0.8, max_clicks=2)
    # Depth 10: the square of 4 x 4 pixels deeper than 8 is left.
    x, y = clicks.points.long().permute(2, 0, 1) - 9
    cell = y * 4 + x
    assert clicks.valid.all() and (cell[:, 0] != cell[:, 1]).all()
    assert chisquare(np.bincount(cell.flatten(), minlength=16)).pvalue > 0.001


def test_points_repeat_where_the_interior_is_too_small_for_them():
    clicks = simulate_clicks(*missed(np.s_[1:42, 1:42], shape=(43, 43)), seeds=[0], margin=0.99)
    assert clicked(clicks) == [(21, 21, 1)] * 4


def test_components_are_shuffled_in_proportion_to_their_points():
    batch = repeated(missed(np.s_[1:4, 1:4], np.s_[1:31, 6:36], shape=(32, 40)), 3000)
    clicks = simulate_clicks(*batch, seeds=range(3000), max_clicks=4)
    small = clicks.points[..., 0] < 5
    assert clicks.valid.all() and (small.sum(1) == 1).all()
    assert chisquare(small.sum(0)).pvalue > 0.001


def test_first_clicks_are_kept_whatever_their_component():
    batch = repeated(missed(np.s_[1:4, 1:4], np.s_[1:31, 6:36], shape=(32, 40)), 3000)
    clicks = simulate_clicks(*batch, seeds=range(3000), max_clicks=1)
    small = int((clicks.points[..., 0] < 5).sum())
    assert chisquare([small, 3000 - small], [750, 2250]).pvalue > 0.001


def test_seeds_make_the_difference():
    batch = repeated(missed(np.s_[1:31, 1:31], shape=(32, 32)), 2)
    assert clicked(clicks := simulate_clicks(*batch, seeds=[5, 5]), 0) == clicked(clicks, 1)
    assert clicked(clicks := simulate_clicks(*batch, seeds=[5, 6]), 0) != clicked(clicks, 1)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("policy", ["paper", "released", "centre", "uniform", "noisy"])
def test_clicks_of_a_sample_do_not_depend_on_its_batch_or_device(policy, device):
    prediction, mask = noisy_batch()
    options = {"policy": policy, "noise": 0.5 if policy == "noisy" else 0.0}
    whole = simulate_clicks(prediction, mask, seeds=[10, 11, 12, 13], **options)
    assert whole.valid.any(1).all()
    picked = [3, 1]
    part = simulate_clicks(prediction[picked].to(device), mask[picked].to(device), seeds=[13, 11], **options)
    assert part.points.device.type == device
    assert equal(part, Clicks(whole.points[picked], whole.labels[picked], whole.valid[picked]))


class ClickedImages(Dataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        prediction, mask = (tensor[index : index + 1] for tensor in noisy_batch())
        return tuple(vars(simulate_clicks(prediction, mask, seeds=[index])).values())


def test_clicks_do_not_depend_on_workers_or_threads():
    expected = list(DataLoader(ClickedImages(), batch_size=None, num_workers=0))
    torch.manual_seed(99)
    np.random.seed(99)
    in_workers = list(DataLoader(ClickedImages(), batch_size=None, num_workers=2))
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        on_one_thread = list(DataLoader(ClickedImages(), batch_size=None, num_workers=0))
    finally:
        cv2.setNumThreads(threads)
    for other in (in_workers, on_one_thread):
        assert all(equal(Clicks(*a), Clicks(*b)) for a, b in zip(expected, other, strict=True))


@pytest.mark.parametrize("connectivity", [4, 8])
def test_order_of_components_does_not_depend_on_threads(connectivity):
    rng = np.random.default_rng(0)
    pair = batch_of(rng.random((701, 903)) < 0.4, rng.random((701, 903)) < 0.5)
    threads = cv2.getNumThreads()
    results = []
    try:
        for count in (1, 2, 7):
            cv2.setNumThreads(count)
            results.append(simulate_clicks(*pair, seeds=[0], max_clicks=500, connectivity=connectivity))
    finally:
        cv2.setNumThreads(threads)
    assert results[0].valid.all()
    assert equal(results[0], results[1]) and equal(results[0], results[2])


def test_global_random_states_are_left_alone():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    simulate_clicks(*noisy_batch(), seeds=range(4))
    assert torch.equal(torch_state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])


# ---- use ----


def test_rounds_of_interaction_repair_the_mask():
    prediction, mask = noisy_batch()
    prediction, rows = prediction.clone(), torch.arange(len(mask))[:, None]
    errors = []
    for step in range(12):
        errors.append(int(((prediction > 0) ^ mask).sum()))
        clicks = simulate_clicks(prediction, mask, seeds=[100 * step + i for i in range(4)], min_area=1)
        x, y = clicks.points.long().unbind(-1)
        repair = torch.where(clicks.labels == 1, 3.0, -3.0)
        old = prediction[rows, 0, y, x]
        prediction[rows, 0, y, x] = torch.where(clicks.valid, repair, old)
    assert errors == sorted(errors, reverse=True) and errors[-1] <= errors[0] - 11 * 4


def test_clicks_carry_no_gradient_and_take_logits_with_one():
    prediction, mask = noisy_batch()
    clicks = simulate_clicks(prediction.requires_grad_(), mask, seeds=range(4))
    assert not clicks.points.requires_grad


def test_hundred_thousand_components_of_a_large_image():
    cells = np.zeros((341, 341, 12, 12), bool)
    cells.reshape(-1, 12, 12)[:100_000, 3:6, 4:7] = True
    wrong = np.zeros((4096, 4096), bool)
    wrong[:4092, :4092] = cells.transpose(0, 2, 1, 3).reshape(4092, 4092)
    mask = np.zeros_like(wrong)
    mask[:2048] = True
    points = clicked(simulate_clicks(*batch_of(wrong, mask), seeds=[0]))
    assert len(points) == 10
    assert all(wrong[y, x] and label == (y < 2048) for x, y, label in points)
    assert len({(x // 12, y // 12) for x, y, _ in points}) == 10
