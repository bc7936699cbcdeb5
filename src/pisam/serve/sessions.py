"""The sessions of a server, bounded in number and memory, and what may be asked of one."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anyio

from pisam.core.types import BoolArray
from pisam.predictor.engine import Engine
from pisam.predictor.interactive import InteractivePredictor
from pisam.serve.pictures import Limits, Refused, decode_image
from pisam.serve.requests import numbers

UNDOABLE = 16  # answers that a session keeps
CLICKS = 64  # on one object; the time and memory of an answer grow with their number


@dataclass
class Encoded:
    """An uploaded picture, encoded."""

    contents: bytes  # the file
    predictor: InteractivePredictor  # on it, without a prompt; `another` begins an object
    size: tuple[int, int]  # (H, W)


@dataclass
class Open:
    """A session of somebody."""

    image: Encoded
    predictor: InteractivePredictor  # asked by one request at a time, who holds `lock`
    truth: BoolArray | None = None  # bool (H, W), to compare with; None for none
    used: float = field(default_factory=time.monotonic)  # when, in seconds of the monotonic clock
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    # held while the predictor changes, in a thread
    changing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def answers(self) -> int:
        """Number of answers that are kept, those that were undone included."""
        return sum(self.predictor.history)


class Store:
    """Encoded pictures by the hash of their content, and the sessions on them.

    Args:
        engine: of all sessions.
        limits: of pictures.
        most: sessions; the one that was not used for the longest time makes room.
        seconds: after which an unused session is forgotten.
        memory: bytes that pictures, encodings and answers may take together.
    """

    def __init__(
        self, engine: Engine, limits: Limits, *, most: int = 64, seconds: float = 1800, memory: int = 2**30
    ) -> None:
        self.engine, self.limits = engine, limits
        self.most, self.seconds, self.memory = most, seconds, memory
        self._images: OrderedDict[str, Encoded] = OrderedDict()
        self._sessions: OrderedDict[str, Open] = OrderedDict()
        self._lock = threading.Lock()
        frame = 3 * engine.side**2
        self._per_image = 4 * frame  # about: the frame and its encoding
        self._per_answer = 6 * frame  # about: object features and logits

    def encode(self, contents: bytes) -> Encoded:
        """A picture, encoded now or before; errors as `decode_image`."""
        key = hashlib.sha256(contents).hexdigest()
        with self._lock:
            if key in self._images:
                self._images.move_to_end(key)
                return self._images[key]
        pixels = decode_image(contents, self.limits)
        predictor = InteractivePredictor(self.engine)
        predictor.set_image(pixels)
        predictor.forget_pixels()
        image = Encoded(contents, predictor, (pixels.shape[0], pixels.shape[1]))
        with self._lock:
            self._images[key] = image
            self._make_room()
        return image

    def begin(self, image: Encoded) -> str:
        """The id of a new session."""
        name = secrets.token_urlsafe(16)
        with self._lock:
            self._sessions[name] = Open(image, image.predictor.another())
            self._make_room()
        return name

    def find(self, name: str) -> Open:
        """A session, which is used now; raises Refused: there is none, or not any more."""
        with self._lock:
            self._make_room()
            if name not in self._sessions:
                raise Refused(404, "session: unknown, or forgotten because nobody used it; begin another one")
            self._sessions.move_to_end(name)
            self._sessions[name].used = time.monotonic()
            return self._sessions[name]

    def end(self, name: str) -> None:
        """Forget a session."""
        with self._lock:
            self._sessions.pop(name, None)

    def change(self, name: str, action: Callable[[InteractivePredictor], object]) -> None:
        """Ask a session's predictor; old answers make room.

        Raises:
            Refused: the predictor does not take it.
        """
        session = self.find(name)
        with session.changing:
            try:
                action(session.predictor)
            except ValueError as error:
                raise Refused(400, str(error)) from error
            session.predictor.keep_last(UNDOABLE)

    @property
    def sessions(self) -> int:
        """Number of sessions."""
        return len(self._sessions)

    def _make_room(self) -> None:
        """Forget what is old, or too much; the newest picture and session stay.

        Pictures without a session go first, then old answers of the sessions that keep most of them, so that
        everybody can undo about as much, and only then the session that nobody used for the longest time.
        """
        now = time.monotonic()
        while self._sessions and now - next(iter(self._sessions.values())).used > self.seconds:
            self._sessions.popitem(last=False)
        while True:
            used = {id(session.image) for session in self._sessions.values()}
            unused = [key for key, image in list(self._images.items())[:-1] if id(image) not in used]
            full = self._taken() > self.memory
            if unused and (full or len(self._images) > self.most):
                del self._images[unused[0]]
            elif full and self._shorten():
                continue
            elif len(self._sessions) > self.most or (full and len(self._sessions) > 1):
                self._sessions.popitem(last=False)
            else:
                return

    def _shorten(self) -> bool:
        """Halve the answers of the session that keeps most; False where each keeps one, or is busy."""
        for session in sorted(self._sessions.values(), key=_longest, reverse=True):
            if _longest(session) > 1 and session.changing.acquire(blocking=False):
                session.predictor.keep_last(max(1, _longest(session) // 2))
                session.changing.release()
                return True
        return False

    def _taken(self) -> int:
        """About the bytes in use."""
        sessions = self._sessions.values()
        images = {id(image): image for image in [*self._images.values(), *(each.image for each in sessions)]}
        pictures = sum(len(image.contents) + self._per_image for image in images.values())
        answers = sum(each.answers for each in sessions) * self._per_answer
        return pictures + answers + sum(map(_masks, sessions))


def _longest(session: Open) -> int:
    return max(session.predictor.history)


def _masks(session: Open) -> int:
    """Bytes of the masks that were sent for a session: one to compare with, and logits of one to repair."""
    height, width = session.image.size
    return height * width * ((session.truth is not None) + 4 * session.predictor.repairs)


Act = Callable[[InteractivePredictor], object]


def _box(asked: dict[str, Any]) -> Act:
    box = numbers(asked.get("box"), 4, "box")
    return lambda predictor: predictor.set_box(box)


def _points(asked: dict[str, Any]) -> Act:
    points = asked.get("points")
    if not isinstance(points, list) or not 0 < len(points) <= CLICKS:
        raise Refused(400, f"points: expected 1 to {CLICKS} of [x, y, label]")
    rows = [numbers(point, 3, "points") for point in points]
    labels = [int(label) for _, _, label in rows if label in (0, 1)]
    if len(labels) < len(rows):
        raise Refused(400, "points: expected labels 0 and 1")
    return lambda predictor: predictor.set_points([(x, y) for x, y, _ in rows], labels)


def _click(asked: dict[str, Any]) -> Act:
    x, y = numbers([asked.get("x"), asked.get("y")], 2, "click")
    if type(foreground := asked.get("foreground", True)) is not bool:
        raise Refused(400, "foreground: expected true or false")

    def act(predictor: InteractivePredictor) -> None:
        if len(predictor.clicks) >= CLICKS:
            raise Refused(400, f"click: expected at most {CLICKS}; download the mask, and start from it")
        predictor.click(x, y, foreground)

    return act


VERBS: dict[str, tuple[tuple[str, ...], Callable[[dict[str, Any]], Act]]] = {
    "box": (("box",), _box),
    "points": (("points",), _points),
    "click": (("x", "y", "foreground"), _click),
    "undo": ((), lambda _: InteractivePredictor.undo),
    "redo": ((), lambda _: InteractivePredictor.redo),
    "reset": ((), lambda _: InteractivePredictor.reset),
}
"""The keys of each verb, and what makes a call of its body."""


def call_of(verb: str, asked: dict[str, Any]) -> Act:
    """The call that the body of one of `VERBS` asks for.

    Raises:
        Refused: a key that the verb does not have, or a wrong value.
    """
    keys, make = VERBS[verb]
    if unknown := [key for key in asked if key not in keys]:
        raise Refused(400, f"{verb}: unknown key {unknown[0]:.40}; expected {', '.join(keys) or 'none'}")
    return make(asked)
