"""What was found is remembered; items go through threads, and come out in their order or not at all."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
from PIL import Image

from helpers.audited_sets import picture, write_source
from pisam.data.audit import cache
from pisam.data.audit import facts as pair_facts
from pisam.data.audit.cache import cache_folder, in_threads
from pisam.data.audit.facts import PairFacts, facts_of
from pisam.data.sources.pairs import Pair, list_pairs
from pisam.data.sources.rows import Source


@pytest.fixture(autouse=True)
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the pairs that are read, in a fresh cache."""
    read: list[str] = []

    def examine(pair: Pair, real=pair_facts.examine) -> PairFacts:
        read.append(pair.id)
        return real(pair)

    monkeypatch.setattr(pair_facts, "examine", examine)
    monkeypatch.setenv("PISAM_CACHE", str(tmp_path / "cache"))
    return read


def facts(source: Source) -> list[PairFacts]:
    return facts_of(source, list_pairs(source))


def test_facts_of_a_pair(tmp_path: Path) -> None:
    (fact,) = facts(write_source(tmp_path / "a", range(1)))
    assert (fact.problem, fact.width, fact.height) == ("", 80, 60)
    assert (fact.share, fact.soft) == (600 / 4800, 0)
    assert len(fact.content) == 24 and len(fact.look) == 16


def test_second_time_nothing_is_read(tmp_path: Path, read: list[str]) -> None:
    source = write_source(tmp_path / "a", range(4))
    first = facts(source)
    assert sorted(read) == ["0", "1", "2", "3"]
    assert facts(source) == first
    assert len(read) == 4
    assert facts(replace(source, limit=2)) == first[:2] and len(read) == 4


def test_changed_and_new_files_alone_are_read(tmp_path: Path, read: list[str]) -> None:
    source = write_source(tmp_path / "a", range(3))
    before = facts(source)
    Image.fromarray(picture(9)).save(source.images / "1.png")
    later = os.stat(source.masks / "2.png").st_mtime_ns + 1
    os.utime(source.masks / "2.png", ns=(later, later))
    for part in (source.images, source.masks):
        (part / "3.png").write_bytes((part / "0.png").read_bytes())
    read.clear()
    after = facts(source)
    assert sorted(read) == ["1", "2", "3"]
    assert after[1].content != before[1].content and after[2] == before[2]
    assert after[3].content == after[0].content


def test_other_contents_of_the_same_size_and_modification_time_are_read(
    tmp_path: Path, read: list[str]
) -> None:
    """As masks that are no compressed files have, from an archive that sets times."""
    source = write_source(tmp_path / "a", range(1))
    image, mask = source.images / "0.png", source.masks / "0.bmp"
    Image.open(source.masks / "0.png").save(mask)
    (source.masks / "0.png").unlink()
    (before,), status = facts(source), os.stat(mask)
    Image.new("L", Image.open(image).size, 255).save(mask)
    os.utime(mask, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert os.stat(mask).st_size == status.st_size
    (after,) = facts(source)
    assert (before.share, after.share) == (600 / 4800, 1)
    assert before.content == after.content and before.truth != after.truth


def test_an_interrupted_search_goes_on_where_it_was(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, real = write_source(tmp_path / "a", range(8)), pair_facts.examine

    def interrupt(pair: Pair) -> PairFacts:
        if pair.id == "5":
            raise KeyboardInterrupt
        return real(pair)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pair_facts, "examine", interrupt)
        facts(source)
    read.clear()
    assert len(facts(source)) == 8 and sorted(read) == ["5", "6", "7"]


def test_problem_is_looked_at_again(tmp_path: Path, read: list[str]) -> None:
    source = write_source(tmp_path / "a", range(2))
    (source.masks / "1.png").write_bytes(b"")
    assert "1.png: not an image" in facts(source)[1].problem
    read.clear()
    assert facts(source)[1].problem and read == ["1"]


def test_other_rules_of_reading_forget_all(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_source(tmp_path / "a", range(2))
    facts(source)
    monkeypatch.setattr(pair_facts, "reading_rules", lambda: "others")
    assert facts(source) and len(read) == 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: text[:-1],
        lambda text: "[]",
        lambda text: text.replace(", 80, 60", ", 80, 61"),
    ],
)
def test_damaged_cache_counts_as_none(tmp_path: Path, read: list[str], damage) -> None:
    source = write_source(tmp_path / "a", range(2))
    first = facts(source)
    (file,) = cache_folder().rglob("*.json")
    file.write_text(damage(file.read_text()))
    assert facts(source) == first and len(read) == 4
    assert facts(source) == first and len(read) == 4, "and is replaced by a whole one"


