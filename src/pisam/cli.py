"""The `pisam` command: `pisam VERB [EXPERIMENT] [key=value ...]`.

Lightning and torch are imported by a verb, and only after its arguments proved valid: a typo fails at once.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pisam import __version__
from pisam.commands.evaluate_options import (
    MODEL_KEYS,
    as_list,
    evaluate_options,
    folder_options,
    is_folder_evaluation,
)
from pisam.config.checks import nearest
from pisam.config.load import load_config
from pisam.config.schema import Config
from pisam.core.errors import PisamError
from pisam.core.files import local_path

EVALUATE_USAGE = """[EXPERIMENT] [models=[sam,hq,pi,sam1024]] [checkpoint=FILE|[FILE,...]] [sets=val|test] \
[predictions=true] [out=DIR] [key=value ...]
       pisam evaluate predictions=DIR masks=DIR out=DIR [name=MODEL] [set=NAME] [workers=N]"""
ARGUMENTS_HELP = """EXPERIMENT: a name in experiments/ or the path of a YAML file (default: quickstart).
key=value: changes to it, for example stage1.lr=3e-4; the keys are those of its YAML file."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        The exit code: 0; 1 where an audit found something to mend; 2 after bad input, told in one line on
        stderr; 130 after Ctrl-C.
    """
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments.arguments) or 0)
    except PisamError as error:
        print(f"{_rank_label()}error: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def train(arguments: list[str]) -> None:
    """Train one stage of an experiment."""
    config, stage = _experiment_and_stage("train", _as_trial(arguments))
    from pisam.commands.train import train

    train(config, stage)


def submit(arguments: list[str]) -> None:
    """Queue the training of one stage as a job of the cluster, through submitit."""
    own, training = {"cluster": "slurm", "minutes": "240"}, []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key in own or key.startswith("slurm."):
            own[key] = value
        else:
            training.append(argument)
    config, _ = _experiment_and_stage("submit", training)
    if own["cluster"] not in ("slurm", "local"):
        raise PisamError(f"cluster: got {own['cluster']}, expected slurm or local")
    if not own["minutes"].isdecimal() or int(own["minutes"]) < 1:
        raise PisamError(f"minutes: got {own['minutes']}, expected a positive whole number")
    slurm = {key.removeprefix("slurm."): yaml.safe_load(value) for key, value in own.items() if "." in key}
    from pisam.commands.submit import submit

    job = submit(config, training, cluster=own["cluster"], minutes=int(own["minutes"]), slurm=slurm)
    print(f"job {job}, logs in {Path(config.run_dir) / 'submitit'}")


def sweep(arguments: list[str]) -> int:
    """Try combinations of values with the server and agents of W&B, or with local=true without."""
    own = {"local": "false", "agents": "1", "count": "", "draw_seed": "0", "experiment": ""}
    files, overrides = [], []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if not _is_override(argument):
            files.append(argument)
        elif key in own:
            own[key] = value
        else:
            overrides.append(argument)
    if len(files) != 1:
        raise PisamError(f"sweep: expected one sweep file, got {' '.join(files) or 'none'}")
    if own["local"] not in ("true", "false"):
        raise PisamError(f"local: got {own['local']}, expected true or false")
    for key, lowest in (("agents", 0), ("count", 1), ("draw_seed", 0)):
        if own[key] and (not own[key].isdecimal() or int(own[key]) < lowest):
            raise PisamError(f"{key}: got {own[key]}, expected a whole number >= {lowest}")
    from pisam.commands.sweeps.sweep_file import read_sweep

    chosen = read_sweep(files[0], overrides, own["experiment"] or None)
    count = int(own["count"]) if own["count"] else None
    if own["local"] == "true":
        from pisam.commands.sweeps.local import run_locally

        return run_locally(chosen, count=count, seed=int(own["draw_seed"] or 0))
    from pisam.commands.sweeps import served

    path = served.register(chosen)
    print(f"sweep {path}\nanother agent: python -m wandb agent --forward-signals {path}", flush=True)
    return served.run_agents(path, agents=int(own["agents"] or 1), count=count)


def evaluate(arguments: list[str]) -> None:
    """Score trained models and baselines on data.val or data.test, or a folder of predicted masks."""
    overrides = [argument for argument in arguments if _is_override(argument)]
    given = dict(argument.split("=", 1) for argument in overrides)
    keys = [argument.split("=", 1)[0] for argument in overrides]
    for key in MODEL_KEYS:
        if keys.count(key) > 1:
            raise PisamError(f"evaluate: {key} is given twice; several go in one list, {key}=[one,another]")
    if is_folder_evaluation(given):
        if experiments := [argument for argument in arguments if argument not in overrides]:
            raise PisamError(f"evaluate predictions=DIR: needs no experiment, got {experiments[0]}")
        folder = folder_options(given)
        from pisam.commands.evaluate import rescore

        return rescore(folder)
    options = evaluate_options(given)
    rest = [argument for argument in arguments if argument.split("=", 1)[0] not in MODEL_KEYS]
    config = load_config(*_experiment_and_overrides(rest))
    from pisam.commands.evaluate import evaluate

    evaluate(config, options)


def interact(arguments: list[str]) -> None:
    """Measure what clicks change, beside the baselines; clicks=FILE replays the clicks of another run."""
    given, others = _own_keys("interact", arguments, ("clicks", "checkpoint"))
    own: dict[str, Any] = {}
    if "clicks" in given:
        own["clicks"] = local_path(given["clicks"], "clicks")
    if "checkpoint" in given:
        paths = as_list("checkpoint", given["checkpoint"])
        own["checkpoints"] = [local_path(path, "checkpoint") for path in paths]
    config = load_config(*_experiment_and_overrides(others))
    from pisam.commands.interact import interact

    interact(config, **own)


def report(arguments: list[str]) -> None:
    """Show what interact and evaluate measured: figures and a page to open in a browser."""
    given, others = _own_keys("report", arguments, ("images",))
    images = as_list("images", given["images"]) if given else []
    config = load_config(*_experiment_and_overrides(others))
    from pisam.commands.report import report

    print(report(config, images=images))


def compare(arguments: list[str]) -> None:
    """Test whether two runs differ by more than chance on the images that both scored."""
    if len(arguments) != 2 or any(_is_override(argument) for argument in arguments):
        raise PisamError(f"compare: expected two folders of results, got {' '.join(arguments) or 'none'}")
    from pisam.commands.compare import compare_results

    print(compare_results(*map(Path, arguments)))


def audit(arguments: list[str]) -> int:
    """Look at every file of an experiment's data; exit code 1 if something must be mended."""
    config = load_config(*_experiment_and_overrides(arguments))
    from pisam.commands.audit import audit_data

    return audit_data(config)


