"""SAM and its successors of other packages as entrants: exported to ONNX, or as transformers has them.

What a package needs is imported when a model of it is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from pisam.core.errors import PisamError
from pisam.core.files import sha256_of_files
from pisam.core.types import FloatArray, UInt8Array
from pisam.evaluation.benchmark.entrant import Answer, Box, Clicks
from pisam.modeling.sam_network import PIXEL_MEAN, PIXEL_STD


class SamKin:
    """A SAM of another package: it sees an image in a frame, and is told points and boxes there.

    Args:
        folder: of its files, whose name is the model's.
        mask_input: give it its previous mask together with the clicks.
        facts: kept with its results, as is the hash of its files.
    """

    size: tuple[int, int]  # (H, W) of the image
    inner: tuple[int, int]  # (height, width) that the image takes of the frame, from the upper left corner

    def __init__(self, folder: Path, mask_input: bool, **facts: str) -> None:
        self.name, self.mask_input = folder.name + ("+mask" if mask_input else ""), mask_input
        self.facts: dict[str, Any] = {**facts, "mask_input": mask_input}
        self.facts["sha256"] = sha256_of_files(folder, "[!.]*")

    def in_frame(self, places: Clicks | Box) -> FloatArray:
        """Rows (x, y) of places in the image, in the frame: its prompt encoder adds the half of a centre."""
        scale = np.array([self.inner[1] / self.size[1], self.inner[0] / self.size[0]])
        return (np.reshape(places, (-1, 2)) * scale - 0.5).astype(np.float32)

    def padded(self, image: UInt8Array, side: int) -> FloatArray:
        """The frame (1, 3, S, S) as SAM's own: longest side scaled to S, normalised, zeros beyond."""
        height, width = image.shape[:2]
        scale = side / max(height, width)
        self.size, self.inner = (height, width), (int(height * scale + 0.5), int(width * scale + 0.5))
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        frame = np.zeros((side, side, 3), np.float32)
        shown = cv2.resize(image, self.inner[::-1], interpolation=way)
        mean, std = (np.array(each, np.float32) for each in (PIXEL_MEAN, PIXEL_STD))
        frame[: self.inner[0], : self.inner[1]] = (shown - mean) / std
        return np.ascontiguousarray(frame.transpose(2, 0, 1)[None])

    def at_image_size(self, low: FloatArray, frame: tuple[int, int]) -> FloatArray:
        """Logits (H, W) from those of the frame (height, width) at fewer pixels, as SAM enlarges masks."""
        framed = cv2.resize(low, frame[::-1], interpolation=cv2.INTER_LINEAR)
        shown = np.ascontiguousarray(framed[: self.inner[0], : self.inner[1]])
        return cv2.resize(shown, self.size[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Make one PisamError of what a package says of files that it cannot load, or of its being missing."""
    try:
        yield
    except PisamError:
        raise
    except ImportError as error:
        raise PisamError(f"{model} needs the package {error.name}: pip install {error.name}") from error
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise PisamError(f"{model}: not readable: {reason:.200}") from error


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
