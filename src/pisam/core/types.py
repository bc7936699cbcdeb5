"""The values that travel between the parts: one dataclass each, one shape per field.

Letters: B samples, S side of the square network frame in pixels, E = S / 16, F = S / 4, M clicks.
A coordinate is (x, y) in pixels of a stated frame, with pixel centres at +0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # files are read, and an exported model is run, where there is no torch
    import torch
    from torch import Tensor

UInt8Array = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]

Click = tuple[float, float, int]  # x, y, label; in pixels, label 1 = object

ALIKE = 0.8  # IoU from which on two masks are of the same object


@dataclass  # not frozen: Lightning writes to the copy it moves to a device
class Window:
    """The part of an image that its frame shows, and how large: the exact map between the two."""

    # left, top, width, height: the part, in pixels of the original image. It may end a few pixels beyond the
    # right and lower edge, where an image was reduced by blocks.
    left: int
    top: int
    width: int
    height: int
    # out_width, out_height: its size in the frame, from the upper left corner on
    out_width: int
    out_height: int
    mirrored: bool = False  # left and right are exchanged


@dataclass
class Clicks:
    """User clicks on a batch of masks, padded to the same number per sample.

    Attributes:
        points: float (B, M, 2), (x, y) in pixels of the frame of the mask that was clicked.
        labels: int64 (B, M), 1 = foreground (object was missed), 0 = background (object was invented).
        valid: bool (B, M), False where a row is padding.
    """

    points: Tensor
    labels: Tensor
    valid: Tensor

    @classmethod
    def none(cls, batch_size: int, device: torch.device | str = "cpu") -> Clicks:
        """No click for any of `batch_size` samples (M = 0)."""
        import torch

        return cls(
            points=torch.zeros(batch_size, 0, 2, device=device),
            labels=torch.zeros(batch_size, 0, dtype=torch.int64, device=device),
            valid=torch.zeros(batch_size, 0, dtype=torch.bool, device=device),
        )

    @classmethod
    def of(cls, samples: Sequence[Sequence[Click]]) -> Clicks:
        """The clicks of each of one sample or more, padded."""
        import torch

        rows = np.zeros((len(samples), max(map(len, samples)), 4))  # x, y, label, valid
        for row, clicks in zip(rows, samples, strict=True):
            row[: len(clicks)] = [(*click, 1) for click in clicks] if clicks else 0
        table = torch.from_numpy(rows)
        return cls(table[..., :2].float(), table[..., 2].long(), table[..., 3] > 0)

    @classmethod
    def joined(cls, parts: Sequence[Clicks]) -> Clicks:
        """The samples of several batches, one after the other; all with the same M."""
        import torch

        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*(torch.cat(column) for column in columns))

    @classmethod
    def beside(cls, parts: Sequence[Clicks]) -> Clicks:
        """The clicks of each sample one part after the other."""
        import torch

        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*(torch.cat(column, dim=1) for column in columns))

    def rows(self, sample: int) -> list[tuple[float, float, int]]:
        """(x, y, label) of a sample's valid clicks, in their order."""
        valid = self.valid[sample]
        points, labels = self.points[sample][valid].tolist(), self.labels[sample][valid].tolist()
        return [(x, y, label) for (x, y), label in zip(points, labels, strict=True)]

    def padded(self, number: int) -> Clicks:
        """Pad the clicks up to M = `number`."""
        import torch.nn.functional as F

        more = (0, number - self.valid.shape[1])
        return Clicks(F.pad(self.points, (0, 0, *more)), F.pad(self.labels, more), F.pad(self.valid, more))

    def to(self, device: torch.device | str) -> Clicks:
        """Move the clicks to `device`."""
        return Clicks(self.points.to(device), self.labels.to(device), self.valid.to(device))


PromptKind = Literal["box", "points", "mask", "box+points", "box+mask", "points+mask", "box+points+mask"]
AGAIN: PromptKind = "box+points+mask"  # what SAM is asked again with: the clicks, and the mask before


@dataclass
class Prompts:
    """Prompts that name the object where the box alone does not; one kind per sample."""

    kinds: Sequence[PromptKind]  # B kinds; the others' fields are not read for a sample
    points: Clicks  # on the object or beside it, in pixels of the S x S frame, as SAM's own point prompts
    mask: Tensor  # float (B, 1, F, F), logits of a rough mask

    def select(self, rows: Sequence[int]) -> Prompts:
        """The prompts of some of the samples."""
        clicks = self.points
        points = Clicks(clicks.points[rows], clicks.labels[rows], clicks.valid[rows])
        return Prompts([self.kinds[row] for row in rows], points, self.mask[rows])


