"""Stage 1: train the High-Resolution Mask Decoder, or HQ-SAM's, on frozen SAM."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pisam.core.checks import check_number
from pisam.core.types import Batch, Prediction
from pisam.modeling.hq_sam import HqSam
from pisam.modeling.pisam import PiSam
from pisam.training.loss_points import NUM_POINTS
from pisam.training.losses import mask_loss
from pisam.training.stages.regions import with_proposals
from pisam.training.stages.rounds import prompts_after_rounds
from pisam.training.stages.stage import Stage
from pisam.training.stages.windows import STEP, cut, draw_windows

Key = tuple[bool, str, str, int]


class Encodings:
    """Keeps image embedding and early feature per view in main memory; under autocast in half precision."""

    def __init__(self) -> None:
        self.kept: dict[Key, tuple[Tensor, ...]] = {}

    def __call__(
        self, batch: Batch, training: bool, encode: Callable[[Tensor], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Image embeddings (B, 256, E, E) and early features (B, D, E, E); each view is encoded by itself.

        Args:
            batch: its `views` tell the augmented views of an image apart.
            training: views of training and of validation are kept apart.
            encode: uint8 images (B, 3, S, S) to both.
        """
        keys = [(training, *key) for key in zip(batch.sets, batch.ids, batch.views, strict=True)]
        device = batch.image.device
        kept_as = torch.float16 if torch.is_autocast_enabled(device.type) else torch.float32
        for index, key in enumerate(keys):
            if key not in self.kept:
                self.kept[key] = tuple(value.to("cpu", kept_as) for value in encode(batch.image[[index]]))
        embedding, early = zip(*(self.kept[key] for key in keys), strict=True)
        return torch.cat(embedding).to(device).float(), torch.cat(early).to(device).float()


class DecoderStage(Stage):
    """Learns straight-forward masks from boxes, and answers to clicks that SAM is prompted with.

    Args:
        model: the network.
        lr: first learning rate.
        low_res: weight of the loss of the quarter-resolution logits.
        high_res: weight of the loss of the full-resolution logits.
        bce: weight of the binary cross-entropy in each.
        dice: weight of the Dice loss in each.
        cache: keep SAM's encoding of each view in memory, for the epochs where it returns.
        rounds: train on answers after up to so many simulated rounds of clicks, see `prompts_after_rounds`.
        proposals: share of the samples that are exchanged for an object that SAM proposes.
        window: side of the part of the frame on which the full-resolution logits are trained, as a share.
    """

    model: PiSam

    def __init__(
        self,
        model: PiSam,
        *,
        lr: float = 1e-3,
        low_res: float = 1.0,
        high_res: float = 1.0,
        bce: float = 1.0,
        dice: float = 1.0,
        cache: bool = False,
        rounds: int = 0,
        proposals: float = 0.0,
        window: float = 1.0,
    ) -> None:
        super().__init__(model, part="decoder", lr=lr, bce=bce, dice=dice)
        for name, weight in (("low_res", low_res), ("high_res", high_res)):
            check_number(name, weight, 0)
        check_number("rounds", rounds, 0, whole=True)
        check_number("proposals", proposals, 0, 1)
        check_number("window", window, 0, 1)
        self.low_res = low_res
        self.high_res = high_res
        self.encodings = Encodings() if cache else None
        self.rounds = rounds
        self.proposals = proposals
        self.window = window

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """See `Stage`; the guard sees what is trained on, and not what `losses` is only tried on."""
        if self.model.decoder.guard is not None:
            batch.encoded = self._encode(batch)
            self.model.decoder.guard.remember(batch.encoded[1], batch.extent / self.model.image_size)
        return super().training_step(batch, batch_idx)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        encoded = self._encode(batch)
        if self.proposals:
            batch = with_proposals(self.model, batch, encoded, self.proposals)
        prompts = batch.prompts
        if self.rounds:
            prompts = prompts_after_rounds(self.model, batch, encoded, self.rounds)
        features = self.model.encoder.prompt(*encoded, batch.box, prompts)
        token, mask_feature, logits = self.model.decoder.low_res(features)
        where = (batch.mask, batch.extent, batch.seeds)
        low_res = self.combine(mask_loss(logits, *where, purpose="low_res", ignored=batch.ignored)).mean()
        high_res = self._high_res(batch, token, mask_feature, logits)
        loss = self.low_res * low_res + self.high_res * high_res
        return {"loss": loss, "low_res": low_res, "high_res": high_res}

    def _high_res(self, batch: Batch, token: Tensor, mask_feature: Tensor, logits: Tensor) -> Tensor:
        """The mean loss of the full-resolution logits, of a window of each frame where one is asked for."""
        size = batch.mask.shape[-1]
        side = max(1, round(self.window * size / STEP)) * STEP
        image, mask, extent = self.model.normalise(batch.image), batch.mask, batch.extent
        ignored = batch.ignored
        if side < size:
            corners = draw_windows(mask, extent, side, batch.seeds)
            mask_feature, logits, image, mask = (
                cut(each, corners, side, size) for each in (mask_feature, logits, image, mask)
            )
            ignored = None if ignored is None else cut(ignored, corners, side, size)
            extent = (extent - corners).clamp(max=side)
        _, prediction = self.model.decoder.enhance(token, mask_feature, logits, image)
        terms = mask_loss(
            prediction.high_res,
            mask,
            extent,
            batch.seeds,
            purpose="high_res",
            num_points=round(NUM_POINTS * (side / size) ** 2),
            ignored=ignored,
        )
        return self.combine(terms).mean()

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Logits (B, 1, S, S), scored by the callbacks."""
        prediction: Prediction
        _, prediction = self.model.decode(*self._encode(batch), batch.image, batch.box)
        return prediction.high_res

    def _encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if batch.encoded is not None:
            return batch.encoded
        if self.encodings is None:
            return self.model.encode(batch.image)
        return self.encodings(batch, self.training, self.model.encode)


class HqStage(Stage):
    """Trains the HQ token and its features; the mask is scored at its own resolution, as the authors do.

    Args:
        model: the network.
        lr: first learning rate.
        low_res: weight of the loss of the logits.
        bce: weight of the binary cross-entropy.
        dice: weight of the Dice loss.
    """

    model: HqSam

    def __init__(
        self, model: HqSam, *, lr: float = 1e-3, low_res: float = 1.0, bce: float = 1.0, dice: float = 1.0
    ) -> None:
        super().__init__(model, part="decoder", lr=lr, bce=bce, dice=dice)
        check_number("low_res", low_res, 0)
        self.low_res = low_res

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.model(batch.image, batch.box, batch.prompts).low_res
        terms = mask_loss(
            logits, batch.mask, batch.extent, batch.seeds, purpose="low_res", ignored=batch.ignored
        )
        return {"loss": self.low_res * self.combine(terms).mean()}

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Logits (B, 1, S, S), scored by the callbacks."""
        return self.model(batch.image, batch.box).high_res
