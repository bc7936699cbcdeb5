"""Models that answer prompts and then clicks, behind one interface: what sessions and comparisons run.

All see the same squashed S x S frame, the same box and the same clicks, and one image encoding serves all
models that stand on the same SAM.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from pisam.core.locality import Heard, Start, join_answers
from pisam.core.types import Clicks, ObjectFeatures, Prompts
from pisam.modeling.pisam import PiSam
from pisam.modeling.sam_network import SamNetwork


@dataclass(frozen=True)
class EncodedImage:
    """SAM's encoding of a batch of images."""

    image: Tensor  # uint8 (B, 3, S, S) RGB, the images themselves
    embedding: Tensor  # float (B, 256, E, E)
    early: Tensor  # float (B, D, E, E)
    encoder: nn.Module  # the image encoder that said it

    def row(self, one: slice) -> EncodedImage:
        """Some of the images."""
        return EncodedImage(self.image[one], self.embedding[one], self.early[one], self.encoder)

    def repeated(self, number: int) -> EncodedImage:
        """One image as a batch of `number`, in the memory of one."""
        size = (number, -1, -1, -1)
        return EncodedImage(
            self.image.expand(size), self.embedding.expand(size), self.early.expand(size), self.encoder
        )


@dataclass(frozen=True)
class State:
    """A segmenter's answer, and what it needs to answer clicks."""

    logits: Tensor  # float (B, 1, S, S), positive = object
    low_res: Tensor  # float (B, 1, F, F), the mask logits at the decoder's own resolution
    encoded: EncodedImage
    box: Tensor  # float (B, 4), xyxy edges in pixels of the frame
    prompts: Prompts | None = None  # what was given in place of boxes alone
    objects: ObjectFeatures | None = None  # Pi-SAM's object features, None for the others
    # what the decoder takes of the images whatever is clicked, worked out once; None for SAM
    of_image: Tensor | None = None
    # of SAM's answers to the clicks on each sample so far; empty before the first
    heard: tuple[Heard, ...] = ()

    def rows(self) -> list[State]:
        """The states of the samples, one by one."""
        return [self._row(slice(index, index + 1)) for index in range(len(self.box))]

    def _row(self, one: slice) -> State:
        return State(
            logits=self.logits[one],
            low_res=self.low_res[one],
            encoded=self.encoded.row(one),
            box=self.box[one],
            prompts=None if self.prompts is None else self.prompts.select([one.start]),
            objects=None if self.objects is None else self.objects.each(lambda feature: feature[one]),
            of_image=None if self.of_image is None else self.of_image[one],
            heard=self.heard[one],
        )


