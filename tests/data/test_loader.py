"""The order of samples is a function of (seed, epoch), shared out exactly; a loader's waits end."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from helpers.small_runs import SOURCE, write_experiment, write_sets
from pisam.core.errors import PisamError
from pisam.data.dataset import PairDataset, Sample
from pisam.data.loader import BatchLoader, TrainingSampler, ValidationSampler, allow_handles
from pisam.data.sources.rows import resolve_sources


class Spoiled(Dataset[Sample]):
    """Its second sample ends the process, or comes late."""

    def __init__(self, data: PairDataset, how: str) -> None:
        self.data = data
        self.how = how

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Sample:
        if index == 1:
            if self.how == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(600)
        return self.data[index]


@pytest.fixture
def data(tmp_path: Path) -> PairDataset:
    root = write_sets(tmp_path / "sets", {"val": 3})
    rows = [{"name": "val", "images": "val/images", "masks": "val/masks"}]
    return PairDataset(resolve_sources(rows, root, training=False), image_size=64, training=False)


def test_process_that_dies_is_one_line(data: PairDataset) -> None:
    with pytest.raises(
        PisamError, match=r"data\.workers: a process of the loader died .*; if it had too little"
    ):
        list(BatchLoader(Spoiled(data, "dies"), timeout=300, num_workers=1))


def test_batch_that_never_comes_is_one_line(data: PairDataset) -> None:
    begun = time.monotonic()
    with pytest.raises(PisamError, match=r"data\.workers: no batch came in .* minutes \(trainer\.timeout\)"):
        list(BatchLoader(Spoiled(data, "sleeps"), timeout=3, num_workers=1))
    assert time.monotonic() - begun < 100


def test_batches_of_processes_are_those_of_this_one(data: PairDataset) -> None:
    alone, beside = (list(BatchLoader(data, timeout=300, num_workers=n, batch_size=2)) for n in (0, 2))
    assert len(alone) == len(beside) == 2
    for one, other in zip(alone, beside, strict=True):
        assert torch.equal(one.image, other.image) and torch.equal(one.mask, other.mask)
        assert all(
            torch.equal(*masks) for masks in zip(one.original_masks, other.original_masks, strict=True)
        )
        assert other.image.is_shared() and not one.image.is_shared()


@pytest.mark.parametrize(
    ("limits", "raised_to"), [((1024, 4096), None), ((40, 4096), 192), ((40, -1), 192), ((-1, -1), None)]
)
def test_the_limit_of_open_files_is_raised_where_it_may_be(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], raised_to: int | None
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: asked.append(limits))
    allow_handles(192)
    assert asked == ([] if raised_to is None else [(raised_to, limits[1])])


def test_too_few_open_files_are_one_line_before_the_first_batch(
    data: PairDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the processes break off, or wait for ever, in the middle of a batch."""
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (20, 40))
    with pytest.raises(PisamError, match=r"need 192 open files, and this process may have 40; raise `ulimit"):
        BatchLoader(data, timeout=300, num_workers=2)
    assert len(list(BatchLoader(data, timeout=300, num_workers=0))) == 3


