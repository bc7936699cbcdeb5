"""Interface of a model in the benchmark: encode an image once, answer clicks on it.

A class of two methods is enough; nothing has to be imported:

    class Mine:
        name = "mine"                                  # optional; else the name of the class
        def encode(self, image): ...                   # uint8 (H, W, 3) RGB, once an image
        def answer(self, prompt, clicks, previous): ...  # -> logits (H, W)
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pisam.core.types import UInt8Array

Box = tuple[float, float, float, float]
Clicks = npt.NDArray[np.float64]
LONGEST_LIMIT = 10**6  # seconds of an answer; timers of some systems take no more than 1e9


class Entrant(Protocol):
    """A model of the benchmark. Coordinates are pixels of the image, pixel centres at +0.5.

    Optional: `facts`, a mapping of plain values that tell its weights and versions, kept with its results;
    `begin(set, image)`, told the names of an image before `encode`; `answers_controls = False` where it has
    no answers to clicks that were not its own.
    """

    name: str

    def encode(self, image: UInt8Array) -> None:
        """Look at an image, uint8 (H, W, 3) RGB; what is asked next is about it."""

    def answer(self, prompt: Box | None, clicks: Clicks, previous: Any | None) -> Any:
        """The mask after all clicks so far.

        Args:
            prompt: a box (x0, y0, x1, y1), edges; None where the clicks are all there is.
            clicks: float64 (N, 3), rows (x, y, label), label 1 = object, 0 = background, in the order of
                clicking; N = 0 where only the box is asked about.
            previous: what this method returned last on this object; None at first. Controls give a copy of
                the first answer. It decides nothing else: the same arguments must give the same answer.

        Returns:
            Logits (H, W), above 0 = object: an array, a tensor, or anything that NumPy makes an array of. A
            mask of two values is one, too; of probabilities subtract 0.5.
        """


class Answer:
    """Logits (H, W) with what a model wants back as `previous`, such as SAM's low-resolution mask."""

    def __init__(self, logits: npt.NDArray[Any], memory: Any) -> None:
        self.logits, self.memory = logits, memory

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self.logits, dtype=dtype)


class FixedAnswer(Answer):
    """An answer that nobody writes into and that may hold much: its copy is itself."""

    def __deepcopy__(self, memo: Any) -> FixedAnswer:
        return self


class WrongAnswer(Exception):
    """Failure of a model to answer; the image gets no score."""


def name_of(entrant: Any) -> str:
    """Its `name`, else that of its class."""
    return str(getattr(entrant, "name", "") or type(entrant).__name__)


def file_stem(name: str) -> str:
    """The name of a model as that of its file, without suffix; empty for a name without letter or digit."""
    return "".join(letter if letter.isalnum() or letter in "+-_." else "-" for letter in name).strip(".-")


def facts_of(entrant: Any) -> dict[str, Any]:
    """The name, what else the model says of itself, plain or not, and the hash of a user's file."""
    facts = getattr(entrant, "facts", None)
    known = dict(facts) if isinstance(facts, Mapping) else {} if facts is None else {"facts": facts}
    known = {key: value.item() if isinstance(value, np.generic) else value for key, value in known.items()}
    if code := getattr(entrant, "code_sha256", None):
        known["code_sha256"] = code
    return {"name": name_of(entrant)} | {key: value for key, value in known.items() if key != "name"}


def as_logits(answer: Any, size: tuple[int, int]) -> npt.NDArray[Any]:
    """An answer as numbers (H, W), of their own kind: in another one the smallest would be 0.

    Raises:
        WrongAnswer: nothing, another size, not all numbers, or such as probabilities and soft masks of any
            scale have, of which each is above 0 and so object: none below 0, and the lowest close to it.
    """
    if answer is None:
        raise WrongAnswer("answered nothing")
    if hasattr(answer, "detach"):
        answer = answer.detach().cpu()
        answer = answer.double() if answer.is_floating_point() else answer
    try:
        logits = np.asarray(answer)
    except (TypeError, ValueError):
        logits = np.asarray(None)
    if logits.dtype.kind not in "biuf":
        raise WrongAnswer(f"answered {type(answer).__name__}, expected logits (H, W)")
    if logits.shape != size:
        raise WrongAnswer(f"answered shape {logits.shape}, expected {size}")
    if np.isnan(logits).any():
        raise WrongAnswer("answered NaN")
    low, high = logits.min(), logits.max()
    soft = low >= 0 and (high <= 1 or logits.dtype.kind in "iu" or low < high / 100)
    if soft and ((logits != 0) & (logits != high)).any():
        raise WrongAnswer(
            f"answered {low:g} to {high:g}, expected logits, above 0 = object; subtract the middle"
        )
    return logits


@contextmanager
def at_most(seconds: float | None) -> Iterator[None]:
    """End what takes longer. Python code is interrupted, in the main thread; a library's call, and code in
    other threads, once it returns.

    Raises:
        WrongAnswer: it took longer.
    """
    if seconds is None:
        yield
        return

    def late(*_: Any) -> None:
        raise WrongAnswer(f"took longer than {seconds:g} s")

    start, interrupts = time.perf_counter(), threading.current_thread() is threading.main_thread()
    if interrupts:
        before = signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        if interrupts:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    if time.perf_counter() - start > seconds:
        late()
