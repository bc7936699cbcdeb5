"""Pi-SAM: frozen SAM, a High-Resolution Mask Decoder, and a Precise Interactor that repairs masks by clicks.

Public names are imported when first used, so that `import pisam` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pisam.clicks.simulate import simulate_clicks
    from pisam.core.types import Clicks
    from pisam.modeling.checkpoint import load_model
    from pisam.modeling.pisam import build_model
    from pisam.modeling.shared_weights import save_model
    from pisam.predictor import PiSamPredictor

__version__ = "0.1.0"
__all__ = [
    "Clicks",
    "PiSamPredictor",
    "__version__",
    "build_model",
    "load_model",
    "save_model",
    "simulate_clicks",
]

_HOME = {
    "Clicks": "pisam.core.types",
    "PiSamPredictor": "pisam.predictor",
    "build_model": "pisam.modeling.pisam",
    "load_model": "pisam.modeling.checkpoint",
    "save_model": "pisam.modeling.shared_weights",
    "simulate_clicks": "pisam.clicks.simulate",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
