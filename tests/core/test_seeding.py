"""Seeds depend on names alone."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pisam.core.seeding import derive_seed


def test_the_same_parts_give_the_same_seed_in_another_process() -> None:
    code = "from pisam.core.seeding import derive_seed; print(derive_seed(7, 3, 'DIS5K/1#a.jpg', 'clicks'))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == derive_seed(7, 3, "DIS5K/1#a.jpg", "clicks")


def test_seeds_stay_what_they_were() -> None:
    # A changed value would silently change every run that is resumed or repeated.
    assert derive_seed(0, 1, "a", "clicks") == 6273573794098469636


@pytest.mark.parametrize(
    "other",
    [(1, 0, "a"), (0, 1, "b"), (0, "1", "a"), ("0", 1, "a"), (0, 1, "a", ""), (0, 1), (0, 1, "a", "a")],
)
def test_any_other_parts_give_another_seed(other: tuple[int | str, ...]) -> None:
    assert derive_seed(*other) != derive_seed(0, 1, "a")


def test_parts_do_not_run_together() -> None:
    assert derive_seed("ab", "c") != derive_seed("a", "bc")
    assert derive_seed(1, 23) != derive_seed(12, 3)


@given(st.lists(st.integers() | st.text(), max_size=4))
def test_every_seed_fits_torch_and_numpy(parts: list[int | str]) -> None:
    seed = derive_seed(*parts)
    assert 0 <= seed < 2**63
    torch.Generator().manual_seed(seed)
    np.random.default_rng(seed)


def test_neighbouring_parts_give_unrelated_seeds() -> None:
    seeds = [derive_seed(0, epoch, "a") for epoch in range(4000)]
    assert len(set(seeds)) == 4000
    # Each of the low 32 bits, all that a CPU generator of torch looks at, is set in about half of them.
    for bit in range(32):
        share = sum(seed >> bit & 1 for seed in seeds) / 4000
        assert share == pytest.approx(0.5, abs=0.04)


def test_names_of_any_bytes_have_a_seed() -> None:
    assert derive_seed("a\udcff") != derive_seed("a\udcfe")
