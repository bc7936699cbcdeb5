"""SAM exported to ONNX: `encoder.onnx` and `decoder.onnx` as segment-anything exports them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pisam.core.errors import PisamError
from pisam.core.types import UInt8Array
from pisam.evaluation.benchmark.adapters.sam_kin import SamKin, loading
from pisam.evaluation.benchmark.entrant import Answer, Box, Clicks

INPUTS = {"image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input", "orig_im_size"}


class OnnxSam(SamKin):
    """`onnx:DIR`, or `onnx+mask:DIR` to give it its previous mask; its encoder takes `SamKin.padded`."""

    def __init__(self, folder: Path, *, mask_input: bool = False) -> None:
        with loading(f"onnx:{folder}"):
            import onnxruntime

            self.encoder, self.decoder = (
                onnxruntime.InferenceSession(str(folder / file), providers=["CPUExecutionProvider"])
                for file in ("encoder.onnx", "decoder.onnx")
            )
        super().__init__(folder, mask_input, kind="SAM, ONNX", onnxruntime=onnxruntime.__version__)
        shapes = {each.name: each.shape for each in self.decoder.get_inputs()}
        if shapes.keys() != INPUTS:
            raise PisamError(f"onnx:{folder}: decoder.onnx takes {sorted(shapes)}, expected {sorted(INPUTS)}")
        got, points = [each.name for each in self.decoder.get_outputs()], shapes["point_coords"][1]
        if "low_res_masks" not in got or isinstance(points, int):
            raise PisamError(f"{folder}: decoder.onnx: {got} of {points} points, not low_res_masks of any")
        first = self.encoder.get_inputs()[0]
        self.input, self.side = first.name, first.shape[-1]
        if not isinstance(self.side, int) or first.shape[1:] != [3, self.side, self.side]:
            raise PisamError(f"onnx:{folder}: encoder.onnx takes {first.shape}, expected (1, 3, S, S)")
        # A name where any size will do: SAM's is a quarter of the frame.
        self.mask_size = [n if isinstance(n, int) else self.side // 4 for n in shapes["mask_input"][-2:]]

    def encode(self, image: UInt8Array) -> None:
        """Through the encoder, once."""
        self.seen = self.encoder.run(None, {self.input: self.padded(image, self.side)})[0]

    def answer(self, prompt: Box | None, clicks: Clicks, previous: Answer | None) -> Answer:
        """One mask at the image's size; a box is two points labelled 2 and 3, none a padding point."""
        corners = np.zeros((1, 2), np.float32) if prompt is None else self.in_frame(prompt)
        labels = [*clicks[:, 2], *([-1] if prompt is None else [2, 3])]
        last = previous if self.mask_input else None
        asked = {
            "image_embeddings": self.seen,
            "point_coords": np.concatenate([self.in_frame(clicks[:, :2]), corners])[None],
            "point_labels": np.array([labels], np.float32),
            "mask_input": last.memory if last else np.zeros((1, 1, *self.mask_size), np.float32),
            "has_mask_input": np.array([last is not None], np.float32),
            "orig_im_size": np.array(self.size, np.float32),
        }
        low = self.decoder.run(["low_res_masks"], asked)[0][:, :1]  # `masks` may have the size of one image
        return Answer(self.at_image_size(low[0, 0], (self.side, self.side)), low)
