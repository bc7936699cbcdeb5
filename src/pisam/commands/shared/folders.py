"""A folder of pictures, each read, answered and written while the next ones are: resumable, nothing lost."""

from __future__ import annotations

import json
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pisam.core.errors import PisamError
from pisam.core.files import parse_json, refuse_folders, sha256_of, with_an_end, write_text, writing
from pisam.core.terminal import escaped, progress
from pisam.data.sources.pairs import SUFFIXES, one_form
from pisam.predictor.engine import Engine

Item = TypeVar("Item")
Result = TypeVar("Result")
RECORD = "done.jsonl"


def list_pictures(path: Path, what: str, *, but: Path, like: Iterable[str] = ()) -> dict[str, Path]:
    """Picture files by their name without suffix, relative to the folder `path`; or the one file `path`.

    What else lies there, hidden files and what is in hidden folders is counted.

    Args:
        what: begins what is said of `path`.
        but: the folder that is written to, passed over where it is below.
        like: names; a picture whose name is one of them in another Unicode form goes by it.

    Raises:
        PisamError: none, a folder cannot be read, `but` is the folder itself, or two that differ in suffix or
            Unicode form alone, so they would have one answer.
    """
    root, files = path.parent, [path]
    others: list[Path] = []
    if not path.is_file():
        root, files, out = path, [], _below(but, path, what)
        for file in sorted(_files_below(path, what)):
            within = file.relative_to(path)
            if out is not None and within.is_relative_to(out):
                continue
            seen = file.suffix.lower() in SUFFIXES and not any(part[0] == "." for part in within.parts)
            (files if seen else others).append(file)
    pictures: dict[str, Path] = {}
    names, taken = {one_form(name): name for name in like}, dict[str, Path]()
    for file in files:
        stem = file.relative_to(root).with_suffix("").as_posix()
        if (other := taken.setdefault(one_form(stem), file)) is not file:
            raise PisamError(f"{what} {path}: {other.name} and {file.name} would have one answer; rename one")
        pictures[names.get(one_form(stem), stem)] = file
    if not pictures:
        raise PisamError(
            f"{what} {path}: no picture there; expected a file or a folder of {', '.join(SUFFIXES)}"
        )
    say_left_out(f"files of {what} {path}, which are no pictures", [file.name for file in others])
    return pictures


def _files_below(folder: Path, what: str) -> Iterator[Path]:
    def refuse(error: OSError) -> NoReturn:
        raise PisamError(
            f"{what} {error.filename}: {error.strerror}; expected a folder that this user may read"
        ) from error

    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        here = Path(place)
        if here.resolve() in [parent.resolve() for parent in here.parents]:  # a link to what it lies in
            folders.clear()
            continue
        yield from (Path(place, name) for name in names)


def _below(out: Path, folder: Path, what: str) -> Path | None:
    """The path of `out` relative to a folder; None where it is not below."""
    out, folder = out.resolve(), folder.resolve()
    if out == folder:
        raise PisamError(f"out {out}: the folder of {what} too; expected one of its own; give another")
    return out.relative_to(folder) if out.is_relative_to(folder) else None


def say_left_out(what: str, names: Sequence[str]) -> None:
    """Print how many there are and some of them, if any."""
    if names:
        some = ", ".join(map(escaped, names[:3]))
        print(f"left out: {len(names)} {what}: {some}{', ...' if len(names) > 3 else ''}")


def content_of(path: str | None) -> str | None:
    """The SHA-256 of a file's bytes, for `Record`."""
    return None if path is None else sha256_of(Path(path))


@dataclass(frozen=True)
class Job:
    """A picture to be answered."""

    stem: str  # its name, among those of the run
    reads: Sequence[Path]  # its files; an answer counts as done only while they are as they were
    writes: Sequence[Path]  # the files of the answer; likewise only while they are there

    def stamp(self) -> list[int]:
        """Modification time in ns and bytes of the files that are read; none where one is not there."""
        try:
            stats = [file.stat() for file in self.reads]
        except OSError:
            return []
        return [number for stat in stats for number in (stat.st_mtime_ns, stat.st_size)]


