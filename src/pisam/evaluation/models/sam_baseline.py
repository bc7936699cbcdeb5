"""SAM itself, by its own protocol, from the frozen parts of our network: the baseline that papers report."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import resize

from pisam.core.geometry import sam_boxes
from pisam.data.transforms import box_of
from pisam.modeling.pisam import PiSam

SIDE = 1024  # of SAM's frame
RESIZE = "longest side to the frame, padded right and below"


class NativeSam:
    """SAM by its own protocol among the models of an evaluation, before any click.

    Args:
        model: as in `sam_logits`.
        name: in tables.
    """

    def __init__(self, model: PiSam, name: str) -> None:
        self.model = model
        self.name = name

    def answer(self, image: npt.NDArray[np.uint8], mask: Tensor) -> Tensor:
        """Logits (1, H, W) for the box of a mask, bool (H, W), in its image, uint8 (H, W, 3) RGB."""
        return sam_logits(self.model, image, torch.from_numpy(box_of(mask.cpu().numpy())))[None]


@torch.no_grad()
def sam_logits(model: PiSam, image: npt.NDArray[np.uint8], box: Tensor) -> Tensor:
    """Logits of SAM's own decoder for a box: the longest side scaled to 1024, padded, one mask.

    Args:
        model: network whose frozen parts hold SAM, with frames of 1024 pixels.
        image: uint8 (H, W, 3) RGB.
        box: (4,), xyxy edges in pixels of the image; SAM is given the inclusive pixel indices.

    Returns:
        float (H, W) logits at the size of the image, positive = object.

    Raises:
        ValueError: a model of another frame size.

    Source: `SamPredictor` of segment-anything, with `multimask_output=False`.
    """
    if model.image_size != SIDE:
        raise ValueError(f"SAM's protocol needs a model of image_size {SIDE}, got {model.image_size}")
    device = model.pixel_mean.device
    height, width = image.shape[:2]
    new_height, new_width = sam_size(height, width)
    # SAM resizes pictures with Pillow, which averages where it shrinks; other ways give other pixels.
    resized = np.array(resize(Image.fromarray(image), [new_height, new_width]))
    pixels = torch.from_numpy(resized).permute(2, 0, 1)[None].to(device)
    padding = (0, SIDE - new_width, 0, SIDE - new_height)
    frame = F.pad(model.normalise(pixels), padding)  # zero after normalising: padding is the mean colour

    scale = torch.tensor([new_width / width, new_height / height] * 2)
    boxes = sam_boxes(box[None].float().cpu()) * scale
    encoder = model.encoder
    embedding, _ = encoder.image_encoder(frame)
    sparse, dense = encoder.prompt_encoder(points=None, boxes=boxes.to(device), masks=None)
    low_res, _ = model.decoder.sam_decoder(
        image_embeddings=embedding,
        image_pe=encoder.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )
    framed = F.interpolate(low_res.float(), size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    content = framed[..., :new_height, :new_width]
    return F.interpolate(content, size=(height, width), mode="bilinear", align_corners=False)[0, 0]


def sam_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) with the longest side 1024, rounded as SAM does: halves up."""
    scale = SIDE / max(height, width)
    return int(height * scale + 0.5), int(width * scale + 0.5)
