"""The base of all stages: one trained part, its optimiser, one exchange between ranks in each step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from pisam.core.checks import check_number
from pisam.core.errors import PisamError
from pisam.core.types import Batch
from pisam.modeling.checkpoint import checkpoint_of, load_checkpoint
from pisam.modeling.sam_network import Part, SamNetwork
from pisam.training.losses import MaskLoss

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


def adam_with_cosine(parameters: Iterable[nn.Parameter], *, lr: float, steps: int) -> dict[str, Any]:
    """Adam without weight decay, and a learning rate that falls to zero over `steps` as a cosine.

    Args:
        parameters: those with `requires_grad` are optimised.
        lr: first learning rate.
        steps: optimiser steps of the whole run.

    Returns:
        what Lightning's `configure_optimizers` expects.
    """
    optimizer = torch.optim.Adam([p for p in parameters if p.requires_grad], lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Stage(LightningModule):
    """A training of one part of a network; everything else is frozen.

    Args:
        model: the network.
        part: what is trained.
        lr: first learning rate.
        bce: weight of the binary cross-entropy.
        dice: weight of the Dice loss.

    Raises:
        ValueError: no network, or a number out of its range, here and in what is derived.
    """

    model: SamNetwork

    def __init__(self, model: SamNetwork, *, part: Part, lr: float, bce: float, dice: float) -> None:
        super().__init__()
        if not isinstance(model, SamNetwork):
            raise ValueError(f"model: expected what build_model gives, got {type(model).__name__}")
        for name, value in (("lr", lr), ("bce", bce), ("dice", dice)):
            check_number(name, value, 0)
        model.train_only(part)
        self.model = model
        self.lr = lr
        self.bce = bce
        self.dice = dice
        # Averaged values of the trained parameters, where a callback keeps them: what checkpoints then hold.
        self.averaged: dict[str, Tensor] = {}
        self.strict_loading = False  # Lightning's; ours in on_load_checkpoint is stricter
        self._step = StepLosses()
        self.gradients_are_finite = True  # of the optimiser step that comes next, on all ranks

    def setup(self, stage: str) -> None:
        """Refuse data of another frame, before its first batch.

        Raises:
            PisamError: names both sizes.
        """
        side = getattr(getattr(self.trainer, "datamodule", None), "image_size", self.model.image_size)
        if side != self.model.image_size:
            raise PisamError(
                f"image_size: the data are {side} px, the model is for {self.model.image_size}; give both one"
            )

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars of a training batch: `loss`, which is minimised, and what else is worth a curve."""

    def counted(self, batch: Batch) -> Tensor | None:
        """Scalar: the samples of a batch that `loss` is the mean over, where these are not all of them."""
        return None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss, scaled so that a step's gradient is that of one batch of all its samples.

        Lightning divides by `accumulate_grad_batches`, of which the last step of an epoch may have fewer.
        """
        accumulate = self.trainer.accumulate_grad_batches
        first = batch_idx - batch_idx % accumulate
        batches = int(min(accumulate, self.trainer.num_training_batches - first))
        if batch_idx == first:
            self._step = StepLosses()
        losses, counted = self.losses(batch), self.counted(batch)
        loss = losses["loss"]
        alone = batches == self.trainer.world_size == 1
        if counted is not None and not alone:
            loss = loss * counted / len(batch)
        self._step.add(losses, counted, len(batch), alone)
        self._step.complete = batch_idx + 1 == first + batches
        return loss if batches == accumulate else loss * (accumulate / batches)

    def on_after_backward(self) -> None:
        """Before an optimiser step: exchange the ranks' numbers, weigh the gradient, log."""
        if not self._step.complete:
            return
        callbacks, world_size = listeners(self.trainer), self.trainer.world_size
        offers: dict[str, float | Tensor] = {}
        for callback in callbacks:
            offers |= callback.offer()
        sums = self._step.sums()
        everyone = from_every_rank(stack([*offers.values(), *sums.values()], self.device), world_size)
        total = everyone.sum(dim=0)
        if self._step.weighted:  # DDP has averaged the ranks' gradients, Lightning the batches'
            counted = total[-1].clamp(min=1)
            samples = self._step.samples * world_size
            gradients = [p.grad for p in self.parameters() if p.grad is not None]
            torch._foreach_mul_(gradients, samples / counted)
        parts, norms = self._gradient_norms()
        numbers = torch.cat([everyone.flatten(), norms]).tolist()  # the one wait for the device

        columns = len(offers) + len(sums)
        rows = [numbers[rank * columns : (rank + 1) * columns] for rank in range(world_size)]
        by_name = dict(zip((*offers, *sums), map(list, zip(*rows, strict=True)), strict=True))
        for callback in callbacks:
            callback.hear(by_name)
        norm, *of_parts = numbers[world_size * columns :]
        self.gradients_are_finite = math.isfinite(norm)
        log_numbers(self, self._step.means({name: sum(by_name[name]) for name in sums}), shown="train/loss")
        optimizer = self.trainer.optimizers[0]
        log_numbers(self, {f"lr-{type(optimizer).__name__}": optimizer.param_groups[0]["lr"]})
        named = {"train/grad_norm": norm, **dict(zip(parts, of_parts, strict=True))}
        log_numbers(self, {n: v if self.gradients_are_finite else 0.0 for n, v in named.items()})

    def _gradient_norms(self) -> tuple[list[str], Tensor]:
        """Euclidean norms: of all gradients first, then of the direct children of what is trained.

        Returns:
            the children's names as they are logged, and float (1 + children,).
        """
        parts: dict[str, list[Tensor]] = defaultdict(list)
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                gradient = parameter.new_zeros(1) if parameter.grad is None else parameter.grad
                parts[f"grad_norm/{name.split('.')[2]}"].append(gradient)  # model.decoder.head...
        norms = torch.stack([torch.stack(torch._foreach_norm(tensors)).norm() for tensors in parts.values()])
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None:  # 16-mixed: the gradients are still scaled
            norms = norms / scaler._scale
        return list(parts), torch.cat([norms.norm()[None], norms]).float()

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_with_cosine(self.model.parameters(), lr=self.lr, steps=steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint.update(checkpoint_of(self.model))
        checkpoint["state_dict"] |= {f"model.{name}": value for name, value in self.averaged.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        load_checkpoint(self.model, checkpoint, Path(str(self.trainer.ckpt_path)))

    def combine(self, loss: MaskLoss) -> Tensor:
        """Both terms of a mask loss, weighted: (B,)."""
        return self.bce * loss.bce + self.dice * loss.dice


class StepLosses:
    """The losses of one optimiser step on this rank, added up on the device.

    Attributes:
        samples: of the batches so far.
        weighted: the gradient is yet to be divided by the number of samples that count, on all ranks.
        complete: there is no further batch in this step.
    """

    def __init__(self) -> None:
        self.samples = 0
        self.weighted = False
        self.complete = False
        self._sums: dict[str, Tensor] = {}
        self._counted: Tensor | None = None

    def add(self, losses: dict[str, Tensor], counted: Tensor | None, samples: int, alone: bool) -> None:
        """Add the means over a batch, `loss` over the samples that count."""
        self.samples += samples
        self.weighted = counted is not None and not alone
        for name, value in losses.items():
            weight = counted if name == "loss" and counted is not None else samples
            self._sums[name] = self._sums.get(name, 0) + value.detach() * weight
        if counted is not None:
            self._counted = counted if self._counted is None else self._counted + counted

    def sums(self) -> dict[str, float | Tensor]:
        """Sums over samples, then the number of all samples and of those that count."""
        counted = self.samples if self._counted is None else self._counted
        named = {f"train/{name}": value for name, value in self._sums.items()}
        return {**named, "samples": float(self.samples), "counted": counted}

    def means(self, sums: dict[str, float]) -> dict[str, float]:
        """Means over the samples of all ranks."""
        samples, counted = sums.pop("samples"), sums.pop("counted")
        every = {name: counted if name == "train/loss" else samples for name in sums}
        return {name: value / max(every[name], 1.0) for name, value in sums.items()}
