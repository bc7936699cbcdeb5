"""What a configuration may contain beyond its types: the choices, ranges and shapes of its values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from pisam.core.errors import nearest

CHOICES: dict[str, tuple[Any, ...]] = {
    "model.backbone": ("nano", "vit_t", "vit_b", "vit_l", "vit_h"),
    "model.decoder": ("pi", "hq"),
    "data.instances": ("union", "components"),
    "clicks.policy": ("paper", "released", "centre", "uniform"),
    "clicks.connectivity": (4, 8),
    "trainer.accelerator": ("auto", "cpu", "gpu", "cuda", "mps"),
    "trainer.strategy": ("auto", "ddp", "ddp_find_unused_parameters_true"),
    "trainer.precision": ("32-true", "bf16-mixed", "16-mixed"),
    "logging.mode": ("offline", "online", "disabled"),
}

# Lowest and highest value, both allowed. Lightning takes seeds of 32 bits only.
RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**32 - 1),
    "model.image_size": (64, math.inf),
    "data.batch_size": (1, math.inf),
    "data.workers": (0, math.inf),
    "data.min_instance": (1, math.inf),
    "stage1.epochs": (1, math.inf),
    "stage2.epochs": (1, math.inf),
    "stage1.accumulate": (1, math.inf),
    "stage2.accumulate": (1, math.inf),
    "stage1.val_every": (1, math.inf),
    "stage2.val_every": (1, math.inf),
    "stage2.views": (0, math.inf),
    "loss.low_res": (0, math.inf),
    "loss.high_res": (0, math.inf),
    "loss.bce": (0, math.inf),
    "loss.dice": (0, math.inf),
    "loss.near_clicks": (0, 1),
    "clicks.max_clicks": (1, math.inf),
    "clicks.min_area": (1, math.inf),
    "clicks.margin": (0, 1),
    "interact.images": (1, math.inf),
    "interact.clicks": (1, math.inf),
    "interact.rounds": (1, math.inf),
    "trainer.num_nodes": (1, math.inf),
    "trainer.save_seconds": (0, math.inf),
    "logging.images": (0, 16),
}

PROMPT_KINDS = ("box", "jittered_box", "points", "noisy_mask")
LOWEST_OF_PROMPTS = {**dict.fromkeys(PROMPT_KINDS, 0), "max_points": 1, "box_noise": 0}

WrongValue = tuple[str, Any, str]


def wrong_values(config: dict[str, Any]) -> Iterator[WrongValue]:
    """Every value that no run could use, as (dotted key, value, what was expected).

    Args:
        config: a whole configuration in its plain form, with the right keys and types.
    """
    yield from _wrong_choices(config)
    yield from _wrong_numbers(config)
    yield from _wrong_shapes(config)
    for key in ("data.prompts", "stage2.prompts"):
        yield from _wrong_prompts(key, _value(config, key))
    # What a row holds is checked by pisam.data.sources.rows, which reads it.
    for key in ("data.train", "data.val", "data.test", "stage1.train", "stage2.train"):
        for row in _value(config, key) or []:
            if not isinstance(row, str | dict):
                yield (
                    key,
                    row,
                    "the name of a known set, or a row {name: ..., images: ..., masks: ...}",
                )


def _value(config: dict[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value[part]
    return value


def _wrong_choices(config: dict[str, Any]) -> Iterator[WrongValue]:
    for key, choices in CHOICES.items():
        if (value := _value(config, key)) not in choices:
            yield key, value, f"one of {', '.join(map(str, choices))}{nearest(value, choices)}"


def _wrong_numbers(config: dict[str, Any]) -> Iterator[WrongValue]:
    for key, (low, high) in RANGES.items():
        value = _value(config, key)
        if not (low <= value <= high and math.isfinite(value)):
            yield key, value, f"a number >= {low}" if math.isinf(high) else f"a number from {low} to {high}"
    if not 0 < (timeout := config["trainer"]["timeout"]) < math.inf:
        yield "trainer.timeout", timeout, "a positive number of minutes"
    if (size := config["model"]["image_size"]) % 64:
        yield "model.image_size", size, "a multiple of 64"
    for stage in ("stage1", "stage2"):
        if not 0 < (lr := config[stage]["lr"]) < math.inf:
            yield f"{stage}.lr", lr, "a positive number"
        if (steps := config[stage]["max_steps"]) == 0 or steps < -1:
            yield f"{stage}.max_steps", steps, "a positive number, or -1 for no limit"
        if (patience := config[stage]["early_stop"]) is not None and patience < 1:
            yield f"{stage}.early_stop", patience, "a positive number of validations, or null"
        if (decay := config[stage]["ema"]) is not None and not 0 < decay < 1:
            yield f"{stage}.ema", decay, "a number between 0 and 1, or null"


def _wrong_shapes(config: dict[str, Any]) -> Iterator[WrongValue]:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", config["name"]):
        yield "name", config["name"], "letters, digits, '.', '_' or '-', for it names the run's folder"
    for key in ("model.weights", "stage2.from"):
        if re.match(r"[A-Za-z][\w+.-]+://", value := _value(config, key) or ""):
            yield key, value, "a local file or folder, not a URL: download it first"
    jitter = config["data"]["jitter"]
    if jitter and not (len(jitter) == 2 and 0 < jitter[0] < jitter[1] < math.inf):
        yield "data.jitter", jitter, "[] or two increasing positive numbers"
    for step in config["data"]["photometric"]:
        if not (isinstance(step, str) or (isinstance(step, dict) and len(step) == 1)):
            yield "data.photometric", step, "the name of a transform, or {NAME: {argument: value}}"
        elif isinstance(step, dict) and not isinstance(next(iter(step.values())), dict):
            yield "data.photometric", step, "arguments below the name, {NAME: {argument: value}}"
    devices = config["trainer"]["devices"]
    counted = type(devices) is int and (devices > 0 or devices == -1)
    listed = isinstance(devices, list) and all(type(index) is int and index >= 0 for index in devices)
    if not (devices == "auto" or counted or (listed and devices)):
        yield "trainer.devices", devices, "auto, a number of devices (-1 for all) or a list of indices"
    max_time = config["trainer"]["max_time"]
    # YAML 1.1 reads an unquoted 1:00:00:00 as one base-60 number.
    if max_time is not None and not re.fullmatch(r"\d+(:\d\d){3}", max_time):
        yield "trainer.max_time", max_time, '"DD:HH:MM:SS" in quotes'


def _wrong_prompts(key: str, prompts: dict[str, Any] | None) -> Iterator[WrongValue]:
    if prompts is None:
        return
    for name, lowest in LOWEST_OF_PROMPTS.items():
        if not lowest <= prompts[name] < math.inf:
            yield f"{key}.{name}", prompts[name], f"a number >= {lowest}"
    if not any(prompts[kind] for kind in PROMPT_KINDS):
        yield key, {kind: prompts[kind] for kind in PROMPT_KINDS}, "a positive number for at least one kind"
