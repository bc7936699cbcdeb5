"""How long the scores of a 2048 x 3072 image take, as ratios to PySODMetrics in one run on one thread."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers.metric_pairs import Pair, blobs, wires
from helpers.published_metrics import run
from helpers.timing import fastest
from pisam.metrics import all_scores
from pisam.metrics.packed import erode_box, pack

pytestmark = pytest.mark.bench

SIZE = 2048, 3072
PAIRS = {
    "large": lambda: blobs(*SIZE, 60, 0),
    "small": lambda: blobs(*SIZE, 10, 1, threshold=1.2),
    "wires": lambda: wires(*SIZE, 0),
}
ROUNDS = 3
DISTANCE = 74  # 0.02 of the diagonal


@pytest.fixture(scope="module", params=PAIRS)
def pair(request: pytest.FixtureRequest) -> Pair:
    return PAIRS[request.param]()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


@pytest.mark.parametrize(
    ("ours", "theirs", "times_faster"),
    [
        (
            ["max_f", "mean_f", "adaptive_f", "mae", "s_measure", "max_e", "mean_e", "adaptive_e"],
            ["fm", "mae", "sm", "em"],
            5.0,
        ),
        (["weighted_f"], ["wfm"], 1.8),
        (["hce"], ["hce"], 1.3),
    ],
    ids=["F+MAE+S+E", "weighted F", "HCE"],
)
def test_faster_than_pysodmetrics(
    ours: list[str],
    theirs: list[str],
    times_faster: float,
    pair: Pair,
    request: pytest.FixtureRequest,
    report: Callable[[str], None],
) -> None:
    times = fastest(ROUNDS, ours=partial(all_scores, *pair, ours), theirs=partial(run, [pair], theirs))
    ratio = times["theirs"] / times["ours"]
    name = request.node.callspec.id
    report(f"{name}: {times['ours']:.0f} ms, PySODMetrics {times['theirs']:.0f} ms, {ratio:.1f} times")
    assert ratio >= times_faster


def test_boundary_iou_costs_little_more_than_its_erosions(pair: Pair, report: Callable[[str], None]) -> None:
    prediction, mask = pair[0] > 127, pair[1]
    across, down = np.ones((1, 2 * DISTANCE + 1), np.uint8), np.ones((2 * DISTANCE + 1, 1), np.uint8)

    def opencv() -> None:
        for each in (prediction, mask):
            cv2.erode(cv2.erode(each.view(np.uint8), across), down)

    def packed() -> None:
        for each in (prediction, mask):
            erode_box(pack(each), DISTANCE)

    times = fastest(10, opencv=opencv, packed=packed, scores=partial(all_scores, *pair, ["iou", "biou"]))
    report(
        f"IoU + boundary IoU {times['scores']:.0f} ms; its two erosions alone {times['packed']:.0f} ms, "
        f"{times['opencv']:.0f} ms in OpenCV"
    )
    assert times["scores"] < 2 * times["packed"]
    assert times["scores"] < 2 * times["opencv"]


def test_peak_memory_of_all_scores(tmp_path: Path, report: Callable[[str], None]) -> None:
    """What scoring adds to the resident size of a fresh interpreter, at its highest."""
    prediction, mask = PAIRS["large"]()
    np.savez(tmp_path / "pair.npz", prediction=prediction, mask=mask)
    code = f"""
import numpy as np
from pisam.metrics import all_scores

def megabytes(field):
    return next(int(line.split()[1]) / 1e3 for line in open("/proc/self/status") if line.startswith(field))

pair = np.load({str(tmp_path / "pair.npz")!r})
prediction, mask = pair["prediction"], pair["mask"]
before = megabytes("VmRSS")
all_scores(prediction, mask)
print(megabytes("VmHWM") - before, megabytes("VmHWM"))
"""
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    added, peak = map(float, output.split())
    report(f"memory: scoring adds {added:.0f} MB to the process, {peak:.0f} MB in all")
    assert added < 500
