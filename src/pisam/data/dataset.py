"""Samples from pairs, and batches from samples."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pisam.core.errors import PisamError
from pisam.core.seeding import derive_seed
from pisam.core.types import Batch, BoolArray, Clicks, Prompts
from pisam.data.audit.cache import stamp_of
from pisam.data.audit.prepared import MAX_SIDE, prepared_pairs
from pisam.data.photometric import Photometric, Step
from pisam.data.prompts import Prompt, PromptMix, draw_prompt
from pisam.data.reading.reader import check_sizes, read_reduced
from pisam.data.reading.targets import open_target, read_pair
from pisam.data.sources.instances import split_pairs
from pisam.data.sources.pairs import Pair, list_pairs
from pisam.data.sources.rows import Source
from pisam.data.transforms import (
    PASTED_JITTER,
    Change,
    Framed,
    draw_view,
    frame_for_validation,
    frame_view,
    paste,
)

Key = tuple[int, int]  # index and epoch of a training sample


@dataclass(frozen=True)
class Sample:
    """One row of a `Batch`; see there."""

    image: Tensor  # uint8 (3, S, S)
    mask: Tensor  # bool (1, S, S)
    box: Tensor  # float (4,)
    extent: Tensor  # float (2,)
    id: str  # stem of the image file
    set: str  # name of its source
    seed: int  # for whatever else is drawn for this sample
    view: int = 0  # index of its augmented view, 0 where views do not repeat
    ignored: Tensor | None = None  # bool (1, S, S), or None = nothing is
    original_mask: Tensor | None = None  # bool (H, W) in validation, else None
    original_ignored: Tensor | None = None  # bool (H, W) in validation where something is ignored, else None
    prompt: Prompt | None = None  # in training with prompts other than boxes, else None


class PairDataset(Dataset[Sample]):
    """The pairs of all sources, one after the other, each source sorted by id.

    Args:
        sources: where the pairs are.
        training: random views if True, else the whole image squashed and the mask kept at original size; the
            other arguments, as in `PairDataModule`, are then of no account but `image_size`, `instances` and
            `seed`: views, prompts and sample seeds are a function of (seed, epoch, set, id) alone.

    Raises:
        PisamError: a folder is missing or empty, or an image lacks its mask.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        image_size: int,
        training: bool,
        flip: bool = True,
        jitter: tuple[float, float] | None = (0.8, 1.6),
        views: int = 0,
        prepared: Path | None = None,
        prompts: PromptMix | None = None,
        instances: int | None = None,
        photometric: Sequence[Step] = (),
        composites: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.sources, self.image_size, self.training = list(sources), image_size, training
        self.flip, self.jitter, self.views = flip, jitter, views
        self.prepared = prepared if training else None
        self.prompts = prompts or PromptMix()
        self.instances, self.composites, self.seed = instances, composites, seed
        self.photometric = Photometric(photometric) if training and photometric else None
        self.items: list[tuple[Source, Pair]] = [
            (source, pair) for source in sources for pair in self._pairs(source)
        ]

    def _pairs(self, source: Source) -> list[Pair]:
        if self.prepared is None:
            pairs = list_pairs(source)
            return pairs if self.instances is None else split_pairs(source, pairs, self.instances)
        if self.instances is not None:
            raise PisamError(
                "data.prepared: its masks hold an image's objects together, so data.instances must be union; "
                "train on instances from the originals"
            )
        largest = (self.jitter or (1, 1))[1] * self.image_size
        if largest > MAX_SIDE:
            raise PisamError(
                f"data.prepared: its images have at most {MAX_SIDE} pixels a side, but data.jitter and "
                f"model.image_size enlarge them to {largest:.0f}; train from the originals"
            )
        return prepared_pairs(source, self.prepared)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: int | Key) -> Sample:
        """The sample of an index, or in training of an (index, epoch) key.

        Raises:
            PisamError: a file cannot be read, or image and mask do not fit; names the file.
        """
        index, epoch = key if isinstance(key, tuple) else (key, 0)
        source, pair = self.items[index]
        try:
            return self._training_sample(source, pair, epoch) if self.training else self._sample(source, pair)
        except PisamError:
            raise
        except Exception as error:
            error.add_note(f"while making a sample of {pair.image} and {pair.mask}")
            raise

    def counts(self) -> dict[str, int]:
        """Number of samples per source name."""
        counts = dict.fromkeys((source.name for source in self.sources), 0)
        for source, _ in self.items:
            counts[source.name] += 1
        return counts

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Values that tell the samples from others, found once.

        Samples per source under `sets`; digests, in their order, of all sources' and samples' names under
        `sha256`, and of the sizes of their files, which other contents seldom share, under `bytes`.
        """
        names, sizes = hashlib.sha256(), hashlib.sha256()
        for source, pair in self.items:
            names.update(f"{source.name}\0{pair.id}\0".encode("utf-8", "surrogateescape"))
            sizes.update(f"{(stamp_of(pair) or [0])[1::2]}\n".encode())
        return {"sets": self.counts(), "sha256": names.hexdigest(), "bytes": sizes.hexdigest()}

    def _training_sample(self, source: Source, pair: Pair, epoch: int) -> Sample:
        view = epoch % self.views if self.views else 0
        round_ = view if self.views else epoch
        framed = self._view(source, pair, round_)
        # Views return with their prompts, for what is cached of a view belongs to both.
        rng = np.random.default_rng(derive_seed(self.seed, round_, source.name, pair.id, "prompt"))
        prompt = draw_prompt(framed.mask, framed.box, framed.extent, self.prompts, rng)
        return Sample(
            image=_chw(framed.image),
            mask=torch.from_numpy(framed.mask)[None],
            box=torch.from_numpy(prompt.box),
            extent=torch.tensor(framed.extent, dtype=torch.float32),
            id=pair.id,
            set=source.name,
            seed=derive_seed(self.seed, epoch, source.name, pair.id),
            view=view,
            ignored=_row(framed.ignored),
            prompt=None if self.prompts.only_boxes else prompt,
        )

    def _view(self, source: Source, pair: Pair, round_: int) -> Framed:
        """The view of a round, another pair's object pasted on it or not."""
        names = (self.seed, round_, source.name, pair.id)
        change = None
        if self.photometric is not None:
            change = partial(self.photometric, seed=derive_seed(*names, "photometric"))
        framed = self._framed(pair, np.random.default_rng(derive_seed(*names, "view")), self.jitter, change)
        rng = np.random.default_rng(derive_seed(*names, "composite"))
        if rng.random() < self.composites:
            _, other = self.items[int(rng.integers(len(self.items)))]
            framed = paste(framed, self._framed(other, rng, PASTED_JITTER, change), rng)
        return framed

    def _framed(
        self, pair: Pair, rng: np.random.Generator, jitter: tuple[float, float] | None, change: Change | None
    ) -> Framed:
        """One pair in the frame, as `rng` draws it."""
        shape, coverage, ignored = open_target(pair)
        drawn = draw_view(
            shape,
            coverage,
            self.image_size,
            rng,
            flip=self.flip,
            jitter=jitter,
            prepared=self.prepared is not None,
        )
        image, whole = read_reduced(pair.image, drawn.reduction)
        check_sizes(pair.image, whole, pair.mask, shape)
        left_out = ignored(drawn.reduction) if ignored else None
        return frame_view(drawn, image, self.image_size, change, left_out)

    def _sample(self, source: Source, pair: Pair) -> Sample:
        image, labels = read_pair(pair)
        mask, ignored = labels.mask, labels.ignored
        framed = frame_for_validation(image, mask, self.image_size, ignored)
        return Sample(
            image=_chw(framed.image),
            mask=torch.from_numpy(framed.mask)[None],
            box=torch.from_numpy(framed.box),
            extent=torch.tensor(framed.extent, dtype=torch.float32),
            id=pair.id,
            set=source.name,
            seed=derive_seed(self.seed, "val", source.name, pair.id),
            ignored=_row(framed.ignored),
            original_mask=torch.from_numpy(mask),
            original_ignored=None if ignored is None else torch.from_numpy(ignored),
        )


