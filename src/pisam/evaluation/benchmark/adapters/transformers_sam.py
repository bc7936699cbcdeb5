"""SAM and its successors as the package transformers has them, from a local folder of safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pisam.core.errors import PisamError
from pisam.core.types import UInt8Array
from pisam.evaluation.benchmark.adapters.sam_kin import SamKin, loading
from pisam.evaluation.benchmark.entrant import Answer, Box, Clicks

CLASSES = {"sam": "SamModel", "sam_hq": "SamHQModel", "sam2": "Sam2Model", "sam3_tracker": "Sam3TrackerModel"}


class TransformersSam(SamKin):
    """`transformers:DIR` of `save_pretrained`, or `transformers+mask:DIR` to give it its previous mask."""

    def __init__(self, folder: Path, *, mask_input: bool = False, device: Any = "cpu") -> None:
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        with loading(f"transformers:{folder}"):
            import transformers

            kind = transformers.AutoConfig.from_pretrained(folder, **local).model_type
            known = [each for each, name in CLASSES.items() if hasattr(transformers, name)]
            if kind not in known:
                raise PisamError(f"{folder}: a model of type {kind}; transformers has {', '.join(known)}")
            made = getattr(transformers, CLASSES[kind])
            self.model = made.from_pretrained(folder, use_safetensors=True, **local).eval().to(device)
            self.processor = transformers.AutoImageProcessor.from_pretrained(folder, **local)
        super().__init__(folder, mask_input, kind=CLASSES[kind], transformers=transformers.__version__)

    @torch.inference_mode()
    def encode(self, image: UInt8Array) -> None:
        """Through the vision encoder, once."""
        made = self.processor(images=image, return_tensors="pt")
        frame = made["pixel_values"].to(self.model.device)
        (height, width), self.side = image.shape[:2], tuple(frame.shape[-2:])
        self.size = (height, width)
        # SAM and HQ-SAM pad below and to the right; their successors squash.
        rows, columns = made.get("reshaped_input_sizes", [self.side])[0]
        self.inner = int(rows), int(columns)
        looked = self.model.get_image_embeddings(frame)
        both = looked if isinstance(looked, tuple) else (looked,)
        self.seen = dict(zip(("image_embeddings", "intermediate_embeddings"), both, strict=False))

    @torch.inference_mode()
    def answer(self, prompt: Box | None, clicks: Clicks, previous: Answer | None) -> Answer:
        """One mask, the model's own threshold at logit 0."""
        asked: dict[str, Any] = {} if prompt is None else {"input_boxes": self.in_frame(prompt).ravel()}
        if len(clicks):
            asked |= {"input_points": self.in_frame(clicks[:, :2]), "input_labels": clicks[:, 2].astype("i4")}
        given = {key: torch.tensor(rows, device=self.model.device)[None, None] for key, rows in asked.items()}
        if self.mask_input and previous is not None:
            given["input_masks"] = previous.memory
        low = self.model(**self.seen, **given, multimask_output=False).pred_masks[0].float()
        return Answer(self.at_image_size(low[0, 0].cpu().numpy(), self.side), low)