def prepare(arguments: list[str]) -> None:
    """Copy an experiment's training data to data.prepared, smaller and many times faster to read."""
    config = load_config(*_experiment_and_overrides(arguments))
    from pisam.commands.prepare import prepare_data

    prepare_data(config)


def sets(arguments: list[str]) -> None:
    """Say where the published sets are to be had, and which of them are there."""
    root: str | None = os.environ.get("PISAM_DATA_ROOT") or None
    if any(not argument.startswith("data.root=") for argument in arguments):
        root = load_config(*_experiment_and_overrides(arguments)).data.root
    elif arguments:
        root = arguments[-1].removeprefix("data.root=")
    from pisam.commands.sets import list_sets

    print(list_sets(Path(root) if root else None))


def import_released(arguments: list[str]) -> None:
    """Turn a released checkpoint into one of ours and print where it is."""
    files = [argument for argument in arguments if not _is_override(argument)]
    options = dict(argument.split("=", 1) for argument in arguments if _is_override(argument))
    for unknown in options.keys() - {"out"}:
        raise PisamError(f"import-released: unknown key {unknown}{nearest(unknown, ['out'])}")
    if len(files) != 1:
        raise PisamError(f"import-released: expected one checkpoint file, got {' '.join(files) or 'none'}")
    checkpoint = local_path(files[0], "import-released")
    if not checkpoint.is_file():
        raise PisamError(f"import-released: no file {checkpoint}")
    from pisam.commands.import_released import import_released

    print(import_released(checkpoint, Path(options["out"]) if "out" in options else None))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pisam", description="Train, evaluate and use Pi-SAM.")
    parser.add_argument("--version", action="version", version=f"pisam {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for name, run, usage in (
        ("train", train, "[EXPERIMENT] stage=1|2 [key=value ...]"),
        ("submit", submit, "[EXPERIMENT] stage=1|2 [minutes=N] [slurm.partition=NAME ...] [key=value ...]"),
        ("sweep", sweep, "FILE [local=true] [count=N] [agents=N] [experiment=EXPERIMENT] [key=value ...]"),
        ("evaluate", evaluate, EVALUATE_USAGE),
        (
            "interact",
            interact,
            "[EXPERIMENT] [checkpoint=FILE|[FILE,...]] [clicks=FILE] [key=value ...]",
        ),
        ("report", report, "[EXPERIMENT] [images=[SET/IMAGE,...]] [key=value ...]"),
        ("compare", compare, "A B"),
        ("audit", audit, "[EXPERIMENT] [key=value ...]"),
        ("prepare", prepare, "[EXPERIMENT] data.prepared=DIR [key=value ...]"),
        ("sets", sets, "[EXPERIMENT] [data.root=DIR]"),
        ("import-released", import_released, "CKPT [out=FILE]"),
    ):
        verb = verbs.add_parser(
            name,
            help=run.__doc__,
            description=run.__doc__,
            usage=f"pisam {name} {usage}",
            epilog=ARGUMENTS_HELP if "EXPERIMENT" in usage else None,
        )
        verb.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
        verb.set_defaults(run=run)
    return parser