@dataclass
class SamFeatures:
    """Frozen SAM's features of an image and its prompt."""

    image_embedding: Tensor  # float (B, 256, E, E)
    early: Tensor  # float (B, D, E, E), the output of an early encoder block; D depends on the backbone
    sparse_prompt: Tensor  # float (B, N, 256), the tokens of the prompt: two corners of a box, or points
    dense_prompt: Tensor  # float (B, 256, E, E)
    position: Tensor  # float (1, 256, E, E), SAM's position code of the embedding's pixels
    # how many of its N tokens each sample has, the rest being padding; None = all have N
    prompt_lengths: Sequence[int] | None = None
    # bool (B,), true for a single point alone, which may be of a part or of the whole; None = none is
    ambiguous: Tensor | None = None

    def by_prompt_length(self) -> list[tuple[list[int], SamFeatures]]:
        """Rows of the batch and their features, in groups of one number of tokens, without padding.

        SAM's transformer knows no padding, so samples with different prompts go through it in groups.
        """
        lengths = self.prompt_lengths
        if lengths is None:
            return [(list(range(len(self.sparse_prompt))), self)]
        groups = []
        for length in sorted(set(lengths)):
            rows = [row for row, own in enumerate(lengths) if own == length]
            group = SamFeatures(
                image_embedding=self.image_embedding[rows],
                early=self.early[rows],
                sparse_prompt=self.sparse_prompt[rows, :length],
                dense_prompt=self.dense_prompt[rows],
                position=self.position,
            )
            groups.append((rows, group))
        return groups


@dataclass
class ObjectFeatures:
    """The High-Resolution Mask Decoder's features of the prompted object, before its head."""

    enhanced: Tensor  # float (B, 32, F, F), the enhanced feature O of the Object Embedder
    token: Tensor  # float (B, 32), the output token T after its MLP
    # float (B, 1, F, F), logits that the head's are added to; None = the head's stand alone
    base: Tensor | None = None
    # float (B,), 1 where a guard finds the picture like those of training; None = no guard
    familiar: Tensor | None = None

    def each(self, change: Callable[..., Tensor], *others: ObjectFeatures) -> ObjectFeatures:
        """The results of `change` on each feature that is there, and on the same one of the others."""
        sets = [vars(features) for features in (self, *others)]
        changed: dict[str, Any] = {
            name: None if value is None else change(*(features[name] for features in sets))
            for name, value in sets[0].items()
        }
        return ObjectFeatures(**changed)


@dataclass
class Prediction:
    """Mask logits, positive = object."""

    low_res: Tensor  # float (B, 1, F, F)
    high_res: Tensor  # float (B, 1, S, S)


@dataclass
class Batch:
    """Samples as the data module delivers them; callbacks fill the last fields in place."""

    image: Tensor  # uint8 (B, 3, S, S) RGB
    mask: Tensor  # bool (B, 1, S, S), True = object
    # float (B, 4), the prompt as xyxy edges in pixels of the S x S frame (a mask of the single pixel (3, 5)
    # has the box 3, 5, 4, 6)
    box: Tensor
    # float (B, 2), (width, height) in pixels of the image content inside the S x S frame; what lies right of
    # and below it is padding and takes part in no loss and no click
    extent: Tensor
    ids: Sequence[str]  # B sample names, unique within their data set
    sets: Sequence[str]  # B data set names
    seeds: Sequence[int]  # B integers, a function of (seed, epoch, sample id) alone
    # B integers: which augmented view of its image a sample is, where views repeat; else 0
    views: Sequence[int] = ()
    # in validation, B bool tensors (H, W) at original size; empty in training
    original_masks: Sequence[Tensor] = field(default_factory=list)
    # bool (B, 1, S, S), True where the data say nothing: no loss, click or score depends on these pixels, and
    # no object is there; None = nowhere
    ignored: Tensor | None = None
    # in validation, the same at original size, (H, W) each; None = nowhere
    original_ignored: Sequence[Tensor] | None = None
    prompts: Prompts | None = None  # what SAM is prompted with; None = every box, as always in validation
    clicks: Clicks | None = None  # filled by the click simulator
    # filled with SAM's image embedding (B, 256, E, E) and early feature (B, D, E, E) where they were computed
    # already
    encoded: tuple[Tensor, Tensor] | None = None
    # filled with the frozen decoder's object features where they were computed already
    objects: ObjectFeatures | None = None
    # filled with the prediction before any click where it was computed already
    straight_forward: Prediction | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def counted(self) -> Tensor:
        """bool (B, 1, S, S): the pixels that losses and clicks are about, neither padding nor ignored."""
        import torch

        side = torch.arange(self.mask.shape[-1], device=self.mask.device)
        width, height = self.extent[:, :1], self.extent[:, 1:]
        content = ((side < width)[:, None, :] & (side < height)[:, :, None]).unsqueeze(1)
        return content if self.ignored is None else content & ~self.ignored

    def ignored_at(self, index: int) -> Tensor | None:
        """bool (H, W) at original size: what the scores of a validation sample leave out; None = nothing."""
        return None if self.original_ignored is None else self.original_ignored[index]

    def one(self, index: int) -> Batch:
        """The sample of one row, as a batch, without what callbacks fill in."""
        return Batch(
            image=self.image[[index]],
            mask=self.mask[[index]],
            box=self.box[[index]],
            extent=self.extent[[index]],
            ids=[self.ids[index]],
            sets=[self.sets[index]],
            seeds=[self.seeds[index]],
            views=self.views[index : index + 1],
            ignored=None if self.ignored is None else self.ignored[[index]],
            prompts=None if self.prompts is None else self.prompts.select([index]),
        )

    def pin_memory(self) -> Batch:
        """Called by the DataLoader: the same batch in page-locked memory."""
        return replace(
            self,
            image=self.image.pin_memory(),
            mask=self.mask.pin_memory(),
            box=self.box.pin_memory(),
            extent=self.extent.pin_memory(),
            ignored=None if self.ignored is None else self.ignored.pin_memory(),
        )
