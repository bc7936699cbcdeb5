"""Pi-SAM assembled: frozen SAM, High-Resolution Mask Decoder, Precise Interactor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pisam.core.types import Clicks, ObjectFeatures, Prediction, Prompts
from pisam.modeling.backbones import SamParts
from pisam.modeling.hr_mask_decoder import HighResolutionMaskDecoder
from pisam.modeling.local_interactor import LocalInteractor
from pisam.modeling.precise_interactor import PreciseInteractor
from pisam.modeling.sam_encoder import with_clicks
from pisam.modeling.sam_network import SamNetwork
from pisam.modeling.sam_weights import load_sam


class PiSam(SamNetwork):
    """The whole network; `SamNetwork` explains frozen SAM.

    Args:
        backbone: name of the SAM backbone.
        image_size: side S of the square frame.
        parts: a SAM with its weights loaded.
        from_sam: see `HighResolutionMaskDecoder`.
        local: the interactor is a `LocalInteractor`.
        reprompt: its decoder was trained to be asked again with the clicks, see `ask_again`.
        guard: see `HighResolutionMaskDecoder`.

    Raises:
        ValueError: a departure from the paper that is neither True nor False: a checkpoint would say so, and
            no reader would take it for ours.
    """

    kind = "pi"
    decoder: HighResolutionMaskDecoder

    def __init__(
        self,
        *,
        backbone: str,
        image_size: int,
        parts: SamParts,
        from_sam: bool = False,
        local: bool = False,
        reprompt: bool = False,
        guard: bool = False,
    ) -> None:
        departs = {"from_sam": from_sam, "local": local, "reprompt": reprompt, "guard": guard}
        if wrong := [name for name, value in departs.items() if type(value) is not bool]:
            raise ValueError(f"{wrong[0]}: expected True or False, got {departs[wrong[0]]!r:.40}")
        decoder = HighResolutionMaskDecoder(
            sam_decoder=parts.mask_decoder, early_dim=parts.early_dim, from_sam=from_sam, guard=guard
        )
        super().__init__(backbone=backbone, image_size=image_size, parts=parts, decoder=decoder)
        self.local = local
        self.interactor = LocalInteractor() if local else PreciseInteractor()
        self.reprompt = reprompt

    def identity(self) -> dict[str, Any]:
        departs = {
            "from_sam": self.decoder.from_sam,
            "local": self.local,
            "reprompt": self.reprompt,
            "guard": self.decoder.guard is not None,
        }
        return {**super().identity(), **departs}

    def straight_forward(
        self,
        image: Tensor,
        box: Tensor,
        prompts: Prompts | None = None,
        encoded: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[ObjectFeatures, Prediction]:
        """The prediction before any click, and the object's features it was made from.

        Args:
            image: uint8 (B, 3, S, S) RGB.
            box: float (B, 4), xyxy edges in pixels of the frame.
            prompts: other prompts in place of boxes; None = the boxes.
            encoded: of these images as `encode` gave them, where they come again and again.
        """
        return self.decode(*(encoded or self.encode(image)), image, box, prompts)

    @torch.no_grad()
    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Image embedding (B, 256, E, E) and early feature (B, D, E, E) of uint8 images (B, 3, S, S)."""
        embedding, early = self.encoder.image_encoder(self.normalise(image))
        return embedding, early

    def decode(
        self, embedding: Tensor, early: Tensor, image: Tensor, box: Tensor, prompts: Prompts | None = None
    ) -> tuple[ObjectFeatures, Prediction]:
        """Answer as `straight_forward`, for images that `encode` has seen."""
        features = self.encoder.prompt(embedding, early, box, prompts)
        objects, prediction = self.decoder(features, self.normalise(image))
        return objects, prediction

    def interact(
        self, objects: ObjectFeatures, image: Tensor, clicks: Clicks, colours: Tensor | None = None
    ) -> Tensor:
        """Logits (B, 1, S, S) after clicks (pixels of the frame); without any, the straight-forward ones.

        Args:
            objects: from `straight_forward`.
            image: uint8 (B, 3, S, S) RGB.
            clicks: of each sample.
            colours: of these images as `colours` gave them, where they are clicked again and again.
        """
        return self.interact_each([objects], image, clicks, colours)[0]

    def interact_each(
        self, states: Sequence[ObjectFeatures], image: Tensor, clicks: Clicks, colours: Tensor | None = None
    ) -> list[Tensor]:
        """As `interact`, for each of several states of the objects; what is of clicks alone is made once."""
        if colours is None:
            colours = self.colours(image)
        seen = self.interactor.seen(colours, clicks, self.image_size)
        answers = []
        for objects in states:
            enhanced, base = self.repair(objects, clicks)
            logits = self.decoder.head.finish(enhanced, colours, base, objects.familiar)
            answers.append(self.interactor.touched(logits, seen))
        return answers

    def repair(self, objects: ObjectFeatures, clicks: Clicks) -> tuple[Tensor, Tensor | None]:
        """O' (B, 32, F, F), and the logits (B, 1, F, F) that the head's are added to, if any."""
        if self.local:
            return self.interactor.changed(objects, clicks)
        return self.interactor(objects, clicks), objects.base  # the call, which may be compiled

    def features(
        self, embedding: Tensor, early: Tensor, box: Tensor, prompts: Prompts | None
    ) -> tuple[ObjectFeatures, Tensor]:
        """Decode but for the head, which an interactor's answer makes another mask of anyway."""
        features = self.encoder.prompt(embedding, early, box, prompts)
        return self.decoder.answer(features)

    @torch.no_grad()
    def ask_again(
        self,
        encoded: tuple[Tensor, Tensor],
        box: Tensor,
        clicks: Clicks,
        objects: ObjectFeatures,
        low_res: Tensor,
        prompts: Prompts | None = None,
    ) -> tuple[ObjectFeatures, Tensor]:
        """Prompt SAM with the clicks and the mask before, and decode anew; the image stays encoded.

        Args:
            encoded: of the images, from `encode`.
            box: float (B, 4), xyxy edges in pixels of the frame.
            clicks: all so far, in pixels of the frame: SAM's points beside its box.
            objects: of the answer before.
            low_res: logits (B, 1, F, F) of the answer before, SAM's mask prompt.
            prompts: what was given first in place of boxes; None = the boxes.

        Returns:
            object features and low-resolution logits; of a sample without a valid click exactly as before.
        """
        rows = clicks.valid.any(dim=1).nonzero()[:, 0]
        if not len(rows):
            return objects, low_res
        again = with_clicks(prompts, clicks, low_res).select(rows.tolist())
        embedding, early = encoded
        new, logits = self.features(embedding[rows], early[rows], box[rows], again)
        renewed = objects.each(lambda before, after: before.index_copy(0, rows, after), new)
        return renewed, low_res.index_copy(0, rows, logits)

    def colours(self, image: Tensor) -> Tensor:
        """The head's feature of uint8 images (B, 3, S, S) themselves, whatever is clicked."""
        return self.decoder.head.rgb_embedding(self.normalise(image))

    def forward(self, image: Tensor, box: Tensor, clicks: Clicks | None = None) -> Prediction:
        """Masks of the prompted objects: see `straight_forward` and `interact` for the arguments."""
        objects, prediction = self.straight_forward(image, box)
        if clicks is None:
            return prediction
        return Prediction(prediction.low_res, self.interact(objects, image, clicks))

    def save_pretrained(self, folder: str | Path, **options: Any) -> None:
        """Write a folder that the hub takes: see `pisam.modeling.hub.save_pretrained`."""
        from pisam.modeling.hub import save_pretrained

        save_pretrained(self, folder, **options)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Publish the model: see `pisam.modeling.hub.push_to_hub`."""
        from pisam.modeling.hub import push_to_hub

        return push_to_hub(self, repo_id, **options)

    @staticmethod
    def from_pretrained(
        source: str | Path, weights: str | Path | None = None, image_size: int | None = None, **options: Any
    ) -> PiSam:
        """The model of a folder or a repository: see `pisam.modeling.hub.from_pretrained`."""
        from pisam.modeling.hub import from_pretrained

        return from_pretrained(source, weights, image_size, **options)


def build_model(
    backbone: str,
    weights: str | Path | None = None,
    image_size: int = 1024,
    *,
    from_sam: bool = False,
    local: bool = False,
    reprompt: bool = False,
    guard: bool = False,
) -> PiSam:
    """A Pi-SAM with SAM's weights loaded and its own parts freshly initialised.

    Args:
        backbone: nano, vit_t, vit_b, vit_l or vit_h.
        weights: SAM's checkpoint or a directory of them; default: $PISAM_WEIGHTS. `nano` has none.
        image_size: side S of the square frame, a multiple of 64.
        from_sam, local, reprompt, guard: how it departs from the paper, see `PiSam`.

    Raises:
        PisamError: weights absent, unreadable or of another model.
        ValueError: unknown backbone, a size that is no multiple of 64, `guard` without `from_sam`, or a
            departure that is neither True nor False.
    """
    return PiSam(
        backbone=backbone,
        image_size=image_size,
        parts=load_sam(backbone, weights, image_size),
        from_sam=from_sam,
        local=local,
        reprompt=reprompt,
        guard=guard,
    )
