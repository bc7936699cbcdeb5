"""The same samples for any number of workers, from any point of an epoch, under Lightning itself."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from pisam.core.errors import PisamError
from pisam.core.types import Batch
from pisam.data.datamodule import PairDataModule
from pisam.data.dataset import collate
from pisam.data.loader import TrainingSampler
from pisam.data.prompts import PromptMix

S = 64


def data_module(root: Path, rows: dict, **options: Any) -> PairDataModule:
    defaults: dict[str, Any] = {"image_size": S, "batch_size": 2, "workers": 0}
    return PairDataModule(root=root, train=[rows["a"], rows["b"]], val=[rows["val"]], **(defaults | options))


def fingerprint(batch: Batch) -> tuple:
    """All that a batch holds, its tensors by their bits."""
    tensors = [batch.image, batch.mask, batch.box, batch.extent]
    kinds: Sequence[str] = ()
    if batch.prompts is not None:
        kinds, points = batch.prompts.kinds, batch.prompts.points
        tensors += [points.points, points.labels, points.valid, batch.prompts.mask]
    names = (*batch.sets, *batch.ids, *batch.seeds, *batch.views, *kinds)
    return (*names, *(hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for tensor in tensors))


def epochs(module: PairDataModule, count: int) -> list[list[tuple]]:
    module.setup()
    loader = module.train_dataloader()
    result = []
    for epoch in range(count):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        result.append([fingerprint(batch) for batch in loader])
    return result


class Recorder(LightningModule):
    """Trains nothing of interest and writes down what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, tuple]] = []
        self.validated: list[str] = []

    def training_step(self, batch: Batch) -> torch.Tensor:
        self.seen.append((self.current_epoch, fingerprint(batch)))
        return self.weight * batch.box.sum()

    def validation_step(self, batch: Batch) -> None:
        self.validated += batch.ids

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def trainer(folder: Path, *callbacks: Callback, **options: Any) -> Trainer:
    return Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
        callbacks=list(callbacks),
        **({"max_epochs": 3, "enable_checkpointing": bool(callbacks)} | options),
    )


# Everything that is drawn for a sample.
DRAWN = {
    "prompts": PromptMix(jittered_box=1, points=1, noisy_mask=1),
    "photometric": ["RandomBrightnessContrast"],
}


def test_worker_count_changes_nothing(tiny_root: Path, rows: dict) -> None:
    alone = epochs(data_module(tiny_root, rows, **DRAWN), 2)
    assert alone[0] != alone[1] and len(alone[0]) == 6
    for workers in (1, 4):
        assert epochs(data_module(tiny_root, rows, workers=workers, **DRAWN), 2) == alone


