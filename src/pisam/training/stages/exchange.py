"""One exchange between the ranks in each optimiser step, and one wait of the host for the device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

Number = float | Tensor


class Exchanging(ABC):
    """A callback that takes part in the exchange, whatever its place in the list.

    Between the last backward pass of an optimiser step and the step itself the stage collects what these
    callbacks offer, on every rank under the same names, and hands them what all ranks offered.
    """

    @abstractmethod
    def offer(self) -> dict[str, Number]:
        """Numbers of this rank; tensors may lie on the device."""

    @abstractmethod
    def hear(self, numbers: Mapping[str, Sequence[float]]) -> None:
        """All that was offered: under each name a number per rank."""


def stack(numbers: Sequence[Number], device: torch.device) -> Tensor:
    """float32 (N,) on the device; all that lies on the host goes there in one copy."""
    at_host = torch.tensor([n for n in numbers if not isinstance(n, Tensor)])
    copied = iter(at_host.to(device, non_blocking=True))
    return torch.stack([n.float() if isinstance(n, Tensor) else next(copied) for n in numbers])


def from_every_rank(row: Tensor, world_size: int) -> Tensor:
    """(N,) of each rank -> (world size, N) on all of them, in one collective."""
    if world_size == 1:
        return row[None]
    rows = [torch.empty_like(row) for _ in range(world_size)]
    torch.distributed.all_gather(rows, row)
    return torch.stack(rows)


def log_numbers(module: LightningModule, numbers: Mapping[str, float], shown: str = "") -> None:
    """Log numbers that the host knows: as tensors on the CPU, so that no logger waits for the device."""
    for name, value in numbers.items():
        module.log(name, torch.tensor(value, device="cpu"), prog_bar=name == shown, batch_size=1)


def listeners(trainer: Trainer) -> list[Exchanging]:
    """The callbacks that take part."""
    return [callback for callback in trainer.callbacks if isinstance(callback, Exchanging)]  # type: ignore[attr-defined]
