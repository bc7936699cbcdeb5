"""Means per data set and over sets, on one process and on two."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from helpers.segmentation_scores import SegmentationScores
from pisam.metrics.functional import boundary_iou, iou

SETS = ["A", "B", "C"]


def pair(index: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(index)
    logits = torch.randn(1, 1, 12 + index, 17, generator=generator)
    mask = torch.rand(12 + index, 17, generator=generator) > 0.5
    return logits, mask


def fill(scores: SegmentationScores, images: list[tuple[int, str]]) -> None:
    for index, set_name in images:
        scores.update(*pair(index), set_name)


# Uneven sets; on two ranks below, B lies on rank 0 alone and C nowhere.
IMAGES = [(0, "A"), (1, "B"), (2, "A"), (3, "A"), (4, "B")]


def test_means_over_images_then_over_sets_and_over_all_images() -> None:
    scores = SegmentationScores(SETS)
    fill(scores, IMAGES)
    result = scores.compute()
    for name, score in (("iou", iou), ("biou", boundary_iou)):
        values = {
            s: [score(pair(i)[0][0, 0] > 0, pair(i)[1]).item() for i, t in IMAGES if t == s] for s in "AB"
        }
        a, b = sum(values["A"]) / 3, sum(values["B"]) / 2
        assert result[f"A/{name}"].item() == pytest.approx(a, abs=1e-7)
        assert result[f"B/{name}"].item() == pytest.approx(b, abs=1e-7)
        assert result[f"C/{name}"].isnan()
        assert result[name].item() == pytest.approx((a + b) / 2, abs=1e-7)
        assert result[f"pooled/{name}"].item() == pytest.approx((3 * a + 2 * b) / 5, abs=1e-7)


def test_keys_are_those_of_the_declared_sets_in_any_case() -> None:
    expected = [f"{name}/{score}" for name in (*SETS, "pooled") for score in ("iou", "biou")] + [
        "iou",
        "biou",
    ]
    scores = SegmentationScores(SETS)
    fill(scores, [(0, "C")])
    assert list(scores.compute()) == expected
    scores.reset()
    fill(scores, IMAGES)
    assert list(scores.compute()) == expected


def test_reset_forgets_and_bool_predictions_count_like_logits() -> None:
    scores = SegmentationScores(SETS)
    fill(scores, [(1, "A")])
    scores.reset()
    logits, mask = pair(0)
    scores.update(logits[0, 0] > 0, mask, "A")
    assert scores.compute()["A/iou"].item() == pytest.approx(iou(logits[0, 0] > 0, mask).item(), abs=1e-7)


def test_sums_are_exact_over_many_images() -> None:
    scores = SegmentationScores(["A"])
    mask = torch.tensor([[True, True, True]])
    for _ in range(2000):
        scores.update(torch.tensor([[True, False, False]]), mask, "A")
    assert scores.compute()["iou"].item() == pytest.approx(torch.tensor(1 / 3).item(), abs=1e-12)


def test_an_unknown_set_is_refused_and_changes_nothing() -> None:
    scores = SegmentationScores(SETS)
    with pytest.raises(ValueError, match=r"'D'.*'A', 'B', 'C'"):
        fill(scores, [(0, "D")])
    assert scores.count.sum() == 0


def test_a_mask_of_another_size_is_refused() -> None:
    logits, mask = pair(0)
    with pytest.raises(ValueError, match="one size"):
        SegmentationScores(SETS).update(logits, mask[1:], "A")


@pytest.mark.parametrize("names", [[], ["A", "A"], ["A", "pooled"]])
def test_set_names_must_be_distinct_and_none_reserved(names: list[str]) -> None:
    with pytest.raises(ValueError, match="data set"):
        SegmentationScores(names)


def _score_share(rank: int, folder: str) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    scores = SegmentationScores(SETS)
    fill(scores, [IMAGES[i] for i in ((0, 1, 2, 4) if rank == 0 else (3,))])
    torch.save({key: value.item() for key, value in scores.compute().items()}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_give_the_numbers_of_one(tmp_path: Path) -> None:
    mp.spawn(_score_share, args=(str(tmp_path),), nprocs=2)
    alone = SegmentationScores(SETS)
    fill(alone, IMAGES)
    for rank in range(2):
        result = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for key, value in alone.compute().items():
            if key.startswith("C/"):
                assert math.isnan(result[key])
            else:
                assert result[key] == pytest.approx(value.item(), abs=1e-12)
