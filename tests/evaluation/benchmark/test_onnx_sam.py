"""SAM as segment-anything exports it answers through the adapter as its own predictor does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from segment_anything import SamPredictor

import onnx
from helpers.sam_onnx import export_sam, tiny_sam
from pisam.core.errors import PisamError
from pisam.evaluation.benchmark.entrant import as_logits
from pisam.evaluation.benchmark.other_sams import OnnxSam

SIDE = 64
IMAGE = np.random.default_rng(0).integers(0, 256, (40, SIDE, 3), dtype=np.uint8)
CLICKS = np.array([[20.5, 10.5, 1], [50.5, 30.5, 0], [8.5, 33.5, 1]])
BOX = (4.0, 6.0, 60.0, 38.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_sam(tiny_sam(SIDE), tmp_path_factory.mktemp("onnx") / "tiny")


@pytest.fixture(scope="module")
def predictor() -> SamPredictor:
    made = SamPredictor(tiny_sam(SIDE))
    made.set_image(IMAGE)
    return made


@pytest.mark.parametrize("prompt", [None, BOX])
@pytest.mark.parametrize("told", [False, True])
def test_answers_are_those_of_sams_predictor(
    folder: Path, predictor: SamPredictor, prompt: tuple[float, ...] | None, told: bool
) -> None:
    """Its frame has 64 pixels, and so its mask prompt 16, where the published exports take 256."""
    model = OnnxSam(folder, mask_input=told)
    model.encode(IMAGE)
    first = model.answer(prompt, CLICKS[:2], None)
    second = model.answer(prompt, CLICKS, first)
    for answer, clicks, given in ((first, CLICKS[:2], None), (second, CLICKS, first.memory[0])):
        theirs, _, low = predictor.predict(
            clicks[:, :2] - 0.5,  # it takes indices of pixels
            clicks[:, 2],
            None if prompt is None else np.array(prompt) - 0.5,
            mask_input=given if told else None,
            multimask_output=False,
            return_logits=True,
        )
        np.testing.assert_allclose(as_logits(answer, IMAGE.shape[:2]), theirs[0], atol=1e-4)
        np.testing.assert_allclose(answer.memory[0], low, atol=1e-4)
    assert np.ptp(first.logits) > 0 and model.name == ("tiny+mask" if told else "tiny")


def test_other_weights_of_the_same_folder_are_another_model(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "tiny")
    before = OnnxSam(tmp_path / "tiny").facts
    assert before == OnnxSam(folder).facts
    model = onnx.load(tmp_path / "tiny/encoder.onnx")
    weights = next(each for each in model.graph.initializer if len(each.raw_data) > 64)
    weights.raw_data = b"\1" * len(weights.raw_data)
    onnx.save(model, tmp_path / "tiny/encoder.onnx")
    after = OnnxSam(tmp_path / "tiny").facts
    assert {key for key in after if after[key] != before[key]} == {"sha256"}


def test_an_image_of_another_size_is_answered_at_its_own(folder: Path) -> None:
    """Twice the size is the same question at half the scale."""
    model = OnnxSam(folder)
    answers = []
    for image, scale in ((IMAGE, 1), (IMAGE.repeat(2, axis=0).repeat(2, axis=1), 2)):
        model.encode(image)
        rows = np.column_stack([CLICKS[:, :2] * scale, CLICKS[:, 2]])
        answers.append(as_logits(model.answer(None, rows, None), image.shape[:2]))
    np.testing.assert_allclose(answers[1][10:-10:2, 10:-10:2], answers[0][5:-5, 5:-5], atol=0.05)


def test_a_decoder_that_takes_any_mask_gets_a_quarter_of_the_frame(folder: Path, tmp_path: Path) -> None:
    free = export_sam(tiny_sam(SIDE), tmp_path / "free")
    decoder = onnx.load(free / "decoder.onnx")
    (mask,) = (each for each in decoder.graph.input if each.name == "mask_input")
    for axis in (2, 3):
        mask.type.tensor_type.shape.dim[axis].dim_param = "any"
    onnx.save(decoder, free / "decoder.onnx")
    answers = []
    for model in (OnnxSam(folder), OnnxSam(free)):
        model.encode(IMAGE)
        answers.append(model.answer(None, CLICKS, None).logits)
    np.testing.assert_array_equal(*answers)


def edited(folder: Path, edit: Callable[[Any], None]) -> None:
    decoder = onnx.load(folder / "decoder.onnx")
    edit(decoder.graph)
    onnx.save(decoder, folder / "decoder.onnx")


def fix_points(graph: Any) -> None:
    for each in graph.input:
        if each.name.startswith("point_"):
            each.type.tensor_type.shape.dim[1].dim_value = 2


def drop_low_resolution(graph: Any) -> None:
    del graph.output[2]


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: edited(folder, fix_points), "of 2 points, not low_res_masks of any"),
        (lambda folder: edited(folder, drop_low_resolution),
         r"decoder\.onnx: \['masks', 'iou_predictions'\] of points points, not low_res_masks"),
        (lambda folder: (folder / "decoder.onnx").unlink(), r"not readable: .*decoder\.onnx"),
        (lambda folder: (folder / "encoder.onnx").write_bytes(b"\x08garbage"), "not readable"),
        (lambda folder: (folder / "encoder.onnx").rename(folder / "decoder.onnx"), "not readable"),
        (lambda folder: (folder / "decoder.onnx").write_bytes((folder / "encoder.onnx").read_bytes()),
         r"decoder\.onnx takes \['image'\], expected"),
        (lambda folder: (folder / "encoder.onnx").write_bytes((folder / "decoder.onnx").read_bytes()),
         r"encoder\.onnx takes .*, expected \(1, 3, S, S\)"),
    ],
)  # fmt: skip
def test_what_is_no_such_export_is_told_in_one_line(
    folder: Path, tmp_path: Path, break_it, message: str
) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    break_it(tmp_path)
    with pytest.raises(PisamError, match=message) as error:
        OnnxSam(tmp_path)
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)
