"""Order is a function of (seed, epoch); ranks share it out without loss, repetition or padding."""

from __future__ import annotations

from collections import Counter

import pytest

from pisam.data.sampler import TrainingSampler, ValidationSampler


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
