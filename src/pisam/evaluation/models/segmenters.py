"""Models that answer a box and then clicks, behind one interface: what every comparison runs.

All see the same squashed S x S frame, the same box and the same clicks, and one image encoding serves all
models that stand on the same SAM.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pisam.core.errors import PisamError
from pisam.core.geometry import sam_boxes
from pisam.core.types import Clicks, ObjectFeatures, SamFeatures
from pisam.modeling.hq_sam import HqSam
from pisam.modeling.pisam import PiSam
from pisam.modeling.sam_network import SamNetwork


@dataclass(frozen=True)
class EncodedImage:
    """What SAM's image encoder says of a batch of images.

    Attributes:
        image: uint8 (B, 3, S, S) RGB, the images themselves.
        embedding: float (B, 256, E, E).
        early: float (B, D, E, E).
        encoder: the image encoder that said it.
    """

    image: Tensor
    embedding: Tensor
    early: Tensor
    encoder: nn.Module


@dataclass(frozen=True)
class State:
    """A segmenter's answer, and what it needs to answer clicks.

    Attributes:
        logits: float (B, 1, S, S), positive = object.
        low_res: float (B, 1, F, F), the mask logits at the decoder's own resolution.
        encoded: the images.
        box: float (B, 4), xyxy edges in pixels of the frame.
        objects: Pi-SAM's object features, None for the others.
        of_image: what the decoder takes of the images whatever is clicked, worked out once; None for SAM.
    """

    logits: Tensor
    low_res: Tensor
    encoded: EncodedImage
    box: Tensor
    objects: ObjectFeatures | None = None
    of_image: Tensor | None = None


class Segmenter(Protocol):
    """One model of a comparison.

    Attributes:
        name: column or row heading, unique within a comparison.
        model: the network on frozen SAM.
    """

    name: str

    @property
    def model(self) -> SamNetwork: ...

    def first(self, image: Tensor, box: Tensor, encoded: EncodedImage | None = None) -> State:
        """The answer to a box.

        Args:
            image: uint8 (B, 3, S, S) RGB.
            box: float (B, 4), xyxy edges in pixels of the frame.
            encoded: these images as `encode` gave them for a segmenter with the same SAM; else encoded here.

        Raises:
            ValueError: `encoded` comes from the encoder of another model.
        """

    def after(self, state: State, clicks: Clicks) -> State:
        """The answer to all clicks made so far, a sample without a valid one keeping its logits.

        Args:
            state: the answer that was clicked on.
            clicks: in pixels of the S x S frame; those of earlier rounds included.
        """


@torch.no_grad()
def encode(model: SamNetwork, image: Tensor) -> EncodedImage:
    """SAM's encoding of uint8 images (B, 3, S, S), to be handed to every segmenter that shares this SAM."""
    encoder = model.encoder.image_encoder
    embedding, early = encoder(model.normalise(image))
    return EncodedImage(image, embedding, early, encoder)


def first_answers(segmenters: Iterable[Segmenter], image: Tensor, box: Tensor) -> list[State]:
    """What each segmenter says of the boxes; those with the same encoder share one encoding."""
    encodings: dict[int, EncodedImage] = {}
    states = []
    for segmenter in segmenters:
        encoder = id(segmenter.model.encoder.image_encoder)
        states.append(segmenter.first(image, box, encodings.get(encoder)))
        encodings[encoder] = states[-1].encoded
    return states


class PiSamSegmenter:
    """Pi-SAM: the straight-forward mask, repaired by the Precise Interactor.

    Args:
        model: in evaluation mode.
        name: in tables.
    """

    def __init__(self, model: PiSam, name: str = "Pi-SAM") -> None:
        self.model = model
        self.name = name

    @torch.no_grad()
    def first(self, image: Tensor, box: Tensor, encoded: EncodedImage | None = None) -> State:
        encoded = _encoded(self.model, image, encoded)
        features = self.model.encoder.prompt(encoded.embedding, encoded.early, box)
        objects, prediction = self.model.decoder(features, self.model.normalise(image))
        colours = self.model.colours(image)
        return State(prediction.high_res, prediction.low_res, encoded, box, objects, colours)

    @torch.no_grad()
    def after(self, state: State, clicks: Clicks) -> State:
        assert state.objects is not None
        repaired = self.model.interact(state.objects, state.encoded.image, clicks, state.of_image)
        clicked = clicks.valid.any(dim=1)[:, None, None, None]
        return replace(state, logits=repaired.where(clicked, state.logits))


