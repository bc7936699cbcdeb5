"""SAM exported to ONNX: `encoder.onnx` and `decoder.onnx` as segment-anything exports them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pisam.core.errors import PisamError
from pisam.core.types import UInt8Array
from pisam.evaluation.benchmark.entrant import Answer, Box, Clicks

MEAN = np.array([123.675, 116.28, 103.53], np.float32)
STD = np.array([58.395, 57.12, 57.375], np.float32)
INPUTS = {"image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input", "orig_im_size"}


class OnnxSam:
    """`onnx:DIR`, or `onnx+mask:DIR` to give it its previous mask.

    Args:
        folder: with the two files. The encoder takes the image normalised as SAM does, (1, 3, S, S), its
            longest side scaled to S and padded below and to the right.
        mask_input: see above.
    """

    def __init__(self, folder: Path, *, mask_input: bool = False) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise PisamError(
                f"onnx:{folder} needs the package onnxruntime: pip install onnxruntime"
            ) from error
        sessions = []
        for file in (folder / "encoder.onnx", folder / "decoder.onnx"):
            if not file.is_file():
                raise PisamError(f"onnx:{folder}: no {file.name} in it")
            sessions.append(onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"]))
        self.encoder, self.decoder = sessions
        if (names := {each.name for each in self.decoder.get_inputs()}) != INPUTS:
            raise PisamError(f"onnx:{folder}: decoder.onnx takes {sorted(names)}, expected {sorted(INPUTS)}")
        self.input = self.encoder.get_inputs()[0]
        self.side = int(self.input.shape[-1])
        self.name, self.mask_input = folder.name + ("+mask" if mask_input else ""), mask_input
        self.facts = {"kind": "SAM, ONNX", "mask_input": mask_input, "onnxruntime": onnxruntime.__version__}

    def encode(self, image: UInt8Array) -> None:
        """Through the encoder, once."""
        self.size = image.shape[:2]
        self.scale = self.side / max(self.size)
        height, width = (int(length * self.scale + 0.5) for length in self.size)
        frame = np.zeros((self.side, self.side, 3), np.float32)
        small = cv2.resize(
            image, (width, height), interpolation=cv2.INTER_AREA if self.scale < 1 else cv2.INTER_LINEAR
        )
        frame[:height, :width] = (small - MEAN) / STD
        (self.seen,) = self.encoder.run(None, {self.input.name: frame.transpose(2, 0, 1)[None]})[:1]

    def answer(self, prompt: Box | None, clicks: Clicks, previous: Answer | None) -> Answer:
        """One mask at the image's size; a box is two points labelled 2 and 3, none a padding point."""
        corners = (
            [(*prompt[:2], 2), (*prompt[2:], 3)] if prompt else [(0.5 / self.scale, 0.5 / self.scale, -1)]
        )
        rows = np.concatenate([clicks, corners]).astype(np.float32)
        has_mask = self.mask_input and previous is not None
        asked: dict[str, Any] = {
            "image_embeddings": self.seen,
            "point_coords": rows[None, :, :2] * np.float32(self.scale) - np.float32(0.5),
            "point_labels": rows[None, :, 2],
            "mask_input": previous.memory
            if has_mask and previous
            else np.zeros((1, 1, 256, 256), np.float32),
            "has_mask_input": np.array([has_mask], np.float32),
            "orig_im_size": np.array(self.size, np.float32),
        }
        masks, _, low = self.decoder.run(["masks", "iou_predictions", "low_res_masks"], asked)
        return Answer(masks[0, 0], low[:, :1])
