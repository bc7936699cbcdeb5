"""The parts of segment-anything-hq in use, imported without the warnings of its own imports."""

from __future__ import annotations

import contextlib
import io
import warnings

with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
    # timm warns of moved names and of models registered twice; neither concerns us.
    warnings.simplefilter("ignore")
    from segment_anything_hq.modeling import MaskDecoderHQ, TinyViT

__all__ = ["MaskDecoderHQ", "TinyViT"]