class SamSegmenter:
    """SAM's own mask decoder: clicks are point prompts beside the box, one mask comes back.

    Args:
        model: any network on frozen SAM; only its SAM is used.
        name: in tables.
        mask_input: give SAM its previous mask together with the clicks.
    """

    model: SamNetwork

    def __init__(self, model: SamNetwork, name: str = "SAM", *, mask_input: bool = False) -> None:
        self.model = model
        self.name = name
        self.mask_input = mask_input

    def of_image(self, encoded: EncodedImage) -> Tensor | None:
        """See `State`."""
        return None

    def decode(self, features: SamFeatures, of_image: Tensor | None) -> Tensor:
        """Mask logits (1, 1, F, F) of one image from its features and prompts, and what `of_image` gave."""
        low_res, _ = self.model.decoder.get_submodule("sam_decoder")(
            image_embeddings=features.image_embedding,
            image_pe=features.position,
            sparse_prompt_embeddings=features.sparse_prompt,
            dense_prompt_embeddings=features.dense_prompt,
            multimask_output=False,
        )
        return low_res

    @torch.no_grad()
    def first(self, image: Tensor, box: Tensor, encoded: EncodedImage | None = None) -> State:
        encoded = _encoded(self.model, image, encoded)
        of_image = self.of_image(encoded)
        low_res = torch.cat([self._answer(encoded, of_image, box, index) for index in range(len(box))])
        return State(_to_frame(low_res, image), low_res, encoded, box, of_image=of_image)

    @torch.no_grad()
    def after(self, state: State, clicks: Clicks) -> State:
        # One by one: padding to equal numbers of points would take part in SAM's attention.
        low_res = torch.cat(
            [
                self._answer(state.encoded, state.of_image, state.box, index, clicks, state.low_res)
                if clicks.valid[index].any()
                else state.low_res[index : index + 1]
                for index in range(len(state.box))
            ]
        )
        return replace(state, logits=_to_frame(low_res, state.encoded.image), low_res=low_res)

    def _answer(
        self,
        encoded: EncodedImage,
        of_image: Tensor | None,
        box: Tensor,
        index: int,
        clicks: Clicks | None = None,
        previous: Tensor | None = None,
    ) -> Tensor:
        """Logits (1, 1, F, F) of one sample of the batch."""
        one = slice(index, index + 1)
        points = None
        if clicks is not None:
            valid = clicks.valid[index]
            # SAM's prompt encoder adds the half that makes a pixel index its centre.
            points = (clicks.points[one, valid] - 0.5, clicks.labels[one, valid])
        mask = previous[one] if self.mask_input and previous is not None else None
        prompt = self.model.encoder.prompt_encoder
        sparse, dense = prompt(points=points, boxes=sam_boxes(box[one]), masks=mask)
        embedding, early = encoded.embedding[one], encoded.early[one]
        features = SamFeatures(embedding, early, sparse, dense, prompt.get_dense_pe())
        return self.decode(features, None if of_image is None else of_image[one])


class HqSamSegmenter(SamSegmenter):
    """HQ-SAM, prompted as SAM is.

    Args:
        model: in evaluation mode.
        name: in tables.
        mask_input: give it its previous mask together with the clicks.
        add_sam: answer with the sum of the HQ mask and SAM's, as the authors do by default, instead of the HQ
            mask alone, which they advise for pictures of one object and which training scores.
    """

    model: HqSam

    def __init__(
        self, model: HqSam, name: str = "HQ-SAM", *, mask_input: bool = False, add_sam: bool = False
    ) -> None:
        super().__init__(model, name, mask_input=mask_input)
        self.add_sam = add_sam

    def of_image(self, encoded: EncodedImage) -> Tensor:
        return self.model.decoder.hq_feature(encoded.embedding, encoded.early)

    def decode(self, features: SamFeatures, of_image: Tensor | None) -> Tensor:
        sam, hq = self.model.decoder(features, of_image)
        return sam + hq if self.add_sam else hq


def refuse_nonsense(logits: Tensor, model: str, image: str) -> None:
    """Refuse logits that are not numbers.

    Raises:
        PisamError: names the model and the image.
    """
    if not logits.isfinite().all():
        raise PisamError(
            f"{model}: its logits for {image} are not finite; the checkpoint is damaged or the precision too "
            "low"
        )


def share_encoders(models: Iterable[SamNetwork]) -> None:
    """Let models whose frozen SAM and frame are equal use one encoder, so one encoding serves them all."""
    first: dict[tuple[str, int, str], SamNetwork] = {}
    for model in models:
        like = first.setdefault((model.backbone, model.image_size, model.frozen_hash()), model)
        model.encoder = like.encoder


def _encoded(model: SamNetwork, image: Tensor, encoded: EncodedImage | None) -> EncodedImage:
    if encoded is None:
        return encode(model, image)
    if encoded.encoder is not model.encoder.image_encoder:
        raise ValueError("the images were encoded by another model's SAM; build the models on the same parts")
    return encoded


def _to_frame(low_res: Tensor, image: Tensor) -> Tensor:
    """Logits (B, 1, F, F) -> (B, 1, S, S), as SAM enlarges its masks."""
    return F.interpolate(low_res.float(), size=image.shape[-2:], mode="bilinear", align_corners=False)
