"""Measure what clicks change in Pi-SAM's own masks, and beside the baselines on their common errors.

    pisam interact [EXPERIMENT] [checkpoint=FILE] [clicks=FILE] [key=value ...]

group: Measure
checkpoint=FILE: of an HQ-SAM or a Pi-SAM, or [several,of,them] (default: the run's own)
clicks=FILE: a clicks.json of another run, whose clicks are replayed
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from lightning.fabric import Fabric
from tqdm import tqdm

from pisam.commands.benchmark import benchmark, sources_of
from pisam.commands.shared.begin import begin
from pisam.commands.shared.command import Arguments, as_list
from pisam.commands.shared.interact_results import (
    Search,
    begin_results,
    refuse_in_the_way,
    results_folder,
    some,
    write_results,
)
from pisam.config.schema import Config, simulation_of
from pisam.core.errors import PisamError
from pisam.core.files import local_path
from pisam.core.terminal import progress
from pisam.core.types import Batch, BoolArray
from pisam.data.datamodule import PairDataModule
from pisam.evaluation.benchmark.record import ClickProtocol
from pisam.evaluation.interaction.benchmark import BenchmarkRows, BenchmarkSettings, benchmark_image
from pisam.evaluation.interaction.click_file import (
    ClickedImage,
    ClickFile,
    Selection,
    click_common_error,
    read_clicks,
    refuse_other_settings,
    select_images,
)
from pisam.evaluation.interaction.models import BenchmarkModels, FirstAnswers
from pisam.evaluation.interaction.own_errors import click_effect, equal_without_clicks, own_clicks
from pisam.evaluation.interaction.tables import names_of
from pisam.evaluation.models import checkpoint_facts, facts, interacting_models, load_networks
from pisam.evaluation.parallel import in_order, on_all_ranks, own_share, threads_beside
from pisam.evaluation.predictions import save_prediction
from pisam.evaluation.rows import Row
from pisam.training.from_config import build_data
from pisam.training.preflight import alone_in
from pisam.training.trainer import launch_ranks

MUST_EQUAL = ("interact.clicks", "interact.rounds", "clicks.connectivity")  # where clicks are replayed
STEPS = 5  # of the bar: the benchmark of an image takes about so many times as long as searching one
Result = TypeVar("Result")


def run(arguments: Arguments) -> int | None:
    """Run the benchmark with the checkpoints and clicks that the arguments name."""
    given = arguments.own.get("clicks")
    clicks = local_path(given, "clicks") if given else None
    named = as_list("checkpoint", arguments.own.get("checkpoint") or "[]")
    checkpoints = [local_path(path, "checkpoint") for path in named]
    config = arguments.config()
    if config.interact.prompt != "box" and clicks:
        raise PisamError(f"clicks={given}: for interact.prompt=box alone; see pisam benchmark like=FILE")
    folder = results_folder(config)
    begin(config, "interact", reads=config.data.val, writes=folder)
    with alone_in(folder):
        if config.interact.prompt != "box":
            return without_box(config, checkpoints)
        interact(config, clicks=clicks, checkpoints=checkpoints)
    return None


def without_box(config: Config, checkpoints: Sequence[Path] = ()) -> int:
    """The benchmark of `pisam benchmark` on data.val, for Pi-SAM and its baselines; see there.

    Args:
        config: `interact.prompt` and `interact.rounds` are its prompt and its clicks.
        checkpoints: as in `interact`; HQ-SAM takes part where one is given.
    """
    protocol = ClickProtocol(config.interact.prompt, clicks=config.interact.rounds, seed=config.seed)  # type: ignore[arg-type]
    networks = load_networks(config, checkpoints, stages=(2, 1)) if checkpoints else {}
    names = ["sam", "sam+mask", *(["hq", "hq+mask"] if "hq" in networks else []), "pi"]
    folder = results_folder(config) / protocol.id
    workers = config.data.workers
    return benchmark(
        names, sources_of(config), protocol, folder, config, checkpoints=checkpoints, workers=workers
    )


@dataclass
class _Run:
    """One process's part of a benchmark: models, data, device, progress."""

    config: Config
    fabric: Fabric
    data: PairDataModule
    models: BenchmarkModels
    answers: FirstAnswers
    bar: tqdm

    @cached_property
    def names(self) -> dict[tuple[str, str], int]:
        """(set, image) of each validation sample, and its index."""
        return {name: index for index, name in enumerate(self.data.val_pairs)}

    def batches(self, indices: Sequence[int], what: str) -> Iterator[Batch]:
        """Validation samples one by one on this rank's device."""
        for number, batch in enumerate(self.data.val_dataloader_of(indices), start=1):
            self.bar.set_description_str(f"{what}, image {number} of {len(indices)}", refresh=False)
            yield self.fabric.to_device(batch)

    def share(self, items: Sequence[Result]) -> Sequence[Result]:
        """This rank's part."""
        return own_share(items, self.fabric.global_rank, self.fabric.world_size)


