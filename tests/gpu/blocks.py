"""The blocks of `make gpu`: parity with the CPU, waits of the host, whole runs, speed and memory."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback
from torch import Tensor

from gpu.networks import batch, first_stage, network, release, second_stage
from helpers.small_runs import loader, quiet_trainer, write_experiment, write_sets
from pisam.clicks.simulate import simulate_clicks
from pisam.modeling.pisam import PiSam
from pisam.training.callbacks.click_simulation import ClickSimulation
from pisam.training.from_config import compile_network
from pisam.training.stages.decoder_stage import DecoderStage
from pisam.training.stages.interactor_stage import InteractorStage

if TYPE_CHECKING:
    from gpu.check import Report

MOST_WAITS = 4
# Dense bf16 FLOP/s of cards, by a part of their names; FLOP of one image in SAM's encoder at 1024 px.
PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12}
ENCODER = {"vit_b": 0.972e12, "vit_l": 2.986e12, "vit_h": 5.961e12}


def parity(report: Report) -> None:
    """Logits, losses, every gradient and clicks on the card against the CPU."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for backbone, size in (("nano", 64),) if report.small else (("nano", 256), ("vit_b", 512)):
        here = network(backbone, size)
        there = copy.deepcopy(here).to(report.device)
        near, far = batch(2, size, "cpu"), batch(2, size, report.device)
        clicks = []
        for model in (here, there):
            model.train_only("decoder")
        one, other = first_stage(here, near), first_stage(there, far)
        for name, a, b in zip(
            ("loss", "low-resolution logits", "high-resolution logits"), one, other, strict=True
        ):
            report.check(f"{backbone}: {name} of stage 1", _apart(b, a), 1e-4)
        one[0].backward()
        other[0].backward()
        report.check(f"{backbone}: worst gradient of stage 1", _gradients_apart(there, here), 2e-2)
        wrong = one[2].detach() > 0
        for model, samples in ((here, near), (there, far)):
            model.zero_grad()
            model.train_only("interactor")
            predicted = wrong.to(samples.image.device)
            clicks.append(simulate_clicks(predicted, samples.mask, seeds=samples.seeds))
        fields = zip(vars(clicks[0]).values(), vars(clicks[1]).values(), strict=True)
        report.check(f"{backbone}: clicks that differ", sum(not a.equal(b.cpu()) for a, b in fields), 0)
        loss, logits = second_stage(here, near, clicks[0])
        loss_there, logits_there = second_stage(there, far, clicks[1])
        loss.backward()
        loss_there.backward()
        report.check(f"{backbone}: logits after clicks", _apart(logits_there, logits), 1e-4)
        report.check(f"{backbone}: worst gradient of stage 2", _gradients_apart(there, here), 2e-2)
        for number in (torch.bfloat16, *(() if report.small else (torch.float16,))):
            with torch.no_grad(), torch.autocast(report.device, dtype=number):
                low = second_stage(there, far, clicks[1])[1]
            report.check(f"{backbone}: logits after clicks in {number}", _apart(low.float(), logits), 5e-2)


class CountWaits(Callback):
    """Counts what makes the host wait for the card in each training step."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self._caught = contextlib.ExitStack()
        self._warnings: list[Any] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self._warnings = self._caught.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")

    def on_train_batch_end(self, *_: Any) -> None:
        torch.cuda.set_sync_debug_mode("default")
        self.steps.append(sum("synchroniz" in str(one.message) for one in self._warnings))
        self._caught.close()


def waits(report: Report) -> None:
    """Waits of the host in the steps of both stages, clicks and logging included."""
    if report.small:
        return
    for backbone in ("vit_b", "vit_h"):
        model = network(backbone, 512)
        for name, make, clicks in (("1", DecoderStage, []), ("2", InteractorStage, [ClickSimulation()])):
            stage, count = make(model), CountWaits()
            trainer = quiet_trainer(
                count, *clicks, max_steps=4, accelerator="gpu", precision="bf16-mixed", limit_val_batches=0
            )
            trainer.fit(stage, loader(*(batch(2, 512, "cpu") for _ in range(4))))
            report.check(f"{backbone}: waits in a step of stage {name}", count.steps[-1], MOST_WAITS)


def runs(report: Report) -> None:
    """The program itself: both stages, precisions, NCCL with one rank, death and resume."""
    accelerator, steps = ("cpu", 2) if report.small else ("gpu", 12)
    kinds = [("32-true", "auto", "false")]
    if not report.small:
        kinds = [("bf16-mixed", "ddp", "false"), ("16-mixed", "auto", "false"), ("bf16-mixed", "ddp", "true")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if report.small:
            experiment = str(write_experiment(folder, write_sets(folder / "data")))
            more: list[str] = []
        else:
            experiment, more = "quickstart", [f"data.root={folder / 'data'}", "data.val=[DIS5K-VD]"]
        common = [
            experiment,
            *(f"trainer.accelerator={accelerator}", "trainer.devices=1"),
            *("logging.mode=disabled", "logging.images=0", "data.workers=0", "trainer.save_seconds=0"),
            *("stage2.views=0", f"stage1.max_steps={steps}", f"stage2.max_steps={steps}", *more),
        ]
        if not report.small:
            report.check("exit code of the audit", _pisam("audit", *common)[0], 0)

        def kind(precision: str, strategy: str, compiled: str) -> None:
            label = f"{precision} {strategy}{' compiled' if compiled == 'true' else ''}"
            keys = [
                f"trainer.precision={precision}",
                f"trainer.strategy={strategy}",
                f"trainer.compile={compiled}",
            ]
            for stage in ("1", "2"):
                code, seconds = _pisam("train", *common, f"stage={stage}", f"run_dir={folder / label}", *keys)
                report.check(f"{label}: exit code of stage {stage}", code, 0)
                report.row(run=label, stage=stage, seconds=round(seconds, 1))

        def killed() -> None:
            keys = ["train", *common, "stage=1", f"run_dir={folder / 'killed'}"]
            _kill_at(folder / "killed" / "stage1" / "checkpoints" / "last.ckpt", *keys)
            report.check("exit code after a kill and a resume", _pisam(*keys)[0], 0)
            done = json.loads((folder / "killed" / "stage1" / "summary.json").read_text(encoding="utf-8"))
            report.check("steps missing after a kill and a resume", abs(steps - done["steps"]), 0)

        with ThreadPoolExecutor() as pool:  # side by side: nothing is measured here
            for ended in [pool.submit(kind, *each) for each in kinds] + [pool.submit(killed)]:
                ended.result()


def table(report: Report) -> None:
    """Speed, memory and share of the card's peak of each backbone, by recipe."""
    size, count, times = (64, 1, 1) if report.small else (1024, 4, 5)
    recipes = {"released fp32": 30, "ours fp32": 30, "ours bf16": 30}  # with the seconds that one needs
    if not report.small:
        recipes["ours bf16 compiled"] = 80
    for recipe, needed in recipes.items():
        for backbone in ("nano",) if report.small else ("vit_b", "vit_h", "vit_l"):
            if report.seconds_left < needed and not report.small:
                report.skip(f"{backbone}, {recipe}")
                continue
            row: dict[str, Any] = {"backbone": backbone, "recipe": recipe, "batch": count}
            try:
                measure(report, row, size=size, times=times)
            except torch.OutOfMemoryError:
                row["memory_gib"] = "out of memory"
            finally:
                report.row(**row)
            if not report.small:
                torch.cuda.empty_cache()
                torch._dynamo.reset()