def test_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PISAM_CACHE", str(tmp_path / "file"))
    source = write_source(tmp_path / "a", range(2))
    assert len(facts(source)) == 2 and "cannot be remembered" in caplog.text


def test_user_without_a_home_remembers_nothing_and_is_told(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unknown(number: int) -> None:
        raise KeyError(number)

    for name in ("PISAM_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.chdir(tmp_path)
    source = write_source(tmp_path / "a", range(2))
    assert len(facts(source)) == 2 and "cannot be remembered" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_place_of_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.setenv("PISAM_CACHE", "~/mine")
    assert cache_folder() == Path.home() / "mine"
    monkeypatch.delenv("PISAM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/pisam")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder() == Path("/home/someone/.cache/pisam")


def test_an_unforeseen_error_is_a_problem_with_the_files_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr(pair_facts, "read_pair", fail)
    (fact,) = facts(write_source(tmp_path / "a", range(1)))
    assert "0.png or" in fact.problem and "RuntimeError: odd" in fact.problem


PATIENCE = 60  # seconds, far more than any of this takes


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As many as the tests need, on any machine; OpenCV's own number of threads is one of its own."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(4)), raising=False)
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    yield
    cv2.setNumThreads(before)


def test_results_keep_the_order_of_their_items_though_later_ones_end_first() -> None:
    last_is_done = threading.Event()

    def square(item: int) -> int:
        if item == 3:
            last_is_done.set()
        assert last_is_done.wait(PATIENCE), "four at a time"
        return item**2

    assert list(in_threads(square, [0, 1, 2, 3], "")) == [0, 1, 4, 9]


def are_at_once(number: int, seconds: float) -> bool:
    """Whether so many items are ever under way together; waits so long for that."""
    together = threading.Barrier(number)
    try:
        list(in_threads(lambda item: together.wait(seconds), range(number), ""))
    except threading.BrokenBarrierError:
        return False
    return True


@pytest.mark.parametrize(("most", "expected"), [(16, 4), (2, 2)])
def test_no_more_at_a_time_than_cores_and_than_memory_holds(
    monkeypatch: pytest.MonkeyPatch, most: int, expected: int
) -> None:
    monkeypatch.setattr(cache, "MOST", most)
    assert are_at_once(expected, PATIENCE)
    assert not are_at_once(expected + 1, 0.3)


@pytest.fixture
def told_to_end(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once the pool takes no more items, before it waits for those under way."""
    told = threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            told.set()
            super().shutdown(wait=wait)

    monkeypatch.setattr(cache, "ThreadPoolExecutor", Pool)
    return told


def test_error_comes_where_its_item_stands_and_cancels_the_rest(told_to_end: threading.Event) -> None:
    begun: list[int] = []

    def fail_at_2(item: int) -> int:
        begun.append(item)
        if item == 2:
            raise ValueError("item 2")
        if item > 2:
            assert told_to_end.wait(PATIENCE)
        return item

    results = in_threads(fail_at_2, range(200), "")
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="item 2"):
        next(results)
    assert len(begun) <= 3 + 4
    assert pool_threads() == []


def test_who_stops_asking_stops_the_rest(told_to_end: threading.Event) -> None:
    begun: list[int] = []

    def begin(item: int) -> None:
        begun.append(item)
        assert item == 0 or told_to_end.wait(PATIENCE)

    results = in_threads(begin, range(200), "")
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(begun) <= 1 + 4
    assert pool_threads() == []


def pool_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "ThreadPool" in thread.name]


def test_opencv_has_one_thread_meanwhile_and_its_own_number_afterwards() -> None:
    def fail(item: int) -> None:
        raise ValueError

    assert set(in_threads(lambda item: cv2.getNumThreads(), range(8), "")) == {1}
    assert cv2.getNumThreads() == 3
    with pytest.raises(ValueError):
        list(in_threads(fail, range(8), ""))
    assert cv2.getNumThreads() == 3


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bar_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr("sys.stderr", stream)
        assert list(in_threads(abs, [-1, 2], "facts of a")) == [1, 2]
        shown = stream.getvalue()
        if stream.isatty():
            assert "facts of a: 100%" in shown and "2/2" in shown
        else:
            assert shown == ""


def test_nothing_to_do_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert list(in_threads(abs, [], "facts of a")) == []
    assert terminal.getvalue() == ""
