"""The predictor on exported graphs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pisam.onnx.engine import OnnxEngine
from pisam.predictor.interactive import InteractivePredictor


class OnnxPredictor(InteractivePredictor):
    """`PiSamPredictor` without torch: the same verbs, the same masks.

    Args:
        folder: that `pisam export` wrote.
        encoder: "", "int8" or "fp16": which encoder, where it was exported too.
        threads: of ONNX Runtime; 0 = one per core.
        providers: of ONNX Runtime; None = CUDA where it is installed, and the CPU.
        guarantee: whether each clicked pixel has its label after `click`, whatever the network says.

    Raises:
        PisamError: no such folder, a file of it is missing or damaged, or ONNX Runtime is not installed.
    """

    def __init__(
        self,
        folder: str | Path,
        encoder: str = "",
        *,
        threads: int = 0,
        providers: Sequence[str] | None = None,
        guarantee: bool = True,
    ) -> None:
        engine = OnnxEngine(folder, encoder, threads=threads, providers=providers)
        super().__init__(engine, guarantee=guarantee)
