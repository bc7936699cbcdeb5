"""Pi-SAM as ONNX: `export` writes the graphs with torch, `OnnxPredictor` runs them without.

`OnnxPredictor(DIR)` needs onnxruntime, NumPy, OpenCV and Pillow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pisam.onnx.engine import OnnxPredictor

__all__ = ["OnnxPredictor"]


def __getattr__(name: str) -> Any:
    if name != "OnnxPredictor":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pisam.onnx.engine import OnnxPredictor

    return OnnxPredictor
