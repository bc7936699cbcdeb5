"""The order of samples: a pure function of (seed, epoch), shared out over ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from pisam.core.seeding import derive_seed

Key = tuple[int, int]


class TrainingSampler(Sampler[Key]):
    """The training order of one rank, as (index, epoch) keys.

    The keys carry the epoch because persistent workers hold a copy of the data set that never hears of a new
    one. Rank r of R takes every R-th sample from the r-th on, so batch k of all ranks together holds the same
    samples however many ranks share them. What does not fill a last batch on every rank is left out; a data
    set smaller than one batch is repeated until it fills it.

    Args:
        weights: one positive number per sample. Where all are equal an epoch holds each sample once;
            otherwise a sample occurs, up to rounding, in proportion to its weight.
        batch_size: samples per batch of one rank.
        rank: this process, from 0.
        world_size: number of processes.
        seed: of the order.

    Attributes:
        epoch: the epoch that the next iteration yields.
        start: batches of that epoch to skip, for a run resumed in its middle.
    """

    def __init__(
        self, weights: Sequence[float], *, batch_size: int, rank: int = 0, world_size: int = 1, seed: int = 0
    ) -> None:
        if len(weights) == 0:
            raise ValueError("weights: expected at least one sample, got none")
        self.weights = np.asarray(weights, dtype=np.float64)
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.seed = seed
        self.epoch = 0
        self.start = 0

    @property
    def batches(self) -> int:
        """Batches of a whole epoch on each rank."""
        return max(1, len(self.weights) // (self.batch_size * self.world_size))

    def __len__(self) -> int:
        """Samples of a whole epoch on this rank; also where `start` skips some, for progress counts them."""
        return self.batches * self.batch_size

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch; a new epoch starts at its first batch."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0

    def resume(self, epoch: int, start: int) -> None:
        """Continue in `epoch` after its first `start` batches; after all of them, in the next epoch."""
        self.epoch, self.start = (epoch, start) if start < self.batches else (epoch + 1, 0)

    def __iter__(self) -> Iterator[Key]:
        epoch = self.epoch
        own = self._order(epoch)[self.rank :: self.world_size][self.start * self.batch_size :]
        return iter([(int(index), epoch) for index in own])

    def _order(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng(derive_seed(self.seed, epoch, "order"))
        order = rng.permutation(self._occurrences(rng))
        return np.resize(order, self.batches * self.batch_size * self.world_size)

    def _occurrences(self, rng: np.random.Generator) -> np.ndarray:
        """Sample indices, each as often as its weight asks, never off by one (systematic resampling)."""
        count = len(self.weights)
        if (self.weights == self.weights[0]).all():
            return np.arange(count)
        edges = np.cumsum(self.weights) / self.weights.sum() * count
        ticks = np.arange(count) + rng.random()
        return np.minimum(np.searchsorted(edges, ticks, side="right"), count - 1)


class ValidationSampler(Sampler[int]):
    """Every sample exactly once over all ranks, in order: ranks may get one more or less, none is padded."""

    def __init__(self, count: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(rank, count, world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)
