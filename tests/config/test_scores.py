"""Scores are known by name before their data are looked for, and are those that validations give."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.small_runs import small_config
from pisam.config.scores import monitored, refuse_no_score
from pisam.core.errors import PisamError
from pisam.core.score_names import SEGMENTATION
from pisam.data.sources.known_sets import GROUPS
from pisam.metrics.image_scores import score_image
from pisam.metrics.set_scores import InteractionScores, SetScores

SETS = ["val", "other"]


def test_every_score_of_a_validation_is_known(tmp_path: Path) -> None:
    """The data of the configuration are not there."""
    config = small_config(tmp_path, tmp_path / "absent")
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2:6, 2:6] = True
    first, second = SetScores(SETS, SEGMENTATION), InteractionScores(SETS)
    first.update(score_image(mask.numpy(), mask.numpy(), SEGMENTATION), "val")
    second.update(mask, mask, mask, "val")
    for number, scores in ((1, first), (2, second)):
        for name in scores.compute():
            refuse_no_score(f"val/{name}", config, number, "metric")
    assert (monitored(config, 1), monitored(config, 2)) == ("val/iou", "val/iou_after")


def test_sets_of_a_group_have_scores_of_their_own(tmp_path: Path) -> None:
    config = small_config(tmp_path, tmp_path, "data.val=[HQSEG44K-VAL]")
    for name in GROUPS["HQSEG44K-VAL"]:
        refuse_no_score(f"val/{name}/biou", config, 1, "metric")
    with pytest.raises(PisamError, match="metric: no score val/HQSEG44K-VAL/iou; did you mean val/"):
        refuse_no_score("val/HQSEG44K-VAL/iou", config, 1, "metric")


@pytest.mark.parametrize(
    ("number", "wrong", "right"),
    [(1, "val/biuo", "val/biou"), (1, "val/oter/iou", "val/other/iou"), (2, "val/iou_afer", "val/iou_after")],
)
def test_the_nearest_is_named(tmp_path: Path, number: int, wrong: str, right: str) -> None:
    config = small_config(tmp_path, tmp_path, f"stage{number}.monitor={wrong}")
    expected = f"stage{number}.monitor: no score {wrong}; did you mean {right}?; there are val/val/iou"
    with pytest.raises(PisamError) as error:
        monitored(config, number)
    assert str(error.value).startswith(expected)