def _is_override(argument: str) -> bool:
    """A path may hold "=" too, but never before its first slash."""
    return re.match(r"[^/\\=]*=", argument) is not None


def _own_keys(verb: str, arguments: list[str], keys: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The values of a verb's own keys, each given once at most, and the other arguments."""
    given: dict[str, str] = {}
    others = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key not in keys or not _is_override(argument):
            others.append(argument)
        elif key in given or not value:
            raise PisamError(f"{verb}: expected one {key}=..., got {' '.join(arguments)}")
        else:
            given[key] = value
    return given, others


def _experiment_and_overrides(arguments: list[str]) -> tuple[str, list[str]]:
    experiments = [argument for argument in arguments if not _is_override(argument)]
    if len(experiments) > 1:
        raise PisamError(f"expected one experiment and key=value arguments, got {' '.join(experiments)}")
    return (experiments or ["quickstart"])[0], [argument for argument in arguments if _is_override(argument)]


def _experiment_and_stage(verb: str, arguments: list[str]) -> tuple[Config, int]:
    stages = [argument.removeprefix("stage=") for argument in arguments if argument.startswith("stage=")]
    if len(stages) != 1 or stages[0] not in ("1", "2"):
        raise PisamError(f"{verb}: expected stage=1 or stage=2, got {' '.join(arguments) or 'no arguments'}")
    others = [argument for argument in arguments if not argument.startswith("stage=")]
    return load_config(*_experiment_and_overrides(others)), int(stages[0])


def _as_trial(arguments: list[str]) -> list[str]:
    """For `sweep=NAME`, as W&B agents pass it: a folder for this trial alone, found again when it goes on."""
    names = [argument.removeprefix("sweep=") for argument in arguments if argument.startswith("sweep=")]
    if not names:
        return arguments
    if not (trial := os.environ.get("WANDB_RUN_ID")):
        raise PisamError("sweep=NAME is for trials that W&B's agents start; see pisam sweep FILE local=true")
    others = [argument for argument in arguments if not argument.startswith("sweep=")]
    return [*others, f"run_dir={Path('runs') / 'sweeps' / names[-1] / trial}"]


def _one_line(error: PisamError) -> str:
    """The message; that of a loader's worker process is the end of a traceback."""
    _, _, message = str(error).rpartition("pisam.core.errors.PisamError: ")
    return " ".join(message.split())


def _rank_label() -> str:
    """Which process of several speaks; an error of one rank alone must not be lost."""
    variables = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
    rank = next((os.environ[name] for name in variables if name in os.environ), "0")
    return "" if rank == "0" else f"[rank {rank}] "


if __name__ == "__main__":
    sys.exit(main())