class Record:
    """The pictures that are done, in a file of the output folder: what a second run skips.

    Args:
        out: the output folder, made if it is absent.
        settings: what the answers depend on; a record with others is not gone on with.
        jobs: all pictures.
        is_row: whether a row of the file can be used; others count as none.
        also: files of all answers together.
        overwrite: begin anew, and replace what is there.

    Raises:
        PisamError: the folder cannot be written, holds answers made with other settings, or files that no
            record tells of; two answers would be one file, or one a file that is read.
    """

    def __init__(
        self,
        out: Path,
        settings: dict[str, Any],
        jobs: Sequence[Job],
        is_row: Callable[[dict[str, Any]], bool],
        *,
        also: Sequence[Path] = (),
        overwrite: bool = False,
    ) -> None:
        self.path = out / RECORD
        self.rows: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._stamps = {job.stem: job.stamp() for job in jobs}
        _refuse_shared_files(jobs)
        refuse_folders(*also, *(file for job in jobs for file in job.writes))
        settings = json.loads(json.dumps(settings))
        stems, known, kept = {job.stem for job in jobs}, set[str](), dict[str, dict[str, Any]]()
        if overwrite or not self.path.exists():
            new = [*also, *(file for job in jobs for file in job.writes)]
        else:
            known, kept = self._read(settings, stems)
            new = [file for job in jobs if job.stem not in known for file in job.writes]
        if not overwrite and (there := next((file for file in new if file.exists()), None)):
            raise PisamError(f"{there} exists already; give another out=, or overwrite=true to replace it")
        lines: list[dict[str, Any]] = [{"settings": settings, "pictures": sorted(stems | known)}]
        if known:
            gone = {job.stem for job in jobs if not all(file.exists() for file in job.writes)}
            changed = {stem for stem, row in kept.items() if row["of"] != self._stamps.get(stem, row["of"])}
            if again := (gone | changed) & kept.keys():
                print(f"{len(again)} pictures are answered again: they changed, or their answers are gone")
            self.rows = {stem: row for stem, row in kept.items() if stem not in again and is_row(row)}
            lines += self.rows.values()
        write_text("".join(json.dumps(line) + "\n" for line in lines), self.path)

    def _read(self, settings: dict[str, Any], stems: set[str]) -> tuple[set[str], dict[str, dict[str, Any]]]:
        """The pictures and rows of an earlier run with the same settings.

        A line that was not written whole is none. Where no pictures are named, they are those of now.
        """
        try:
            written = with_an_end(self.path).read_bytes().splitlines()
        except OSError as error:
            raise PisamError(
                f"{self.path}: not readable: {error.strerror or error}; restore it, or remove it"
            ) from error
        head, *lines = [_json_object(line) for line in written] or [{}]
        theirs = head.get("settings")
        if not isinstance(theirs, dict):
            raise PisamError(
                f"{self.path}: not written by this command; give another out=, or overwrite=true"
            )
        if changed := [key for key, value in settings.items() if theirs.get(key) != value]:
            raise PisamError(
                f"{self.path.parent}: begun with another {', '.join(changed)}; give another out=, or "
                "overwrite=true to begin anew"
            )
        rows = {line["image"]: line for line in lines if isinstance(line.get("image"), str) and "of" in line}
        named = head.get("pictures", list(stems))
        known = {each for each in named if isinstance(each, str)} if isinstance(named, list) else stems
        return known | rows.keys(), rows

    def add(self, row: dict[str, Any]) -> None:
        """Note that the picture row["image"] is done."""
        row = {**row, "of": self._stamps[row["image"]]}
        with self._lock, writing(self.path):
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            self.rows[row["image"]] = row


def _json_object(line: bytes) -> dict[str, Any]:
    """The object of a line; an empty one where it has none, as after a full disk."""
    try:
        value = parse_json(line.decode("utf-8"))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _refuse_shared_files(jobs: Sequence[Job]) -> None:
    owners: dict[Path, str] = {}
    read = {os.path.realpath(file) for job in jobs for file in job.reads}
    for job in jobs:
        for file in job.writes:
            if os.path.realpath(file) in read:
                raise PisamError(f"{file}: is read, and an answer would replace it; give another out=")
            if (other := owners.setdefault(file, job.stem)) != job.stem:
                raise PisamError(
                    f"{file}: would hold an answer of {other} and one of {job.stem}; rename one of them"
                )


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

    What `read` gives goes to `answer`, what that gives to `write`, which notes itself that an item is done.
    An error, or Ctrl-C, ends it once the files that are being written are whole.

    Args:
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
