"""What clicks change is measured as defined: on networks whose answer is known, and on a trained one."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pisam.clicks.simulate import simulate_clicks
from pisam.commands.interact import interact
from pisam.config.schema import Config
from pisam.core.errors import PisamError
from pisam.core.seeding import derive_seed
from pisam.core.types import Batch, Clicks, ObjectFeatures
from pisam.evaluation.interaction.controls import near_clicks
from pisam.evaluation.interaction.own_errors import ROUNDS, click_effect
from pisam.evaluation.interaction.own_errors_table import clicks_table, summarise_clicks
from pisam.modeling.segmenters import EncodedImage, State

SIDE = 64
COLUMNS = [
    *("set", "image", "seed", "clicks"),
    *("iou_before", "iou_after", "iou_gain", "biou_before", "biou_after", "biou_gain"),
    *("iou_gain_flipped", "iou_gain_random", "iou_gain_away", "clicked_flipped", "collateral"),
]


class Painter:
    """Answers every click with a disc of the click's label around it; the first answer is given.

    Args:
        logits: (1, 1, S, S), the straight-forward ones.
        radius: of the discs, in pixels of the frame.
        stray: leaves something else wrong whatever is clicked: this corner becomes object.
    """

    def __init__(self, logits: Tensor, radius: float = 6, stray: int = 0) -> None:
        self.logits, self.radius, self.stray = logits, radius, stray

    def first(self, batch: Batch) -> State:
        """What `click_effect` needs of its answer to the box."""
        nothing = torch.zeros(1, 0)
        encoded = EncodedImage(batch.image, nothing, nothing, torch.nn.Identity())
        return State(self.logits, nothing, encoded, batch.box, ObjectFeatures(nothing, nothing))

    def interact(self, objects: ObjectFeatures, image: Tensor, clicks: Clicks, colours: None) -> Tensor:
        painted = self.logits.clone()
        points, labels = clicks.points[0][clicks.valid[0]], clicks.labels[0][clicks.valid[0]]
        for point, label in zip(points, labels, strict=True):
            disc = near_clicks(point[None], self.logits.shape[-2:], self.radius)
            painted[0, 0][disc] = 5.0 if label == 1 else -5.0
        if len(points) and self.stray:
            painted[0, 0, : self.stray, : self.stray] = 5.0
        return painted


def square(left: int, top: int, right: int, bottom: int) -> Tensor:
    mask = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.bool)
    mask[..., top:bottom, left:right] = True
    return mask


def batch_of(mask: Tensor, stretch: tuple[int, int] = (1, 1)) -> Batch:
    """One sample whose original is larger than its frame, by `stretch` in x and y."""
    original = mask[0, 0].repeat_interleave(stretch[0], dim=1).repeat_interleave(stretch[1], dim=0)
    return Batch(
        image=torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8),
        mask=mask,
        box=torch.tensor([[0.0, 0.0, SIDE, SIDE]]),
        extent=torch.tensor([[float(SIDE), float(SIDE)]]),
        ids=["image"],
        sets=["set"],
        seeds=[1],
        original_masks=[original],
    )


def logits_of(mask: Tensor) -> Tensor:
    return mask.float() * 10 - 5


MASK = square(8, 8, 56, 56)
LACKING = square(8, 8, 56, 30)  # the lower half of the object is missed


def effect(painter: Painter, stretch: tuple[int, int] = (1, 1)) -> tuple[list[dict], bool]:
    batch = batch_of(MASK, stretch)
    return click_effect(painter, painter.first(batch), batch, seed=3, simulation={"max_clicks": 4})  # type: ignore[arg-type]


def test_clicks_that_repair_their_surroundings() -> None:
    rows, equal = effect(Painter(logits_of(LACKING)))
    assert equal
    assert [list(row) for row in rows] == [COLUMNS] * ROUNDS
    assert [row["seed"] for row in rows] == [0, 1, 2]
    for row in rows:
        assert row["iou_before"] == pytest.approx(22 / 48)
        assert row["iou_gain"] > 0.03
        assert row["iou_gain"] == pytest.approx(row["iou_after"] - row["iou_before"])
        assert row["biou_gain"] == pytest.approx(row["biou_after"] - row["biou_before"])
        assert row["iou_gain_random"] < row["iou_gain"]
        assert row["iou_gain_flipped"] <= 0  # what is missed stays so, what was right may be erased
        assert row["iou_gain_away"] == 0  # discs of 6 px reach nothing farther than 10 px
        assert (row["clicked_flipped"], row["collateral"]) == (1, 0)
    assert len({row["iou_after"] for row in rows}) == ROUNDS  # other clicks each round


def test_masks_after_are_those_of_the_simulated_clicks() -> None:
    rows, _ = effect(Painter(logits_of(LACKING)))
    clicks = simulate_clicks(
        LACKING, MASK, seeds=[derive_seed(3, "interact", 1, "set", "image")], max_clicks=4
    )
    after = Painter(logits_of(LACKING)).interact(None, None, clicks, None) > 0  # type: ignore[arg-type]
    expected = (after & MASK).sum() / (after | MASK).sum()
    assert rows[1]["iou_after"] == pytest.approx(float(expected))
    assert rows[1]["clicks"] == int(clicks.valid.sum())


def test_a_gain_that_ignores_where_the_clicks_are_shows_in_the_controls() -> None:
    class Repairer(Painter):
        def interact(self, objects: ObjectFeatures, image: Tensor, clicks: Clicks, colours: None) -> Tensor:
            return logits_of(MASK) if clicks.valid.any() else self.logits

    for row in effect(Repairer(logits_of(LACKING)))[0]:
        gain = pytest.approx(26 / 48)
        assert (row["iou_gain"], row["iou_gain_random"], row["iou_gain_flipped"]) == (gain, gain, gain)
        assert row["iou_gain_away"] > 0.1


def test_damage_far_from_the_clicks_is_collateral() -> None:
    stray = 4  # 16 pixels of background, far from the missed half
    for row in effect(Painter(logits_of(LACKING), stray=stray))[0]:
        right_and_away = SIDE**2 - 26 * 48
        assert stray**2 / right_and_away < row["collateral"] < 2 * stray**2 / right_and_away
        assert row["iou_gain_away"] < 0


def test_clicks_that_are_ignored_flip_nothing() -> None:
    class Deaf(Painter):
        def interact(self, objects: ObjectFeatures, image: Tensor, clicks: Clicks, colours: None) -> Tensor:
            return self.logits

    for row in effect(Deaf(logits_of(LACKING)))[0]:
        assert (row["iou_gain"], row["clicked_flipped"]) == (0, 0)


def test_the_distance_to_clicks_is_taken_in_the_original_image() -> None:
    for row in effect(Painter(logits_of(LACKING), radius=6), stretch=(4, 1))[0]:
        assert row["iou_gain_away"] > 0  # the discs are stretched to 24 px
    for row in effect(Painter(logits_of(LACKING), radius=1.5), stretch=(4, 1))[0]:
        assert row["iou_gain_away"] == 0 < row["iou_gain"]  # and these to 6 px


def test_a_perfect_mask_gets_no_click_and_no_score_for_obedience() -> None:
    rows, equal = effect(Painter(logits_of(MASK)))
    assert equal
    for row in rows:
        assert (row["clicks"], row["iou_gain"], row["iou_gain_away"], row["collateral"]) == (0, 0, 0, 0)
        assert math.isnan(row["clicked_flipped"])
    pooled = summarise_clicks(rows)["pooled"]
    assert (pooled["clicked_flipped"], pooled["improved"]) == (None, 0)


def test_a_network_that_changes_without_clicks_is_found_out() -> None:
    class Restless(Painter):
        def interact(self, objects: ObjectFeatures, image: Tensor, clicks: Clicks, colours: None) -> Tensor:
            return self.logits + 1e-6

    assert not effect(Restless(logits_of(LACKING)))[1]


def test_summary_pools_rows_and_averages_gains_per_image_and_per_seed() -> None:
    gains = {("a", "1"): (0.3, 0.0, -0.1), ("a", "2"): (0.1, -0.2, 0.0), ("b", "1"): (0.1, 0.1, 0.1)}
    rows = [
        {**dict.fromkeys(COLUMNS, 0.0), "set": name, "image": image, "seed": seed, "iou_gain": gain}
        for (name, image), values in gains.items()
        for seed, gain in enumerate(values)
    ]
    summary = summarise_clicks(rows)
    pooled = summary["pooled"]
    assert (pooled["images"], pooled["rows"]) == (3, 9)
    assert pooled["iou_gain"] == pytest.approx(0.4 / 9)
    assert pooled["improved"] == pytest.approx(2 / 3)
    assert pooled["iou_gain_per_seed"] == pytest.approx([0.5 / 3, -0.1 / 3, 0])
    assert summary["sets"]["a"]["iou_gain"] == pytest.approx(0.1 / 6)
    assert summary["sets"]["b"]["improved"] == 1
    assert [line.split()[0] for line in clicks_table(summary).splitlines()] == ["set", "a", "b", "pooled"]


def test_interact_on_a_trained_run(trained: Config, capsys: pytest.CaptureFixture[str]) -> None:
    interact(trained)
    assert "all clicks removed: masks equal" in capsys.readouterr().out
    folder = Path(trained.run_dir)
    summary = json.loads((folder / "interact" / "summary.json").read_text())
    in_training = json.loads((folder / "stage2" / "summary.json").read_text())["best"]
    assert summary["equal_without_clicks"] is True
    assert (summary["clicks"]["rounds"], summary["clicks"]["max_clicks"]) == (3, 10)
    for name in ("DIS5K-VD", "HRSOD-TE"):
        before = summary["sets"][name]["iou_before"]
        assert before == pytest.approx(in_training[f"val/{name}/iou_before"], abs=1e-6)
    with (folder / "interact" / "own_errors.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (len(rows), list(rows[0])) == (5 * 3, COLUMNS)
    mean = sum(float(row["iou_gain"]) for row in rows) / len(rows)
    assert summary["pooled"]["iou_gain"] == pytest.approx(mean, abs=1e-6)
    assert any(float(row["iou_gain"]) for row in rows)


def test_without_a_trained_stage_2_it_says_so(untrained: Config) -> None:
    with pytest.raises(PisamError, match=r"needs a trained stage 2.*best\.ckpt"):
        interact(untrained)
    assert not (Path(untrained.run_dir) / "interact").exists()
