"""Exported graphs, and the predictor on them, beside torch."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.exported import SIDE, pisam, small_model, write_checkpoint
from helpers.model_inputs import randomise
from pisam.core.errors import PisamError
from pisam.data.reading.reader import read_image
from pisam.modeling.checkpoint import load_model
from pisam.modeling.deformable_conv import DeformableConv
from pisam.modeling.pisam import build_model
from pisam.onnx import OnnxPredictor
from pisam.onnx.engine import OnnxEngine
from pisam.onnx.export import compare
from pisam.onnx.graphs import _KernelRows
from pisam.predictor import PiSamPredictor
from pisam.predictor.interactive import InteractivePredictor

SOURCE = Path(__file__).resolve().parents[2] / "src"
HEIGHT, WIDTH = 90, 160
BOX = (20.0, 15.0, 120.0, 80.0)
# The same questions for every predictor; each gives masks.
QUESTIONS = """
def ask(predictor, image):
    predictor.set_image(image)
    yield predictor.set_box((20, 15, 120, 80))
    for click in ((30.5, 40.5, True), (100, 20, False), (0, 90, True)):
        yield predictor.click(*click)
    yield predictor.undo()
    yield predictor.redo()
    boxes = (0, 0, 50, 50), (5, 5, 160, 90), (1, 2, 3, 4), (9, 9, 99, 70), (0, 0, 9, 9)
    yield from predictor.masks_of(boxes)
    yield predictor.set_points([(50, 50), (60, 60)], [1, 0])
    yield predictor.set_points([(50, 50)], [1], box=(20, 15, 120, 80))
    yield predictor.set_mask(image[..., 0] > 128)
    yield predictor.click(80, 45, False)
"""
exec(QUESTIONS)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def test_masks_are_those_of_torch(exported: Path, checkpoint: Path, image: np.ndarray) -> None:
    ours, theirs = OnnxPredictor(exported), PiSamPredictor(load_model(checkpoint))
    pairs = zip(ask(ours, image), ask(theirs, image), strict=True)  # noqa: F821
    shares = [np.mean(one == other) for one, other in pairs]
    assert len(shares) == 15 and min(shares) > 0.999  # a logit of almost 0 may have either sign
    assert np.abs(ours.logits - theirs.logits).max() < 1e-3


def test_clicks_after_asking_the_decoder_again_are_those_of_torch(
    exported: Path, checkpoint: Path, image: np.ndarray, tmp_path: Path
) -> None:
    folder = shutil.copytree(exported, tmp_path / "reprompt")
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"reprompt": True}))
    logits = []
    for predictor in (OnnxPredictor(folder), PiSamPredictor(load_model(checkpoint), reprompt=True)):
        predictor.set_image(image)
        predictor.set_box(BOX)
        for x, y, foreground in ((30, 40, True), (100, 20, False), (60, 60, True)):
            predictor.click(x, y, foreground)
            logits.append(predictor.logits)
    for ours, theirs in zip(logits[:3], logits[3:], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
    assert np.abs(logits[0] - logits[2]).max() > 1e-3


@pytest.mark.parametrize("least", [-1.0, 2.0], ids=["familiar pictures", "others"])
def test_a_model_as_the_trained_one_is_exported(tmp_path: Path, image: np.ndarray, least: float) -> None:
    torch.manual_seed(0)
    model = build_model("nano", image_size=SIDE, from_sam=True, local=True, reprompt=True, guard=True).eval()
    for part in (model.interactor, model.decoder.token_mlp):
        randomise(part, scale=0.2)
    assert model.decoder.guard is not None
    model.decoder.guard.least.fill_(least)
    path = write_checkpoint(model, tmp_path / "local.ckpt")
    assert pisam("export", path, f"out={tmp_path / 'exported'}") == 0
    rows = json.loads((tmp_path / "exported" / "meta.json").read_text())["compared"]
    assert max(row["max_difference"] for row in rows) < 1e-2 and min(row["iou"] for row in rows) > 0.999
    ours, theirs = OnnxPredictor(tmp_path / "exported"), PiSamPredictor(load_model(path))
    for points in ([(50, 50)], [(50, 50), (60, 60)]):  # SAM has three masks for a single one
        logits = []
        for predictor in (ours, theirs):
            predictor.set_image(image)
            predictor.set_points(points)
            logits.append(predictor.logits)
        np.testing.assert_allclose(*logits, atol=1e-2)


def test_no_torch_is_needed(exported: Path, image: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", image)
    blocked = ("torch", "torchvision", "lightning", "segment_anything", "onnx")
    code = f"""
