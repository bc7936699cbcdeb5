from __future__ import annotations

import pytest
import torch

from pisam.clicks.inspection import inspect_errors
from pisam.clicks.simulate import simulate_clicks

LOGITS = torch.zeros(2, 1, 8, 9)
MASK = torch.zeros(2, 1, 8, 9, dtype=torch.bool)
NAN = LOGITS.index_put(
    (torch.tensor(1), torch.tensor(0), torch.tensor(3), torch.tensor(4)), torch.tensor(torch.nan)
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prediction": LOGITS[:, 0]}, r"prediction: expected shape \(B, 1, H, W\), got \(2, 8, 9\)"),
        ({"prediction": LOGITS[..., :0]}, r"prediction: expected shape \(B, 1, H, W\), got \(2, 1, 8, 0\)"),
        ({"prediction": LOGITS.int()}, "prediction: expected float logits or bool, got torch.int32"),
        ({"prediction": LOGITS.numpy()}, r"prediction: expected a tensor \(B, 1, H, W\), got ndarray"),
        ({"prediction": NAN}, "prediction: expected logits, got NaN in sample 1"),
        ({"mask": MASK.expand(-1, 3, -1, -1)}, r"mask: expected shape \(B, 1, H, W\), got \(2, 3, 8, 9\)"),
        ({"mask": MASK[:1]}, r"mask: expected the prediction's shape \(2, 1, 8, 9\), got \(1, 1, 8, 9\)"),
        ({"mask": LOGITS}, "mask: expected bool, got torch.float32"),
        ({"mask": MASK.to("meta")}, "mask: expected the prediction's device cpu, got meta"),
        ({"region": MASK[..., 1:]}, r"region: expected the prediction's shape .*, got \(2, 1, 8, 8\)"),
        ({"region": MASK.byte()}, "region: expected bool, got torch.uint8"),
        ({"seeds": [1]}, "seeds: expected one integer per sample, 2 in all, got 1"),
        ({"seeds": 7}, "seeds: expected one integer per sample, 2 in all, got the single value 7"),
        ({"seeds": [1, -1]}, "seeds: expected integers >= 0, got -1"),
        ({"seeds": [1, 0.5]}, "seeds: expected integers >= 0, got 0.5"),
        ({"policy": "papre"}, "policy: expected one of paper, released, .*, got 'papre'"),
        ({"max_clicks": 0}, "max_clicks: expected a whole number from 1 up, got 0"),
        ({"seeds": None}, "seeds: expected one integer per sample, 2 in all, got the single value None"),
        ({"max_clicks": True}, "max_clicks: expected a whole number from 1 up, got True"),
        ({"connectivity": 8.0}, "connectivity: expected 4 or 8, got 8.0"),
        ({"max_clicks": 2.5}, "max_clicks: expected a whole number from 1 up, got 2.5"),
        ({"min_area": 0}, "min_area: expected a whole number from 1 up, got 0"),
        ({"margin": 1.0}, "margin: expected a share of the depth, 0 <= margin < 1, got 1.0"),
        ({"margin": 1 - 1e-9}, "margin: expected a share of the depth"),
        ({"margin": -0.1}, "margin: expected a share of the depth"),
        ({"connectivity": 6}, "connectivity: expected 4 or 8, got 6"),
        (
            {"policy": "noisy", "noise": 1.5},
            "noise: expected a share of the clicks, 0 <= noise <= 1, got 1.5",
        ),
        ({"noise": 0.1}, "noise: expected 0 unless policy is 'noisy', got 0.1 for 'paper'"),
    ],
)
def test_bad_input_is_named(changes, message):
    arguments = {"prediction": LOGITS, "mask": MASK, "seeds": [0, 1]} | changes
    with pytest.raises(ValueError, match=message):
        simulate_clicks(arguments.pop("prediction"), arguments.pop("mask"), **arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": MASK[:1]}, "mask: expected the prediction's shape"),
        ({"prediction": NAN}, "prediction: expected logits, got NaN in sample 1"),
        ({"min_area": 0}, "min_area: expected a whole number from 1 up, got 0"),
        ({"connectivity": 6}, "connectivity: expected 4 or 8, got 6"),
    ],
)
def test_bad_input_to_the_inspection_is_named(changes, message):
    arguments = {"prediction": LOGITS, "mask": MASK} | changes
    with pytest.raises(ValueError, match=message):
        inspect_errors(arguments.pop("prediction"), arguments.pop("mask"), **arguments)


def test_tensor_of_seeds_is_named():
    with pytest.raises(ValueError, match="seeds: expected integers >= 0"):
        simulate_clicks(LOGITS, MASK, seeds=torch.tensor([0.0, 1.0]))
