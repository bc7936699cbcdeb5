"""The three graphs that are exported: what is asked once per image, per prompt and per click."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pisam.core.types import Clicks, ObjectFeatures, SamFeatures
from pisam.modeling.deformable_conv import DeformableConv
from pisam.modeling.pisam import PiSam

OPSET = 17  # the first with LayerNormalization; GridSample is older
PADDING, BACKGROUND, FOREGROUND, UPPER_LEFT, LOWER_RIGHT = -1, 0, 1, 2, 3  # labels of prompt tokens
LABELS = (BACKGROUND, FOREGROUND, UPPER_LEFT, LOWER_RIGHT)


@dataclass(frozen=True)
class Graph:
    """A module to export, with an example of its inputs."""

    module: nn.Module  # takes the inputs in their order, returns a tuple
    inputs: Mapping[str, Tensor]  # by name
    outputs: list[str]  # names
    # by name of an input or output, its axes of variable length, with their names
    dynamic: Mapping[str, dict[int, str]]


def graphs_of(model: PiSam) -> dict[str, Graph]:
    """The graphs by the names of their files; `model` itself stays as it is.

    All take and give float32, but for the frame, uint8 (1, 3, S, S) RGB, and labels, int64. B boxes or points
    of one image are prompted at once: the embedding has one row, what depends on the prompt B.
    """
    model = copy.deepcopy(model).cpu().float().eval()
    _sum_over_kernel_rows(model)
    side = model.image_size
    frame = torch.zeros(1, 3, side, side, dtype=torch.uint8)
    with torch.no_grad():
        embedding, early = model.encoder.image_encoder(model.normalise(frame))
    points, labels = torch.full((2, 2, 2), side / 2), torch.tensor([[UPPER_LEFT, LOWER_RIGHT]] * 2)
    decoder_inputs = {
        "frame": frame,
        "embedding": embedding,
        "early": early,
        "points": points,
        "labels": labels,
        "previous": torch.zeros(2, 1, side // 4, side // 4),
        "has_previous": torch.zeros(2),
    }
    decoder = _Decoder(model)
    with torch.no_grad():
        _, _, *objects = decoder(*decoder_inputs.values())
    object_inputs = dict(zip(decoder.object_names, objects, strict=True))
    clicks = {"points": points, "labels": labels.clamp(max=1), "valid": labels > 0}
    prompted = {name: {0: "prompts", 1: "tokens"} for name in ("points", "labels")}
    clicked = {name: {0: "prompts", 1: "clicks"} for name in clicks}
    answered = ["low_res", "logits", *object_inputs]
    rows = {name: {0: "prompts"} for name in ("previous", "has_previous", *answered)}
    return {
        "encoder": Graph(_Encoder(model), {"frame": frame}, ["embedding", "early"], {}),
        "decoder": Graph(decoder, decoder_inputs, answered, prompted | rows),
        "interactor": Graph(
            _Interactor(model),
            {"frame": frame, **object_inputs, **clicks},
            ["logits"],
            clicked | {name: rows[name] for name in ("logits", *object_inputs)},
        ),
    }


class _Encoder(nn.Module):
    """Image encoder with its normalisation."""

    def __init__(self, model: PiSam) -> None:
        super().__init__()
        self.model = model

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.encoder.image_encoder(self.model.normalise(frame))


class _Decoder(nn.Module):
    """Prompt encoder and High-Resolution Mask Decoder."""

    def __init__(self, model: PiSam) -> None:
        super().__init__()
        self.model = model
        self.object_names: list[str] = []  # of the object features that this model has

    def forward(
        self,
        frame: Tensor,
        embedding: Tensor,
        early: Tensor,
        points: Tensor,
        labels: Tensor,
        previous: Tensor,
        has_previous: Tensor,
    ) -> tuple[Tensor, ...]:
        """SAM's prompt encoder on tokens of all kinds, with arithmetic in place of its assignments.

        Args:
            frame: uint8 (1, 3, S, S).
            embedding, early: of it.
            points: (B, N, 2) in pixels of the frame, pixel centres at +0.5.
            labels: (B, N): 0 and 1 for points, 2 and 3 for the corners of a box, -1 for SAM's padding.
            previous: (B, 1, F, F), logits as a mask prompt.
            has_previous: (B,), 1 where that counts, else 0.
        """
        prompt = self.model.encoder.prompt_encoder
        code = prompt.pe_layer._pe_encoding(points / self.model.image_size)
        label = labels.unsqueeze(-1)
        sparse = code * (label != PADDING) + prompt.not_a_point_embed.weight * (label == PADDING)
        for kind, embedded in zip(LABELS, prompt.point_embeddings, strict=True):
            sparse = sparse + embedded.weight * (label == kind)
        has = has_previous[:, None, None, None]
        none = prompt.no_mask_embed.weight[..., None, None]
        batch = points.shape[0]
        corner, point = labels >= UPPER_LEFT, (labels == BACKGROUND) | (labels == FOREGROUND)
        ambiguous = (point.sum(dim=1) == 1) & ~corner.any(dim=1) & (has_previous == 0)
        features = SamFeatures(
            image_embedding=embedding.expand(batch, -1, -1, -1),
            early=early.expand(batch, -1, -1, -1),
            sparse_prompt=sparse,
            dense_prompt=prompt.mask_downscaling(previous) * has + none * (1 - has),
            position=prompt.get_dense_pe(),
            ambiguous=ambiguous,
        )
        objects, prediction = self.model.decoder(features, self.model.normalise(frame))
        named = {field.name: getattr(objects, field.name) for field in fields(objects)}
        self.object_names = [name for name, value in named.items() if value is not None]
        return prediction.low_res, prediction.high_res, *(named[name] for name in self.object_names)


class _Interactor(nn.Module):
    """Precise Interactor and head: object features, then points (B, M, 2), labels and valid (B, M)."""

    def __init__(self, model: PiSam) -> None:
        super().__init__()
        self.model = model

    def forward(self, frame: Tensor, *given: Tensor) -> tuple[Tensor]:
        *objects, points, labels, valid = given
        # One frame for all prompts: a LocalInteractor samples its colours at the clicks of each.
        frame = frame.expand(points.shape[0], -1, -1, -1)
        return (self.model.interact(ObjectFeatures(*objects), frame, Clicks(points, labels, valid)),)


class _KernelRows(nn.Module):
    """A deformable convolution, one row of its kernel after the other.

    The samples of all taps at once would be K times the feature: half a gigabyte at 1024 px, and slower.
    """

    def __init__(self, convolution: DeformableConv) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        layers, batch = self.convolution, x.shape[0]
        channels, height, width = (int(length) for length in x.shape[1:])
        side = layers.kernel.kernel_size[0]
        offset = layers.offset(x).unflatten(1, (-1, 2))
        modulator = 2 * torch.sigmoid(layers.modulator(x))
        down = torch.arange(height, dtype=torch.float32)[:, None] + 0.5
        across = torch.arange(width, dtype=torch.float32) + 0.5
        at_y = offset[:, :, 0] + layers.taps[:, 0, None, None] + down
        at_x = offset[:, :, 1] + layers.taps[:, 1, None, None] + across
        grid = torch.stack([at_x * (2 / width) - 1, at_y * (2 / height) - 1], dim=-1)  # (B, K, H, W, 2)
        total = x.new_zeros(1)
        for row in range(side):
            taps = slice(row * side, (row + 1) * side)
            sampled = F.grid_sample(x, grid[:, taps].flatten(1, 2), align_corners=False)
            modulated = sampled.unflatten(2, (side, height)) * modulator[:, None, taps]
            weight = layers.kernel.weight[:, :, row].flatten(1)  # (outputs, C * side)
            total = total + weight @ modulated.reshape(batch, channels * side, height * width)
        return total.unflatten(2, (height, width))


def _sum_over_kernel_rows(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, DeformableConv):
            setattr(module, name, _KernelRows(child))
        else:
            _sum_over_kernel_rows(child)
