"""`pisam report` as a whole: its files, what it refuses, and its page in a real browser."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.browser import Browser
from helpers.small_runs import small_config, write_sets
from pisam import cli
from pisam.commands.evaluate import EvaluateOptions, evaluate
from pisam.commands.interact import interact
from pisam.commands.report import report
from pisam.commands.train import train
from pisam.config.schema import Config
from pisam.core.errors import PisamError
from pisam.report.page import page
from pisam.report.results import read_evaluations, read_interaction

MODELS = ["SAM", "HQ-SAM", "Pi-SAM", "SAM+mask", "HQ-SAM+mask"]
MODELS += ["SAM+mask+guarantee", "HQ-SAM+mask+guarantee", "Pi-SAM+guarantee"]
HOSTILE = '<img src=x onerror=document.title="broken">&#1 %2F?"\''
SHORT = ("stage1.max_steps=1", "stage2.max_steps=3", "stage2.lr=0.1")
FEW = ("interact.rounds=3", "interact.clicks=2", "interact.images=5")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Three trained models, clicked and evaluated; an image has a name as hostile as file systems allow."""
    folder = tmp_path_factory.mktemp("report")
    root = write_sets(folder / "sets")
    for part, suffix in (("images", ".jpg"), ("masks", ".png")):
        (root / "val" / part / f"0{suffix}").rename(root / "val" / part / f"{HOSTILE}{suffix}")
    config = small_config(folder, root, *SHORT, *FEW)
    hq = replace(config, model=replace(config.model, decoder="hq"), run_dir=str(folder / "hq"))
    train(config, 1)
    train(config, 2)
    train(hq, 1)
    interact(config, checkpoints=[Path(hq.run_dir)])
    runs = [Path(hq.run_dir), Path(config.run_dir)]
    evaluate(config, EvaluateOptions(models=["sam", "hq", "pi"], checkpoints=runs))
    return config


@pytest.fixture(scope="module")
def folder(measured: Config) -> Path:
    """A report of them."""
    return report(measured).parent


@pytest.fixture
def copied(measured: Config, tmp_path: Path) -> Config:
    """The same results in another folder, to be spoilt."""
    for name in ("interact", "evaluate"):
        shutil.copytree(Path(measured.run_dir) / name, tmp_path / "run" / name)
    return replace(measured, run_dir=str(tmp_path / "run"))


def change(config: Config, file: str, how: Callable[[Any], None]) -> None:
    """Change a JSON file of a run."""
    path = Path(config.run_dir) / file
    content = json.loads(path.read_text())
    how(content)
    path.write_text(json.dumps(content))


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to everything in a JSON value."""
    inside = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    for key, value in inside:
        yield (*path, key)
        yield from places(value, (*path, key))


class Elements(HTMLParser):
    """Tags with their attributes, in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def attributes(self, name: str) -> Iterator[str]:
        return (str(attributes[name]) for _, attributes in self.tags if name in attributes)


