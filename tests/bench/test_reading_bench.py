"""How fast training samples come from large photographs, as ratios measured in one run.

What is compared runs in turn, each in a process of its own as a loader's workers do, and the fastest of each
counts, in time of the processor: the straight way (scikit-image, float32, the whole image resized
bilinearly), the floor (the same bytes decoded at the scale needed, and nothing else), a sample of ours, and
one from a prepared copy.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.io
import torch
from PIL import Image

from pisam.data.audit.prepared import prepare_source
from pisam.data.dataset import PairDataset, Sample
from pisam.data.loader import begin_worker
from pisam.data.sources.rows import resolve_sources

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.bench

SIZE, JITTER = 1024, 1.2
SIDES = {12: (3000, 4000), 24: (4000, 6000)}


def photograph(height: int, width: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Structure of every size with a sensor's noise, uint8 (H, W, 3), and an intricate mask."""

    def smooth(period: int, *channels: int) -> np.ndarray:
        grid = rng.normal(size=(height // period + 3, width // period + 3, *channels)).astype(np.float32)
        return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)

    image = sum(strength * smooth(period, 3) for period, strength in ((800, 50), (100, 30), (20, 15), (4, 8)))
    image += rng.normal(0, 4, size=image.shape).astype(np.float32)
    mask = (smooth(150) > 0.5) & (smooth(12) > -1)
    return np.clip(image + 128, 0, 255).astype(np.uint8), mask


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("large")
    for megapixels, sides in SIDES.items():
        image, mask = photograph(*sides, np.random.default_rng(0))
        for part in ("images", "masks"):
            (root / str(megapixels) / part).mkdir(parents=True)
        Image.fromarray(image).save(root / f"{megapixels}/images/a.jpg", quality=92)
        Image.fromarray(mask.astype(np.uint8) * 255).save(root / f"{megapixels}/masks/a.png")
    return root


def dataset(root: Path, megapixels: int, **options: object) -> PairDataset:
    row = {"name": str(megapixels), "images": f"{megapixels}/images", "masks": f"{megapixels}/masks"}
    sources = resolve_sources([row], root, training=True)
    defaults = {"training": True, "jitter": (JITTER, JITTER + 1e-9)}
    return PairDataset(sources, image_size=SIZE, **(defaults | options))


def straight(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """As most training code has it."""
    image = skimage.io.imread(folder / "images/a.jpg").astype(np.float32)
    mask = skimage.io.imread(folder / "masks/a.png").astype(np.float32)
    ratio = JITTER * SIZE / max(mask.shape)
    size = (round(mask.shape[1] * ratio), round(mask.shape[0] * ratio))
    return cv2.resize(image, size)[:, :SIZE], cv2.resize(mask, size)[:, :SIZE]


def floor(jpeg: bytes, png: bytes, reduction: int) -> None:
    """Bare decoding at the scale needed."""
    image = Image.open(io.BytesIO(jpeg))
    image.draft(None, (image.width // reduction, image.height // reduction))
    image.load()
    Image.open(io.BytesIO(png)).load()


def processor_time(function: Callable[..., object], *arguments: object) -> float:
    """Milliseconds, of one thread."""
    torch.set_num_threads(1)
    start = time.process_time()
    function(*arguments)
    return 1e3 * (time.process_time() - start)


def sample(data: PairDataset) -> Sample:
    return data[0, 0]


class Workers:
    """A process for each of the named functions."""

    def __init__(self, **initialisers: Callable[[int], None]) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.pools = {
            name: ProcessPoolExecutor(1, spawn, initializer=begin, initargs=(0,))
            for name, begin in initialisers.items()
        }

    def fastest(self, rounds: int, **calls: tuple) -> dict[str, float]:
        """Milliseconds of the fastest of `rounds` runs of each (function, *arguments), in turn."""
        best = dict.fromkeys(calls, float("inf"))
        for _ in range(rounds):
            for name, call in calls.items():
                best[name] = min(best[name], self.pools[name].submit(processor_time, *call).result())
        return best


def begin_plain_worker(worker: int) -> None:
    cv2.setNumThreads(0)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    started = Workers(straight=begin_plain_worker, floor=begin_plain_worker, ours=begin_worker)
    yield started
    for pool in started.pools.values():
        pool.shutdown()


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    def write(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {line}", end="")

    return write


@pytest.mark.parametrize("megapixels", SIDES)
def test_a_sample_costs_little_more_than_its_decoding(megapixels, folder, workers, report):
    data = dataset(folder, megapixels)
    files = folder / str(megapixels)
    jpeg, png = (files / "images/a.jpg").read_bytes(), (files / "masks/a.png").read_bytes()
    reduction = max(r for r in (1, 2, 4, 8) if r * JITTER * SIZE <= max(SIDES[megapixels]))
    times = workers.fastest(
        9, straight=(straight, files), floor=(floor, jpeg, png, reduction), ours=(sample, data)
    )
    faster, floors = times["straight"] / times["ours"], times["ours"] / times["floor"]
    report(
        f"{megapixels} megapixels: straight {times['straight']:.0f} ms, floor {times['floor']:.0f} ms, "
        f"sample {times['ours']:.0f} ms: {faster:.2f} times faster than straight, {floors:.2f} floors"
    )
    assert faster >= 2.3
    assert floors <= 1.3


@pytest.mark.parametrize(("megapixels", "times_faster"), [(12, 5), (24, 10)])
def test_a_prepared_copy_is_many_times_faster(megapixels, times_faster, folder, tmp_path, workers, report):
    originals = dataset(folder, megapixels)
    prepare_source(originals.sources[0], tmp_path)
    data, files = dataset(folder, megapixels, prepared=tmp_path), folder / str(megapixels)
    times = workers.fastest(9, straight=(straight, files), ours=(sample, data))
    ratio = times["straight"] / times["ours"]
    report(f"{megapixels} megapixels, prepared: sample {times['ours']:.0f} ms, {ratio:.1f} times faster")
    assert ratio >= times_faster


MEMORY = """
import json, sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_reading_bench import dataset
from pisam.data.loader import begin_worker
begin_worker(0)

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def watch():
    global peak
    while not done.wait(0.0005):
        peak = max(peak, resident())

options = json.loads(sys.argv[3])
data, small = (dataset(Path(sys.argv[2]), megapixels, **options) for megapixels in (24, 1))

def sample(data, epoch):
    data[(0, epoch) if data.training else 0]

sample(small, 0)  # libraries are loaded
idle = peak = resident()
done = threading.Event()
thread = threading.Thread(target=watch)
thread.start()
for epoch in range(5):
    sample(data, epoch)
done.set()
thread.join()
print(peak - idle)
"""


@pytest.mark.parametrize("options", [{}, {"jitter": None}, {"instances": 64}, {"training": False}], ids=str)
def test_a_worker_needs_little_memory_for_24_megapixels(options, folder, report, tmp_path):
    for part, array in (
        ("images", np.zeros((64, 64, 3), np.uint8)),
        ("masks", np.full((64, 64), 255, np.uint8)),
    ):
        (folder / "1" / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(folder / "1" / part / "a.png")
    arguments = [str(Path(__file__).parent), str(folder), json.dumps(options)]
    paths = os.pathsep.join(
        filter(None, [str(ROOT / "src"), str(ROOT / "tests"), os.environ.get("PYTHONPATH")])
    )
    output = subprocess.run(
        [sys.executable, "-c", MEMORY, *arguments],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PISAM_CACHE": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
        timeout=280,
    ).stdout
    megabytes = int(output) / 1e6
    assert megabytes > 24  # the mask alone takes that
    report(f"24 megapixels, {options or 'training'}: {megabytes:.0f} MB over an idle worker")
    assert megabytes <= 250
