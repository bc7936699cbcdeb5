"""SAM and its successors as the package transformers has them, from a local folder of safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from pisam.core.errors import PisamError
from pisam.core.types import UInt8Array
from pisam.evaluation.benchmark.entrant import Answer, Box, Clicks

CLASSES = {"sam": "SamModel", "sam_hq": "SamHQModel", "sam2": "Sam2Model", "sam3_tracker": "Sam3TrackerModel"}


class TransformersSam:
    """`transformers:DIR`, or `transformers+mask:DIR` to give it its previous mask.

    Args:
        folder: of `save_pretrained`, with the image processor's configuration.
        mask_input: see above.
    """

    def __init__(self, folder: Path, *, mask_input: bool = False, device: str = "cpu") -> None:
        try:
            import transformers
        except ImportError as error:
            raise PisamError(
                f"transformers:{folder} needs the package transformers: pip install transformers"
            ) from error
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            kind = transformers.AutoConfig.from_pretrained(folder, **local).model_type
        except (OSError, ValueError) as error:
            raise PisamError(f"transformers:{folder}: not readable: {str(error).splitlines()[0]}") from error
        if kind not in CLASSES or not hasattr(transformers, CLASSES[kind]):
            raise PisamError(f"{folder}: a model of type {kind}; transformers here has {', '.join(CLASSES)}")
        loaded = getattr(transformers, CLASSES[kind]).from_pretrained(folder, use_safetensors=True, **local)
        self.model, self.device, self.mask_input = loaded.eval().to(device), device, mask_input
        self.processor = transformers.AutoImageProcessor.from_pretrained(folder, **local)
        self.name = folder.name + ("+mask" if mask_input else "")
        self.facts = {
            "kind": CLASSES[kind],
            "mask_input": mask_input,
            "transformers": transformers.__version__,
        }

    @torch.inference_mode()
    def encode(self, image: UInt8Array) -> None:
        """Through the vision encoder, once."""
        self.size = image.shape[:2]
        made = self.processor(images=image, return_tensors="pt")
        frame = made["pixel_values"].to(self.device)
        # SAM and HQ-SAM pad below and to the right; their successors squash.
        self.inner = (
            tuple(made["reshaped_input_sizes"][0].tolist()) if "reshaped_input_sizes" in made else None
        )
        self.side = frame.shape[-2:]
        looked = self.model.get_image_embeddings(frame)
        names = ("image_embeddings", "intermediate_embeddings")
        self.seen = dict(zip(names, looked, strict=True)) if isinstance(looked, tuple) else {names[0]: looked}

    @torch.inference_mode()
    def answer(self, prompt: Box | None, clicks: Clicks, previous: Answer | None) -> Answer:
        """One mask, the model's own threshold at logit 0."""
        height, width = self.inner or self.side
        # The prompt encoders add the half that makes a pixel index its centre.
        scale = np.array([width / self.size[1], height / self.size[0]])
        asked: dict[str, torch.Tensor] = {}
        if len(clicks):
            asked["input_points"] = self._tensor(clicks[:, :2] * scale - 0.5)[None, None]
            asked["input_labels"] = torch.tensor(clicks[:, 2], device=self.device).int()[None, None]
        if prompt is not None:
            asked["input_boxes"] = self._tensor(np.array(prompt).reshape(2, 2) * scale - 0.5).reshape(1, 1, 4)
        if self.mask_input and previous is not None:
            asked["input_masks"] = previous.memory
        masks = self.model(**self.seen, **asked, multimask_output=False).pred_masks
        low = masks.reshape(1, 1, *masks.shape[-2:]).float()
        framed = F.interpolate(low, self.side, mode="bilinear", align_corners=False)[..., :height, :width]
        logits = F.interpolate(framed, self.size, mode="bilinear", align_corners=False)
        return Answer(logits[0, 0].cpu().numpy(), low)

    def _tensor(self, values: Clicks) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device)
