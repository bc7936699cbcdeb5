"""Comparing two runs: the statistics against slow truths, and the pairs that must be refused."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pisam.core.errors import PisamError
from pisam.core.files import write_json
from pisam.evaluation.compare import (
    bootstrap_interval,
    compare_runs,
    differences_table,
    version_differences,
)
from pisam.evaluation.rows import Row, write_csv
from pisam.metrics.protocol import Protocol

IMAGES = [(set_name, f"{number:02}") for set_name in ("a", "b") for number in range(20)]


def run(
    folder: Path, shift: float = 0.0, *, noise: int = 0, rows: list[Row] | None = None, **summary: Any
) -> Path:
    base = np.random.default_rng(0).uniform(0.5, 0.8, len(IMAGES))
    scores = base + shift + np.random.default_rng(noise).normal(0, 0.02, len(IMAGES))
    default: list[Row] = [
        {"set": set_name, "image": image, "iou": float(score), "mae": 1 - float(score)}
        for (set_name, image), score in zip(IMAGES, scores, strict=True)
    ]
    write_csv(rows or default, folder / "per_image.csv")
    write_json(
        {"protocol": Protocol(image_size=64).as_dict(), "status": "complete"} | summary,
        folder / "summary.json",
    )
    return folder


def test_a_real_difference_is_found_with_its_sign(tmp_path: Path) -> None:
    iou, mae = compare_runs(run(tmp_path / "a"), run(tmp_path / "b", 0.05, noise=1))
    assert (iou.score, mae.score, iou.images) == ("iou", "mae", len(IMAGES))
    assert 0 < iou.low < iou.b - iou.a < iou.high < 0.1 and iou.p_value < 1e-4
    assert mae.high < 0 and mae.b - mae.a == pytest.approx(iou.a - iou.b, abs=1e-6)
    table = differences_table([iou, mae])
    assert len(table.splitlines()) == 3 and f"{iou.b - iou.a:.3f}" in table


def test_chance_is_not_called_a_difference(tmp_path: Path) -> None:
    for noise in range(1, 4):
        iou, _ = compare_runs(run(tmp_path / "a"), run(tmp_path / f"b{noise}", noise=noise))
        assert iou.low < 0 < iou.high and iou.p_value > 0.05


def test_a_run_equals_itself(tmp_path: Path) -> None:
    iou, _ = compare_runs(run(tmp_path / "a"), run(tmp_path / "b"))
    assert (iou.low, iou.high, iou.p_value) == (0, 0, 1)


def test_interval_equals_that_of_every_possible_draw() -> None:
    values = np.array([0.0, 0.1, 0.5, 0.2])
    every = [np.mean(draw) for draw in itertools.product(values, repeat=len(values))]
    low, high = bootstrap_interval(values)
    assert low == pytest.approx(np.quantile(every, 0.025), abs=0.01)
    assert high == pytest.approx(np.quantile(every, 0.975), abs=0.01)
    assert bootstrap_interval(values) == (low, high)


def test_several_rows_of_an_image_count_as_their_mean(tmp_path: Path) -> None:
    gains = {"0": 0.1, "1": 0.3}
    rows: list[Row] = [
        {"set": "a", "image": image, "seed": seed, "iou": score + shift}
        for image, score in gains.items()
        for seed, shift in ((0, -0.1), (1, 0.1))
    ]
    (iou,) = compare_runs(run(tmp_path / "a", rows=rows), run(tmp_path / "b", rows=rows))
    assert iou.images == 2 and iou.a == pytest.approx(0.2)


def test_empty_cells_are_left_out(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"set": "a", "image": "0", "iou": 0.5, "obeyed": float("nan")},
        {"set": "a", "image": "1", "iou": 0.7, "obeyed": 0.25},
    ]
    iou, obeyed = compare_runs(run(tmp_path / "a", rows=rows), run(tmp_path / "b", rows=rows))
    assert (iou.images, obeyed.images, obeyed.a) == (2, 1, 0.25)


def test_each_model_of_an_interaction_benchmark_is_compared_with_itself(tmp_path: Path) -> None:
    gains = {"SAM": (0.1, 0.3), "Pi-SAM": (0.5, 0.9)}
    rows: list[Row] = [
        {"model": model, "set": "a", "image": str(image), "iou_gain": gain, "noc_85": 3}
        for image in range(2)
        for model, pair in gains.items()
        for gain in pair[image : image + 1]
    ]
    same = compare_runs(run(tmp_path / "a", rows=rows), run(tmp_path / "b", rows=rows))
    assert [each.score for each in same] == [
        f"{m} {score}" for m in gains for score in ("iou_gain", "noc_85")
    ]
    assert [each.images for each in same] == [2] * 4
    assert [each.a for each in same] == pytest.approx([0.2, 3, 0.7, 3])


@pytest.mark.parametrize("lacking", ["a", "b"])
def test_an_image_that_one_model_lacks_is_named(tmp_path: Path, lacking: str) -> None:
    """Also where the first model of the file has it."""
    for name in ("a", "b"):
        rows: list[Row] = [
            {"set": "s", "image": image, "model": model, "iou": 0.5}
            for model in ("SAM", "Pi-SAM")
            for image in ("1", "2")
        ]
        run(tmp_path / name, rows=rows[:3] if name == lacking else rows)
    with pytest.raises(PisamError, match=r"compare: 1 images of .* are not in .*: s/2"):
        compare_runs(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("score", [1e308, -1e308, 1e13])
def test_what_no_score_can_be_is_refused(tmp_path: Path, score: float) -> None:
    run(tmp_path / "a", rows=[{"set": "s", "image": "1", "iou": score}])
    with pytest.raises(PisamError, match=r"per_image\.csv: not readable as a table of numbers: .*beyond"):
        compare_runs(tmp_path / "a", tmp_path / "a")


def test_other_protocol_is_refused_by_key(tmp_path: Path) -> None:
    unlike = Protocol(image_size=64, threshold=0.5).as_dict()
    with pytest.raises(PisamError, match=r"unlike protocols: threshold 0\.0 and 0\.5"):
        compare_runs(run(tmp_path / "a"), run(tmp_path / "b", protocol=unlike))


def test_another_model_or_version_is_not_another_protocol(tmp_path: Path) -> None:
    a = run(tmp_path / "a")
    protocol = Protocol(image_size=128, resize="pad", checkpoint_hash="f00", torch="0.1").as_dict()
    b = run(tmp_path / "b", protocol=protocol)
    assert compare_runs(a, b)
    assert version_differences(a, b) == f"torch {Protocol(64).torch} and 0.1"
    assert version_differences(a, a) == ""


def test_what_cannot_be_compared_is_named(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    fewer = run(tmp_path / "fewer", rows=[{"set": "a", "image": "00", "iou": 0.5}])
    with pytest.raises(PisamError, match=r"39 images of .*whole are not in .*fewer: a/01, a/02, a/03 \.\.\."):
        compare_runs(fewer, whole)
    with pytest.raises(PisamError, match=r"partial"):
        compare_runs(whole, run(tmp_path / "partial", status="partial"))
    with pytest.raises(PisamError, match=r"summary\.json is not there"):
        compare_runs(whole, tmp_path / "nothing")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "nothing" / "summary.json").write_text(json.dumps({"iou": 1}))
    with pytest.raises(PisamError, match="does not say by which protocol"):
        compare_runs(whole, tmp_path / "nothing")
    with pytest.raises(PisamError, match="no score in common"):
        compare_runs(whole, run(tmp_path / "other", rows=[{"set": "a", "image": "00", "hce": 3}]))


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[]", b"[" * 100_000, b"\xff", b'{"protocol": [1]}', b'{"protocol": {"x": NaN}}'],
)
def test_hostile_summaries_are_one_line(tmp_path: Path, content: bytes) -> None:
    whole, hostile = run(tmp_path / "whole"), run(tmp_path / "hostile")
    (hostile / "summary.json").write_bytes(content)
    with pytest.raises(PisamError, match=r"compare: .*summary.json") as error:
        compare_runs(whole, hostile)
    assert "\n" not in str(error.value)
