"""Networks, batches and steps of the checks on a card; no data and no weights are needed."""

from __future__ import annotations

from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from segment_anything.modeling.common import LayerNorm2d as SamLayerNorm2d
from segment_anything.modeling.image_encoder import Attention
from torch import Tensor
from torchvision.ops import deform_conv2d

from helpers.small_runs import small_batch
from pisam.core.types import Batch, Clicks, ObjectFeatures
from pisam.modeling.backbones import build_sam_parts
from pisam.modeling.deformable_conv import DeformableConv
from pisam.modeling.layers import Conv1x1, LayerNorm2d
from pisam.modeling.pisam import PiSam
from pisam.modeling.rel_pos_attention import RelPosAttention
from pisam.training.losses import mask_loss


def network(backbone: str, size: int, device: str = "cpu") -> PiSam:
    """An untrained network whose offsets and residual are not zero: else half of it does nothing yet."""
    torch.manual_seed(0)
    with torch.device(device):
        model = PiSam(backbone=backbone, image_size=size, parts=build_sam_parts(backbone, size))
    torch.nn.init.normal_(model.interactor.residual.weight, std=0.05)
    for module in model.modules():
        if isinstance(module, DeformableConv):
            torch.nn.init.normal_(module.offset.weight, std=0.02)
            torch.nn.init.normal_(module.modulator.weight, std=0.02)
    return model


def batch(count: int, size: int, device: torch.device | str) -> Batch:
    """Noise with a striped object each, in the frame's middle."""
    made = small_batch(count, size)
    made.mask[:] = False
    made.mask[..., size // 4 : 3 * size // 4, size // 5 : 3 * size // 5] = True
    made.mask[..., ::7, :] = False
    made.box = torch.tensor([[size / 5, size / 4, 3 * size / 5, 3 * size / 4]]).repeat(count, 1)
    moved: Batch = move_data_to_device(made, torch.device(device))
    return moved


def first_stage(model: PiSam, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of stage 1, low- and high-resolution logits."""
    _, predicted = model.straight_forward(batch.image, batch.box)
    low, high = (
        mask_loss(logits, batch.mask, batch.extent, batch.seeds, purpose)
        for logits, purpose in ((predicted.low_res, "low_res"), (predicted.high_res, "high_res"))
    )
    loss = (low.bce + low.dice + high.bce + high.dice).mean()
    return loss, predicted.low_res, predicted.high_res


def second_stage(
    model: PiSam, batch: Batch, clicks: Clicks, objects: ObjectFeatures | None = None
) -> tuple[Tensor, Tensor]:
    """Loss of stage 2, and the logits after clicks; `objects` are computed where they are not given."""
    if objects is None:
        with torch.no_grad():
            objects, _ = model.straight_forward(batch.image, batch.box)
    logits = model.interact(objects, batch.image, clicks)
    terms = mask_loss(
        logits, batch.mask, batch.extent, batch.seeds, "high_res", clicks=clicks, near_clicks=0.5
    )
    return (terms.bce + terms.dice).mean(), logits


def release(model: PiSam) -> None:
    """The released recipe: torchvision's convolutions, SAM's norm, and its attention with a map of biases."""
    for module in model.modules():
        if isinstance(module, LayerNorm2d):
            module.forward = SamLayerNorm2d.forward.__get__(module)  # type: ignore[method-assign]
        if isinstance(module, Conv1x1):
            module.forward = torch.nn.Conv2d.forward.__get__(module)  # type: ignore[method-assign]
        if isinstance(module, RelPosAttention):
            module.use_rel_pos = True
            module.forward = Attention.forward.__get__(module)  # type: ignore[method-assign]
        if isinstance(module, DeformableConv):
            module.forward = _torchvision(module)  # type: ignore[method-assign]


def _torchvision(layer: DeformableConv) -> Any:
    def forward(x: Tensor) -> Tensor:
        offset, modulator = layer.offset(x).float(), 2 * torch.sigmoid(layer.modulator(x).float())
        padding = layer.kernel.kernel_size[0] // 2
        return deform_conv2d(x.float(), offset, layer.kernel.weight, padding=padding, mask=modulator)

    return forward
