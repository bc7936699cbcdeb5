"""Answers in the formats that others read: PNG masks and cut-outs, COCO's run-length codes, polygons."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from pycocotools import mask as coco_masks

from pisam.core.types import BoolArray, FloatArray, UInt8Array
from pisam.data.transforms import box_of

MEDIA_TYPES = {
    "mask": "image/png",
    "soft": "image/png",
    "rgba": "image/png",
    "coco": "application/json",
    "polygons": "application/json",
}


def suffix_of(kind: str) -> str:
    """The suffix of a format's files, without the dot."""
    return MEDIA_TYPES[kind].rpartition("/")[2]


def mask_png(mask: BoolArray) -> bytes:
    """8-bit grey, 255 = object, of a mask (H, W)."""
    return _png(mask.astype(np.uint8) * 255)


def soft_png(soft: FloatArray) -> bytes:
    """8-bit grey, 255 = certainly object, of probabilities (H, W)."""
    return _png(_levels(soft))


def rgba_png(image: UInt8Array, soft: FloatArray) -> bytes:
    """The object cut out of its image (H, W, 3): alpha is the probability."""
    return _png(np.dstack([image, _levels(soft)]))


def coco_rle(mask: BoolArray) -> dict[str, Any]:
    """COCO's compressed run-length code of a mask (H, W): size [H, W] and counts, ready for JSON."""
    code = coco_masks.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode("ascii")}


def coco_annotation(mask: BoolArray, *, category_id: int = 1) -> dict[str, Any]:
    """A mask (H, W) as an entry of a COCO file's `annotations`; `coco_file` gives the numbers."""
    left, top, right, bottom = box_of(mask).tolist() if mask.any() else (0.0, 0.0, 0.0, 0.0)
    return {
        "id": 0,
        "image_id": 0,
        "category_id": category_id,
        "segmentation": coco_rle(mask),
        "area": int(np.count_nonzero(mask)),
        "bbox": [left, top, right - left, bottom - top],
        "iscrowd": 0,
    }


def coco_file(pictures: Iterable[Mapping[str, Any]], categories: Mapping[int, str]) -> dict[str, Any]:
    """A COCO file of pictures with `file_name`, `width`, `height`, `annotations`, numbered from 1."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, picture in enumerate(pictures, 1):
        images.append({"id": image_id, **{key: picture[key] for key in ("file_name", "width", "height")}})
        for annotation in picture["annotations"]:
            annotations.append({**annotation, "id": len(annotations) + 1, "image_id": image_id})
    named = [{"id": number, "name": name} for number, name in sorted(categories.items())]
    return {"images": images, "annotations": annotations, "categories": named}


def polygons(mask: BoolArray) -> list[dict[str, Any]]:
    """The parts of a mask (H, W), largest first: {"outer": [[x, y], ...], "holes": [[[x, y], ...], ...]}.

    Vertices are indices of border pixels, so `cv2.fillPoly` of the outer lines, less what lies strictly
    inside of the holes' lines, gives the mask back.
    """
    contours, hierarchy = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parts: dict[int, dict[str, Any]] = {}
    area: dict[int, int] = {}
    for index, (contour, links) in enumerate(zip(contours, hierarchy[0] if contours else [], strict=True)):
        vertices = contour[:, 0].tolist()
        if (parent := int(links[3])) < 0:
            parts[index] = {"outer": vertices, "holes": []}
            area[index] = cv2.boundingRect(contour)[2] * cv2.boundingRect(contour)[3]
        else:
            parts[parent]["holes"].append(vertices)  # outer lines come before their holes
    return [parts[index] for index in sorted(parts, key=lambda index: -area[index])]


def _levels(soft: FloatArray) -> UInt8Array:
    levels: UInt8Array = np.round(soft * 255).astype(np.uint8)
    return levels


def _png(pixels: UInt8Array) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()


def keyholes(mask: BoolArray, *, epsilon: float = 0.0) -> list[list[list[int]]]:
    """The parts of a mask (H, W) as one closed line each, [[x, y], ...]; largest first.

    A hole hangs on its outer line by a way there and back: tools that know no holes fill it right.

    Args:
        mask: bool (H, W).
        epsilon: share of a line's length by which it may be off, for fewer vertices.
    """
    lines = []
    for part in polygons(mask):
        line = _simpler(part["outer"], epsilon)
        for hole in (_simpler(each, epsilon) for each in part["holes"]):
            apart = np.square(line[:, None] - hole[None]).sum(axis=2)
            here, there = np.unravel_index(apart.argmin(), apart.shape)
            way = np.concatenate([hole[there:], hole[: there + 1], line[here : here + 1]])
            line = np.concatenate([line[: here + 1], way, line[here + 1 :]])
        if len(line) > 2:
            lines.append(line.tolist())
    return lines


def label_studio_rle(mask: BoolArray) -> list[int]:
    """The bytes that Label Studio's brush is made of: runs of a mask (H, W), each pixel four times.

    Source: `label_studio_sdk.converter.brush.decode_rle` reads it; here every run has a length of 16 bits.
    """
    flat = mask.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=~flat[:1]))
    lengths = 4 * np.diff(starts, append=len(flat))
    bits = [f"{4 * len(flat):032b}", f"{7:05b}", *(f"{size - 1:04b}" for size in (3, 4, 8, 16))]
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        value = "1" * 8 if flat[start] else "0" * 8
        while length > 0:
            bits.append(f"111{min(length, 1 << 16) - 1:016b}{value}")
            length -= 1 << 16
    text = "".join(bits)
    return list(int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big"))


def _simpler(line: list[list[int]], epsilon: float) -> npt.NDArray[np.int32]:
    points = np.array(line, np.int32)
    if epsilon <= 0:
        return points
    return cv2.approxPolyDP(points, epsilon * cv2.arcLength(points, True), True)[:, 0].astype(np.int32)
