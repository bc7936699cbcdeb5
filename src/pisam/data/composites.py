"""Composites: the object of one picture pasted on another, and a coin that decides what belongs.

After Ghiasi et al., "Simple Copy-Paste" (CVPR 2021). What is asked for can be the picture's own object, the
pasted one, or both together, so neither looks nor colours tell: the prompt does.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pisam.data.transforms import Framed, box_of

PASTED_JITTER = (0.3, 1.0)  # of the picture the pasted object comes from: its long side, in frames


def paste(framed: Framed, other: Framed, rng: np.random.Generator) -> Framed:
    """`framed` with the object of `other` somewhere on it; the window stays that of `framed`.

    Args:
        framed: the picture that is pasted on.
        other: holds the pasted object.
        rng: where it goes, and which objects are the mask then.
    """
    width, height = framed.extent
    left, top, right, bottom = box_of(other.mask).astype(int)
    right, bottom = min(right, left + width), min(bottom, top + height)
    x = int(rng.integers(0, width - (right - left), endpoint=True))
    y = int(rng.integers(0, height - (bottom - top), endpoint=True))
    to = slice(y, y + bottom - top), slice(x, x + right - left)
    cut = other.mask[top:bottom, left:right]
    image = framed.image.copy(order="K")
    image[to][cut] = other.image[top:bottom, left:right][cut]
    pasted = np.zeros_like(framed.mask)
    pasted[to] = cut
    own = framed.mask & ~pasted
    wanted = (own, own | pasted, pasted)[int(rng.integers(3))]
    mask = wanted if wanted.any() else own | pasted
    ignored = None if framed.ignored is None else framed.ignored & ~pasted
    return replace(framed, image=image, mask=mask, box=box_of(mask), ignored=ignored)
