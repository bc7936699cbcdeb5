from __future__ import annotations

import numpy as np
import pytest
import torch

from pisam.core.types import Clicks
from pisam.data.transforms import frame_for_validation
from pisam.metrics.protocol import logits_to_original
from pisam.modeling.pisam import PiSam, build_model
from pisam.predictor import PiSamPredictor

HEIGHT, WIDTH, SIZE = 90, 160, 64
BOX = (20.0, 15.0, 120.0, 80.0)
CLICKS = [(30.5, 40.5, True), (100.0, 20.0, False), (0.0, 90.0, True)]


@pytest.fixture(scope="module")
def model() -> PiSam:
    """A nano model whose interactor acts as if trained."""
    torch.manual_seed(0)
    model = build_model("nano", image_size=SIZE)
    with torch.no_grad():
        for parameter in model.interactor.parameters():
            parameter.normal_(0, 0.2)
    return model.train()


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture
def predictor(model: PiSam, image: np.ndarray) -> PiSamPredictor:
    predictor = PiSamPredictor(model)
    predictor.set_image(image)
    return predictor


def by_hand(model: PiSam, image: np.ndarray, clicks: list[tuple[float, float, bool]]) -> np.ndarray:
    """The logits at the image's size, x and y scaled each by its own factor."""
    framed = frame_for_validation(image, np.ones((HEIGHT, WIDTH), dtype=bool), SIZE)
    frame = torch.from_numpy(framed.image).permute(2, 0, 1)[None]
    across, down = SIZE / WIDTH, SIZE / HEIGHT
    box = torch.tensor([[BOX[0] * across, BOX[1] * down, BOX[2] * across, BOX[3] * down]])
    points = torch.tensor([[[x * across, y * down] for x, y, _ in clicks]]).view(1, len(clicks), 2)
    labels = torch.tensor([[int(foreground) for *_, foreground in clicks]], dtype=torch.int64)
    valid = torch.ones(1, len(clicks), dtype=torch.bool)
    with torch.no_grad():
        logits = model(frame, box, Clicks(points, labels, valid)).high_res
    return logits_to_original(logits, (HEIGHT, WIDTH))[0, 0].numpy()


def test_every_answer_equals_the_model_called_by_hand(
    predictor: PiSamPredictor, model: PiSam, image: np.ndarray
) -> None:
    masks = [predictor.set_box(BOX)]
    answers = [predictor.logits]
    for x, y, foreground in CLICKS:
        masks.append(predictor.click(x, y, foreground))
        answers.append(predictor.logits)

    for number, (mask, logits) in enumerate(zip(masks, answers, strict=True)):
        np.testing.assert_allclose(logits, by_hand(model, image, CLICKS[:number]), atol=1e-5)
        assert mask.dtype == bool and mask.shape == (HEIGHT, WIDTH)
        np.testing.assert_array_equal(mask, logits > 0)
        if number:
            assert np.abs(logits - answers[number - 1]).max() > 1e-3  # each click does something


def test_soft_mask_is_the_probability_of_the_logits(predictor: PiSamPredictor) -> None:
    predictor.set_box(BOX)
    soft = predictor.soft_mask
    assert soft.dtype == predictor.logits.dtype == np.float32
    np.testing.assert_allclose(soft, 1 / (1 + np.exp(-predictor.logits)), atol=1e-6)
    np.testing.assert_array_equal(soft > 0.5, predictor.mask)


def test_undo_restores_exactly(predictor: PiSamPredictor) -> None:
    predictor.set_box(BOX)
    states = [predictor.logits]
    for x, y, foreground in CLICKS:
        predictor.click(x, y, foreground)
        states.append(predictor.logits)

    for before in reversed(states[:-1]):
        mask = predictor.undo()
        np.testing.assert_array_equal(predictor.logits, before)
        np.testing.assert_array_equal(mask, before > 0)
    predictor.click(*CLICKS[0])
    np.testing.assert_array_equal(predictor.logits, states[1])  # undone clicks are really gone