def interact(config: Config, *, clicks: Path | None = None, checkpoints: Sequence[Path] = ()) -> None:
    """Measure what clicks change on the validation sets, with the best stage 2, on any number of ranks.

    First each straight-forward mask of Pi-SAM is clicked on its own errors (`click_effect`); then Pi-SAM and
    the baselines get the same clicks on their common errors (`benchmark_image`). Writes below
    `RUN_DIR/interact`: `own_errors.csv`, `per_image.csv`, `per_image_curves.csv`, `curves.csv`,
    `clicks.json`, `summary.json`; the masks of the benchmark are `masks/MODEL/{before,after}/SET/IMAGE.png`.

    Args:
        config: of a run with a trained stage 2; `data.workers` threads score beside the network.
        clicks: a `clicks.json`, whose images and clicks are used in place of new ones.
        checkpoints: of an HQ-SAM, without which SAM and Pi-SAM alone are compared, and of a Pi-SAM in place
            of this run's best stage 2, see `interacting_models`.

    Raises:
        PisamError: no trained stage 2 or HQ-SAM, or one of another model; no data; clicks that do not fit.
    """
    if not config.data.val:
        raise PisamError("data.val: no set to evaluate on; name at least one")
    refuse_in_the_way(results_folder(config))
    settings = _settings(config)
    replayed = None if clicks is None else read_clicks(clicks)
    if replayed and clicks:
        refuse_other_settings(replayed, settings, MUST_EQUAL, clicks)

    networks = interacting_models(config, checkpoints)
    data = build_data(config, 1)
    data.setup("validate")
    if replayed and clicks:
        _refuse_missing_images(replayed, data.val_pairs, clicks)
    fabric = launch_ranks(config)
    for network in networks.values():
        network.to(fabric.device)
    models = BenchmarkModels.of(networks)
    with progress(0, "interact", shown=fabric.is_global_zero) as bar, fabric.autocast():
        run = _Run(config, fabric, data, models, FirstAnswers(models.asked), bar)
        _expect(run, len(replayed.images) if replayed else config.interact.images)
        search = _search(run, select=replayed is None)
        if replayed:
            file = replayed
        else:
            assert search.selection is not None
            file = ClickFile(search.selection.chosen, config.seed, [s.name for s in models.asked], settings)
            _expect(run, len(file.images))
        # It removes the masks of before, and their folder; no other rank may write there yet.
        on_all_ranks(lambda: begin_results(results_folder(config)) if fabric.is_global_zero else None)
        measured = _measure(run, file)
    if fabric.is_global_zero:
        hq = networks.get("hq")
        head = facts(config, models.pi) | {
            "hq": None if hq is None else checkpoint_facts(hq),
            "replayed_clicks": None if clicks is None else str(clicks),
        }
        write_results(config, head, search, file, measured)


def _settings(config: Config) -> dict[str, Any]:
    """Settings that clicks and curves depend on, under the keys of the configuration."""
    chosen = {f"interact.{key}": value for key, value in asdict(config.interact).items()}
    simulation = {f"clicks.{key}": value for key, value in _simulation(config).items()}
    return {**chosen, **simulation, "policy": "paper"}


