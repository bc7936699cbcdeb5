from __future__ import annotations

import numpy as np

from pisam.core.types import Window
from pisam.data.composites import paste
from pisam.data.transforms import Framed, box_of


def framed(mask: np.ndarray, colour: int, extent: tuple[int, int]) -> Framed:
    image = np.full((*mask.shape, 3), colour, np.uint8)
    return Framed(image, mask, box_of(mask), Window(0, 0, *extent, *extent))


def test_the_mask_is_the_own_object_the_pasted_one_or_both() -> None:
    own, other = np.zeros((2, 64, 64), bool)
    own[10:30, 5:25] = True
    other[40:60, 20:50] = True
    seen = set()
    for seed in range(40):
        result = paste(framed(own, 100, (48, 40)), framed(other, 200, (64, 64)), np.random.default_rng(seed))
        pasted = result.image[..., 0] == 200
        assert 0 < pasted.sum() <= other.sum()
        assert not pasted[40:].any() and not pasted[:, 48:].any(), "inside the content"
        assert (result.image[~pasted] == 100).all()
        kinds = {"own": own & ~pasted, "both": own | pasted, "pasted": pasted}
        fitting = [name for name, mask in kinds.items() if np.array_equal(mask, result.mask)]
        assert fitting
        seen |= set(fitting) if len(fitting) == 1 else set()  # an own object that is covered fits two
        assert np.array_equal(result.box, box_of(result.mask))
    assert seen == {"own", "both", "pasted"}


def test_an_object_covered_altogether_leaves_no_empty_mask() -> None:
    small, large = np.zeros((2, 32, 32), bool)
    small[10:12, 10:12] = True
    large[:] = True
    for seed in range(10):
        assert paste(
            framed(small, 1, (32, 32)), framed(large, 2, (32, 32)), np.random.default_rng(seed)
        ).mask.any()
