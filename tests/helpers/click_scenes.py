"""Error maps to click on."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor


def batch_of(wrong: np.ndarray, mask: np.ndarray) -> tuple[Tensor, Tensor]:
    """Logits and mask (1, 1, H, W) of an image that is wrong where `wrong` says so."""
    truth = torch.from_numpy(mask)[None, None]
    return torch.where(torch.from_numpy(wrong)[None, None] ^ truth, 3.0, -3.0), truth


def missed(*regions: tuple[slice, slice], shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """An image whose object is the regions (rows, columns), all of it missed."""
    mask = np.zeros(shape, bool)
    for region in regions:
        mask[region] = True
    return batch_of(mask, mask)


def repeated(pair: tuple[Tensor, Tensor], times: int) -> tuple[Tensor, Tensor]:
    """The same image `times` times in one batch."""
    prediction, mask = pair
    return prediction.expand(times, -1, -1, -1), mask.expand(times, -1, -1, -1)


@st.composite
def images(draw: st.DrawFn, largest: int = 14) -> tuple[np.ndarray, np.ndarray]:
    """(wrong, mask), bool (H, W): rectangles of error, so that interiors exist, and speckles."""
    shape = draw(st.tuples(st.integers(1, largest), st.integers(1, largest)))
    wrong = draw(hnp.arrays(bool, shape, elements=st.booleans(), fill=st.just(False)))
    mask = draw(hnp.arrays(bool, shape, elements=st.booleans(), fill=st.just(False)))
    for target in (wrong, mask):
        for _ in range(draw(st.integers(0, 3))):
            top, left = draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))
            height, width = draw(st.integers(1, largest)), draw(st.integers(1, largest))
            target[top : top + height, left : left + width] ^= True
    return wrong, mask