def test_image_is_encoded_once(predictor: PiSamPredictor, model: PiSam, image: np.ndarray) -> None:
    calls: list[object] = []
    hook = model.encoder.image_encoder.register_forward_hook(lambda *call: calls.append(call))
    predictor.set_image(image)
    predictor.set_box(BOX)
    predictor.click(*CLICKS[0])
    predictor.set_box((0, 0, WIDTH, HEIGHT))
    hook.remove()
    assert len(calls) == 1


def test_reset_a_new_box_and_a_new_image_forget_the_clicks(
    predictor: PiSamPredictor, image: np.ndarray
) -> None:
    first = predictor.set_box(BOX)
    straight_forward = predictor.logits
    predictor.click(*CLICKS[0])
    np.testing.assert_array_equal(predictor.set_box(BOX), first)
    np.testing.assert_array_equal(predictor.logits, straight_forward)

    predictor.click(*CLICKS[0])
    predictor.reset()
    with pytest.raises(ValueError, match="expected a box first"):
        _ = predictor.mask
    predictor.set_box(BOX)
    np.testing.assert_array_equal(predictor.logits, straight_forward)

    predictor.set_image(image[:, ::-1])
    with pytest.raises(ValueError, match="expected a box first"):
        predictor.click(*CLICKS[0])


def test_model_is_put_into_evaluation_mode(predictor: PiSamPredictor) -> None:
    assert not predictor.model.training


def test_questions_in_the_wrong_order_are_refused(model: PiSam, image: np.ndarray) -> None:
    predictor = PiSamPredictor(model)
    for question in (lambda: predictor.set_box(BOX), lambda: predictor.click(1, 1), lambda: predictor.mask):
        with pytest.raises(ValueError, match="expected an image first; call set_image"):
            question()
    predictor.set_image(image)
    with pytest.raises(ValueError, match="click: expected a box first; call set_box"):
        predictor.click(1, 1)
    predictor.set_box(BOX)
    with pytest.raises(ValueError, match="there is no click to take back"):
        predictor.undo()


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((5, 6, 3)),
        np.zeros((5, 6), np.uint8),
        np.zeros((5, 6, 4), np.uint8),
        np.zeros((3, 5, 6), np.uint8),
        np.zeros((0, 6, 3), np.uint8),
    ],
    ids=["float", "grey", "RGBA", "channels first", "empty"],
)
def test_other_images_are_refused(predictor: PiSamPredictor, wrong: np.ndarray) -> None:
    predictor.set_box(BOX)
    with pytest.raises(ValueError, match=r"image: expected uint8 \(H, W, 3\) RGB, got"):
        predictor.set_image(wrong)
    assert predictor.mask.shape == (HEIGHT, WIDTH)  # the image before is still there


@pytest.mark.parametrize(
    "box",
    [(10, 10, 10, 20), (20, 10, 10, 20), (-1, 0, 10, 10), (0, 0, 161, 90), (0, 0, 160, 91), (0, 0, 5)],
)
def test_boxes_without_area_or_outside_are_refused(predictor: PiSamPredictor, box: tuple) -> None:
    with pytest.raises(ValueError, match="box: expected 0 <= x0 < x1 <= 160 and 0 <= y0 < y1 <= 90, got"):
        predictor.set_box(box)


@pytest.mark.parametrize("point", [(-0.1, 5), (5, -0.1), (160.1, 5), (5, 90.1), (float("nan"), 5)])
def test_clicks_outside_the_image_are_refused_and_leave_no_trace(
    predictor: PiSamPredictor, point: tuple[float, float]
) -> None:
    predictor.set_box(BOX)
    before = predictor.logits
    with pytest.raises(ValueError, match="click: expected 0 <= x <= 160 and 0 <= y <= 90, got"):
        predictor.click(*point)
    np.testing.assert_array_equal(predictor.logits, before)
