"""`pisam interact`: what clicks change in Pi-SAM's own masks, and the benchmark against the baselines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric
from tqdm import tqdm

from pisam import build
from pisam.build.compared import interacting_models
from pisam.build.trained import checkpoint_facts, facts
from pisam.config import Config
from pisam.data.datamodule import PairDataModule
from pisam.errors import PisamError
from pisam.evaluation.click_controls import NEAR
from pisam.evaluation.click_effect import ROUNDS, click_effect
from pisam.evaluation.click_file import ClickFile, read_clicks, refuse_other_settings, write_clicks
from pisam.evaluation.click_summary import clicks_table, summarise_clicks
from pisam.evaluation.common_error import ClickedImage, Selection, click_common_errors, select_images
from pisam.evaluation.interaction_benchmark import NOISE, BenchmarkRows, BenchmarkSettings, benchmark
from pisam.evaluation.interaction_masks import save_mask
from pisam.evaluation.interaction_tables import (
    benchmark_table,
    curves_table,
    mean_curves,
    names_of,
    summarise_benchmark,
)
from pisam.evaluation.ranks import gather, in_order, own_share
from pisam.evaluation.rows import Row, write_csv
from pisam.evaluation.segmenters import (
    HqSamSegmenter,
    PiSamSegmenter,
    SamSegmenter,
    Segmenter,
)
from pisam.files import write_json
from pisam.modeling.hq_sam import HqSam
from pisam.modeling.pisam import PiSam
from pisam.types import Batch

MUST_EQUAL = ("interact.clicks", "interact.rounds", "clicks.connectivity")  # where clicks are replayed
NAMED = 5  # images named in print; the summary names all


@dataclass
class _Run:
    """Where and on what this process works."""

    config: Config
    fabric: Fabric
    data: PairDataModule

    @property
    def names(self) -> list[tuple[str, str]]:
        """(set, image) of each validation sample, in their order."""
        assert self.data.val_set is not None
        return [(source.name, pair.id) for source, pair in self.data.val_set.items]

    def batches(self, indices: Sequence[int], what: str) -> Iterator[Batch]:
        """Validation samples one by one on this rank's device, with a progress bar on the first."""
        loader = self.data.val_dataloader_of(indices)
        quiet = None if self.fabric.is_global_zero else True  # None: shown on a terminal alone
        return map(self.fabric.to_device, tqdm(loader, desc=what, disable=quiet, leave=False))

    def share(self, indices: Sequence[int]) -> Sequence[int]:
        """This rank's part."""
        return own_share(indices, self.fabric.global_rank, self.fabric.world_size)