def collate(samples: Sequence[Sample]) -> Batch:
    """The samples as one batch; `original_masks` stays a list, for their sizes differ."""
    ignored = _where_any([(sample.ignored, sample.mask) for sample in samples])
    return Batch(
        image=torch.stack([sample.image for sample in samples]),
        mask=torch.stack([sample.mask for sample in samples]),
        box=torch.stack([sample.box for sample in samples]),
        extent=torch.stack([sample.extent for sample in samples]),
        ids=[sample.id for sample in samples],
        sets=[sample.set for sample in samples],
        seeds=[sample.seed for sample in samples],
        views=[sample.view for sample in samples],
        ignored=None if ignored is None else torch.stack(ignored),
        original_masks=[sample.original_mask for sample in samples if sample.original_mask is not None],
        original_ignored=_where_any([(s.original_ignored, s.original_mask) for s in samples]),
        prompts=_collate_prompts([sample.prompt for sample in samples if sample.prompt is not None]),
    )


def _collate_prompts(prompts: Sequence[Prompt]) -> Prompts | None:
    if not prompts:
        return None
    # All points lie on the object, hence label 1.
    clicks = Clicks.of([[(x, y, 1) for x, y in prompt.points.tolist()] for prompt in prompts])
    masks = torch.from_numpy(np.stack([prompt.mask for prompt in prompts])).unsqueeze(1)
    return Prompts([prompt.kind for prompt in prompts], clicks, masks)


def _where_any(ignored_and_masks: Sequence[tuple[Tensor | None, Tensor | None]]) -> list[Tensor] | None:
    """The ignored pixels of each sample, or None if no sample has any."""
    if all(ignored is None for ignored, _ in ignored_and_masks):
        return None
    return [
        torch.zeros_like(mask) if ignored is None else ignored
        for ignored, mask in ignored_and_masks
        if mask is not None
    ]


def _row(mask: BoolArray | None) -> Tensor | None:
    return None if mask is None else torch.from_numpy(mask)[None]


def _chw(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