class Segmenter(Protocol):
    """One model of a comparison.

    Attributes:
        name: column or row heading, unique within a comparison.
        model: the network on frozen SAM.
    """

    name: str

    @property
    def model(self) -> SamNetwork: ...

    def first(
        self,
        image: Tensor,
        box: Tensor,
        encoded: EncodedImage | None = None,
        prompts: Prompts | None = None,
    ) -> State:
        """The answer to a prompt.

        Args:
            image: uint8 (B, 3, S, S) RGB.
            box: float (B, 4), xyxy edges in pixels of the frame.
            encoded: these images as `encode` gave them for a segmenter with the same SAM; else encoded here.
            prompts: what is given in place of the boxes alone; None = the boxes.

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
def encode(model: SamNetwork, image: Tensor, known: EncodedImage | None = None) -> EncodedImage:
    """SAM's encoding of uint8 images (B, 3, S, S), for every segmenter that shares this SAM.

    Args:
        model: whose SAM encodes.
        image: the images.
        known: these images encoded before, returned as they are.

    Raises:
        ValueError: `known` comes from the encoder of another model.
    """
    encoder = model.encoder.image_encoder
    if known is None:
        embedding, early = encoder(model.normalise(image))
        return EncodedImage(image, embedding, early, encoder)
    if known.encoder is not encoder:
        raise ValueError("the images were encoded by another model's SAM; build the models on the same parts")
    return known


def first_answers(segmenters: Iterable[Segmenter], image: Tensor, box: Tensor) -> list[State]:
    """Each segmenter's answers to the boxes; those with the same encoder share one encoding."""
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
        reprompt: ask the decoder again with the clicks, see `join_answers`; None = if trained for it.
    """

    def __init__(self, model: PiSam, name: str = "Pi-SAM", *, reprompt: bool | None = None) -> None:
        self.model = model
        self.name = name
        self.reprompt = model.reprompt if reprompt is None else reprompt

    @torch.no_grad()
    def first(
        self,
        image: Tensor,
        box: Tensor,
        encoded: EncodedImage | None = None,
        prompts: Prompts | None = None,
    ) -> State:
        encoded = encode(self.model, image, encoded)
        objects, prediction = self.model.decode(encoded.embedding, encoded.early, image, box, prompts)
        colours = self.model.colours(image)
        return State(prediction.high_res, prediction.low_res, encoded, box, prompts, objects, colours)

    @torch.no_grad()
    def after(self, state: State, clicks: Clicks) -> State:
        assert state.objects is not None
        if not clicks.valid.any():
            return state
        if not self.reprompt:
            return replace(state, logits=self._interact(state, [state.objects], clicks)[0])
        encoded = state.encoded.embedding, state.encoded.early
        objects, low_res = self.model.ask_again(
            encoded, state.box, clicks, state.objects, state.low_res, state.prompts
        )
        made = [clicks.rows(row) for row in range(len(low_res))]
        heard = list(state.heard or [Heard()] * len(made))
        starts = [_start(state.prompts, row) for row in range(len(made))]
        alone_too = any(map(Heard.reads_alone, heard, made, starts))
        repaired = self._interact(state, [objects, state.objects] if alone_too else [objects], clicks)
        asked, alone = repaired[0], repaired[-1]
        maps = [each[:, 0].float().cpu().numpy() for each in (state.logits, alone, asked)]
        logits, believed = state.logits.clone(), torch.zeros_like(clicks.valid[:, 0])
        for row in clicks.valid.any(dim=1).nonzero()[:, 0].tolist():
            before, without, new = (each[row] for each in maps)
            joined = join_answers(before, without, new, made[row], heard[row], starts[row])
            logits[row, 0], believed[row] = torch.from_numpy(joined.logits), joined.believed
            heard[row] = joined.heard
        choose = partial(_chosen, believed)
        return replace(
            state,
            logits=logits,
            low_res=choose(low_res, state.low_res),
            objects=objects.each(choose, state.objects),
            heard=tuple(heard),
        )

    def _interact(self, state: State, each: Sequence[ObjectFeatures], clicks: Clicks) -> list[Tensor]:
        """The interactor's logits (B, 1, S, S) from each; of a sample without a click as they were."""
        repaired = self.model.interact_each(each, state.encoded.image, clicks, state.of_image)
        return [_chosen(clicks.valid.any(dim=1), logits, state.logits) for logits in repaired]


def share_encoders(models: Iterable[SamNetwork]) -> None:
    """Let models whose frozen SAM and frame are equal use one encoder, so one encoding serves them all."""
    first: dict[tuple[str, int, str], SamNetwork] = {}
    for model in models:
        like = first.setdefault((model.backbone, model.image_size, model.frozen_hash()), model)
        model.encoder = like.encoder


def _start(prompts: Prompts | None, row: int) -> Start:
    kind = "box" if prompts is None else prompts.kinds[row]
    return "mask" if "mask" in kind else "box" if kind == "box" else "points"


def _chosen(rows: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """`new` in the rows that are true in a bool (B,), `old` in the others."""
    return new.where(rows.reshape(-1, *[1] * (new.dim() - 1)), old)