@pytest.mark.slow
def test_too_little_shared_memory_is_one_line(tmp_path: Path) -> None:
    """A container's /dev/shm, 64 kB here, holds no batch."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and util-linux's unshare, to have a /dev/shm of its own")
    experiment = write_experiment(tmp_path, write_sets(tmp_path / "sets"))
    arguments = f"train {experiment} stage=1 data.workers=2 run_dir={tmp_path / 'run'}"
    mount = "mount -t tmpfs -o size=64k tmpfs /dev/shm || exit 77"
    script = f"{mount}; exec {sys.executable} -m pisam.cli {arguments}"
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    if result.returncode == 77:
        pytest.skip("cannot mount here")
    assert result.returncode == 2, result.stderr[-3000:]
    (line,) = [line for line in result.stderr.splitlines() if "error" in line.lower()]
    assert "data.workers: no room for a batch in shared memory (/dev/shm of 0.1 MiB" in line
    assert "Traceback" not in result.stderr


def global_batches(count: int, batch_size: int, world_size: int, *, epoch: int = 0) -> list[set[int]]:
    """What all ranks together see in each step."""
    per_rank = []
    for rank in range(world_size):
        sampler = TrainingSampler([1.0] * count, batch_size=batch_size, rank=rank, world_size=world_size)
        sampler.set_epoch(epoch)
        indices = [index for index, _ in sampler]
        assert len(indices) == len(sampler)
        per_rank.append([indices[at : at + batch_size] for at in range(0, len(indices), batch_size)])
    return [{index for batch in step for index in batch} for step in zip(*per_rank, strict=True)]


@pytest.mark.parametrize("count", [8, 21, 40])
def test_global_batches_do_not_depend_on_the_number_of_ranks(count: int) -> None:
    one = global_batches(count, 4, 1, epoch=3)
    assert one == global_batches(count, 2, 2, epoch=3) == global_batches(count, 1, 4, epoch=3)
    assert len(one) == count // 4
    assert all(len(batch) == 4 for batch in one)
    assert len(set().union(*one)) == 4 * len(one)


def test_order_changes_with_epoch_and_seed_only() -> None:
    def order(seed: int, epoch: int) -> list[tuple[int, int]]:
        sampler = TrainingSampler([1.0] * 20, batch_size=4, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 2) == order(0, 2)
    assert [i for i, _ in order(0, 2)] != [i for i, _ in order(0, 1)]
    assert order(0, 2) != order(1, 2)
    assert {epoch for _, epoch in order(0, 2)} == {2}


def test_fewer_samples_than_one_batch_are_repeated() -> None:
    for world_size in (1, 2):
        sampler = TrainingSampler([1.0] * 3, batch_size=4, rank=world_size - 1, world_size=world_size)
        assert len(list(sampler)) == len(sampler) == 4
    assert {index for index, _ in TrainingSampler([1.0] * 3, batch_size=4)} == {0, 1, 2}


def test_resuming_skips_what_was_trained_on_and_nothing_in_the_next_epoch() -> None:
    whole = TrainingSampler([1.0] * 30, batch_size=3, rank=1, world_size=2)
    whole.set_epoch(5)
    expected = list(whole)
    resumed = TrainingSampler([1.0] * 30, batch_size=3, rank=1, world_size=2)
    resumed.resume(5, 2)
    resumed.set_epoch(5)  # Lightning repeats what is known
    assert list(resumed) == expected[6:]
    assert len(resumed) == len(whole)
    resumed.set_epoch(6)
    whole.set_epoch(6)
    assert list(resumed) == list(whole)


def test_resuming_after_the_last_batch_is_the_next_epoch() -> None:
    sampler = TrainingSampler([1.0] * 8, batch_size=4)
    sampler.resume(3, 2)
    assert (sampler.epoch, sampler.start) == (4, 0) and len(list(sampler)) == 8


def test_weights_set_how_often_samples_come() -> None:
    weights = [3.0] * 10 + [1.0] * 30
    sampler = TrainingSampler(weights, batch_size=4)
    totals: Counter[int] = Counter()
    for epoch in range(30):
        sampler.set_epoch(epoch)
        counts = Counter(index for index, _ in sampler)
        assert all(counts[i] in (2, 1) for i in range(10)) and sum(counts.values()) == 40
        totals += counts
    heavy, light = sum(totals[i] for i in range(10)) / 10, sum(totals[i] for i in range(10, 40)) / 30
    assert heavy / light == pytest.approx(3, rel=0.05)


def test_no_sample_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        TrainingSampler([], batch_size=2)


@pytest.mark.parametrize("world_size", [1, 2, 5, 30])
def test_validation_shows_each_image_once(world_size: int) -> None:
    samplers = [ValidationSampler(21, rank=rank, world_size=world_size) for rank in range(world_size)]
    seen = [index for sampler in samplers for index in sampler]
    assert sorted(seen) == list(range(21))
    assert [len(sampler) for sampler in samplers] == [len(list(sampler)) for sampler in samplers]