def _simulation(config: Config) -> dict[str, Any]:
    """Settings of clicks on common errors; the policy is the supplement's, whatever training used."""
    clicks = config.clicks
    return {"min_area": clicks.min_area, "margin": clicks.margin, "connectivity": clicks.connectivity}


def _refuse_missing_images(file: ClickFile, known: Container[tuple[str, str]], path: Path) -> None:
    missing = [image for image in file.images if (image.set, image.image) not in known]
    if missing:
        raise PisamError(
            f"clicks {path}: {len(missing)} of its {len(file.images)} images are not in data.val: "
            f"{some(names_of(missing))}; give the sets that the clicks were made on"
        )


def _expect(run: _Run, clicked: int) -> None:
    """Set the total of the progress bar."""
    images = run.share(range(len(run.names)))
    chosen = run.share(range(min(clicked, len(run.names))))
    run.bar.total = len(images) + len(chosen) * STEPS


def _search(run: _Run, *, select: bool) -> Search:
    """Click each image on Pi-SAM's own errors and, to `select` images, on the common error of all models."""
    config, most = run.config, max(run.config.interact.clicks, run.config.interact.rounds)
    simulation = simulation_of(config.clicks)

    def own_part() -> tuple[list[Row], bool, list[ClickedImage]]:
        rows, equal, clicked = [], True, []
        for batch in run.batches(run.share(range(len(run.names))), "interact: own and common errors"):
            firsts = run.answers.of(batch)
            straight = firsts["Pi-SAM"].state
            rows += click_effect(run.models.used(firsts), batch, seed=config.seed, simulation=simulation)
            clicks = own_clicks(straight, batch, 0, seed=config.seed, simulation=simulation)
            equal &= equal_without_clicks(run.models.pi, straight, clicks)
            if select:
                answers, how = list(firsts.values()), _simulation(config)
                clicked.append(
                    click_common_error(answers, batch, seed=config.seed, max_clicks=most, simulation=how)
                )
            run.bar.update()
        return rows, equal, clicked

    parts = on_all_ranks(own_part)
    rows = in_order([row for part in parts for row in part[0]], list(run.names))
    selection = _select(run, [image for part in parts for image in part[2]]) if select else None
    return Search(len(run.names), rows, all(part[1] for part in parts), selection)


def _select(run: _Run, clicked: list[ClickedImage]) -> Selection:
    clicked.sort(key=lambda image: run.names[image.set, image.image])
    selection = select_images(clicked, run.config.interact.images)
    if not selection.chosen:
        raise PisamError(
            f"interact: none of the {len(clicked)} images of data.val has a common error of at least "
            f"clicks.min_area={run.config.clicks.min_area} pixels; nothing can be compared"
        )
    return selection


def _measure(run: _Run, file: ClickFile) -> BenchmarkRows:
    """The benchmark on the images of a click file, over all ranks."""
    config, models = run.config, run.models
    own: Sequence[ClickedImage] = run.share(file.images)
    settings = BenchmarkSettings(
        clicks=config.interact.clicks,
        rounds=config.interact.rounds,
        connectivity=config.clicks.connectivity,
        seed=file.seed,
    )

    def keep(model: str, when: str, set_name: str, image: str, mask: BoolArray) -> None:
        save_prediction(mask, results_folder(config) / "masks" / model / when, set_name, image)

    def own_part() -> BenchmarkRows:
        rows = BenchmarkRows()
        indices = [run.names[image.set, image.image] for image in own]
        with threads_beside(config.data.workers) as threads:
            for batch, image in zip(run.batches(indices, "interact: clicks"), own, strict=True):
                rows.add(
                    benchmark_image(
                        models.benchmarked(run.answers.of(batch)), batch, image, settings, threads, keep=keep
                    )
                )
                run.bar.update(STEPS)
        return rows

    everyone = BenchmarkRows()
    for part in on_all_ranks(own_part):
        everyone.add(part)
    order = [(image.set, image.image) for image in file.images]
    return BenchmarkRows(in_order(everyone.images, order), in_order(everyone.curves, order), everyone.watches)
