"""All ranks train the same network on the same data, or none does."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, Trainer

from pisam.modeling.sam_weights import hash_tensors
from pisam.training.resume.ranks import fail_together, from_every_rank


class SameStart(Callback):
    """Compares weights and sample counts over the ranks before DDP exchanges any, and again after a resume.

    DDP sends rank 0's parameters to all others, which would hide another seed, another file of SAM's weights
    or another checkpoint on one node; a data set that is not complete on one node would end in a hang.
    """

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        if trainer.world_size == 1:
            return
        counts = getattr(getattr(trainer, "datamodule", None), "counts", None)
        self._compare(
            trainer,
            {
                "initial weights": hash_tensors(pl_module.model.own_state()),
                "weights of SAM": pl_module.model.frozen_hash(),
                "number of samples": counts,
            },
        )

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.world_size == 1:
            return
        facts = {"weights": hash_tensors(pl_module.model.own_state()), "step": trainer.global_step}
        self._compare(trainer, facts)

    @staticmethod
    def _compare(trainer: Trainer, facts: dict[str, Any]) -> None:
        first, *others = from_every_rank(trainer, facts)
        for rank, theirs in enumerate(others, start=1):
            for name, value in first.items():
                if theirs[name] != value:
                    fail_together(
                        trainer,
                        f"the ranks do not start alike: {name} of rank 0 {_short(value)}, of rank {rank} "
                        f"{_short(theirs[name])}; every node needs the same seed, files and configuration",
                    )


def _short(value: Any) -> Any:
    return value[:12] if isinstance(value, str) else value
