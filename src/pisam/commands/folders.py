"""A folder of pictures, each read, answered and written while the next ones are: resumable, nothing lost."""

from __future__ import annotations

import json
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from pisam.core.errors import PisamError
from pisam.core.files import replacing, writing
from pisam.core.progress import progress
from pisam.data.sources.pairs import SUFFIXES
from pisam.predictor.engine import Engine

Item = TypeVar("Item")
Result = TypeVar("Result")
RECORD = "done.jsonl"


def list_pictures(path: Path, what: str) -> dict[str, Path]:
    """Picture files by their name without suffix, relative to the folder `path`; or the one file `path`.

    Raises:
        PisamError: none, or two that differ in the suffix alone and so would have one answer.
    """
    files = (
        [path]
        if path.is_file()
        else sorted(each for each in path.rglob("*") if each.suffix.lower() in SUFFIXES)
    )
    root = path.parent if path.is_file() else path
    pictures: dict[str, Path] = {}
    for file in files:
        stem = file.relative_to(root).with_suffix("").as_posix()
        if stem in pictures:
            raise PisamError(
                f"{what} {path}: {pictures[stem].name} and {file.name} would have one answer; rename one"
            )
        pictures[stem] = file
    if not pictures:
        raise PisamError(
            f"{what} {path}: no picture there; expected a file or a folder of {', '.join(SUFFIXES)}"
        )
    return pictures


class Record:
    """The pictures that are done, in a file of the output folder: what a second run skips.

    Args:
        out: the output folder, made if it is absent.
        settings: what the answers depend on; a record with others is not gone on with.
        targets: the files to write, of all pictures.
        overwrite: begin anew, and replace what is there.

    Raises:
        PisamError: the folder cannot be written, holds answers made with other settings, or files that no
            record tells of.
    """

    def __init__(
        self, out: Path, settings: dict[str, Any], targets: Iterable[Path], *, overwrite: bool = False
    ) -> None:
        self.path = out / RECORD
        self.rows: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        settings = json.loads(json.dumps(settings))
        if overwrite or not self.path.exists():
            there = next((target for target in targets if target.exists()), None)
            if there is not None and not overwrite:
                raise PisamError(
                    f"{there} exists already; give another out=, or overwrite=true to replace it"
                )
            with replacing(self.path) as temporary:
                temporary.write_text(json.dumps({"settings": settings}) + "\n", encoding="utf-8")
            return
        lines = []
        for line in self.path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):  # else the end of a run that was killed
                lines.append(json.loads(line))
        theirs = (lines[0].get("settings") if lines else None) or {}
        changed = [
            key for key, value in settings.items() if theirs.get(key) != value
        ]  # older records lack newer keys
        if changed:
            raise PisamError(
                f"{out}: begun with another {', '.join(changed)}; give another out=, or "
                "overwrite=true to begin anew"
            )
        self.rows = {row["image"]: row for row in lines[1:]}
        with replacing(self.path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    def add(self, row: dict[str, Any]) -> None:
        """Note that the picture row["image"] is done."""
        with self._lock, writing(self.path):
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            self.rows[row["image"]] = row


def write_bytes(path: Path, contents: bytes) -> None:
    """A file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(contents)


def work_through(
    items: Sequence[Item],
    engines: Sequence[Engine],
    read: Callable[[Item], Any],
    answer: Callable[[Engine, Any], Any],
    write: Callable[[Any], None],
    *,
    workers: int,
    what: str,
) -> None:
    """Read, answer and write each item; threads read ahead and write behind, each engine has one of its own.

    An error, or Ctrl-C, ends it once the files that are being written are whole.

    Args:
        items: in their order.
        engines: at least one.
        read: its result goes to `answer`, in a thread.
        answer: its result goes to `write`, in a thread.
        write: notes itself that an item is done.
        workers: threads that read, and as many that write.
        what: stands before the progress bar.
    """
    free: queue.Queue[Engine] = queue.Queue()
    for engine in engines:
        free.put(engine)

    def answered(item: Any) -> Any:
        engine = free.get()
        try:
            return answer(engine, item)
        finally:
            free.put(engine)

    pools = [ThreadPoolExecutor(workers), ThreadPoolExecutor(len(engines)), ThreadPoolExecutor(workers)]
    try:
        with progress(len(items), what) as bar:
            pictures = _in_threads(read, items, pools[0], workers)
            answers = _in_threads(answered, pictures, pools[1], len(engines))
            for _ in _in_threads(write, answers, pools[2], workers):
                bar.update()
    finally:
        for pool in pools:
            pool.shutdown(wait=True, cancel_futures=True)


def _in_threads(
    function: Callable[[Any], Result], items: Iterable[Any], pool: Executor, ahead: int
) -> Iterator[Result]:
    """The results in the order of the items, with `ahead` more under way or waiting."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
