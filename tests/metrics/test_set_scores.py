"""Scores over data sets against PySODMetrics, on one process and on two."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from helpers.metric_pairs import PAIRS, blobs
from helpers.published_metrics import published_scores
from pisam.metrics import METRICS, all_scores, score_image
from pisam.metrics.set_scores import SetScores

# Uneven sets; on two ranks below, B lies on rank 0 alone and C nowhere.
IMAGES = [("A", 0), ("A", 1), ("B", 2), ("A", 3), ("B", 4)]
SETS = ["A", "B", "C"]


def pair(number: int):  # type: ignore[no-untyped-def]
    return blobs(50 + 13 * number, 90, 5, number, threshold=0.3 * number - 0.6)


def filled(images: list[tuple[str, int]]) -> SetScores:
    scores = SetScores(SETS)
    for name, number in images:
        scores.update(score_image(*pair(number)), name)
    return scores


def test_scores_of_a_set_are_those_of_pysodmetrics() -> None:
    result = filled(IMAGES).compute()
    for name in "AB":
        expected = published_scores([pair(number) for member, number in IMAGES if member == name])
        for score, value in expected.items():
            assert result[f"{name}/{score}"].item() == pytest.approx(value, abs=1e-6), score


def test_best_threshold_of_the_set_and_best_thresholds_of_the_images() -> None:
    result = filled(IMAGES).compute()
    for score in ("max_f", "max_e"):
        rows = [all_scores(*pair(number))[score] for name, number in IMAGES if name == "A"]
        assert result[f"A/{score}_per_image"].item() == pytest.approx(sum(rows) / 3, abs=1e-12)
        assert result[f"A/{score}"] < result[f"A/{score}_per_image"]


def test_pooled_scores_are_those_of_one_set_of_all_images() -> None:
    result = filled(IMAGES).compute()
    together = filled([("A", number) for _, number in IMAGES]).compute()
    for score in (*METRICS, "max_f_per_image", "max_e_per_image"):
        assert result[f"pooled/{score}"].item() == pytest.approx(together[f"A/{score}"].item(), abs=1e-12)


def test_over_sets_the_mean_of_the_sets_that_had_images() -> None:
    result = filled(IMAGES).compute()
    assert len(result) == 5 * (len(METRICS) + 2)
    for score in (*METRICS, "max_f_per_image", "max_e_per_image"):
        assert result[f"C/{score}"].isnan()
        expected = (result[f"A/{score}"] + result[f"B/{score}"]).item() / 2
        assert result[score].item() == pytest.approx(expected, abs=1e-12)


def test_chosen_metrics_alone_and_images_scored_for_more() -> None:
    scores = SetScores(["A"], ["mae", "iou"])
    scores.update(score_image(*pair(0)), "A")
    scores.update(score_image(*pair(1), ["iou", "mae"]), "A")
    assert list(scores.compute()) == ["A/iou", "A/mae", "pooled/iou", "pooled/mae", "iou", "mae"]
    with pytest.raises(ValueError, match=r"\['mae'\] missing"):
        scores.update(score_image(*pair(1), ["iou"]), "A")
    with pytest.raises(ValueError, match="'D'"):
        scores.update(score_image(*pair(1)), "D")
    assert scores.count.sum() == 2
    with pytest.raises(ValueError, match="some of the metrics"):
        SetScores(["A"], ["dice"])


def test_reset_forgets() -> None:
    scores = filled([("A", 3)])
    scores.reset()
    scores.update(score_image(*PAIRS["soft-0"]), "A")
    expected = all_scores(*PAIRS["soft-0"])
    assert {name: scores.compute()[name].item() for name in METRICS} == pytest.approx(expected, abs=1e-12)


def _score_share(rank: int, folder: str) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2, timeout=timedelta(seconds=240)
    )
    scores = filled([IMAGES[i] for i in ((0, 1, 2, 4) if rank == 0 else (3,))])
    torch.save({key: value.item() for key, value in scores.compute().items()}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_give_the_numbers_of_one(tmp_path: Path) -> None:
    mp.spawn(_score_share, args=(str(tmp_path),), nprocs=2)
    alone = filled(IMAGES).compute()
    for rank in range(2):
        result = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert list(result) == list(alone)
        for key, value in alone.items():
            if key.startswith("C/"):
                assert math.isnan(result[key])
            else:
                assert result[key] == pytest.approx(value.item(), abs=1e-12)
