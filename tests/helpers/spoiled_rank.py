"""Run by test_ends.py: `pisam train` on two ranks, of which rank 1 has something wrong.

`python spoiled_rank.py CASE FOLDER ARGUMENT ...`; each rank writes a hash of its weights after each step to
FOLDER/weights-RANK.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.distributed import distributed_c10d

from pisam import cli
from pisam.commands import train
from pisam.config.schema import Config
from pisam.core.types import Batch
from pisam.modeling.pisam import PiSam
from pisam.modeling.sam_weights import hash_tensors
from pisam.training import from_config
from pisam.training.stages.decoder_stage import DecoderStage

SPOILED = os.environ.get("LOCAL_RANK") == "1"


class Weights(Callback):
    """Notes a hash of the weights after each step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
        with (self.folder / f"weights-{trainer.global_rank}").open("a") as file:
            file.write(hash_tensors(pl_module.model.own_state()) + "\n")


class NanOnce(DecoderStage):
    """Not a number at the third step, and from the sixth on."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss * float("nan") if self.global_step == 2 or self.global_step >= 5 else loss


class Fails(DecoderStage):
    """An error in the third step."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if self.global_step == 2:
            note_the_time()
            raise RuntimeError("what really went wrong")
        return super().training_step(batch, batch_idx)


class FallsSilent(DecoderStage):
    """Stops in the third step, and hears no signal but SIGKILL."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if self.global_step == 2:
            note_the_time()
            os.kill(os.getpid(), signal.SIGSTOP)
        return super().training_step(batch, batch_idx)


class ShortTimeout(Callback):
    """`trainer.timeout` holds for the start too, where a rank may be long in coming."""

    def on_train_start(self, *args: Any) -> None:
        distributed_c10d._set_pg_timeout(timedelta(seconds=20))


def note_the_time() -> None:
    Path(sys.argv[2], "since").write_text(str(time.time()))


def another_network(config: Config) -> PiSam:
    """As from another seed."""
    config.seed += 1
    network = build_network(config)
    config.seed -= 1
    return network


if __name__ == "__main__":
    case, folder, *arguments = sys.argv[1:]
    build_callbacks, build_network = train.build_callbacks, from_config.build_network
    added = [Weights(Path(folder)), *([ShortTimeout()] if case == "silent" else [])]
    train.build_callbacks = lambda *args: [*build_callbacks(*args), *added]
    if SPOILED:
        match case:
            case "nan":
                from_config.DecoderStage = NanOnce  # type: ignore[misc]
            case "error":
                from_config.DecoderStage = Fails  # type: ignore[misc]
            case "silent":
                from_config.DecoderStage = FallsSilent  # type: ignore[misc]
            case "start":
                from_config.build_network = another_network
    sys.exit(cli.main(arguments))
