"""Where sets come from and what is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.audited_sets import write_source
from pisam import cli
from pisam.commands.sets import list_sets
from pisam.data.sources.known_sets import HQSEG_44K, KNOWN_SETS


def line_of(name: str, text: str) -> str:
    (line,) = [line for line in text.splitlines() if line.split()[:1] == [name]]
    return line


def test_every_set_and_publication_is_named_with_page_and_terms() -> None:
    text = list_sets(None)
    assert "no data root is set" in text
    for name, known in KNOWN_SETS.items():
        line = line_of(name, text)
        assert known.role in line and "absent" in line
        after = text[text.index(line) :].splitlines()
        for layout, told in zip(known.layouts, after, strict=False):
            assert f"{layout.pairs} pairs in {layout.images} + {layout.masks}" in told
        assert known.publication.page in text and known.publication.terms in text
    assert HQSEG_44K.page in text
    assert "1537 of DIS5K-VD (470), HRSOD-TE (287)" in line_of("HQSEG44K-VAL", text)


def test_what_is_there_is_counted(tmp_path: Path) -> None:
    source = write_source(tmp_path / "thin_object_detection/HRSOD", range(3))
    source.masks.rename(source.masks.with_name("masks_max255"))
    assert line_of("HRSOD-TE", list_sets(tmp_path)).endswith(f"present: 3 of 287 pairs in {source.images}")
    (source.images / "9.jpg").touch()
    assert "3 of 287 pairs" in list_sets(tmp_path) and "1 gaps" in line_of("HRSOD-TE", list_sets(tmp_path))


def test_empty_folder_is_told(tmp_path: Path) -> None:
    for part in ("im", "gt"):
        (tmp_path / "DIS5K/DIS-TR" / part).mkdir(parents=True)
    assert "present, but" in line_of("DIS5K-TR", list_sets(tmp_path))


def test_root_comes_from_argument_experiment_or_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PISAM_DATA_ROOT", "/from/environment")
    (tmp_path / "mine.yaml").write_text("data: {root: /from/experiment}\n")
    for arguments, root in (
        ([], "/from/environment"),
        (["data.root=/given"], "/given"),
        ([str(tmp_path / "mine.yaml")], "/from/experiment"),
    ):
        assert cli.main(["sets", *arguments]) == 0
        assert capsys.readouterr().out.splitlines()[0] == f"below {root}:"
    monkeypatch.setenv("PISAM_DATA_ROOT", "~/data")
    assert cli.main(["sets"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"below {Path.home()}/data:"