def test_a_report_is_a_page_with_its_pictures_and_figures_beside_it(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    drawn = ("figure_3", "figure_4", "curves", "distributions")
    figures = {f"{name}.{suffix}" for name in drawn for suffix in ("png", "pdf")}
    assert names == {"index.html", "page.css", "page.js", "report.json", "images", *figures}
    assert (folder / "figure_4.pdf").read_bytes().startswith(b"%PDF")
    elements = Elements((folder / "index.html").read_text())
    sources = {*elements.attributes("src"), *(a for a in elements.attributes("href") if a[0] != "#")}
    assert sources and all((folder / source).is_file() for source in sources)
    kept = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert kept == {*json.loads((folder / "report.json").read_text())["files"]}
    assert kept == {*sources, "index.html", "report.json"}


def test_what_comes_from_files_is_escaped(folder: Path) -> None:
    html = (folder / "index.html").read_text()
    assert HOSTILE not in html and "onerror=document" in html
    assert all("onerror" not in attributes for _, attributes in Elements(html).tags)


def test_pictures_have_descriptions_and_sliders_have_names(folder: Path) -> None:
    tags = Elements((folder / "index.html").read_text()).tags
    pictures = [attributes for tag, attributes in tags if tag == "img"]
    assert all("alt" in picture for picture in pictures)
    assert all(picture["loading"] == "lazy" for picture in pictures if "images/" in str(picture["src"]))
    sliders = [a for tag, a in tags if tag == "input" and "aria-label" in a]
    assert len(sliders) == 5 * (1 + len(MODELS))


def test_the_page_says_how_the_numbers_were_made(measured: Config, folder: Path) -> None:
    html = (folder / "index.html").read_text()
    summary = json.loads((Path(measured.run_dir) / "interact" / "summary.json").read_text())
    for text in (
        summary["protocol"]["checkpoint_hash"],
        summary["protocol"]["clicks_hash"],
        summary["hq"]["checkpoint_hash"],
        summary["frozen_hash"],
        "Whole sets, no clicks",
        "Clicks on Pi-SAM&#39;s own errors",
    ):
        assert text in html, text
    assert "Partial results" not in html


def test_partial_results_are_shown_loudly(copied: Config) -> None:
    def fewer(summary: dict[str, Any]) -> None:
        summary["benchmark"] |= {"images_asked": 200, "complete": False}

    def unfinished(summary: dict[str, Any]) -> None:
        summary["models"]["HQ-SAM"] |= {"status": "partial", "images": 3}

    change(copied, "interact/summary.json", fewer)
    change(copied, "evaluate/summary.json", unfinished)
    change(copied, "evaluate/hq/summary.json", lambda summary: summary.update(status="partial", images=3))
    run = Path(copied.run_dir)
    html = page(read_interaction(run / "interact"), read_evaluations(run / "evaluate"), [], [])
    assert html.count("Partial results.") == 2
    assert "complete: false. Only 5 of the 200 images" in html
    assert "The evaluation of HQ-SAM is unfinished: 3 of 5 images" in html
    assert html.index("Partial results.") < html.index("<table>")


@pytest.mark.parametrize(
    ("file", "how", "message"),
    [
        ("summary.json", lambda s: s.update(status="partial"), "are unfinished; run `pisam interact EXPER"),
        ("summary.json", lambda s: s.pop("benchmark"), r"no results of this version \(KeyError\('benchmark"),
        ("clicks.json", lambda c: c["images"][0]["clicks"].pop(), "several runs: clicks.json is not of the"),
        ("clicks.json", lambda c: c.update(seed=7), "several runs: clicks.json is not of the"),
        (
            "summary.json",
            lambda s: s["benchmark"]["models"]["SAM"]["pooled"].update(iou_after=0.9),
            "several runs: per_image.csv is not of the run that summary.json tells of",
        ),
        *(
            (
                "summary.json",
                lambda s, part=part, odd=odd: part(s["benchmark"]["models"]["SAM"]).update(odd),
                r"several runs: per_image\.csv|no results of this version",
            )
            for part in (lambda means: means["pooled"], lambda means: next(iter(means["sets"].values())))
            for odd in ({"mae_before": -1}, {"hce_before": [[[]]]}, {"nof_90": 77}, {"iou_gain": None})
        ),
        ("summary.json", lambda s: s["benchmark"]["models"].pop("HQ-SAM"), "several runs: per_image.csv"),
    ],
)
def test_results_of_several_runs_are_refused(
    copied: Config, file: str, how: Callable[[Any], None], message: str
) -> None:
    change(copied, f"interact/{file}", how)
    with pytest.raises(PisamError, match=message):
        report(copied)
    assert not (Path(copied.run_dir) / "report").exists()


def test_a_mask_of_another_run_is_refused_by_name(copied: Config) -> None:
    path = next((Path(copied.run_dir) / "interact" / "masks" / "Pi-SAM" / "after" / "val").iterdir())
    with Image.open(path) as picture:
        mask = np.asarray(picture)
    Image.fromarray(~mask).save(path)
    with pytest.raises(PisamError, match=r"Pi-SAM/after/val/.*png: its IoU is .* in per_image.csv"):
        report(copied)
    Image.fromarray(mask[:-1]).save(path)
    with pytest.raises(PisamError, match=r"png: \d+ x \d+ pixels, its image here has"):
        report(copied)
    path.unlink()
    with pytest.raises(PisamError, match=r"Pi-SAM/after/val/.*png: not there any more; run `pisam interact"):
        report(copied)
    assert [entry.name for entry in Path(copied.run_dir).iterdir() if "report" in entry.name] == []


def test_an_evaluation_of_other_weights_is_refused(copied: Config) -> None:
    def other(summary: dict[str, Any]) -> None:
        summary["protocol"]["checkpoint_hash"] = "0" * 64

    change(copied, "evaluate/hq/summary.json", other)
    with pytest.raises(PisamError, match="has no scores of its own for HQ-SAM; run `pisam evaluate"):
        report(copied)
    change(copied, "evaluate/summary.json", lambda summary: other(summary["models"]["HQ-SAM"]))
    with pytest.raises(PisamError, match=r"scored another HQ-SAM than .* clicked: checkpoint_hash 0{12} and"):
        report(copied)


def test_an_evaluation_of_another_pi_sam_is_refused_by_its_scores(copied: Config) -> None:
    path = Path(copied.run_dir) / "evaluate" / "pi" / "per_image.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[0]["iou"] = str(float(rows[0]["iou"]) + 0.1)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(PisamError, match=r"scored another Pi-SAM than .* clicked: IoU "):
        report(copied)


def test_without_results_the_command_that_makes_them_is_named(measured: Config, tmp_path: Path) -> None:
    with pytest.raises(PisamError, match=r"no results in .*interact; run `pisam interact EXPERIMENT` first"):
        report(replace(measured, run_dir=str(tmp_path)))


def test_other_data_are_refused_by_name(measured: Config) -> None:
    others = [row for row in measured.data.val if row["name"] != "val"]
    with pytest.raises(PisamError, match=r"report: val/.* was clicked and is not in data.val"):
        report(replace(measured, data=replace(measured.data, val=others)))


def test_an_earlier_report_is_replaced_and_an_unknown_folder_left_alone(copied: Config, folder: Path) -> None:
    index = Path(copied.run_dir) / "report" / "index.html"
    shutil.copytree(folder, index.parent)
    shutil.rmtree(Path(copied.run_dir) / "evaluate")
    assert "Whole sets" in index.read_text()
    assert report(copied) == index
    assert "Whole sets" not in index.read_text()
    index.write_text("old")
    (index.parent / "notes.txt").write_text("mine")
    with pytest.raises(PisamError, match=r"report holds notes.txt, which no report consists of; move"):
        report(copied)
    assert (index.parent / "notes.txt").read_text() == "mine" and index.read_text() == "old"


def test_command_line(measured: Config, copied: Config, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = str(Path(measured.run_dir).parent / "small.yaml")
    common = ["report", experiment, f"run_dir={copied.run_dir}"]
    names = [f"{i['set']}/{i['image']}" for i in clicked(copied) if HOSTILE not in i["image"]]
    assert cli.main([*common, f"images=[{names[2]}, {names[0]}]"]) == 0
    index = Path(copied.run_dir) / "report" / "index.html"
    assert capsys.readouterr().out == f"{index}\n"
    assert f"for {names[2]}, {names[0]}." in index.read_text() and "chosen by hand" in index.read_text()
    assert cli.main([*common, f"images={names[0]}x"]) == 2
    error = capsys.readouterr().err
    assert f"images: {names[0]}x was not clicked; did you mean {names[0]}?" in error
    assert cli.main([*common, "images=a", "images=b"]) == 2


def clicked(config: Config) -> list[dict[str, Any]]:
    return json.loads((Path(config.run_dir) / "interact" / "clicks.json").read_text())["images"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Browser]:
    """A browser that shows the report."""
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        browser.open(folder / "index.html")
        yield browser


def test_the_page_opens_from_disk_without_errors_and_asks_for_nothing_else(browser: Browser) -> None:
    assert browser.value("document.title") == "Interaction benchmark: small"
    for image in browser.value("[...document.images].map((_, i) => i)"):
        browser.value(f"document.images[{image}].scrollIntoView()")
        browser.value(f"document.images[{image}].decode()")  # fails for a picture that is not there
    assert browser.complaints == []
    assert {address.partition(":")[0] for address in browser.addresses} == {"file"}


def test_a_click_on_a_heading_sorts_by_number_and_another_turns_it_round(browser: Browser) -> None:
    heads = browser.texts("#per-image th")
    for name, key in (("common error", int), ("gain", lambda text: float(text.replace("−", "-")))):
        column = heads.index(name) + 1
        before = browser.texts(f"#per-image td:nth-child({column})")
        assert len(before) == 5 * len(MODELS) and len(set(before)) > 2
        browser.click(f"#per-image th:nth-child({column}) button")
        up = [key(text) for text in browser.texts(f"#per-image td:nth-child({column})")]
        assert up == sorted(map(key, before))
        browser.press("Enter")  # the heading has the focus
        down = [key(text) for text in browser.texts(f"#per-image td:nth-child({column})")]
        assert down == up[::-1]
        sorts = browser.value("[...document.querySelectorAll('#per-image th')].map(e => e.ariaSort)")
        assert [sort for sort in sorts if sort] == ["descending"] and sorts[column - 1] == "descending"
    browser.click("#per-image th:nth-child(2) button")
    assert browser.texts("#per-image td:nth-child(2)") == sorted(5 * MODELS, key=str.lower)


def test_a_model_can_be_chosen_and_a_name_leads_to_its_pictures(browser: Browser) -> None:
    browser.value("document.getElementById('model').focus()")
    browser.press("End")
    rows = "[...document.querySelectorAll('#per-image tbody tr')].filter(row => row.offsetHeight)"
    assert browser.value(f"{rows}.map(row => row.cells[1].textContent)") == 5 * [MODELS[-1]]
    browser.press("Home")
    assert browser.value(f"{rows}.length") == 5 * len(MODELS)
    name = browser.texts("#per-image td:first-child a")[0]
    browser.click("#per-image td:first-child a")
    target = browser.value("document.querySelector(location.hash + ' h3').textContent")
    assert target == name


def test_the_slider_moves_between_before_and_after_by_mouse_and_by_key(browser: Browser) -> None:
    tile = "#image-1 figure:nth-child(4)"  # of Pi-SAM
    assert browser.texts(f"{tile} strong") == ["Pi-SAM"]
    shown = browser.value(f"[...document.querySelectorAll('{tile} .over')].map(e => [e.className, e.src])")
    assert [(place.split()[1], source.rpartition("/")[2]) for place, source in shown] == [
        ("left-part", "2-before.png"),
        ("right-part", "2-after.png"),
    ]

    def cuts() -> list[str]:
        return [
            browser.value(f"getComputedStyle(document.querySelector('{tile} {part}')).clipPath")
            for part in (".left-part", ".right-part")
        ]

    assert cuts() == ["inset(0px 50% 0px 0px)", "inset(0px 0px 0px 50%)"]
    browser.click(f"{tile} input", at=0.25)
    at = int(browser.value(f"document.querySelector('{tile} input').value"))
    assert 15 < at < 35
    assert cuts() == [f"inset(0px {100 - at}% 0px 0px)", f"inset(0px 0px 0px {at}%)"]
    browser.press("ArrowRight")
    assert cuts()[1] == f"inset(0px 0px 0px {at + 1}%)"
    browser.press("End")
    assert cuts() == ["inset(0px 0% 0px 0px)", "inset(0px 0px 0px 100%)"]


@pytest.mark.parametrize("width", [1400, 800, 360])
def test_nothing_sticks_out_of_the_window(browser: Browser, width: int) -> None:
    browser.resize(width, 900)
    assert browser.value("document.documentElement.scrollWidth") <= width


ODD: list[Any] = [None, True, "x", "", -1, 10**400, 1e300, [], [[]], {}, {"a": [1]}, [None], "\ud800", "\0"]


@pytest.mark.parametrize("file", ["interact/summary.json", "evaluate/summary.json", "interact/clicks.json"])
def test_odd_kinds_anywhere_in_a_results_file_are_one_line_before_anything_is_drawn(
    copied: Config, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    path = Path(copied.run_dir) / file
    right = path.read_text()
    every, rng = list(places(json.loads(right))), np.random.default_rng(14)
    monkeypatch.setattr("pisam.commands.report.write_report", lambda *_, **__: None)
    refused = 0
    for way in [every[index] for index in rng.permutation(len(every))[:70]]:
        content = json.loads(right)
        inner = content
        for key in way[:-1]:
            inner = inner[key]
        inner[way[-1]] = ODD[rng.integers(len(ODD))]
        path.write_text(json.dumps(content))
        try:
            report(copied)
        except PisamError as error:
            assert "\n" not in str(error) and len(str(error)) < 1000, way
            refused += 1
    assert refused > 5
