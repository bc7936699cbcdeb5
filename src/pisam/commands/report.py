"""Show what interact and evaluate measured: figures, and a page to open in a browser.

    pisam report [EXPERIMENT] [images=[SET/IMAGE,...]] [key=value ...]

group: Measure
images=LIST: the rows of the figures (default: the largest common errors, sets in turn)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import TemplateError

from pisam.commands.shared.command import Arguments, as_list
from pisam.commands.shared.interact_results import results_folder
from pisam.config.schema import Config
from pisam.core.errors import PisamError, nearest
from pisam.core.files import shown
from pisam.report.examples import Files, example_files
from pisam.report.page import page
from pisam.report.results import Evaluation, Interaction, read_evaluations, read_interaction, refuse_mixed
from pisam.report.write import refuse_foreign_folder, write_report
from pisam.training.from_config import build_data


def run(arguments: Arguments) -> None:
    """Write the report and print where its page is."""
    images = arguments.own.get("images")
    print(report(arguments.config(), images=as_list("images", images) if images else []))


def report(config: Config, *, images: Sequence[str] = ()) -> Path:
    """Write `RUN_DIR/report`: `index.html` with its pictures, and `figure_3`, `figure_4` as PNG and PDF.

    Args:
        config: of a run with results of `pisam interact`, on the data that they were measured on; those of
            `pisam evaluate` are shown too. `data.workers` processes draw.
        images: SET/IMAGE of the figures' rows; none for the largest common errors, sets in turn.

    Returns:
        the page, to be opened in a browser.

    Raises:
        PisamError: no results, results of several runs, other data, a folder of other files, or `images` that
            were not clicked.
    """
    folder = Path(config.run_dir) / "report"
    refuse_foreign_folder(folder)
    interaction, evaluations = _read(config)
    data = build_data(config, 1)
    data.setup("validate")
    files = example_files(interaction, data.val_pairs)
    chosen = _named(images, files)
    write_report(interaction, evaluations, files, folder, chosen=chosen, workers=config.data.workers)
    return folder / "index.html"


def _read(config: Config) -> tuple[Interaction, list[Evaluation]]:
    """The results of a run, of which a page can be made: found out before its pictures are drawn."""
    interaction = read_interaction(results_folder(config))
    evaluations = read_evaluations(Path(config.run_dir) / "evaluate")
    try:
        refuse_mixed(interaction, evaluations)
        page(interaction, evaluations, [], [])
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, TemplateError) as error:
        raise PisamError(
            f"report: {config.run_dir}: interact/summary.json or evaluate/summary.json holds what "
            f"no page can show ({type(error).__name__}: {shown(str(error))}); measure again"
        ) from error
    return interaction, evaluations


def _named(chosen: Sequence[str], files: Sequence[Files]) -> list[Files]:
    by_name = {f"{one.clicked.set}/{one.clicked.image}": one for one in files}
    for name in chosen:
        if name not in by_name:
            raise PisamError(f"images: {name} was not clicked{nearest(name, list(by_name))}")
    return [by_name[name] for name in chosen]