def interact(config: Config, *, clicks: Path | None = None, checkpoints: Sequence[Path] = ()) -> None:
    """Measure what clicks change on the validation sets, with the best stage 2, on any number of ranks.

    First each straight-forward mask of Pi-SAM is clicked on its own errors (`click_effect`); then Pi-SAM and
    the baselines get the same clicks on their common errors (`benchmark`). Writes below `RUN_DIR/interact`:
    `own_errors.csv`, `per_image.csv`, `per_image_curves.csv`, `curves.csv`, `clicks.json`, `summary.json`;
    the masks of the benchmark are `masks/MODEL/{before,after}/SET/IMAGE.png`.

    Args:
        config: of a run with a trained stage 2.
        clicks: a `clicks.json`, whose images and clicks are used in place of new ones.
        checkpoints: of an HQ-SAM, without which SAM and Pi-SAM alone are compared, and of a Pi-SAM in place
            of this run's best stage 2, see `interacting_models`.

    Raises:
        PisamError: no trained stage 2 or HQ-SAM, or one of another model; no data; clicks that do not fit.
    """
    if not config.data.val:
        raise PisamError("data.val: no set to evaluate on; name at least one")
    settings = _settings(config)
    replayed = None if clicks is None else read_clicks(clicks)
    if replayed and clicks:
        refuse_other_settings(replayed, settings, MUST_EQUAL, clicks)

    models = interacting_models(config, checkpoints)
    model, hq_model = models["pi"], models.get("hq")
    assert isinstance(model, PiSam)
    data = build.build_data(config, 1)
    data.setup("validate")
    run = _Run(config, build.launch_ranks(config), data)
    if replayed and clicks:
        _refuse_missing_images(replayed, run.names, clicks)
    for network in models.values():
        network.to(run.fabric.device)
    segmenters: list[Segmenter] = [SamSegmenter(model)]
    with_mask: list[Segmenter] = [SamSegmenter(model, "SAM+mask", mask_input=True)]
    if isinstance(hq_model, HqSam):
        segmenters.append(HqSamSegmenter(hq_model))
        with_mask.append(HqSamSegmenter(hq_model, "HQ-SAM+mask", mask_input=True))
    segmenters.append(PiSamSegmenter(model))
    with run.fabric.autocast():
        own_rows, equal = _own_errors(run, model)
        selection = None if replayed else _select(run, segmenters)
        if replayed:
            file = replayed
        else:
            assert selection is not None
            file = ClickFile(selection.chosen, config.seed, [s.name for s in segmenters], settings)
        # What is told its previous mask says of a box what it says without, so it adds no error of its own.
        measured = _measure(run, [*segmenters, *with_mask], file)
    if run.fabric.is_global_zero:
        head = facts(config, model) | {
            "hq": None if hq_model is None else checkpoint_facts(hq_model),
            "replayed_clicks": None if clicks is None else str(clicks),
        }
        _write(run, head, own_rows, equal, file, selection, measured)


def _folder(config: Config) -> Path:
    return Path(config.run_dir) / "interact"


def _settings(config: Config) -> dict[str, Any]:
    """What clicks and curves depend on, under the keys of the configuration."""
    chosen = {f"interact.{key}": value for key, value in asdict(config.interact).items()}
    simulation = {f"clicks.{key}": value for key, value in _simulation(config).items()}
    return {**chosen, **simulation, "policy": "paper"}


def _simulation(config: Config) -> dict[str, Any]:
    """How clicks are drawn from common errors; the policy is the supplement's, whatever training used."""
    clicks = config.clicks
    return {"min_area": clicks.min_area, "margin": clicks.margin, "connectivity": clicks.connectivity}


def _refuse_missing_images(file: ClickFile, names: list[tuple[str, str]], path: Path) -> None:
    known = set(names)
    missing = [image for image in file.images if (image.set, image.image) not in known]
    if missing:
        raise PisamError(
            f"clicks {path}: {len(missing)} of its {len(file.images)} images are not in data.val: "
            f"{_some(names_of(missing))}; give the sets that the clicks were made on"
        )


def _own_errors(run: _Run, model: Any) -> tuple[list[Row], bool]:
    """The rows of `click_effect` over all ranks, and whether removing the clicks changed nothing anywhere."""
    config = run.config
    batches = run.batches(run.share(range(len(run.names))), "own errors")
    rows, equal = click_effect(model, batches, seed=config.seed, simulation=asdict(config.clicks))
    return in_order(gather(rows), run.names), all(gather([equal]))


def _select(run: _Run, segmenters: Sequence[Segmenter]) -> Selection:
    """The images with the largest common errors.

    Raises:
        PisamError: there is none with a click.
    """
    interaction = run.config.interact
    clicked = click_common_errors(
        segmenters,
        run.batches(run.share(range(len(run.names))), "common errors"),
        seed=run.config.seed,
        max_clicks=max(interaction.clicks, interaction.rounds),
        simulation=_simulation(run.config),
    )
    position = {name: index for index, name in enumerate(run.names)}
    everyone = sorted(gather(clicked), key=lambda image: position[image.set, image.image])
    selection = select_images(everyone, interaction.images)
    if not selection.chosen:
        raise PisamError(
            f"interact: none of the {len(everyone)} images of data.val has a common error of at least "
            f"clicks.min_area={run.config.clicks.min_area} pixels; nothing can be compared"
        )
    return selection


