"""How long exported graphs and `pisam predict` take, beside the bare networks in the same run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from helpers.exported import pisam, write_checkpoint
from helpers.timing import fastest
from pisam.data.generated.sets import NAMES, sample
from pisam.data.transforms import squash
from pisam.modeling.pisam import build_model
from pisam.onnx import OnnxPredictor
from pisam.onnx.engine import OnnxEngine
from pisam.onnx.graphs import OPSET
from pisam.predictor.engine import Prompt

pytestmark = pytest.mark.bench

SIDE, PIXELS = 1024, 1600
Report = Callable[[str], None]


@pytest.fixture(scope="module")
def exported_vit_t(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MobileSAM's encoder with an untrained decoder, and its bare encoder as bare.onnx."""
    folder = tmp_path_factory.mktemp("vit_t")
    model = build_model("vit_t", shared / "weights", SIDE).eval()
    write_checkpoint(model, folder / "model.ckpt")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PISAM_WEIGHTS", str(shared / "weights"))
        assert pisam("export", folder / "model.ckpt", f"out={folder / 'exported'}", "int8=true") == 0
    torch.onnx.export(
        model.encoder.image_encoder,
        (torch.zeros(1, 3, SIDE, SIDE),),
        str(folder / "bare.onnx"),
        input_names=["image"],
        opset_version=OPSET,
        dynamo=False,
    )
    return folder


def test_encoder_box_and_click(exported_vit_t: Path, report: Report) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    bare = onnxruntime.InferenceSession(exported_vit_t / "bare.onnx", options)
    engine = OnnxEngine(exported_vit_t / "exported", threads=2)
    predictor = OnnxPredictor(exported_vit_t / "exported", threads=2)
    picture, _ = sample(0)
    frame = squash(picture, SIDE)
    normal = np.zeros((1, 3, SIDE, SIDE), np.float32)
    predictor.set_image(picture)
    height, width = picture.shape[:2]
    times = fastest(
        5,
        bare=lambda: bare.run(None, {"image": normal}),
        encoder=lambda: engine.encode(frame),
        box=lambda: predictor.set_box((5, 5, width - 5, height - 5)),
        click=lambda: predictor.click(width / 2, height / 2),
    )
    report(
        ", ".join(f"{name} {time / times['bare']:.2f}" for name, time in times.items())
        + " of the bare encoder"
    )
    assert times["encoder"] <= 1.2 * times["bare"]


def test_predict_on_a_folder(exported_vit_t: Path, tmp_path: Path, report: Report) -> None:
    folder, engine = tmp_path / "pictures", OnnxEngine(exported_vit_t / "exported")
    folder.mkdir()
    frames = []
    for number in range(len(NAMES)):
        picture = Image.fromarray(sample(number)[0]).resize((PIXELS, PIXELS * 3 // 4))
        picture.save(folder / f"{number}.jpg", quality=95)
        frames.append(squash(np.asarray(picture), SIDE))
    box = np.array([100, 100, 900, 900], np.float32)
    runs = iter(range(100))

    def predict() -> None:
        given = (f"images={folder}", f"out={tmp_path / str(next(runs))}", "box=150,120,1400,1000")
        assert pisam("predict", exported_vit_t / "exported", *given) == 0

    def networks() -> None:
        for frame in frames:
            engine.first(engine.encode(frame), [Prompt(box=box)])

    load = fastest(1, load=lambda: OnnxEngine(exported_vit_t / "exported"))["load"]
    times = fastest(2, networks=networks, predict=predict)
    ratio = (times["predict"] - load) / times["networks"]
    report(f"predict {ratio:.2f} of encoder and decoder alone (without loading the graphs)")
    assert ratio <= 1.2
