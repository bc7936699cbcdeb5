"""The values that travel between the parts."""

from __future__ import annotations

import pytest
import torch

from pisam.core.types import Batch, Clicks, ObjectFeatures, Prediction


def make_batch(size: int = 2) -> Batch:
    return Batch(
        image=torch.zeros(size, 3, 8, 8, dtype=torch.uint8),
        mask=torch.zeros(size, 1, 8, 8, dtype=torch.bool),
        box=torch.tensor([[3.0, 5.0, 4.0, 6.0]]).repeat(size, 1),
        extent=torch.full((size, 2), 8.0),
        ids=[str(i) for i in range(size)],
        sets=["A"] * size,
        seeds=list(range(size)),
    )


def test_no_clicks_are_typed_and_empty() -> None:
    clicks = Clicks.none(3)
    assert clicks.points.shape == (3, 0, 2) and clicks.points.dtype == torch.float32
    assert clicks.labels.shape == (3, 0) and clicks.labels.dtype == torch.int64
    assert clicks.valid.shape == (3, 0) and clicks.valid.dtype == torch.bool
    assert not clicks.valid.any(dim=1).any()


def test_clicks_move_as_a_whole() -> None:
    moved = Clicks.none(2).to("meta")
    assert {moved.points.device.type, moved.labels.device.type, moved.valid.device.type} == {"meta"}
    assert Clicks.none(2, device="meta").points.device.type == "meta"


def test_clicks_of_several_samples_are_padded_behind_and_come_back() -> None:
    samples = [[(0.5, 2.25, 1)], [], [(3.5, 1.5, 0), (7.1, 0.5, 1)]]
    clicks = Clicks.of(samples)
    assert clicks.points.dtype == torch.float32 and clicks.labels.dtype == torch.int64
    assert clicks.valid.tolist() == [[True, False], [False, False], [True, True]]
    assert [clicks.rows(index)[:1] for index in range(2)] == [samples[0], []]
    assert clicks.rows(2)[1] == (pytest.approx(7.1), 0.5, 1)
    assert not clicks.points[1].any() and not clicks.labels[1].any()
    assert Clicks.of([[], []]).points.shape == (2, 0, 2)


def test_a_batch_counts_its_samples_and_starts_without_what_callbacks_fill() -> None:
    batch = make_batch(3)
    assert len(batch) == 3
    assert batch.clicks is None and batch.objects is None and batch.straight_forward is None
    assert list(batch.original_masks) == []


def test_batches_share_no_default() -> None:
    first, second = make_batch(), make_batch()
    assert isinstance(first.original_masks, list)
    first.original_masks.append(torch.ones(2, 2, dtype=torch.bool))
    assert list(second.original_masks) == []


def test_pinning_keeps_every_field(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    pinned_ids = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        pinned_ids.append(id(tensor))
        return tensor.clone()

    # Real pinning needs an accelerator; which tensors are pinned does not.
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    batch = make_batch()
    pinned = batch.pin_memory()
    assert {id(batch.image), id(batch.mask), id(batch.box), id(batch.extent)} <= set(pinned_ids)
    assert torch.equal(pinned.box, batch.box)
    assert (pinned.ids, pinned.sets, pinned.seeds) == (batch.ids, batch.sets, batch.seeds)


def test_predictions_and_features_are_plain_records() -> None:
    low, high = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 8, 8)
    assert Prediction(low_res=low, high_res=high).high_res is high
    token = torch.zeros(1, 32)
    assert ObjectFeatures(enhanced=torch.zeros(1, 32, 2, 2), token=token).token is token