def _measure(run: _Run, segmenters: Sequence[Segmenter], file: ClickFile) -> BenchmarkRows:
    """The benchmark on the images of a click file, over all ranks."""
    config = run.config
    own: Sequence[ClickedImage] = own_share(file.images, run.fabric.global_rank, run.fabric.world_size)
    position = {name: index for index, name in enumerate(run.names)}
    batches = run.batches([position[image.set, image.image] for image in own], "benchmark")
    measured = benchmark(
        segmenters,
        batches,
        own,
        BenchmarkSettings(
            clicks=config.interact.clicks,
            rounds=config.interact.rounds,
            connectivity=config.clicks.connectivity,
            seed=file.seed,
        ),
        keep=partial(save_mask, _folder(config) / "masks"),
    )
    order = [(image.set, image.image) for image in file.images]
    everyone = BenchmarkRows(
        images=in_order(gather(measured.images), order), curves=in_order(gather(measured.curves), order)
    )
    for watches in gather([measured.watches]):
        everyone.add_times(watches)
    return everyone


def _write(
    run: _Run,
    head: dict[str, Any],
    own_rows: list[Row],
    equal: bool,
    file: ClickFile,
    selection: Selection | None,
    measured: BenchmarkRows,
) -> None:
    """All files of the verb, and its tables."""
    config = run.config
    own, models, curves = (
        summarise_clicks(own_rows),
        summarise_benchmark(measured),
        mean_curves(measured.curves),
    )
    clicks = {**asdict(config.clicks), "rounds": ROUNDS, "away_from_clicks_px": NEAR}
    summary = {
        **head,
        "clicks": {**clicks, "away_frame": "original image"},
        "equal_without_clicks": equal,
        **own,
        "benchmark": {
            "settings": {**file.settings, "away_from_clicks_px": NEAR, "noise": NOISE},
            "seed": file.seed,
            "common_error_of": file.models,
            **_images_facts(run, file, selection),
            "models": models,
        },
    }
    folder = _folder(config)
    write_csv(own_rows, folder / "own_errors.csv")
    write_csv(measured.images, folder / "per_image.csv")
    write_csv(measured.curves, folder / "per_image_curves.csv")
    write_csv(curves, folder / "curves.csv")
    write_clicks(file, folder / "clicks.json")
    write_json(summary, folder / "summary.json")
    print(
        "clicks on Pi-SAM's own errors",
        clicks_table(own),
        f"all clicks removed: masks {'equal' if equal else 'DIFFER'}",
        "",
        *_images_lines(run, file, selection),
        benchmark_table(models),
        "",
        curves_table(curves),
        sep="\n",
        flush=True,
    )


def _images_facts(run: _Run, file: ClickFile, selection: Selection | None) -> dict[str, Any]:
    """How many images were asked for, and which cannot take part."""
    asked = int(file.settings.get("interact.images", run.config.interact.images))
    counts = {"images_asked": asked, "images": len(file.images), "complete": len(file.images) >= asked}
    if selection is None:
        return counts
    return {
        **counts,
        "images_searched": len(run.names),
        "without_common_error": names_of(selection.without_error),
        "too_small_to_click": names_of(selection.too_small),
    }


def _images_lines(run: _Run, file: ClickFile, selection: Selection | None) -> Iterator[str]:
    known = _images_facts(run, file, selection)
    least = "" if known["complete"] else f": fewer than the {known['images_asked']} of interact.images"
    yield f"the same clicks on the common error of {', '.join(file.models)}: {known['images']} images{least}"
    if selection is not None:
        for what, images in (
            ("no common error", selection.without_error),
            ("common error too small to click", selection.too_small),
        ):
            if images:
                yield f"{what}: {len(images)} images, {_some(names_of(images))}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
