"""Annotation files in COCO's format: polygons and run-length codes, in place of a folder of masks."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_masks

from pisam.core.errors import PisamError


@dataclass(frozen=True)
class Shapes:
    """The annotated objects of one image.

    Attributes:
        file: the annotation file, for messages.
        height, width: of the image, as the file says.
        codes: segmentation per annotation id: polygons, or a run-length code, compressed or not.
    """

    file: Path
    height: int
    width: int
    codes: Mapping[int, Any]

    def mask(self, annotation: int | None = None) -> npt.NDArray[np.bool_]:
        """One annotation, or the union of all: bool (H, W).

        Raises:
            PisamError: a segmentation cannot be decoded, or has another size than its image.
        """
        union = np.zeros((self.height, self.width), bool)
        for id_ in self.codes if annotation is None else [annotation]:
            decoded = self._decode(id_)
            if decoded.shape != union.shape:
                raise PisamError(
                    f"{self.file}: annotation {id_} is {decoded.shape[1]}x{decoded.shape[0]}, its image "
                    f"{self.width}x{self.height}; expected the same size; mend one of them"
                )
            union |= decoded
        return union

    def _decode(self, id_: int) -> npt.NDArray[np.bool_]:
        code = self.codes[id_]
        try:
            if isinstance(code, list):
                code = coco_masks.merge(coco_masks.frPyObjects(code, self.height, self.width))
            elif isinstance(code["counts"], list):
                code = coco_masks.frPyObjects(code, *code["size"])
            decoded: npt.NDArray[np.bool_] = coco_masks.decode(code).astype(bool)
        except Exception as error:  # the decoder raises anything
            raise PisamError(
                f"{self.file}: annotation {id_}: the segmentation cannot be decoded ({error}); expected "
                "polygons or a run-length code; mend it or take it out"
            ) from error
        return decoded


def read_coco(file: Path) -> dict[str, Shapes]:
    """The shapes of each image that has any, by the image's file name.

    Crowd annotations and those without a segmentation are passed over.

    Raises:
        PisamError: not a COCO annotation file.
    """
    return _read(file, os.stat(file).st_mtime_ns)


@lru_cache(maxsize=8)
def _read(file: Path, modified: int) -> dict[str, Shapes]:
    try:
        contents = json.loads(file.read_text(encoding="utf-8"))
        codes: dict[int, dict[int, Any]] = {}
        for annotation in contents["annotations"]:
            if annotation.get("segmentation") and not annotation.get("iscrowd"):
                codes.setdefault(annotation["image_id"], {})[int(annotation["id"])] = annotation[
                    "segmentation"
                ]
        return {
            str(image["file_name"]): Shapes(
                file, int(image["height"]), int(image["width"]), codes[image["id"]]
            )
            for image in contents["images"]
            if image["id"] in codes
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PisamError(
            f"{file}: no COCO annotations ({type(error).__name__}: {error}); expected JSON with images (id, "
            "file_name, height, width) and annotations (id, image_id, segmentation)"
        ) from error
