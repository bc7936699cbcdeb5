"""A real optimiser step of both stages at the paper's size, on a SAM of random weights."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch.utils.data import DataLoader

from pisam.core.types import Batch
from pisam.data.generated.scene import draw_wheel, make_scene
from pisam.data.transforms import frame_for_validation
from pisam.modeling.pisam import build_model
from pisam.training.callbacks.click_simulation import ClickSimulation
from pisam.training.callbacks.guards import TrainabilityGuard
from pisam.training.stages.decoder_stage import DecoderStage
from pisam.training.stages.interactor_stage import InteractorStage
from pisam.training.stages.stage import Stage

SIZE = 1024


class StepTimer(Callback):
    """Seconds of each step, with what other callbacks do before it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.seconds.append(-time.perf_counter())

    def on_train_batch_end(self, *_: Any) -> None:
        self.seconds[-1] += time.perf_counter()


def one_image() -> Batch:
    image, mask = make_scene(draw_wheel, SIZE, np.random.default_rng(0))
    framed = frame_for_validation(image, mask, SIZE)
    return Batch(
        image=torch.from_numpy(framed.image).permute(2, 0, 1)[None].contiguous(),
        mask=torch.from_numpy(framed.mask)[None, None],
        box=torch.from_numpy(framed.box)[None],
        extent=torch.tensor([framed.extent]).float(),
        ids=["wheel"],
        sets=["generated"],
        seeds=[0],
        views=[0],
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("stage_class", "steps", "simulation"),
    [
        (DecoderStage, 1, []),
        # In the first step the last convolution is still zero, and lets no gradient through to the rest.
        (InteractorStage, 2, [ClickSimulation()]),
    ],
    ids=["stage1", "stage2"],
)
def test_steps_train_their_part_and_leave_sam_alone(
    random_sam_vit_b: Path,
    stage_class: type[Stage],
    steps: int,
    simulation: list[Callback],
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.manual_seed(0)
    stage, timer = stage_class(build_model("vit_b", random_sam_vit_b, SIZE)), StepTimer()
    frozen = stage.model.frozen_hash()
    start = {name: parameter.detach().clone() for name, parameter in stage.named_parameters()}
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=steps,
        callbacks=[timer, *simulation, TrainabilityGuard()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches = DataLoader([one_image() for _ in range(steps)], batch_size=None)  # type: ignore[arg-type]

    trainer.fit(stage, train_dataloaders=batches)

    assert trainer.global_step == steps
    assert stage.model.frozen_hash() == frozen
    still = {name for name, parameter in stage.named_parameters() if torch.equal(parameter, start[name])}
    frozen_names = {name for name, parameter in stage.named_parameters() if not parameter.requires_grad}
    assert {name for name in still - frozen_names if not name.endswith("k_proj.bias")} == set()
    assert frozen_names <= still
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    with capsys.disabled():
        seconds = ", ".join(f"{value:.1f}" for value in timer.seconds)
        print(f"\n{stage_class.__name__} at vit_b, {SIZE} px, batch 1: {seconds} s, peak {gigabytes:.1f} GiB")