def measure(report: Report, row: dict[str, Any], *, size: int, times: int) -> None:
    """Add the figures of a recipe to a row that names it."""
    backbone, recipe, count = row["backbone"], row["recipe"], row["batch"]
    torch.set_float32_matmul_precision("highest" if "released" in recipe else "high")
    model = network(backbone, size, report.device).to(report.device)
    if "released" in recipe:
        release(model)
    if "compiled" in recipe:
        compile_network(model)
    samples = batch(count, size, report.device)

    def cast() -> Any:
        on = "bf16" in recipe
        return torch.autocast(report.device, dtype=torch.bfloat16, enabled=on, cache_enabled=False)

    def step(part: Any, loss: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            with cast():
                value = loss()
            value.backward()
            model.zero_grad(set_to_none=True)

        model.train_only(part)
        return run

    def encode() -> None:
        with cast(), torch.no_grad():
            model.encode(samples.image)

    encoder, _ = _timed(report, encode, times)
    row["encoder_ms"] = _ms(encoder)
    peak = next((flops for name, flops in PEAK.items() if name in report.card), None)
    if peak and backbone in ENCODER:
        row["share_of_bf16_peak"] = f"{100 * ENCODER[backbone] * count / encoder / peak:.0f} %"
    first, row["memory_gib"] = _timed(report, step("decoder", lambda: first_stage(model, samples)[0]), times)
    row |= {"stage1_ms": _ms(first), "images_per_second": round(count / first, 1)}
    with torch.no_grad():
        predicted = model.straight_forward(samples.image, samples.box)[1].high_res > 0
    clicks = simulate_clicks(predicted, samples.mask, seeds=samples.seeds)
    second, _ = _timed(report, step("interactor", lambda: second_stage(model, samples, clicks)[0]), times)
    row["stage2_ms"] = _ms(second)


def _timed(report: Report, run: Callable[[], None], times: int) -> tuple[float, float | None]:
    """Seconds of one run, and GiB at most; after two that count for nothing."""
    cuda = report.device == "cuda"
    for _ in range(2):
        run()
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    begun = time.perf_counter()
    for _ in range(times):
        run()
    if cuda:
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - begun) / times
    return seconds, round(torch.cuda.max_memory_allocated() / 2**30, 1) if cuda else None


def _ms(seconds: float) -> float:
    return round(1e3 * seconds, 1)


def _apart(one: Tensor, other: Tensor) -> float:
    a, b = one.detach().double().cpu(), other.detach().double().cpu()
    return float((a - b).norm() / b.norm().clamp(min=1e-12))


def _gradients_apart(one: PiSam, other: PiSam) -> float:
    # A key's bias has no gradient but rounding: softmax does not see it.
    pairs = zip(one.named_parameters(), other.parameters(), strict=True)
    return max(
        _apart(a.grad, b.grad)
        for (name, a), b in pairs
        if a.grad is not None and b.grad is not None and not name.endswith("k_proj.bias")
    )


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pisam.cli", *arguments]


def _pisam(*arguments: str) -> tuple[int, float]:
    begun = time.monotonic()
    ended = subprocess.run(_command(*arguments), capture_output=True, text=True, timeout=300, check=False)
    if ended.returncode:
        print(ended.stderr[-2000:], file=sys.stderr)
    return ended.returncode, time.monotonic() - begun


def _kill_at(file: Path, *arguments: str) -> None:
    """Kill a training as soon as a file is there."""
    with subprocess.Popen(
        _command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None and not file.is_file():
            time.sleep(0.05)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
