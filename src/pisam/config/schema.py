"""The configuration schema: every key a user may set, and its default."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class ModelConfig:
    backbone: str = "nano"  # nano, vit_t, vit_b, vit_l, vit_h
    weights: str | None = None  # SAM checkpoint, or a directory of them (default: $PISAM_WEIGHTS)
    image_size: int = 1024  # side of the square network frame, a multiple of 64
    decoder: str = "pi"  # pi = Pi-SAM; hq = HQ-SAM, the baseline, which has a stage 1 alone


@dataclass
class PromptsConfig:
    box: float = 1.0  # how often each kind is drawn in training, in proportion
    jittered_box: float = 0.0
    points: float = 0.0
    noisy_mask: float = 0.0
    max_points: int = 10
    box_noise: float = 0.1  # standard deviation of a jittered edge, as a share of the box's side


@dataclass
class DataConfig:
    root: str | None = None  # default: $PISAM_DATA_ROOT
    train: list[Any] = field(default_factory=list)  # known set names or {name, images, masks, weight, limit}
    val: list[Any] = field(default_factory=list)
    test: list[Any] = field(default_factory=list)
    batch_size: int = 4  # per rank
    workers: int = 4
    flip: bool = True
    jitter: list[float] = field(default_factory=lambda: [0.8, 1.6])  # [] = no large-scale jitter
    photometric: list[Any] = field(default_factory=list)  # albumentations' pixel-level transforms
    instances: str = "union"  # union, components: each object of an image a sample of its own
    min_instance: int = 64  # pixels; smaller components are no samples
    prepared: str | None = None  # folder of `pisam prepare`: training reads its smaller copies
    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    generate: bool = False  # write the generated sets of the quick start below root where they are missing


@dataclass
class StageConfig:
    epochs: int = 100
    max_steps: int = -1  # overrides epochs when positive
    lr: float = 1e-3
    accumulate: int = 1
    train: list[Any] | None = None  # in place of data.train
    val_every: int = 1  # epochs between validations
    monitor: str | None = None  # the score that makes a validation the best; default val/iou or val/iou_after
    early_stop: int | None = None  # stop after that many validations without a better monitor
    ema: float | None = None  # decay of averaged weights, e.g. 0.999, which are validated and saved as best


@dataclass
class InteractorStageConfig(StageConfig):
    # In YAML `from`: a stage-1 run, checkpoint or imported released file (default: this run's stage1)
    from_: str | None = None
    views: int = 0  # > 0: that many augmented views per image, frozen features cached in memory
    prompts: PromptsConfig | None = None  # in place of data.prompts: worse masks have more to repair


@dataclass
class LossConfig:
    low_res: float = 1.0
    high_res: float = 1.0
    bce: float = 1.0
    dice: float = 1.0
    near_clicks: float = 0.0  # share of the points of stage 2's loss that is drawn around the clicks


@dataclass
class ClicksConfig:
    policy: str = "paper"  # paper, released, centre, uniform
    max_clicks: int = 10
    min_area: int = 8
    margin: float = 0.25
    connectivity: int = 8


@dataclass
class InteractConfig:
    images: int = 200  # those with the largest common error of all models
    clicks: int = 10  # on that error, given at once: before and after
    rounds: int = 20  # of one click each on a model's own error: the longest curve


@dataclass
class TrainerConfig:
    accelerator: str = "auto"
    devices: Any = "auto"  # a number, a list of indices, or auto
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"  # 32-true, bf16-mixed, 16-mixed
    compile: bool = False  # torch.compile: minutes once, then faster steps on a GPU
    dry_run: bool | None = None  # measure the memory of a step before training; default: on a GPU only
    max_time: str | None = None  # "DD:HH:MM:SS" of one attempt; the same command continues
    timeout: float = 10.0  # minutes that ranks wait for each other before they give up
    save_seconds: float = 30.0  # of training between two saves of last.ckpt: what a kill can cost


@dataclass
class LoggingConfig:
    mode: str = "offline"  # offline, online, disabled
    project: str = "pisam"
    group: str | None = None  # default: the run's name
    images: int = 8  # panels per validation, at most 16


@dataclass
class Config:
    name: str = ""  # default: the experiment file's stem
    seed: int = 0
    run_dir: str = ""  # default: runs/NAME
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    stage1: StageConfig = field(default_factory=StageConfig)
    stage2: InteractorStageConfig = field(default_factory=InteractorStageConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    clicks: ClicksConfig = field(default_factory=ClicksConfig)
    interact: InteractConfig = field(default_factory=InteractConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)


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


def to_plain(config: Config) -> dict[str, Any]:
    """The configuration as nested dicts, lists, strings and numbers, under the keys a YAML file uses."""
    plain = asdict(config)
    plain["stage2"]["from"] = plain["stage2"].pop("from_")
    return plain
