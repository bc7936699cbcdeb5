"""A model as ONNX graphs in a folder, each compared with torch before it is called done."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pisam import __version__
from pisam.core.errors import PisamError
from pisam.core.files import replacing, sha256_of, write_json
from pisam.core.locality import iou
from pisam.core.types import UInt8Array
from pisam.data.transforms import squash
from pisam.metrics.protocol import LOGIT_THRESHOLD
from pisam.modeling.pisam import PiSam
from pisam.modeling.sam_network import PIXEL_MEAN, PIXEL_STD
from pisam.modeling.sam_weights import hash_tensors
from pisam.onnx.engine import FORMAT, META, OnnxEngine
from pisam.onnx.graphs import OPSET, Graph, graphs_of
from pisam.predictor.engine import Engine, Prompt
from pisam.predictor.session import Answer, Session

Named = tuple[str, UInt8Array]


def export(
    model: PiSam, reference: Engine, folder: Path, pictures: Sequence[Named], *, encoders: Iterable[str] = ()
) -> dict[str, Any]:
    """Write encoder.onnx, decoder.onnx, interactor.onnx and meta.json, and compare them with torch.

    Args:
        model: to export.
        reference: the session's engine on it, in torch.
        folder: made if it is absent; holds none of these files yet.
        pictures: named pictures to compare on.
        encoders: "int8" and "fp16": the encoder again, as encoder_int8.onnx (dynamic quantisation of its
            matrix products) and encoder_fp16.onnx.

    Returns:
        what meta.json says.

    Raises:
        PisamError: one of the files is there, the folder cannot be written, or an answer is not finite.
    """
    graphs, encoders, files = graphs_of(model), list(encoders), {}
    for name in (META, *(f"{each}.onnx" for each in (*graphs, *(f"encoder_{kind}" for kind in encoders)))):
        if (folder / name).exists() or (folder / name).is_symlink():
            raise PisamError(f"{folder / name} is there already; give another out=, or move it away")
    for name, graph in graphs.items():
        with replacing(folder / f"{name}.onnx") as temporary:
            _write(graph, temporary)
        files[f"{name}.onnx"] = sha256_of(folder / f"{name}.onnx")
    for kind in encoders:
        with replacing(folder / f"encoder_{kind}.onnx") as temporary:
            _REDUCED[kind](folder / "encoder.onnx", temporary)
        files[f"encoder_{kind}.onnx"] = sha256_of(folder / f"encoder_{kind}.onnx")
    meta: dict[str, Any] = {
        "format": FORMAT,
        "pisam": __version__,
        "backbone": model.backbone,
        "image_size": model.image_size,
        "resize": "squash: averaged along a side that shrinks, bilinear along one that grows",
        "pixel_mean": PIXEL_MEAN,
        "pixel_std": PIXEL_STD,
        "normalised": "in encoder.onnx and the others, which take uint8 RGB",
        "threshold": LOGIT_THRESHOLD,
        "reprompt": bool(getattr(model, "reprompt", False)),
        "opset": OPSET,
        "checkpoint_hash": hash_tensors(model.own_state()),
        "frozen_hash": model.frozen_hash(),
        "files": files,
    }
    write_json(meta, folder / META)  # an engine needs it
    meta["compared"] = [
        {"encoder": kind or "fp32", **row}
        for kind in ("", *encoders)
        for row in compare(reference, OnnxEngine(folder, kind, providers=["CPUExecutionProvider"]), pictures)
    ]
    write_json(meta, folder / META)
    return meta


def compare(reference: Engine, engine: Engine, pictures: Sequence[Named]) -> list[dict[str, Any]]:
    """Two engines on the same pictures, box and clicks: a row per picture and answer.

    Columns: picture, answer (box; clicks: three of them), max_difference of the logits before the guarantee,
    iou of the masks after it.

    Raises:
        PisamError: a logit is not finite.
    """
    rows = []
    for name, picture in pictures:
        answers = zip(_answers(reference, picture), _answers(engine, picture), strict=True)
        for kind, (ours, theirs) in zip(("box", "clicks"), answers, strict=True):
            difference = float(np.abs(ours.network() - theirs.network()).max())
            if not np.isfinite(difference):
                raise PisamError(
                    f"{name}: logits are not finite; the checkpoint is damaged, or 16 bits too few"
                )
            overlap = iou(ours.mask(), theirs.mask())
            rows.append({"picture": name, "answer": kind, "max_difference": difference, "iou": overlap})
    return rows


def _answers(engine: Engine, picture: UInt8Array) -> tuple[Answer, Answer]:
    """To a box around the middle of a picture, and to three clicks on that answer."""
    height, width = picture.shape[:2]
    session = Session(engine)
    session.see(squash(picture, engine.side), (height, width))
    middle = np.array([0.1, 0.1, 0.9, 0.9], np.float32) * engine.side
    first = session.ask([Prompt(box=middle)])[0]
    session.begin(first)
    for x, y, label in ((0.5, 0.5, 1), (0.15, 0.2, 0), (0.7, 0.6, 1)):
        session.click(x * width, y * height, label)
    return first, session.answer


def _write(graph: Graph, path: Path) -> None:
    with warnings.catch_warnings():
        # The tracer warns of each shape that stays constant, as the frame's do, and of its successor.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph.module.eval(),
            tuple(graph.inputs.values()),
            str(path),
            input_names=list(graph.inputs),
            output_names=graph.outputs,
            dynamic_axes=dict(graph.dynamic),
            opset_version=OPSET,
            dynamo=False,
        )


def _int8(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.getLogger().setLevel(logging.ERROR)  # it advises a preparation that dynamic shapes need
    quantize_dynamic(
        source, target, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8
    )


def _fp16(source: Path, target: Path) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    import onnx

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


_REDUCED = {"int8": _int8, "fp16": _fp16}
