"""Protocols of annotation tools: Label Studio's ML backend and X-AnyLabeling's remote server."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from pisam import __version__
from pisam.core.types import BoolArray
from pisam.predictor import formats
from pisam.serve.pictures import Refused, fetch, from_data_uri
from pisam.serve.requests import flag, numbers
from pisam.serve.sessions import CLICKS, Store

NAME = "pisam"
VERSION = f"{NAME} {__version__}"
TASKS = 16  # of one request
KINDS = {
    "BrushLabels": "brushlabels",
    "PolygonLabels": "polygonlabels",
}  # tags of Label Studio that masks go to


@dataclass(frozen=True)
class Backend:
    """Answers both tools."""

    store: Store  # of encoded pictures; a tool sends its picture again with every click
    host: str | None = None  # of Label Studio, which its pictures are fetched from
    key: str | None = None  # its API key

    def label_studio(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to `POST /predict`: a result per task, a region per kind of label that takes masks.

        Raises:
            Refused: not as Label Studio writes it.
        """
        tasks = request.get("tasks")
        if not isinstance(tasks, list) or not 0 < len(tasks) <= TASKS:
            raise Refused(400, f"tasks: expected 1 to {TASKS}")
        context = _dict(_dict(request.get("params")).get("context")).get("result") or []
        if not isinstance(context, list) or len(context) * len(tasks) > CLICKS:
            raise Refused(400, f"params.context.result: expected a list of {CLICKS} at most, for all tasks")
        tag, from_name, to_name, value = _control(request.get("label_config"))
        return {
            "results": [self._task(_dict(task), context, (tag, from_name, to_name), value) for task in tasks]
        }

    def _task(
        self, task: dict[str, Any], context: Sequence[Any], control: tuple[str, str, str], value: str
    ) -> dict[str, Any]:
        if not context:  # nothing is drawn yet
            return {"result": [], "score": 0.0, "model_version": VERSION}
        image = self.store.encode(self._picture(_dict(task.get("data")).get(value)))
        height, width = image.size
        box, points, labels = None, [], []
        selected: list[str] = []
        for region in map(_dict, context):
            drawn, kind = _dict(region.get("value")), region.get("type")
            if kind == "keypointlabels":
                x, y = numbers([drawn.get("x"), drawn.get("y")], 2, kind)
                points.append((x * width / 100, y * height / 100))
                labels.append(int(flag(region.get("is_positive", 0), "is_positive")))
            elif kind == "rectanglelabels":
                x, y, w, h = numbers([drawn.get(key) for key in ("x", "y", "width", "height")], 4, kind)
                box = _cut((x * width, y * height, (x + w) * width, (y + h) * height), width, height, 100)
            else:
                continue
            if any(numbers([drawn.get("rotation") or 0, region.get("image_rotation") or 0], 2, "rotation")):
                raise Refused(400, "rotation: expected 0, of the picture and of what is drawn on it")
            if not isinstance(named := drawn.get(kind) or selected, list):
                raise Refused(400, f"{kind}: expected a list of labels")
            selected = [str(each) for each in named][:1]
        mask = self._mask(image, box, points, labels)
        if mask is None or not selected:
            return {"result": [], "score": 0.0, "model_version": VERSION}
        tag, from_name, to_name = control
        kind = KINDS[tag]
        values: list[dict[str, Any]] = (
            [{"format": "rle", "rle": formats.label_studio_rle(mask)}]
            if tag == "BrushLabels"
            else [
                {"points": [[x * 100 / width, y * 100 / height] for x, y in line], "closed": True}
                for line in formats.keyholes(mask, epsilon=0.001)
            ]
        )
        region = {"from_name": from_name, "to_name": to_name, "type": kind, "image_rotation": 0, "score": 1.0}
        region |= {"original_width": width, "original_height": height, "readonly": False}
        results = [
            {**region, "id": uuid.uuid4().hex[:8], "value": {**each, kind: selected}} for each in values
        ]
        return {"result": results, "score": 1.0, "model_version": VERSION}

    def models(self) -> dict[str, Any]:
        """The answer to X-AnyLabeling's `GET /v1/models`."""
        return {"success": True, "data": {NAME: self.model()}}

    def model(self) -> dict[str, Any]:
        """Model list of X-AnyLabeling."""
        widgets = (
            "button_add_point",
            "button_remove_point",
            "button_add_rect",
            "button_clear",
            "button_finish_object",
        )
        fineness = [
            {"name": "mask_fineness_slider", "value": 1},
            {"name": "mask_fineness_value_label", "value": None},
        ]
        return {
            "model_id": NAME,
            "display_name": "Pi-SAM",
            "widgets": [{"name": name, "value": None} for name in widgets] + fineness,
            "params": {"epsilon_factor": 0.001},
            "batch_processing_mode": None,
        }

    def anylabeling(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to X-AnyLabeling's `POST /v1/predict`.

        Raises:
            Refused: another model (404), or marks and picture that are none (400).
        """
        if request.get("model") != NAME:
            raise Refused(404, f"model: expected {NAME}")
        params = _dict(request.get("params"))
        marks = params.get("marks") or []
        (fineness,) = numbers([params.get("epsilon_factor") or 0], 1, "epsilon_factor")
        if not isinstance(marks, list) or len(marks) > CLICKS:
            raise Refused(400, f"params: expected at most {CLICKS} marks")
        if not isinstance(request.get("image"), str):
            raise Refused(400, "image: expected a data URI or base64")
        image = self.store.encode(from_data_uri(request["image"], self.store.limits))
        height, width = image.size
        box, points, labels = None, [], []
        for mark in map(_dict, marks):
            if mark.get("type") == "rectangle":
                box = _cut(numbers(mark.get("data"), 4, "rectangle"), width, height, 1)
            elif mark.get("type") == "point":
                x, y = numbers(mark.get("data"), 2, "point")
                points.append((x, y))
                labels.append(int(flag(mark.get("label", 1), "label")))
            else:
                raise Refused(400, "marks: expected those of type point or rectangle")
        mask = self._mask(image, box, points, labels)
        lines = [] if mask is None else formats.keyholes(mask, epsilon=min(max(fineness, 0.0), 0.1))
        shape = {
            "label": "AUTOLABEL_OBJECT",
            "shape_type": "polygon",
            "score": 1.0,
            "attributes": {},
            "description": None,
            "difficult": False,
            "direction": 0,
            "flags": None,
            "group_id": 1 if len(lines) > 1 else None,  # parts of one object
            "kie_linking": [],
        }
        shapes = [{**shape, "points": [[float(x), float(y)] for x, y in [*line, line[0]]]} for line in lines]
        return {"success": True, "data": {"shapes": shapes, "description": ""}}

    def _picture(self, location: Any) -> bytes:
        if not isinstance(location, str) or not location:
            raise Refused(400, "data: expected the picture's URL or data URI")
        if location.startswith("data:"):
            return from_data_uri(location, self.store.limits)
        return fetch(location, self.host, self.key, self.store.limits)

    def _mask(
        self,
        image: Any,
        box: Sequence[float] | None,
        points: Sequence[tuple[float, float]],
        labels: Sequence[int],
    ) -> BoolArray | None:
        """The answer to a box and then clicks, or to points; None where nothing says what is meant."""
        predictor = image.predictor.another()
        try:
            if box is None:
                return predictor.set_points(points, labels) if any(labels) else None
            mask: BoolArray = predictor.set_box(box)
            for (x, y), label in zip(points, labels, strict=True):
                mask = predictor.click(x, y, bool(label))
        except ValueError as error:
            raise Refused(400, str(error)) from error
        return mask


def health(sessions: int) -> dict[str, Any]:
    """Answer at `/health`, for both tools."""
    return {
        "status": "UP",
        "model_class": NAME,
        "models_loaded": 1,
        "sessions": sessions,
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _dict(value: Any) -> dict[str, Any]:
    """The value, if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def _cut(box: Sequence[float], width: int, height: int, unit: float) -> tuple[float, float, float, float]:
    """Corners in any order, divided by `unit`, inside of the picture."""
    x0, y0, x1, y1 = (edge / unit for edge in box)
    left, right = sorted((min(max(x0, 0.0), width), min(max(x1, 0.0), width)))
    top, bottom = sorted((min(max(y0, 0.0), height), min(max(y1, 0.0), height)))
    return left, top, right, bottom


def _control(config: Any) -> tuple[str, str, str, str]:
    """What masks go to in a labelling configuration: tag, name, name of its picture, the picture's key."""
    wanted = "label_config: expected an Image, and BrushLabels or PolygonLabels on it"
    if not isinstance(config, str) or len(config) > 2**16 or "<!" in config.replace("<!--", ""):
        raise Refused(400, wanted)
    try:
        elements = list(ElementTree.fromstring(config).iter())
    except (ElementTree.ParseError, ValueError) as error:
        raise Refused(400, wanted) from error
    images = {
        each.get("name"): (each.get("value") or "").removeprefix("$")
        for each in elements
        if each.tag == "Image"
    }
    for tag in KINDS:
        for each in elements:
            if each.tag == tag and each.get("toName") in images:
                return tag, str(each.get("name")), str(each.get("toName")), images[each.get("toName")]
    raise Refused(400, wanted)
