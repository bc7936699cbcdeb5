"""What clicks change is measured as defined: on networks whose answer is known, and on a trained one."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.known_answers import MASK, SIDE, Paints, answer_of, batch_of, rectangle
from helpers.small_runs import small_batch, small_model
from pisam.clicks.simulate import simulate_clicks
from pisam.commands.interact import interact
from pisam.config.schema import Config
from pisam.core.errors import PisamError
from pisam.core.seeding import derive_seed
from pisam.core.types import Clicks
from pisam.evaluation.interaction.own_errors import (
    CLICK_SEEDS,
    click_effect,
    equal_without_clicks,
    own_clicks,
)
from pisam.evaluation.interaction.tables import own_table, summarise_own
from pisam.evaluation.rows import Row
from pisam.modeling.segmenters import PiSamSegmenter, State

COLUMNS = [
    *("model", "set", "image", "click_seed", "clicks"),
    *("iou_before", "iou_after", "iou_gain", "biou_before", "biou_after", "biou_gain"),
    *("oracle", "oracle_share", "labels_exchanged", "random_places", "iou_gain_away"),
    *("obeyed", "obeyed_guaranteed", "collateral"),
]
LACKING = rectangle(8, 8, 56, 30)  # the lower half of the object is missed


def effect(segmenter: Paints, stretch: tuple[int, int] = (1, 1)) -> list[Row]:
    batch = batch_of(MASK, stretch)
    firsts = {segmenter.name: answer_of(segmenter, batch)}
    return click_effect(firsts, batch, seed=3, simulation={"max_clicks": 4})


def test_clicks_that_repair_their_surroundings() -> None:
    rows = effect(Paints("a", LACKING))
    assert [list(row) for row in rows] == [COLUMNS] * CLICK_SEEDS
    assert [row["click_seed"] for row in rows] == [0, 1, 2]
    for row in rows:
        assert row["iou_before"] == pytest.approx(22 / 48)
        assert row["iou_gain"] > 0.03
        assert row["iou_gain"] == pytest.approx(row["iou_after"] - row["iou_before"])
        assert row["biou_gain"] == pytest.approx(row["biou_after"] - row["biou_before"])
        assert row["random_places"] < row["iou_gain"]
        assert row["labels_exchanged"] <= 0  # what is missed stays so, what was right may be erased
        assert row["iou_gain_away"] == 0  # discs of 6 px reach nothing farther than 10 px
        assert (row["obeyed"], row["collateral"]) == (1, 0)
    assert len({row["iou_after"] for row in rows}) == CLICK_SEEDS  # other clicks each round


def test_masks_after_are_those_of_the_simulated_clicks() -> None:
    rows = effect(Paints("a", LACKING))
    clicks = simulate_clicks(
        LACKING, MASK, seeds=[derive_seed(3, "interact", 1, "set", "image")], max_clicks=4
    )
    painter = Paints("a", LACKING)
    after = painter.after(painter.first(None, None), clicks).logits > 0  # type: ignore[arg-type]
    expected = (after & MASK).sum() / (after | MASK).sum()
    assert rows[1]["iou_after"] == pytest.approx(float(expected))
    assert rows[1]["clicks"] == int(clicks.valid.sum())


def test_a_gain_that_ignores_where_the_clicks_are_shows_in_the_controls() -> None:
    class Repairer(Paints):
        def after(self, state: State, clicks: Clicks) -> State:
            return replace(state, logits=MASK.float() * 10 - 5)

    for row in effect(Repairer("a", LACKING)):
        gain = pytest.approx(26 / 48)
        assert (row["iou_gain"], row["random_places"], row["labels_exchanged"]) == (gain, gain, gain)
        assert row["iou_gain_away"] > 0.1


def test_damage_far_from_the_clicks_is_collateral() -> None:
    stray = 4  # 16 pixels of background, far from the missed half

    class Strays(Paints):
        def after(self, state: State, clicks: Clicks) -> State:
            logits = super().after(state, clicks).logits.clone()
            logits[0, 0, :stray, :stray] = 5.0
            return replace(state, logits=logits)

    for row in effect(Strays("a", LACKING)):
        right_and_away = SIDE**2 - 26 * 48
        assert stray**2 / right_and_away < row["collateral"] < 2 * stray**2 / right_and_away
        assert row["iou_gain_away"] < 0


def test_clicks_that_are_ignored_flip_nothing() -> None:
    for row in effect(Paints("deaf", LACKING, radius=0)):
        assert (row["iou_gain"], row["obeyed"], row["obeyed_guaranteed"]) == (0, 0, 1)


def test_the_distance_to_clicks_is_taken_in_the_original_image() -> None:
    for row in effect(Paints("a", LACKING, radius=6), stretch=(4, 1)):
        assert row["iou_gain_away"] > 0  # the discs are stretched to 24 px
    for row in effect(Paints("a", LACKING, radius=1.5), stretch=(4, 1)):
        assert row["iou_gain_away"] == 0 < row["iou_gain"]  # and these to 6 px


def test_a_perfect_mask_gets_no_click_and_no_score_for_obedience() -> None:
    rows = effect(Paints("a", MASK))
    for row in rows:
        assert (row["clicks"], row["iou_gain"], row["iou_gain_away"], row["collateral"]) == (0, 0, 0, 0)
        assert math.isnan(row["obeyed"])
    pooled = summarise_own(rows)["pooled"]
    assert (pooled["obeyed"], pooled["improved"]) == (None, 0)


def test_a_network_that_changes_without_clicks_is_found_out() -> None:
    model, batch = small_model().eval(), small_batch(1)
    straight = PiSamSegmenter(model).first(batch.image, batch.box)
    clicks = own_clicks(straight, batch, 0, seed=1, simulation={"min_area": 2})
    assert clicks.valid.any()
    assert equal_without_clicks(model, straight, clicks)
    assert not equal_without_clicks(model, replace(straight, logits=straight.logits + 1e-6), clicks)


def test_uses_of_a_model_get_the_same_clicks() -> None:
    batch = batch_of(MASK)
    deaf = answer_of(Paints("deaf", LACKING, radius=0), batch)
    firsts = {"alone": deaf, "guaranteed": replace(deaf, guarantee=True)}
    rows = click_effect(firsts, batch, seed=3, simulation={"max_clicks": 4})
    assert [row["model"] for row in rows] == ["alone", "guaranteed"] * CLICK_SEEDS
    for alone, guaranteed in zip(rows[::2], rows[1::2], strict=True):
        assert alone["iou_gain"] == 0 < float(guaranteed["iou_gain"])
        assert alone["oracle"] == guaranteed["oracle"] == pytest.approx(26 / 48)
        assert guaranteed["oracle_share"] == pytest.approx(float(guaranteed["iou_gain"]) * 48 / 26)
        assert (guaranteed["obeyed"], guaranteed["obeyed_guaranteed"]) == (0, 1)
    summary = summarise_own(rows)
    assert list(summary["uses"]) == ["alone", "guaranteed"]
    assert summary["pooled"] == summary["uses"]["alone"]["pooled"]


def test_summary_pools_rows_and_averages_gains_per_image_and_per_seed() -> None:
    gains = {("a", "1"): (0.3, 0.0, -0.1), ("a", "2"): (0.1, -0.2, 0.0), ("b", "1"): (0.1, 0.1, 0.1)}
    rows = [
        {
            **dict.fromkeys(COLUMNS, 0.0),
            **{"model": "Pi-SAM", "set": name, "image": image, "click_seed": seed, "iou_gain": gain},
        }
        for (name, image), values in gains.items()
        for seed, gain in enumerate(values)
    ]
    summary = summarise_own(rows)
    pooled = summary["pooled"]
    assert (pooled["images"], pooled["rows"]) == (3, 9)
    assert pooled["iou_gain"] == pytest.approx(0.4 / 9)
    assert pooled["improved"] == pytest.approx(2 / 3)
    assert pooled["iou_gain_per_seed"] == pytest.approx([0.5 / 3, -0.1 / 3, 0])
    assert summary["sets"]["a"]["iou_gain"] == pytest.approx(0.1 / 6)
    assert summary["sets"]["b"]["improved"] == 1
    assert [line.split()[1] for line in own_table(summary).splitlines()] == ["set", "a", "b", "pooled"]


def test_interact_on_a_trained_run(trained: Config, capsys: pytest.CaptureFixture[str]) -> None:
    interact(trained)
    assert "all clicks removed: masks equal" in capsys.readouterr().out
    folder = Path(trained.run_dir)
    summary = json.loads((folder / "interact" / "summary.json").read_text())
    in_training = json.loads((folder / "stage2" / "summary.json").read_text())["best"]
    assert summary["equal_without_clicks"] is True
    assert (summary["clicks"]["click_seeds"], summary["clicks"]["max_clicks"]) == (3, 10)
    for name in ("DIS5K-VD", "HRSOD-TE"):
        before = summary["sets"][name]["iou_before"]
        assert before == pytest.approx(in_training[f"val/{name}/iou_before"], abs=1e-6)
    with (folder / "interact" / "own_errors.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (len(rows), list(rows[0])) == (5 * 3 * 2, COLUMNS)
    assert {row["model"] for row in rows} == {"Pi-SAM", "Pi-SAM+guarantee"}
    assert all(float(row["obeyed_guaranteed"] or 1) == 1 for row in rows)
    alone = [row for row in rows if row["model"] == "Pi-SAM"]
    mean = sum(float(row["iou_gain"]) for row in alone) / len(alone)
    assert summary["pooled"]["iou_gain"] == pytest.approx(mean, abs=1e-6)
    assert any(float(row["iou_gain"]) for row in rows)


def test_without_a_trained_stage_2_it_says_so(untrained: Config) -> None:
    with pytest.raises(PisamError, match=r"needs a trained stage 2.*best\.ckpt"):
        interact(untrained)
    assert not (Path(untrained.run_dir) / "interact").exists()
