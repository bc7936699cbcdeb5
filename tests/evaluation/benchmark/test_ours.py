"""SAM, HQ-SAM and Pi-SAM enter the benchmark as they answer elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.small_runs import small_model
from pisam.core.types import Clicks, Prompts
from pisam.data.transforms import frame_for_validation
from pisam.evaluation.benchmark.adapters.ours import Encodings, Ours
from pisam.evaluation.benchmark.protocol import ClickProtocol
from pisam.evaluation.benchmark.run import Scene, click_scene
from pisam.evaluation.threads import threads_beside
from pisam.metrics.protocol import logits_to_original
from pisam.modeling.hq_sam import build_hq_sam
from pisam.modeling.segmenters import HqSamSegmenter, PiSamSegmenter, SamSegmenter

IMAGE = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
CLICKS = np.array([[20.5, 40.5, 1], [50.5, 10.5, 0], [30.5, 60.5, 1]])


@pytest.fixture(scope="module")
def model():
    model = small_model().eval()
    torch.nn.init.normal_(model.interactor.residual.weight, std=0.5)
    return model


def in_frame(rows: np.ndarray, side: int) -> Clicks:
    points = torch.tensor(rows[None, :, :2] * (side / 70, side / 90)).float()
    labels = torch.tensor(rows[None, :, 2]).long()
    return Clicks(points, labels, torch.ones_like(labels, dtype=torch.bool))


def frame_of(side: int) -> torch.Tensor:
    framed = frame_for_validation(IMAGE, np.ones((90, 70), bool), side)
    return torch.from_numpy(framed.image).permute(2, 0, 1)[None]


@pytest.mark.parametrize("kind", ["sam", "sam+mask", "hq", "pi"])
def test_the_first_click_is_sams_point_and_the_others_are_clicks_on_the_answer(model, kind: str) -> None:
    made = {"pi": PiSamSegmenter, "hq": HqSamSegmenter}.get(kind, SamSegmenter)
    network = build_hq_sam("nano", image_size=model.image_size).eval() if kind == "hq" else model
    segmenter = made(network, mask_input=True) if "+" in kind else made(network)
    entrant = Ours(segmenter, Encodings())
    entrant.encode(IMAGE)
    answer = entrant.answer(None, CLICKS[:1], None)
    side = model.image_size
    prompts = Prompts(["points"], in_frame(CLICKS[:1], side), torch.zeros(1, 1, side // 4, side // 4))
    with torch.inference_mode():
        state = segmenter.first(frame_of(side), torch.zeros(1, 4), prompts=prompts)
        first = logits_to_original(state.logits, (90, 70))[0, 0].numpy()
        state = segmenter.after(state, in_frame(CLICKS[1:], side))
        second = logits_to_original(state.logits, (90, 70))[0, 0].numpy()
    np.testing.assert_allclose(answer.logits, first, atol=1e-5)
    np.testing.assert_allclose(entrant.answer(None, CLICKS, answer).logits, second, atol=1e-5)
    assert not np.allclose(first, second)


def test_a_box_is_answered_as_by_the_segmenter(model) -> None:
    segmenter = PiSamSegmenter(model)
    entrant = Ours(segmenter, Encodings())
    entrant.encode(IMAGE)
    side = model.image_size
    box = torch.tensor([[7 * side / 70, 9 * side / 90, 63 * side / 70, 45 * side / 90]])
    with torch.inference_mode():
        state = segmenter.first(frame_of(side), box)
        expected = logits_to_original(segmenter.after(state, in_frame(CLICKS, side)).logits, (90, 70))
    first = entrant.answer((7, 9, 63, 45), CLICKS[:0], None)
    np.testing.assert_allclose(
        entrant.answer((7, 9, 63, 45), CLICKS, first).logits, expected[0, 0].numpy(), atol=1e-5
    )


def test_models_on_one_sam_encode_an_image_once(model, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    encoder = model.encoder.image_encoder
    monkeypatch.setattr(encoder, "forward", lambda *a, f=encoder.forward: calls.append(1) or f(*a))
    encodings = Encodings()
    entrants = [
        Ours(segmenter, encodings)
        for segmenter in (
            SamSegmenter(model),
            SamSegmenter(model, "SAM+mask", mask_input=True),
            PiSamSegmenter(model),
        )
    ]
    mask = np.zeros((90, 70), bool)
    mask[20:70, 10:50] = True
    scene = Scene("set", "image", IMAGE, mask, None, "0" * 64, "1" * 64)
    with threads_beside(0) as threads:
        records = [click_scene(entrant, scene, ClickProtocol(clicks=3), threads) for entrant in entrants]
    assert len(calls) == 1
    assert all(len(record.clicks) == 3 for record in records)
    assert records[0].iou != records[1].iou
    another = IMAGE.copy()
    for entrant in entrants:
        entrant.encode(another)
    assert len(calls) == 2
