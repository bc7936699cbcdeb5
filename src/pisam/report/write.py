"""Write a report: pictures, figures and page, in a folder that replaces an earlier one as a whole."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from pisam import __version__
from pisam.core.errors import PisamError
from pisam.core.files import parse_json, read_text, write_json, writing
from pisam.core.terminal import progress
from pisam.evaluation.parallel import bounded_map
from pisam.report.examples import Example, Files, read_example, sets_in_turn, write_pictures
from pisam.report.figures import clicks_figure, curves_figure, distributions_figure, models_figure
from pisam.report.page import BESIDE, Drawing, asset, page, picture_folder
from pisam.report.results import Evaluation, Interaction

CONTENTS = "report.json"  # lists what a report consists of
MADE_BY = "pisam report"
# What a report or a leaderboard may consist of: whatever a file says, nothing else is a part of one.
PARTS = re.compile(
    r"index\.html|report\.json|page\.(css|js)|(leaderboard|per_image)\.csv"
    r"|(distributions|curves|figure_3|figure_4)\.(png|pdf)|images/\d+/(photo\.jpg|mask\.png|\d+-(before|after)\.png)"
)


def refuse_foreign_folder(folder: Path) -> None:
    """Raise PisamError for a folder that holds anything but an earlier report, whose place is to be taken."""
    if not folder.exists() and not folder.is_symlink():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise PisamError(f"report: {folder} is no folder; move it away")
    here = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    others = sorted(here - _contents(folder))
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise PisamError(
            f"report: {folder} holds {others[0]}{more}, which no report consists of; move them away, "
            "nothing was changed"
        )


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A new folder to fill beside `folder`, which it replaces when the block ends well.

    Raises:
        PisamError: see `refuse_foreign_folder` and `files.writing`; what was there before is untouched.
    """
    refuse_foreign_folder(folder)
    new, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{what}") for what in ("new", "old"))
    try:
        with writing(folder):
            new.mkdir(parents=True)
            yield new
            files = sorted(path.relative_to(new).as_posix() for path in new.rglob("*") if path.is_file())
            assert all(map(PARTS.fullmatch, files)), files
            contents = {"made_by": MADE_BY, "version": __version__, "files": [*files, CONTENTS]}
            write_json(contents, new / CONTENTS)
            refuse_foreign_folder(folder)  # again: something may have been saved there meanwhile
            if folder.exists():
                folder.rename(old)
            try:
                new.rename(folder)
            except OSError:
                with suppress(OSError):
                    old.rename(folder)
                raise
    finally:
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _contents(folder: Path) -> set[str]:
    """The files that an earlier report lists as its own; none where there is no such report."""
    try:
        listed = parse_json(read_text(folder / CONTENTS))
        return set(filter(PARTS.fullmatch, listed["files"])) if listed["made_by"] == MADE_BY else set()
    except (OSError, ValueError, KeyError, TypeError):
        return set()


DOTS_PER_INCH = 300
MARGIN = 0.02  # inches
DRAWN = 4  # images of a figure, where none are named
CLICKED = 2  # of them, in the figure that has a row per model


def write_report(
    interaction: Interaction,
    evaluations: Sequence[Evaluation],
    files: Sequence[Files],
    folder: Path,
    *,
    chosen: Sequence[Files] = (),
    workers: int = 0,
) -> None:
    """Write a report of a benchmark and of its models on whole sets, in place of an earlier one.

    Args:
        files: of all its images, in the order of its click file.
        chosen: the images of the figures; none for the largest common errors, sets in turn.
        workers: processes that draw pictures, 0 = this one.

    Raises:
        PisamError: see `read_example` and `replacing_folder`.
    """
    drawn = chosen or sets_in_turn(files, DRAWN)
    with replacing_folder(folder) as new, progress(len(files) + 1, "report") as bar:
        jobs = ((one, new / "images" / picture_folder(number)) for number, one in enumerate(files, start=1))
        for _ in bounded_map(write_pictures, jobs, workers):
            bar.update()
        plots = [
            _save(
                distributions_figure(interaction.rows),
                new / "distributions",
                alt="IoU and boundary IoU of every image before and after the clicks, joined by lines, and "
                "boxes of their quartiles, for every model.",
                caption="Every image before (left) and after (right) the clicks; its line is blue where it "
                "gained and orange where it lost. Boxes: quartiles and median.",
            ),
            _save(
                curves_figure(interaction.curves),
                new / "curves",
                alt="Mean IoU and boundary IoU of every model by the number of clicks.",
                caption="More clicks: one by one on the model's own largest error (iterative), or the first "
                "of the common clicks at once (single-shot).",
            ),
        ]
        figures = _save_figures(interaction, [read_example(one) for one in drawn], new, by_hand=bool(chosen))
        bar.update()
        for name in BESIDE:
            (new / name).write_text(asset(name), encoding="utf-8")
        text = page(interaction, evaluations, plots, figures)
        (new / "index.html").write_text(text, encoding="utf-8", errors="backslashreplace")


def _save_figures(
    interaction: Interaction, examples: Sequence[Example], folder: Path, *, by_hand: bool
) -> list[Drawing]:
    models = interaction.plain_models
    clicked = examples if by_hand else examples[:CLICKED]
    how = "chosen by hand" if by_hand else "the largest common errors, sets in turn"
    names = ", ".join(models)
    shown, also_clicked = (", ".join(example.name for example in part) for part in (examples, clicked))
    return [
        _save(
            models_figure(examples, models),
            folder / "figure_3",
            alt=f"Image, true mask and masks of {names} with their errors coloured, for {shown}.",
            caption=f"As figure 3 of the paper: the answers of {names} to the box. Images: {how}.",
        ),
        _save(
            clicks_figure(clicked, models),
            folder / "figure_4",
            alt=f"Masks of {names} before and after the clicks, whole and zoomed, for {also_clicked}.",
            caption=f"As figure 4 of the paper: the same {interaction.given} clicks for every model; zoomed "
            f"is the window in which the mask of {models[-1]} changes most. Images: {how}.",
        ),
    ]


def _save(figure: Figure, path: Path, *, alt: str, caption: str) -> Drawing:
    """Write a figure as PNG and as PDF."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # found once, it holds for both files
    box = figure.get_tightbbox().padded(MARGIN)
    figure.savefig(
        path.with_suffix(".pdf"), dpi=DOTS_PER_INCH, bbox_inches=box, metadata={"CreationDate": None}
    )
    figure.savefig(path.with_suffix(".png"), dpi=DOTS_PER_INCH, bbox_inches=box)
    with Image.open(path.with_suffix(".png")) as picture:
        return Drawing(path.name, picture.size, alt, caption)
