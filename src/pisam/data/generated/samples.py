"""Pictures to try a model on, with their true masks, drawn when they are asked for."""

from __future__ import annotations

import numpy as np

from pisam.core.seeding import derive_seed
from pisam.core.types import BoolArray, UInt8Array
from pisam.data.generated.scene import make_scene
from pisam.data.generated.shapes import draw_branches, draw_fence, draw_net, draw_pierced_disc, draw_wheel

DRAWN = (draw_wheel, draw_fence, draw_net, draw_branches, draw_pierced_disc)
NAMES = tuple(draw.__name__.removeprefix("draw_").replace("_", " ") for draw in DRAWN)
SIDE = 512  # of the frame they are made for


def sample(number: int) -> tuple[UInt8Array, BoolArray]:
    """The picture uint8 (H, W, 3) and the mask bool (H, W) of a name of `NAMES`, always the same."""
    return make_scene(DRAWN[number], SIDE, np.random.default_rng(derive_seed(0, "sample", number)))
