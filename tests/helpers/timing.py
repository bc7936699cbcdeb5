"""Times that can be compared: measured in turn in one run, the fastest of each."""

from __future__ import annotations

import time
from collections.abc import Callable


def fastest(rounds: int, **functions: Callable[[], object]) -> dict[str, float]:
    """Milliseconds of the fastest of `rounds` runs of each function, run in turn."""
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            best[name] = min(best[name], 1e3 * (time.perf_counter() - start))
    return best
