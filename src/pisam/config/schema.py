"""The configuration: every key a user may set, with its default, what it may hold and a line of help."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from pisam.config.rules import (
    LOCAL,
    PATH,
    Rule,
    at_least,
    between,
    each,
    key,
    matching,
    named_in,
    one_of,
    positive,
)
from pisam.core.checks import is_increasing_pair
from pisam.modeling.backbone_table import BACKBONES, LARGEST_FRAME

MOST = 1000  # of what is kept for each sample or started for each run: more fills any memory

# Keys that may change between the parts of one run: they say where, how fast and how it is measured,
# not what. Of `trainer` the precision decides numbers; the number of ranks is in the checkpoint.
FREE_KEYS = (
    *("trainer", "logging", "interact", "data.root", "data.workers", "model.weights", "run_dir"),
    *(f"stage{number}.{key}" for number in (1, 2) for key in ("cache", "cache_gb")),
)
DECISIVE_KEYS = ("trainer.precision",)
OF_THE_OTHER_STAGE = {1: ("stage2", "clicks"), 2: ("stage1",)}


def _policies() -> Iterable[str]:
    from pisam.clicks.policies import POLICIES  # slow to load

    return POLICIES


def _are_devices(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(type(index) is int and 0 <= index < MOST for index in value)
    return value == "auto" or (type(value) is int and (0 < value <= MOST or value == -1))


def _is_logger(name: Any) -> bool:
    return name in ("tensorboard", "csv")


def _is_step(step: Any) -> bool:
    return isinstance(step, str) or (isinstance(step, dict) and len(step) == 1)


FOLDER_NAME = matching(
    r"[A-Za-z0-9][\w.-]{0,99}", "letters, digits, '.', '_' or '-', 100 at most, for it names the run's folder"
)
ROWS = each(
    "the name of a known set, or a row {name: ..., images: ..., masks: ...}",
    lambda row: isinstance(row, str | dict),
)
STEPS = each("the name of a transform, or {NAME: {argument: value}}", _is_step)
STEP_ARGUMENTS = each(
    "arguments below the name, {NAME: {argument: value}}",
    lambda step: not isinstance(step, dict) or isinstance(next(iter(step.values())), dict),
)
MULTIPLE = Rule("a multiple of 64", lambda size: size % 64 == 0)
JITTER = Rule("[] or two increasing positive numbers", lambda pair: not pair or is_increasing_pair(pair))
STEPS_OR_NONE = Rule("a positive number, or -1 for no limit", lambda steps: steps == -1 or steps > 0)
VALIDATIONS = positive("a positive number of validations, or null")
DECAY = Rule("a number between 0 and 1, or null", lambda decay: 0 < decay < 1)
STRATEGIES = one_of("auto", "ddp", "ddp_find_unused_parameters_true")
TIME = matching(r"\d+(:\d\d){3}", '"DD:HH:MM:SS"')
MINUTES = positive("a positive number of minutes", 10**6)
DEVICES = Rule("auto, a number of devices (-1 for all) or a list of indices", _are_devices)
ANY_KIND = Rule(
    "a positive number for at least one kind",
    lambda prompts: any((prompts.box, prompts.jittered_box, prompts.points, prompts.noisy_mask)),
)


@dataclass
class ModelConfig:
    backbone: str = key("nano", "SAM's image encoder", one_of(*BACKBONES))
    weights: str | None = key(None, "SAM's file or a folder of them (default: $PISAM_WEIGHTS)", PATH, LOCAL)
    image_size: int = key(1024, "side of the square network frame", between(64, LARGEST_FRAME), MULTIPLE)
    from_sam: bool = key(
        False, "the decoder starts as SAM's and learns what to add to SAM's mask", of_pi=True
    )
    guard: bool = key(
        False, "with from_sam: SAM's mask stands on pictures unlike those of training", of_pi=True
    )
    local: bool = key(
        False, "the interactor sees how near its pixels are to the clicks, and stays there", of_pi=True
    )
    decoder: str = key("pi", "pi = Pi-SAM; hq = HQ-SAM, the baseline, a stage 1 alone", one_of("pi", "hq"))


@dataclass
class PromptsConfig:
    box: float = key(1.0, "how often a box is the prompt in training, in proportion", at_least(0))
    jittered_box: float = key(0.0, "the same of a box with moved edges", at_least(0))
    points: float = key(0.0, "the same of points", at_least(0))
    noisy_mask: float = key(0.0, "the same of a spoilt mask", at_least(0))
    max_points: int = key(10, "largest number of points", between(1, MOST))
    box_noise: float = key(0.1, "deviation of a jittered edge, as a share of the side", at_least(0))


@dataclass
class DataConfig:
    root: str | None = key(None, "folder of the data sets (default: $PISAM_DATA_ROOT)", PATH)
    train: list[Any] = key([], "known sets or rows {name, images, masks, weight, limit}", ROWS)
    val: list[Any] = key([], "sets to validate on", ROWS)
    test: list[Any] = key([], "sets for `pisam evaluate sets=test`", ROWS)
    batch_size: int = key(4, "images of each rank in a step", between(1, 100 * MOST))
    workers: int = key(4, "processes that read images, of each rank", between(0, MOST))
    flip: bool = key(True, "mirror half of the training images")
    jitter: list[float] = key([0.8, 1.6], "range of the large-scale jitter; [] = none", JITTER)
    photometric: list[Any] = key([], "albumentations' pixel-level transforms", STEPS, STEP_ARGUMENTS)
    instances: str = key("union", "components = each object is a sample", one_of("union", "components"))
    min_instance: int = key(64, "pixels of the smallest component that is a sample", at_least(1))
    composites: float = key(
        0.0, "share of the training views on which the object of another pair is pasted", between(0, 1)
    )
    prepared: str | None = key(None, "folder of `pisam prepare`, whose copies are read in training", PATH)
    prompts: PromptsConfig = key(PromptsConfig, "prompts in training", ANY_KIND)
    generate: bool = key(False, "write the quick start's generated sets below root where they are missing")


@dataclass
class StageConfig:
    epochs: int = key(100, "epochs to train", at_least(1))
    max_steps: int = key(-1, "optimiser steps in place of epochs", STEPS_OR_NONE)
    lr: float = key(1e-3, "learning rate after warm-up", positive("a positive number, at most 10", 10))
    accumulate: int = key(1, "batches of an optimiser step", at_least(1))
    train: list[Any] | None = key(None, "sets in place of data.train", ROWS)
    val_every: int = key(1, "epochs between two validations", at_least(1))
    monitor: str | None = key(None, "what makes a validation the best (default: val/iou or val/iou_after)")
    early_stop: int | None = key(None, "validations without a better monitor until it stops", VALIDATIONS)
    ema: float | None = key(None, "decay of averaged weights, e.g. 0.999, saved as best", DECAY)
    views: int = key(0, "> 0: augmented views of an image, of which what SAM says is kept", at_least(0))
    cache: str | None = key(None, "folder that keeps frozen features on disk, for all ranks", PATH, LOCAL)
    cache_gb: float = key(500.0, "most that the folder may take", at_least(0))


@dataclass
class DecoderStageConfig(StageConfig):
    from_: str | None = key(
        None,
        "a run, checkpoint or .safetensors file whose decoder goes on, of any frame (default: a fresh one)",
        PATH,
        LOCAL,
        of_pi=True,
    )
    rounds: int = key(
        0, "> 0: most rounds of clicks that SAM has heard before the loss", at_least(0), of_pi=True
    )
    proposals: float = key(
        0.0, "share of the samples exchanged for objects that SAM proposes", between(0, 1), of_pi=True
    )
    window: float = key(
        1.0, "side of the part of the frame that trains full resolution", between(0.1, 1), of_pi=True
    )


@dataclass
class InteractorStageConfig(StageConfig):
    from_: str | None = key(None, "stage-1 run, checkpoint, released file (default: this run's)", PATH, LOCAL)
    rounds: int = key(0, "> 0: most rounds of clicks that SAM has heard before", at_least(0))
    altered: float = key(0.0, "share of the samples in which a region is turned over", between(0, 1))
    window: float = key(1.0, "side of the part of the frame, around a click, that trains", between(0.1, 1))
    prompts: PromptsConfig | None = key(None, "in place of data.prompts, to repair worse masks", ANY_KIND)


@dataclass
class LossConfig:
    low_res: float = key(1.0, "weight of the mask at a quarter of the frame's resolution", at_least(0))
    high_res: float = key(1.0, "weight of the mask at the frame's resolution", at_least(0), of_pi=True)
    bce: float = key(1.0, "weight of the binary cross-entropy", at_least(0))
    dice: float = key(1.0, "weight of the Dice loss", at_least(0))
    near_clicks: float = key(0.0, "share of stage 2's loss points that is drawn near clicks", between(0, 1))
    near_spreads: list[float] = key(
        [1 / 32],
        "how far around the clicks, as shares of the frame's side",
        Rule("one positive number or more", lambda spreads: bool(spreads) and all(s > 0 for s in spreads)),
    )
    at_clicks: float = key(0.0, "weight of the cross-entropy at the clicked pixels themselves", at_least(0))


@dataclass
class ClicksConfig:
    policy: str = key("paper", "how clicks are drawn from errors in training", named_in(_policies, "paper"))
    max_clicks: int = key(10, "clicks of a sample at most", between(1, MOST))
    min_area: int = key(8, "pixels of the smallest error that is clicked", at_least(1))
    margin: float = key(0.25, "share of an error's depth that clicks keep from its edge", between(0, 1))
    connectivity: int = key(8, "neighbours that join a component", one_of(4, 8))
    reprompt: bool = key(False, "SAM is asked again with the clicks, then the interactor repairs the rest")


@dataclass
class InteractConfig:
    prompt: str = key(
        "box",
        "box = the box of the mask; clicks = the first click alone (RITM); points = random points (HQ-SAM)",
        one_of("box", "clicks", "points"),
    )
    images: int = key(200, "those with the largest common error of all models", at_least(1))
    clicks: int = key(10, "clicks on that error, given at once", between(1, MOST))
    rounds: int = key(20, "rounds of one click on a model's own error: the longest curve", between(1, MOST))


@dataclass
class TrainerConfig:
    accelerator: str = key("auto", "what computes", one_of("auto", "cpu", "gpu", "cuda", "mps"))
    devices: Any = key("auto", "how many of them, or which", DEVICES)
    num_nodes: int = key(1, "machines", between(1, MOST))
    strategy: str = key("auto", "Lightning's strategy", STRATEGIES)
    precision: str = key("32-true", "of the numbers", one_of("32-true", "bf16-mixed", "16-mixed"))
    compile: bool = key(False, "torch.compile: minutes once, then faster steps on a GPU")
    dry_run: bool | None = key(None, "measure the memory of a step before training (default: on a GPU only)")
    max_time: str | None = key(None, "of one attempt; the same command continues", TIME)
    timeout: float = key(10.0, "minutes that ranks wait for each other", MINUTES)
    save_seconds: float = key(30.0, "of training between two saves of last.ckpt", at_least(0))


@dataclass
class LoggingConfig:
    mode: str = key("offline", "of W&B", one_of("offline", "online", "disabled"))
    project: str = key("pisam", "W&B's project")
    group: str | None = key(None, "W&B's group (default: the run's name)")
    also: list[Any] = key([], "further loggers: tensorboard, csv", each("tensorboard or csv", _is_logger))
    images: int = key(8, "pictures of masks per validation", between(0, 16))
    every: int = key(1, "optimiser steps between two rows of training numbers", at_least(1))


@dataclass
class Config:
    name: str = key("", "of the run (default: the experiment file's stem)", FOLDER_NAME)
    seed: int = key(0, "of everything random", between(0, 2**32 - 1))  # Lightning's are of 32 bits
    run_dir: str = key("", "where the run is kept (default: runs/NAME)", PATH)
    model: ModelConfig = key(ModelConfig, "the network")
    data: DataConfig = key(DataConfig, "what is trained and measured on")
    stage1: DecoderStageConfig = key(DecoderStageConfig, "training of the High-Resolution Mask Decoder")
    stage2: InteractorStageConfig = key(InteractorStageConfig, "training of the Precise Interactor")
    loss: LossConfig = key(LossConfig, "weights of the losses")
    clicks: ClicksConfig = key(ClicksConfig, "simulated clicks")
    interact: InteractConfig = key(InteractConfig, "the benchmark of `pisam interact`")
    trainer: TrainerConfig = key(TrainerConfig, "where and how fast")
    logging: LoggingConfig = key(LoggingConfig, "where numbers and pictures go")


def stage_config(config: Config, number: int) -> StageConfig:
    """The section of stage 1 or 2."""
    return config.stage1 if number == 1 else config.stage2


def training_sources(config: Config, stage: int) -> list[Any]:
    """The rows that stage 1 or 2 trains on: `stageN.train` where it is given, else `data.train`."""
    own = stage_config(config, stage).train
    return config.data.train if own is None else own


def training_prompts(config: Config, stage: int) -> PromptsConfig:
    """The prompts that stage 1 or 2 trains with: `stage2.prompts` where it is given, else `data.prompts`."""
    own = config.stage2.prompts if stage == 2 else None
    return own or config.data.prompts


def simulation_of(clicks: ClicksConfig) -> dict[str, Any]:
    """Arguments of `simulate_clicks`."""
    return {key: value for key, value in asdict(clicks).items() if key != "reprompt"}


def to_plain(config: Config) -> dict[str, Any]:
    """The configuration as nested dicts, lists, strings and numbers, under the keys a YAML file uses."""
    plain = asdict(config)
    for stage in ("stage1", "stage2"):
        plain[stage]["from"] = plain[stage].pop("from_")
    return plain


def decisive_settings(config: Config, number: int) -> dict[str, Any]:
    """The settings that decide the numbers of stage 1 or 2, by dotted key."""
    flat = {}
    for section, value in to_plain(config).items():
        for name, item in value.items() if isinstance(value, dict) else [("", value)]:
            dotted = f"{section}.{name}".rstrip(".")
            free = section in (*FREE_KEYS, *OF_THE_OTHER_STAGE[number]) or dotted in FREE_KEYS
            if dotted in DECISIVE_KEYS or not free:
                flat[dotted] = item
    return flat
