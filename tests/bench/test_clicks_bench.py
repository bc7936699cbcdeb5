"""How long simulated clicks take, as ratios measured in one run on whatever machine this is.

What is compared is timed in turn and the fastest of each taken, so that other work on the machine hits all
alike: the simulator, its floor (one labelling with statistics per image and label), a loop over components.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from skimage.measure import label as label_components
from skimage.morphology import erosion
from torch import Tensor

from helpers.timing import fastest
from pisam.clicks.inspection import error_maps
from pisam.clicks.simulate import simulate_clicks

pytestmark = pytest.mark.bench

SEEDS = range(4)


def errors_in_a_grid(size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """bool (size, size): `count` ellipses, thin ones among them, one in each cell of a grid."""
    cells = int(np.ceil(np.sqrt(count)))
    cell = size / cells
    canvas = np.zeros((size, size), np.uint8)
    for number in range(count):
        y, x = (np.array(divmod(number, cells)) + 0.5 + rng.uniform(-0.1, 0.1, 2)) * cell
        axes = (rng.uniform(0.05, 0.4, 2) * cell).astype(int)
        cv2.ellipse(canvas, (int(x), int(y)), axes.tolist(), rng.uniform(0, 180), 0, 360, 1, -1)
    return canvas > 0


def batch(size: int, count: int) -> tuple[Tensor, Tensor]:
    """Logits and mask (4, 1, size, size) of a disc with about `count` error components per image."""
    rng = np.random.default_rng(0)
    wrong = torch.from_numpy(np.stack([errors_in_a_grid(size, count, rng) for _ in SEEDS]))[:, None]
    y, x = np.mgrid[:size, :size] - size / 2
    mask = torch.from_numpy(np.hypot(x, y) < 0.4 * size).expand_as(wrong).contiguous()
    return torch.where(wrong ^ mask, 2.0, -2.0), mask


def floor(errors: np.ndarray) -> None:
    """What no simulator of this kind can do without."""
    for image in errors:
        for code in (1, 2):
            cv2.connectedComponentsWithStats((image == code).view(np.uint8), connectivity=8)


def plain_loop(prediction: Tensor, mask: Tensor) -> list[list[tuple[np.ndarray, int]]]:
    """Clicks in the manner of the released code: erode, label, look for each component in the whole image."""
    rng = np.random.default_rng(0)
    clicks = []
    for predicted, truth in zip((prediction > 0).numpy()[:, 0], mask.numpy()[:, 0], strict=True):
        found = []
        for label, wrong in ((0, predicted & ~truth), (1, truth & ~predicted)):
            components = label_components(erosion(wrong, np.ones((3, 3))), connectivity=2)
            for number in range(1, components.max() + 1):
                pixels = np.argwhere(components == number)
                if len(pixels) >= 2:
                    found.append((pixels, label))
        found.sort(key=lambda component: -len(component[0]))
        clicks.append([(rng.choice(pixels), label) for pixels, label in found[:10]])
    return clicks


@pytest.mark.parametrize("count", [10, 200, 800])
@pytest.mark.parametrize("size", [256, 1024])
def test_simulator_costs_at_most_three_labellings(size, count, benchmark, report):
    prediction, mask = batch(size, count)
    errors = error_maps(prediction, mask)

    def simulate() -> object:
        return simulate_clicks(prediction, mask, seeds=SEEDS)

    times = fastest(40 if size == 256 else 10, floor=lambda: floor(errors), simulator=simulate)
    ratio = times["simulator"] / times["floor"]
    report(
        f"{size} px, {count} components: floor {times['floor']:.2f} ms, "
        f"simulator {times['simulator']:.2f} ms = {ratio:.2f} floors"
    )
    benchmark.extra_info["floors"] = ratio
    benchmark.pedantic(simulate, rounds=5)
    assert ratio <= 3


@pytest.mark.parametrize(("count", "times_faster"), [(10, 1), (200, 15), (800, 25)])
def test_simulator_beats_a_loop_over_components(count, times_faster, benchmark, report):
    prediction, mask = batch(256, count)

    def simulate() -> object:
        return simulate_clicks(prediction, mask, seeds=SEEDS)

    times = fastest(12, loop=lambda: plain_loop(prediction, mask), simulator=simulate)
    ratio = times["loop"] / times["simulator"]
    report(f"256 px, {count} components: plain loop {times['loop']:.1f} ms = {ratio:.1f} simulators")
    benchmark.extra_info["times faster than the loop"] = ratio
    benchmark.pedantic(simulate, rounds=5)
    assert ratio >= times_faster


@pytest.mark.parametrize(("size", "few", "many"), [(256, 8, 800), (1024, 10, 1000), (1024, 100, 10_000)])
def test_cost_grows_with_pixels_not_with_components(size, few, many, benchmark, report):
    with_few, with_many = batch(size, few), batch(size, many)
    times = fastest(
        40 if size == 256 else 10,
        few=lambda: simulate_clicks(*with_few, seeds=SEEDS),
        many=lambda: simulate_clicks(*with_many, seeds=SEEDS),
    )
    ratio = times["many"] / times["few"]
    report(f"{size} px: {many} components cost {ratio:.2f} times what {few} do")
    benchmark.extra_info["cost of 100 times the components"] = ratio
    benchmark.pedantic(simulate_clicks, args=with_many, kwargs={"seeds": SEEDS}, rounds=5)
    assert ratio < 1.5
