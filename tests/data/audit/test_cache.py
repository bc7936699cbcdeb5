"""What was read once is not read again, unless it changed, and no cache does harm."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from helpers.audited_sets import picture, write_source
from pisam.data.audit import facts as pair_facts
from pisam.data.audit.cache import cache_folder
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