def single(root: Path, rows: dict, *, rank: int = 0, world_size: int = 1, start: int = 0) -> list[tuple]:
    """Fingerprints of the samples that one rank trains on in epoch 1, from a batch on."""
    module = data_module(root, rows, batch_size=4 // world_size, **DRAWN)
    module.setup("fit")
    assert module.train_set is not None
    sampler = TrainingSampler(
        [source.weight for source, _ in module.train_set.items],
        batch_size=4 // world_size,
        rank=rank,
        world_size=world_size,
    )
    sampler.resume(1, start)
    return [fingerprint(collate([module.train_set[key]])) for key in sampler]


def test_two_ranks_see_what_one_sees_from_the_start_and_resumed(tiny_root: Path, rows: dict) -> None:
    alone = single(tiny_root, rows)
    ranks = [single(tiny_root, rows, rank=rank, world_size=2) for rank in range(2)]
    assert len(alone) == 12 and [sample for pair in zip(*ranks, strict=True) for sample in pair] == alone
    resumed = [single(tiny_root, rows, rank=rank, world_size=2, start=1) for rank in range(2)]
    assert [sample for pair in zip(*resumed, strict=True) for sample in pair] == alone[4:]
    assert single(tiny_root, rows, start=2) == alone[8:]


@pytest.mark.parametrize("workers", [0, 2])
def test_lightning_tells_the_sampler_each_epoch(
    tiny_root: Path, rows: dict, tmp_path: Path, workers: int
) -> None:
    expected = epochs(data_module(tiny_root, rows), 3)
    recorder = Recorder()
    trainer(tmp_path).fit(recorder, datamodule=data_module(tiny_root, rows, workers=workers))
    assert recorder.seen == [(epoch, batch) for epoch, batches in enumerate(expected) for batch in batches]
    assert recorder.validated[-5:] == [f"{i}#val.x" for i in range(5)]


SAVING: dict[str, dict[str, Any]] = {
    "mid-epoch": {"every_n_train_steps": 2},
    "last batch, before validation": {"every_n_train_steps": 6},
    "mid-epoch, second epoch": {"every_n_train_steps": 9},
    "after validation": {"every_n_epochs": 1, "save_on_train_epoch_end": False},
    "end of epoch": {"every_n_epochs": 1, "save_on_train_epoch_end": True},
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("saving", SAVING)
def test_resumed_run_sees_what_the_uninterrupted_one_would(
    tiny_root: Path, rows: dict, tmp_path: Path, saving: str, workers: int
) -> None:
    whole, first, second = Recorder(), Recorder(), Recorder()
    trainer(tmp_path).fit(whole, datamodule=data_module(tiny_root, rows))
    checkpoint = ModelCheckpoint(tmp_path, filename="at", save_top_k=-1, **SAVING[saving])
    steps = SAVING[saving].get("every_n_train_steps", 6)
    trainer(tmp_path, checkpoint, max_steps=steps).fit(first, datamodule=data_module(tiny_root, rows))
    trainer(tmp_path).fit(
        second,
        datamodule=data_module(tiny_root, rows, workers=workers),
        ckpt_path=str(tmp_path / "at.ckpt"),
        weights_only=True,
    )
    assert first.seen + second.seen == whole.seen


def test_counts_and_order_of_the_sets(tiny_root: Path, rows: dict) -> None:
    module = data_module(tiny_root, rows)
    module.val_entries.append({**rows["b"], "limit": 2})
    module.setup()
    assert module.counts == {"train": {"a": 9, "b": 4}, "val": {"val": 5, "b": 2}}
    assert list(module.counts["val"]) == ["val", "b"]
    assert [batch.sets[0] for batch in module.val_dataloader()] == ["val"] * 5 + ["b"] * 2


def test_counts_are_logged_once_with_weights(
    tiny_root: Path, rows: dict, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    module = data_module(tiny_root, {**rows, "b": {**rows["b"], "weight": 2.5}})
    for _ in range(2):  # by the command, then by Lightning
        module.setup("fit")
    assert caplog.messages == ["val: 5 samples (val 5)", "train: 13 samples (a 9, b 4 x 2.5)"]


def test_weights_of_sources_decide_how_often_their_samples_come(tiny_root: Path, rows: dict) -> None:
    """`b` has 4 of 13 images and, with its weight, 16 of 25 parts of an epoch."""
    module = data_module(tiny_root, {**rows, "b": {**rows["b"], "weight": 4}})
    module.setup("fit")
    assert module.train_set is not None
    sampler = module.train_dataloader().sampler
    names = [module.train_set.items[index][0].name for index, _ in sampler]  # type: ignore[misc]
    assert len(names) == 12 and 7 <= names.count("b") <= 9


def test_every_path_is_checked_before_the_first_step(tiny_root: Path, rows: dict) -> None:
    absent = {"name": "c", "images": "c/images", "masks": "c/masks"}
    for part in ("train", "val"):
        module = data_module(tiny_root, rows)
        getattr(module, f"{part}_entries").append(absent)
        with pytest.raises(PisamError, match="data row c: images: no folder"):
            module.setup("fit")


def test_training_needs_a_source_but_validation_does_not(tiny_root: Path, rows: dict) -> None:
    module = PairDataModule(root=tiny_root, val=[rows["val"]], image_size=S, workers=0)
    module.setup("validate")
    assert len(list(module.val_dataloader())) == 5
    with pytest.raises(PisamError, match=r"data.train: no source"):
        module.setup("fit")


def test_iterating_leaves_the_global_random_state_alone(tiny_root: Path, rows: dict) -> None:
    module = data_module(tiny_root, rows)
    module.setup()
    before = torch.get_rng_state()
    list(module.train_dataloader())
    list(module.val_dataloader())
    assert torch.equal(before, torch.get_rng_state())


def copied(tiny_root: Path, folder: Path, rows: dict) -> PairDataModule:
    shutil.copytree(tiny_root, folder)
    return data_module(folder, rows)


def test_check_of_files_names_the_first_error_and_counts_the_others(
    tiny_root: Path, rows: dict, tmp_path: Path
) -> None:
    module = copied(tiny_root, tmp_path / "sets", rows)
    module.setup("fit")
    module.check_files()
    (tmp_path / "sets/b/masks/2#b.x.png").write_bytes(b"")
    with pytest.raises(PisamError, match=r"2#b.x.png: not an image[^(]*$"):
        module.check_files()
    (tmp_path / "sets/val/images/0#val.x.jpg").write_bytes(b"")
    with pytest.raises(PisamError, match=r"2#b.x.png: not an image.*\(and 1 more, see pisam audit\)"):
        module.check_files()


def test_check_of_files_warns_of_what_is_only_suspect(
    tiny_root: Path, rows: dict, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = copied(tiny_root, tmp_path / "sets", rows)
    for part, suffix in (("images", "jpg"), ("masks", "png")):
        source = tmp_path / "sets/a" / part / f"0#a.x.{suffix}"
        shutil.copy(source, tmp_path / "sets/val" / part / f"1#val.x.{suffix}")
    module.setup("fit")
    module.check_files()
    assert "audit: 1 findings to mend" in caplog.text and "1#val.x.jpg: same file as" in caplog.text


def group_of_this_process(_: object) -> int:
    return os.getpgrp()


@pytest.mark.skipif(not hasattr(os, "setpgrp"), reason="no process groups here")
def test_signal_to_the_jobs_process_group_spares_workers(tiny_root: Path, rows: dict) -> None:
    """A worker that SIGTERM killed would fail the step after which the run wants to save."""
    module = data_module(tiny_root, rows, workers=1)
    module.setup()
    loader = module.train_dataloader()
    loader.collate_fn = group_of_this_process
    assert next(iter(loader)) != os.getpgrp()


def test_fewer_validation_images_than_ranks_are_refused(tiny_root: Path, rows: dict) -> None:
    module = data_module(tiny_root, rows)
    module.setup()
    module.trainer = SimpleNamespace(world_size=99, global_rank=0)  # type: ignore[assignment]
    with pytest.raises(PisamError, match=r"data\.val: \d images for 99 ranks; each needs one"):
        module.val_dataloader()


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            {name: value}
            for name in ("batch_size", "val_batch_size", "image_size")
            for value in (0, 2.0, "2")
        ),
        *({name: value} for name in ("workers", "views", "seed") for value in (-1, 1.5, None)),
        *({"instances": value} for value in (0, -4, 1.5)),
        *({"composites": value} for value in (-1, 2.0, "a")),
        {"timeout": -1},
        *({"jitter": value} for value in ((2.0, 1.0), (0, 0), 5, (1,), "ab", (0.5, math.inf))),
        *({name: "DIS5K-TR"} for name in ("train", "val", "photometric")),
        {"train": None},
    ],
)
def test_arguments_out_of_range_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected"):
        PairDataModule(root=None, **wrong)
