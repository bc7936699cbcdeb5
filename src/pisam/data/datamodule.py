"""The data of a run, as Lightning asks for it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Sampler

from pisam.core.checks import check_number, is_increasing_pair
from pisam.core.errors import PisamError
from pisam.data.audit.audit import audit
from pisam.data.audit.duplicates import Part, content_hash
from pisam.data.dataset import PairDataset
from pisam.data.loader import BatchLoader, TrainingSampler, ValidationSampler, begin_worker
from pisam.data.photometric import Photometric, Step
from pisam.data.prompts import PromptMix
from pisam.data.sources.pairs import Pair
from pisam.data.sources.rows import Entry, resolve_sources

log = logging.getLogger(__name__)

NOTHING_TO_TRAIN_ON = "data.train: no source to train on; name at least one"


class PairDataModule(LightningDataModule):
    """Any number of training sources merged, and any number of validation sets in one loader.

    The trainer must run with `use_distributed_sampler=False`: the samplers here share out samples themselves,
    without padding validation. A run resumed in the middle of an epoch continues after the batches it had
    trained on.

    Args:
        root: folder that known sets and relative rows start from.
        train: entries to train on, see `resolve_source`; may be empty where only validation runs.
        val: entries to validate on.
        image_size: side S of the network frame.
        batch_size: training samples per batch and rank.
        val_batch_size: validation samples per batch and rank.
        workers: loader processes per rank.
        flip: mirror half of the training views.
        jitter: range of the large-scale jitter; empty or None for none.
        views: number of training views per image, 0 = endless.
        prepared: folder of `pisam prepare`, whose copies are trained on.
        prompts: what training samples are prompted with, only boxes by default.
        photometric: changes of training images, see `Photometric`.
        instances: make each instance of at least so many pixels a sample; None takes them together.
        composites: share of the training views on which another pair's object is pasted.
        seed: of order, views and sample seeds.
        timeout: seconds that a batch of the loader's processes may take.

    Raises:
        ValueError: a number out of its range, or a text in place of a list.
        PisamError: see `Photometric`.

    Attributes:
        resume_at: (epoch, batches of it already trained on) of a resumed run, where they are known before the
            trainer's own counters are restored: an optimiser that asks for the number of steps has the loader
            made by then.
    """

    def __init__(
        self,
        *,
        root: str | Path | None,
        train: Sequence[Entry] = (),
        val: Sequence[Entry] = (),
        image_size: int = 1024,
        batch_size: int = 4,
        val_batch_size: int = 1,
        workers: int = 4,
        flip: bool = True,
        jitter: Sequence[float] | None = (0.8, 1.6),
        views: int = 0,
        prepared: str | Path | None = None,
        prompts: PromptMix | None = None,
        instances: int | None = None,
        photometric: Sequence[Step] = (),
        composites: float = 0.0,
        seed: int = 0,
        timeout: float = 600.0,
    ) -> None:
        super().__init__()
        sizes = {"image_size": image_size, "batch_size": batch_size, "val_batch_size": val_batch_size}
        for name, number in sizes.items():
            check_number(name, number, 1, whole=True)
        for name, number in (("workers", workers), ("views", views), ("seed", seed)):
            check_number(name, number, 0, whole=True)
        check_number("instances", 1 if instances is None else instances, 1, whole=True)
        check_number("composites", composites, 0, 1)
        check_number("timeout", timeout, 0)
        for name, given in (("train", train), ("val", val), ("photometric", photometric)):
            if isinstance(given, str) or not isinstance(given, Sequence):
                raise ValueError(f"{name}: expected a list, got {given!r:.40}")
        if jitter and not is_increasing_pair(jitter):
            raise ValueError(f"jitter: expected two increasing positive numbers, or none, got {jitter!r:.40}")
        self.root, self.train_entries, self.val_entries = root, list(train), list(val)
        self.image_size, self.views = image_size, views
        self.batch_size, self.val_batch_size = batch_size, val_batch_size
        self.workers, self.timeout, self.seed = workers, timeout, seed
        self._samples: dict[str, Any] = {"image_size": image_size, "instances": instances, "seed": seed}
        if photometric:
            Photometric(photometric)  # what cannot be done is refused before any file is read
        self._augmentation: dict[str, Any] = {
            "views": views,
            "flip": flip,
            "jitter": (jitter[0], jitter[1]) if jitter else None,
            "prepared": None if prepared is None else Path(prepared),
            "prompts": prompts,
            "photometric": list(photometric),
            "composites": composites,
        }
        self.train_set: PairDataset | None = None
        self.val_set: PairDataset | None = None
        self.resume_at: tuple[int, int] | None = None
        self._contents: dict[str, dict[str, str]] = {}

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Samples per source, under `train` and `val`, of what is set up."""
        parts = {"train": self.train_set, "val": self.val_set}
        return {part: data.counts() for part, data in parts.items() if data is not None}

    @property
    def samples(self) -> dict[str, dict[str, Any]]:
        """See `PairDataset.identity`, of what is set up: `train` and `val`.

        After `check_files` also `contents`, a digest of what the files say.
        """
        parts = {"train": self.train_set, "val": self.val_set}
        return {
            part: {**data.identity, **self._contents.get(part, {})}
            for part, data in parts.items()
            if data is not None
        }

    @property
    def val_pairs(self) -> dict[tuple[str, str], Pair]:
        """The validation pairs by (set, id), in the order of their samples."""
        return {(source.name, pair.id): pair for source, pair in self._validation().items}

    def setup(self, stage: str | None = None) -> None:
        """Find every file of every source, so that a missing one stops the run before its first step.

        Raises:
            PisamError: see `resolve_sources` and `list_pairs`; or nothing to train on.
        """
        if self.val_set is None:
            sources = resolve_sources(self.val_entries, self.root, training=False)
            self.val_set = PairDataset(sources, training=False, **self._samples)
            self._log_counts("val", self.val_set)
        if self.train_set is None and stage in (None, "fit"):
            if not self.train_entries:
                raise PisamError(NOTHING_TO_TRAIN_ON)
            sources = resolve_sources(self.train_entries, self.root, training=True)
            self.train_set = PairDataset(sources, training=True, **self._samples, **self._augmentation)
            self._log_counts("train", self.train_set)

    def check_files(self) -> None:
        """Audit what is set up, so that no damaged file stops the run after hours; what is known is not read.

        Raises:
            PisamError: the first error of the audit; names the file.
        """
        parts: list[tuple[Part, PairDataset | None]] = [("train", self.train_set), ("val", self.val_set)]
        result = audit((part, source) for part, data in parts if data for source in data.sources)
        for part, _ in parts:
            digests = [report.contents for report in result.sources if report.part == part]
            self._contents[part] = {"contents": content_hash("".join(digests).encode())}
        first, *others = [*result.of("error"), None]
        if first is not None:
            more = f" (and {len(others) - 1} more, see pisam audit)" if len(others) > 1 else ""
            raise PisamError(f"{first.problem}{more}")
        if suspect := result.of("suspect"):
            log.warning("audit: %d findings to mend, see pisam audit: %s", len(suspect), suspect[0].problem)

    def train_dataloader(self) -> DataLoader:
        """Batches of random views, in the order of the epoch, from where the trainer stands."""
        data = self._training()
        sampler = TrainingSampler(
            [source.weight for source, _ in data.items],
            batch_size=self.batch_size,
            rank=self._rank,
            world_size=self._world_size,
            seed=self.seed,
        )
        sampler.resume(*self._position())
        return self._loader(data, sampler, self.batch_size)

    def val_dataloader(self) -> DataLoader:
        """All validation sets in one loader, in the order of their entries, each sorted by id."""
        data = self._validation()
        if len(data) < self._world_size:
            raise PisamError(
                f"data.val: {len(data)} images for {self._world_size} ranks; each needs one at "
                "least, so add images or use fewer devices"
            )
        sampler = ValidationSampler(len(data), rank=self._rank, world_size=self._world_size)
        return self._loader(data, sampler, self.val_batch_size)

    def train_dataloader_of(self, keys: Sequence[tuple[int, int]]) -> DataLoader:
        """The training samples of these (index, epoch) keys, in this order; one in a batch."""
        return self._loader(self._training(), list(keys), 1)

    def val_dataloader_of(self, indices: Sequence[int]) -> DataLoader:
        """The validation samples of these indices, in this order, whatever the rank; one in a batch."""
        return self._loader(self._validation(), list(indices), 1)

    def _training(self) -> PairDataset:
        if self.train_set is None:
            raise PisamError(NOTHING_TO_TRAIN_ON)
        return self.train_set

    def _validation(self) -> PairDataset:
        if self.val_set is None:
            raise PisamError("validation data is not set up; call setup() first")
        return self.val_set

    def _log_counts(self, part: Part, data: PairDataset) -> None:
        if self._rank == 0:
            weights = {source.name: f" x {source.weight:g}" for source in data.sources if source.weight != 1}
            each = [f"{name} {count}{weights.get(name, '')}" for name, count in data.counts().items()]
            log.info("%s: %d samples (%s)", part, len(data), ", ".join(each))

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    def _position(self) -> tuple[int, int]:
        """(epoch, batches of it already trained on), also right after a checkpoint was restored.

        Lightning asks the loader for its iterator before it tells samplers the epoch, and workers then read
        ahead at once: the sampler must know beforehand.
        """
        if self.resume_at is not None:
            return self.resume_at
        if not self.trainer:
            return 0, 0
        epochs = self.trainer.fit_loop.epoch_progress.current.state_dict()
        batches = self.trainer.fit_loop.epoch_loop.batch_progress.current.state_dict()
        # Between two epochs the batch counter still shows the end of the last one.
        in_epoch = epochs["started"] > epochs["processed"]
        return epochs["processed"], batches["processed"] if in_epoch else 0

    def _loader(self, data: PairDataset, sampler: Sampler | list[Any], batch_size: int) -> DataLoader:
        return BatchLoader(
            data,
            batch_size=batch_size,
            sampler=sampler,
            timeout=self.timeout,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=begin_worker,
            # Its own generator: making an iterator must not advance the run's random state.
            generator=torch.Generator().manual_seed(0),
        )
