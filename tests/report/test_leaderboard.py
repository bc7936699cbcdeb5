"""The page says what may be compared; what files hold can do nothing in it."""

from __future__ import annotations

import csv
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.browser import Browser
from helpers.interactions import interaction
from pisam.commands.leaderboard import leaderboard
from pisam.core.errors import PisamError
from pisam.evaluation.benchmark.interaction_file import write_interaction
from pisam.evaluation.benchmark.record import ClickProtocol, Interaction

HOSTILE = "</script><script>alert(1)</script>"
NAMES = (  # each would do something where it is not text; so would their images and sets
    f"{HOSTILE}<img src=x onerror=alert(2)>",
    "\"'><svg onload=alert(3)>{{ 7 * 7 }}",
    '=HYPERLINK("http://127.0.0.1:9/")',
)


def show(folder: Path, *records: Interaction) -> tuple[str, Path, int]:
    for index, record in enumerate(records):
        write_interaction(record, folder / "in" / f"{index}.json")
    code = leaderboard([folder / "in"], folder / "out")
    return (folder / "out/index.html").read_text(), folder / "out", code


def test_page_and_tables_hold_every_model_and_image(tmp_path: Path) -> None:
    page, out, code = show(tmp_path, interaction("one", seed=1), interaction("two", seed=2))
    assert code == 0 and "must not be compared" not in page and "In no table" not in page
    rows = list(csv.DictReader((out / "leaderboard.csv").open()))
    assert {row["model"] for row in rows} == {"one", "two"}
    assert {row["score"] for row in rows} >= {
        "noc_90",
        "iou_3",
        "auc",
        "nof_90",
        "obeyed",
        "seconds_per_click",
    }
    images = list(csv.DictReader((out / "per_image.csv").open()))
    assert len(images) == 6 and images[0]["set"] == "set"
    data = json.loads(re.search(r'application/json">(.*?)</script>', page)[1])  # type: ignore[index]
    assert data[0]["images"] == ["set/0", "set/1", "set/2"]
    assert data[0]["scores"]["auc"][1][2] == pytest.approx(float(images[5]["auc"]), abs=1e-4)


def test_a_file_whose_name_is_no_utf8_is_shown(tmp_path: Path) -> None:
    write_interaction(interaction("one", seed=2), tmp_path / "in" / os.fsdecode(b"twin\xff.json"))
    page, out, code = show(tmp_path, interaction("one"))
    assert code == 0 and "one (twin\\udcff, 2)" in page
    assert all(
        b"one (twin\xff, 2)" in (out / name).read_bytes() for name in ("leaderboard.csv", "per_image.csv")
    )


def test_unlike_protocols_are_told_apart(tmp_path: Path) -> None:
    page, _, _ = show(
        tmp_path, interaction("a"), interaction("b", protocol=ClickProtocol("points", clicks=3))
    )
    assert "2 tables that must not be compared" in page
    assert "clicks-ritm-3" in page and "points-3" in page


def test_what_is_left_out_is_on_the_page_and_in_the_exit_code(tmp_path: Path) -> None:
    partial = interaction("late")
    partial.images.pop()
    page, _, code = show(tmp_path, interaction("a"), partial)
    assert code == 1 and "late: 2 of 3 images" in page
    with pytest.raises(PisamError, match="no complete results: late"):
        leaderboard([tmp_path / "in/1.json"], tmp_path / "other")


def test_names_of_files_do_nothing_on_the_page(tmp_path: Path) -> None:
    record = interaction(HOSTILE)
    record.sets = {HOSTILE: 3}
    record.images = [type(image)(**{**vars(image), "set": HOSTILE}) for image in record.images]
    page, _, _ = show(tmp_path, record, interaction("a"))
    assert HOSTILE not in page and page.count("<script") == 2


def hostile(name: str, seed: int) -> Interaction:
    """A complete record, in which set and images are called as hostile as the model."""
    record = interaction(name, seed=seed)
    record.sets = {NAMES[0]: len(NAMES)}
    record.images = [
        replace(image, set=NAMES[0], image=told) for image, told in zip(record.images, NAMES, strict=True)
    ]
    return record


def test_the_page_works_in_a_browser_and_names_stay_text(tmp_path: Path) -> None:
    records = [hostile(name, seed) for seed, name in enumerate(NAMES)]
    _, out, _ = show(tmp_path, *records, interaction("other", protocol=ClickProtocol("points", clicks=3)))
    with Browser(tmp_path / "profile") as browser:
        browser.open(out / "index.html")
        assert browser.texts("h2") == ["clicks-ritm-3, 3 images", "points-3, 3 images"]
        assert "2 tables that must not be compared" in browser.texts("[role=alert]")[0]
        assert set(browser.texts("section:first-of-type .wide tbody td:first-child")) == set(NAMES)
        rows = "section:first-of-type .tall tbody tr"
        assert set(browser.texts(f"{rows} td:first-child")) == {f"{NAMES[0]}/{name}" for name in NAMES}
        chosen = "const form = document.querySelector('form.pair');"
        choose = "form.dispatchEvent(new Event('change'));"
        browser.value(f"(() => {{ {chosen} form.score.value = 'auc'; {choose} }})()")
        assert "0" not in browser.texts(f"{rows} td:last-child")
        browser.value(f"(() => {{ {chosen} form.b.value = form.a.value; {choose} }})()")
        assert set(browser.texts(f"{rows} td:last-child")) == {"0"}
        assert "equal on 3" in browser.texts(".told")[0]
        assert browser.value("document.querySelectorAll('script, img, svg').length") == 2
        assert not browser.complaints
        assert {address.split(":")[0] for address in browser.addresses} <= {"file", "about"}
    for table in ("leaderboard.csv", "per_image.csv"):
        cells = [cell for row in csv.reader((out / table).open()) for cell in row]
        assert not [cell for cell in cells if cell.startswith("=")] and f"'{NAMES[2]}" in cells


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("mine")
    with pytest.raises(PisamError, match=r"thesis\.tex"):
        show(tmp_path, interaction("a"))
    assert (tmp_path / "out/thesis.tex").read_text() == "mine"
    show(tmp_path / "again", interaction("a"))
    show(tmp_path / "again", interaction("a"))  # an earlier leaderboard is replaced
