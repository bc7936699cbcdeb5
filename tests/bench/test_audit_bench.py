"""How long it takes to get going on 10,000 pairs, against the plain listing of their folders and files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.audited_sets import picture
from pisam.data.audit.audit import audit
from pisam.data.datamodule import PairDataModule
from pisam.data.sources.rows import resolve_sources

pytestmark = pytest.mark.bench

PAIRS = 10_000


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of 8,000 training and 2,000 validation stubs, each picture its own."""
    root = tmp_path_factory.mktemp("many")
    mask = np.zeros((12, 16), np.uint8)
    mask[4:8, 4:10] = 255
    Image.fromarray(mask).save(root / "mask.png")
    data = (root / "mask.png").read_bytes()
    for part, seeds in (("train", range(8000)), ("val", range(8000, PAIRS))):
        for folder in ("images", "masks"):
            (root / part / folder).mkdir(parents=True)
        for seed in seeds:
            Image.fromarray(picture(seed, 12, 16)).save(root / part / "images" / f"{seed:05}.bmp")
            (root / part / "masks" / f"{seed:05}.png").write_bytes(data)
    return root


def rows(part: str) -> list[dict[str, str]]:
    return [{"name": part, "images": f"{part}/images", "masks": f"{part}/masks"}]


def seconds(function: Callable[[], object]) -> tuple[float, float]:
    """CPU time and time on the clock. None of this waits for anything: on an idle machine both are alike."""
    clock, cpu = time.perf_counter(), time.process_time()
    function()
    return time.process_time() - cpu, time.perf_counter() - clock


def test_ten_thousand_pairs(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], benchmark
) -> None:
    monkeypatch.setenv("PISAM_CACHE", str(tmp_path))

    def look() -> None:
        sources = [
            (part, source)
            for part in ("train", "val")
            for source in resolve_sources(rows(part), root, training=part == "train")
        ]
        assert audit(sources).findings == []

    def build() -> None:
        module = PairDataModule(root=root, train=rows("train"), val=rows("val"), workers=0)
        module.setup("fit")
        assert module.counts == {"train": {"train": 8000}, "val": {"val": 2000}}

    def stat_all() -> None:
        for folder in root.glob("*/*"):
            for name in os.listdir(folder):
                os.stat(folder / name)

    _, first = seconds(look)
    names = {"audit from cache": look, "data module": build, "list and stat every file": stat_all}
    times = {name: min(seconds(function) for _ in range(5)) for name, function in names.items()}
    with capsys.disabled():
        print(f"\n  first audit of {PAIRS} pairs: {first:.1f} s", end="")
        for name, (cpu, clock) in times.items():
            print(f"\n  {name}: {cpu:.2f} s of CPU, {clock:.2f} s on the clock", end="")
    benchmark.extra_info.update(times)
    benchmark.pedantic(look, rounds=1)
    assert times["audit from cache"][0] < 2
    assert times["data module"][0] < 1
