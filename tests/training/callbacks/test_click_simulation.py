"""Clicks of stage 2: when they are made, from what, and how often the frozen network runs for them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from helpers.small_runs import loader, quiet_trainer, small_batch, small_model
from pisam.core.types import Batch, Clicks, ObjectFeatures, Prediction, Prompts
from pisam.training.callbacks.click_simulation import ClickSimulation
from pisam.training.features.frozen_features import FrozenFeatures
from pisam.training.stages.interactor_stage import FrozenAnswer, InteractorStage

CLICKS = 6


class Watch(Callback):
    """Keeps every batch after the click simulation, and counts passes through the image encoder."""

    def __init__(self) -> None:
        self.train: list[Batch] = []
        self.val: list[Batch] = []
        self.encoded = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.model.encoder.image_encoder.register_forward_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.encoded += 1

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self.train.append(batch)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.val.append(batch)


def watched_fit(
    train: list[Batch],
    val: list[Batch],
    epochs: int,
    stage_class: type[InteractorStage] = InteractorStage,
    **options: Any,
) -> tuple[Watch, ClickSimulation, InteractorStage]:
    watch, simulation = Watch(), ClickSimulation(max_clicks=CLICKS, min_area=2, **options)
    stage = stage_class(small_model(), lr=1e-2)
    trainer = quiet_trainer(simulation, watch, max_steps=-1, max_epochs=epochs)
    trainer.fit(stage, loader(*train), loader(*val))
    return watch, simulation, stage


@pytest.fixture(scope="module")
def two_epochs() -> tuple[Watch, ClickSimulation, InteractorStage]:
    """Three batches of training and one of validation, twice."""
    return watched_fit([small_batch(4, seed=seed) for seed in range(3)], [small_batch(2, seed=9)], 2)


def counts(batch: Batch) -> list[int]:
    assert batch.clicks is not None
    return batch.clicks.valid.sum(dim=1).tolist()


def equal(one: Clicks | None, other: Clicks | None) -> bool:
    assert one is not None and other is not None
    pairs = ((one.points, other.points), (one.labels, other.labels), (one.valid, other.valid))
    return all(a.equal(b) for a, b in pairs)


def test_frozen_network_runs_once_per_step(
    two_epochs: tuple[Watch, ClickSimulation, InteractorStage],
) -> None:
    watch = two_epochs[0]
    assert watch.encoded == len(watch.train) + len(watch.val) == 8


def test_training_draws_one_to_all_clicks_per_sample(
    two_epochs: tuple[Watch, ClickSimulation, InteractorStage],
) -> None:
    numbers = [number for batch in two_epochs[0].train for number in counts(batch)]
    assert all(1 <= number <= CLICKS for number in numbers)
    assert len(set(numbers)) > 2


def test_validation_gives_all_clicks_the_same_in_every_epoch(
    two_epochs: tuple[Watch, ClickSimulation, InteractorStage],
) -> None:
    first, second = two_epochs[0].val
    assert counts(first) == counts(second) == [CLICKS, CLICKS]
    assert equal(first.clicks, second.clicks)


def test_clicks_lie_on_errors_of_their_label(
    two_epochs: tuple[Watch, ClickSimulation, InteractorStage],
) -> None:
    for batch in [*two_epochs[0].train, *two_epochs[0].val]:
        assert batch.clicks is not None and batch.straight_forward is not None
        predicted = batch.straight_forward.high_res > 0
        for row, (points, labels, valid) in enumerate(
            zip(batch.clicks.points, batch.clicks.labels, batch.clicks.valid, strict=True)
        ):
            x, y = points[valid].long().unbind(1)
            truth = batch.mask[row, 0, y, x]
            assert truth.equal(labels[valid].bool())
            assert (predicted[row, 0, y, x] != truth).all()


def simulated(batch: Batch, stage: InteractorStage) -> Clicks:
    trainer = quiet_trainer()
    ClickSimulation(max_clicks=CLICKS, min_area=2).on_train_batch_start(trainer, stage, batch, 0)
    assert batch.clicks is not None
    return batch.clicks


def test_clicks_depend_on_the_sample_seed_alone() -> None:
    """In any company: alone, or as the last of a batch."""
    stage = InteractorStage(small_model())
    together = simulated(small_batch(3, seed=4), stage)
    alone = small_batch(3, seed=4)
    alone = Batch(
        **{
            name: getattr(alone, name)[2:]
            for name in ("image", "mask", "box", "extent", "ids", "sets", "seeds")
        }
    )
    single = simulated(alone, stage)
    assert equal(single, Clicks(together.points[2:], together.labels[2:], together.valid[2:]))
    other = small_batch(3, seed=4)
    other.seeds = [seed + 1000 for seed in other.seeds]
    assert not equal(simulated(other, stage), together)


class PaddingWrong(InteractorStage):
    """A prediction that is wrong on one square of the object and everywhere on the padding."""

    mask: Tensor

    def straight_forward(
        self, image: Tensor, box: Tensor, prompts: Prompts | None = None
    ) -> tuple[ObjectFeatures, Prediction]:
        objects, prediction = super().straight_forward(image, box, prompts)
        logits = torch.where(self.mask, 5.0, -5.0)
        logits[..., 20:30, 20:30] = -5.0
        logits[..., :, 48:] = 5.0
        return objects, Prediction(prediction.low_res, logits)


def test_no_click_in_the_padding() -> None:
    batch = small_batch()
    batch.extent = torch.tensor([[48.0, 64.0], [48.0, 64.0]])
    stage = PaddingWrong(small_model())
    stage.mask = batch.mask
    clicks = simulated(batch, stage)
    assert clicks.valid.any(dim=1).all()
    assert (clicks.points[clicks.valid] > 20).all() and (clicks.points[clicks.valid] < 30).all()
    assert clicks.labels[clicks.valid].all()


def test_no_click_on_what_is_ignored() -> None:
    batch = small_batch()
    batch.ignored = torch.zeros_like(batch.mask)
    batch.ignored[..., 50:, :] = True
    stage = PaddingWrong(small_model())
    stage.mask = batch.mask | batch.ignored
    batch.extent = torch.tensor([[48.0, 64.0], [48.0, 64.0]])
    clicks = simulated(batch, stage)
    assert clicks.valid.any(dim=1).all()
    assert (clicks.points[clicks.valid] > 20).all() and (clicks.points[clicks.valid] < 30).all()


class OneByOne(InteractorStage):
    """Shows the frozen network one sample at a time, as the cache does, but keeps nothing.

    A batch of several differs in the last bits, which turn clicks where a logit is almost 0 and which Adam
    makes as large as its learning rate where a gradient is almost 0.
    """

    def straight_forward(
        self, image: Tensor, box: Tensor, prompts: Prompts | None = None
    ) -> tuple[ObjectFeatures, Prediction]:
        objects, predictions = zip(
            *(InteractorStage.straight_forward(self, image[[i]], box[[i]]) for i in range(len(image))),
            strict=True,
        )
        return (
            ObjectFeatures(*(torch.cat([getattr(o, n) for o in objects]) for n in ("enhanced", "token"))),
            Prediction(*(torch.cat([getattr(p, n) for p in predictions]) for n in ("low_res", "high_res"))),
        )


def test_cache_is_used_where_views_repeat_and_changes_nothing() -> None:
    def views(number: int) -> list[Batch]:
        batches = [small_batch(seed=seed) for seed in range(2)]
        for batch, seed in zip(batches, range(2), strict=True):
            batch.ids = [f"{seed}-{row}" for row in range(2)]
            batch.views = [number] * 2
        return batches

    epochs, val = [*views(0), *views(0), *views(1)], [small_batch(seed=9)]
    cached, _, stage = watched_fit(epochs, val, 1, features=FrozenFeatures())
    plain, _, uncached = watched_fit(epochs, val, 1, OneByOne)
    assert cached.encoded == 4 + 4 + 2, "each view once, by itself"
    assert plain.encoded == 2 * (6 + 1)
    for one, other in zip(cached.train + cached.val, plain.train + plain.val, strict=True):
        assert one.objects is not None and other.objects is not None
        assert one.straight_forward is not None and other.straight_forward is not None
        assert one.objects.enhanced.equal(other.objects.enhanced)
        assert one.objects.token.equal(other.objects.token)
        assert one.straight_forward.low_res.equal(other.straight_forward.low_res)
        assert one.straight_forward.high_res.equal(other.straight_forward.high_res)
        assert equal(one.clicks, other.clicks)
    for one, other in zip(stage.parameters(), uncached.parameters(), strict=True):
        assert one.equal(other)


def test_cache_yields_what_the_network_says_of_the_whole_batch() -> None:
    stage, batch = InteractorStage(small_model()).eval(), small_batch(3)
    answer = FrozenFeatures()(batch, "train", stage.answer)
    objects, prediction = answer.objects, answer.prediction
    of_all, predicted = stage.straight_forward(batch.image, batch.box)
    for one, other in (
        (objects.enhanced, of_all.enhanced),
        (objects.token, of_all.token),
        (prediction.low_res, predicted.low_res),
        (prediction.high_res, predicted.high_res),
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_cache_tells_parts_sets_ids_and_views_apart() -> None:
    calls = 0

    def compute(batch: Batch) -> FrozenAnswer:
        nonlocal calls
        calls += 1
        value: Tensor = torch.full((1, 1, 1, 1), float(calls))
        return FrozenAnswer(ObjectFeatures(value, value[0, 0]), Prediction(value, value), Clicks.none(1))

    features = FrozenFeatures()
    batch = small_batch(1)
    seen = []
    for part, set_name, id_, view in (
        ("train", "x", "1", 0),
        ("val", "x", "1", 0),
        ("train", "y", "1", 0),
        ("train", "x", "2", 0),
        ("train", "x", "1", 1),
        ("train", "x", "1", 0),
    ):
        batch.sets, batch.ids, batch.views = [set_name], [id_], [view]
        seen.append(features(batch, part, compute).prediction.high_res.item())
    assert seen == [1, 2, 3, 4, 5, 1]


def test_cache_computes_only_the_samples_it_does_not_know() -> None:
    computed: list[float] = []

    def compute(batch: Batch) -> FrozenAnswer:
        computed.extend(batch.box[:, 0].tolist())
        value = batch.box[:, :1, None, None]
        return FrozenAnswer(
            ObjectFeatures(value, value[:, :, 0, 0]), Prediction(value, value), Clicks.none(len(value))
        )

    features = FrozenFeatures()
    batch = small_batch(3)
    batch.sets, batch.views = ["x"] * 3, [0] * 3
    batch.box = torch.tensor([[1.0, 0, 9, 9], [2.0, 0, 9, 9], [3.0, 0, 9, 9]])
    batch.ids = ["1", "2", "3"]
    features(batch, "train", compute)
    batch.ids, batch.box = ["3", "4", "1"], torch.tensor([[3.0, 0, 9, 9], [4.0, 0, 9, 9], [1.0, 0, 9, 9]])
    answer = features(batch, "train", compute)
    objects, prediction = answer.objects, answer.prediction
    assert computed == [1, 2, 3, 4]
    assert objects.token.flatten().tolist() == prediction.high_res.flatten().tolist() == [3, 4, 1]