import sys
sys.path.insert(0, {str(SOURCE)!r})
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Block())
import numpy as np
import pisam, pisam.onnx
{QUESTIONS}
masks = list(ask(pisam.onnx.OnnxPredictor({str(exported)!r}), np.load({str(tmp_path / "image.npy")!r})))
np.save({str(tmp_path / "masks.npy")!r}, np.stack(masks))
print("torch" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout.strip() == "False", ran.stderr
    here = np.stack(list(ask(OnnxPredictor(exported), image)))  # noqa: F821
    np.testing.assert_array_equal(np.load(tmp_path / "masks.npy"), here)


def test_a_saved_encoding_is_loaded(exported: Path, image: np.ndarray, tmp_path: Path) -> None:
    first = OnnxPredictor(exported)
    first.set_image(image)
    first.save(tmp_path / "image.npz")
    second = OnnxPredictor(exported)
    second.load(tmp_path / "image.npz")
    np.testing.assert_array_equal(first.set_box(BOX), second.set_box(BOX))
    with pytest.raises(ValueError, match="not an image that this predictor saved"):
        OnnxPredictor(exported, "int8").load(tmp_path / "image.npz")


def test_the_comparison_with_torch_is_stored_and_small(exported: Path) -> None:
    meta = json.loads((exported / "meta.json").read_text())
    assert meta["image_size"] == SIDE and meta["backbone"] == "nano" and len(meta["checkpoint_hash"]) == 64
    rows = meta["compared"]
    assert {(row["encoder"], row["answer"]) for row in rows} == {
        (encoder, answer) for encoder in ("fp32", "int8", "fp16") for answer in ("box", "clicks")
    }
    exact = [row for row in rows if row["encoder"] == "fp32"]
    assert max(row["max_difference"] for row in exact) < 1e-3 and min(row["iou"] for row in exact) > 0.999
    assert min(row["iou"] for row in rows if row["encoder"] == "fp16") > 0.99


def test_photographs_have_the_masks_of_torch(shared: Path, exported: Path, checkpoint: Path) -> None:
    paths = sorted((shared / "data" / "alphamatting" / "val" / "images").iterdir())[:3]
    pictures = [(path.name, read_image(path)) for path in paths]
    engine = PiSamPredictor(load_model(checkpoint)).engine
    rows = compare(engine, OnnxEngine(exported), pictures)
    assert len(rows) == 6 and min(row["iou"] for row in rows) > 0.999
    assert max(row["max_difference"] for row in rows) < 1e-3


def test_a_difference_is_seen(exported: Path, checkpoint: Path, image: np.ndarray) -> None:
    model = load_model(checkpoint)
    with torch.no_grad():
        model.decoder.head.output[-1].bias += 0.25
    rows = compare(PiSamPredictor(model).engine, OnnxEngine(exported), [("noise", image)])
    assert all(row["max_difference"] == pytest.approx(0.25, abs=1e-3) and row["iou"] < 1 for row in rows)


def test_convolution_by_kernel_rows_is_the_convolution() -> None:
    layers = [module for module in small_model().modules() if isinstance(module, DeformableConv)]
    x = torch.randn(2, 32, 9, 12, generator=torch.Generator().manual_seed(0))
    for layer in layers:
        with torch.no_grad():
            torch.testing.assert_close(_KernelRows(layer)(x), layer(x), atol=1e-4, rtol=1e-4)
    assert len(layers) == 2


@pytest.mark.parametrize(
    ("file", "message"),
    [("meta.json", "not readable"), ("decoder.onnx", "No such file"), ("interactor.onnx", "No such file")],
)
def test_missing_files_are_named(exported: Path, tmp_path: Path, file: str, message: str) -> None:
    folder = shutil.copytree(exported, tmp_path / "copy")
    (folder / file).unlink()
    with pytest.raises(PisamError, match=f"{file}: {message}"):
        OnnxEngine(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": []}, "files: expected a dict"),
        ({"image_size": "x"}, "image_size: expected a int"),
        ({"image_size": 10**9}, "image_size is 1000000000, its encoder takes"),
        ({"reprompt": None}, "reprompt: expected a bool"),
        ({"format": 99}, "expected format 1"),
        (None, "nested too deep"),
    ],
    ids=str,
)
def test_facts_of_another_kind_are_refused(
    exported: Path, tmp_path: Path, change: dict | None, message: str
) -> None:
    folder = shutil.copytree(exported, tmp_path / "copy")
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text("[" * 100_000 if change is None else json.dumps(meta | change))
    with pytest.raises(PisamError, match=f"meta.json: .*{message}"):
        OnnxEngine(folder)


def test_a_file_that_is_no_graph_is_named(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported, tmp_path / "copy")
    (folder / "decoder.onnx").write_bytes(b"no graph")
    meta = json.loads((folder / "meta.json").read_text())
    meta["files"]["decoder.onnx"] = hashlib.sha256(b"no graph").hexdigest()
    (folder / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(PisamError, match=r"decoder\.onnx: ONNX Runtime does not take it \("):
        OnnxEngine(folder)


def test_damaged_and_absent_graphs_are_named(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported, tmp_path / "copy")
    with (folder / "encoder.onnx").open("r+b") as file:
        file.seek(1000)
        file.write(b"\0\0\0\0")
    with pytest.raises(PisamError, match=r"encoder\.onnx: not what was exported"):
        OnnxEngine(folder)
    with pytest.raises(PisamError, match=r"encoder_int4\.onnx was not exported, only"):
        OnnxEngine(folder, "int4")


@pytest.mark.parametrize("name", ["meta.json", "encoder.onnx", "interactor.onnx", "encoder_fp16.onnx"])
def test_nothing_is_overwritten(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / name).write_text("mine")
    assert pisam("export", checkpoint, f"out={tmp_path}", "fp16=true") == 2
    assert f"{tmp_path / name} is there already; give another out=" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"providers": "CPUExecutionProvider"}, "providers: expected a list out of .*CPUExecutionProvider"),
        ({"providers": ["X"]}, "providers: expected"),
        ({"providers": 5}, "providers: expected"),
        ({"threads": "x"}, "threads: expected"),
        ({"threads": -1}, "threads: expected"),
    ],
)
def test_options_that_onnx_runtime_has_not_are_refused(
    exported: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        OnnxPredictor(exported, **options)


def test_every_verb_of_the_torch_predictor_is_there() -> None:
    assert issubclass(OnnxPredictor, InteractivePredictor) and issubclass(
        PiSamPredictor, InteractivePredictor
    )
