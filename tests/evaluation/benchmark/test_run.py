"""The benchmark asks as its protocol says and measures what came, on models whose answers are known."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from helpers.reference import ritm_click
from pisam.evaluation.benchmark.entrant import Answer, WrongAnswer, as_logits
from pisam.evaluation.benchmark.record import ClickProtocol
from pisam.evaluation.benchmark.run import Scene, click_scene, own_copy
from pisam.evaluation.parallel import threads_beside

SIDE = 48


class Paints:
    """Says "object" in a disc around each click with label 1 and "not" around the others."""

    name = "paints"

    def __init__(self, radius: int = 7) -> None:
        self.radius, self.told, self.given, self.encoded = radius, [], [], 0

    def encode(self, image: np.ndarray) -> None:
        self.encoded += 1
        self.size = image.shape[:2]

    def answer(self, prompt: Any, clicks: np.ndarray, previous: Any) -> Any:
        self.told.append((prompt, clicks.tolist()))
        self.given.append(previous)
        canvas = np.full(self.size, -5, np.float32)
        if prompt is not None:
            x0, y0, x1, y1 = map(int, prompt)
            canvas[y0:y1, x0:x1] = 5
        for x, y, label in clicks:
            cv2.circle(canvas, (int(x), int(y)), self.radius, 5 if label else -5, -1)
        return canvas


def scene(mask: np.ndarray | None = None, unknown: np.ndarray | None = None) -> Scene:
    if mask is None:
        mask = np.zeros((SIDE, SIDE + 10), bool)
        mask[6:40, 8:30], mask[20:26, 12:20], mask[30:36, 40:46] = True, False, True
    pixels = np.zeros((*mask.shape, 3), np.uint8)
    return Scene("set", "image", pixels, mask, unknown, "0" * 64, "1" * 64)


def measure(model: Any, protocol: ClickProtocol, where: Scene | None = None, **options: Any):
    with threads_beside(0) as threads:
        return click_scene(model, where or scene(), protocol, threads, **options)


def plain_run(model: Any, mask: np.ndarray, clicks: int) -> tuple[list, list]:
    """The benchmark as RITM's own loop has it, on the plain clicker."""
    prediction, told, ious = np.zeros_like(mask), [], []
    model.encode(np.zeros((*mask.shape, 3), np.uint8))
    for _ in range(clicks):
        click = ritm_click(prediction, mask, {(int(x), int(y)) for x, y, _ in told})
        if click is None:
            break
        told.append((click[0] + 0.5, click[1] + 0.5, click[2]))
        prediction = model.answer(None, np.array(told), None) > 0
        ious.append((prediction & mask).sum() / (prediction | mask).sum())
    return told, ious


@pytest.mark.parametrize("radius", [1, 4, 7, 11])
def test_clicks_and_scores_are_those_of_a_plain_loop(radius: int) -> None:
    record = measure(Paints(radius), ClickProtocol(clicks=9))
    told, ious = plain_run(Paints(radius), scene().mask, 9)
    assert list(record.clicks) == told
    assert list(record.iou) == ious
    assert len(record.biou) == len(record.seconds) == len(told) and record.start is None


def test_an_image_is_encoded_once_and_the_first_click_is_the_prompt() -> None:
    model = Paints()
    measure(model, ClickProtocol(clicks=4), with_controls=False)
    assert model.encoded == 1
    assert [len(clicks) for _, clicks in model.told] == [1, 2, 3, 4]
    assert all(prompt is None for prompt, _ in model.told)
    assert model.given[0] is None
    assert [given is not None for given in model.given[1:]] == [True] * 3


def test_a_box_is_answered_before_any_click() -> None:
    model = Paints(3)
    record = measure(model, ClickProtocol("box", clicks=3), with_controls=False)
    assert model.told[0] == ((8, 6, 46, 40), [])
    inside = scene().mask.sum() / (38 * 34)
    assert record.start is not None and record.start[0] == pytest.approx(inside)
    assert record.clicks[0][2] == 0  # the corner of the box that is no object


def test_points_lie_on_the_object_and_do_not_look_at_answers() -> None:
    protocol = ClickProtocol("points", clicks=6, seed=2)
    one, other = measure(Paints(2), protocol), measure(Paints(9), protocol)
    assert one.clicks == other.clicks and len(set(one.clicks)) == 6
    assert all(label == 1 and scene().mask[int(y), int(x)] for x, y, label in one.clicks)
    assert measure(Paints(2), ClickProtocol("points", clicks=6, seed=3)).clicks != one.clicks


def test_people_click_elsewhere_by_seed_and_a_delay_makes_them_late() -> None:
    def clicks(**changes: Any):
        return measure(Paints(), ClickProtocol("clicks", "human", 6, **changes)).clicks

    assert clicks() == clicks() != clicks(seed=1)
    assert clicks(jitter=0) != clicks(jitter=3)
    late = clicks(delay=2, jitter=0)
    assert {label for *_, label in late[:3]} == {1}  # all three look at the empty mask
    assert late != clicks(jitter=0)


def test_a_perfect_answer_ends_the_clicking() -> None:
    class Knows(Paints):
        def answer(self, prompt: Any, clicks: np.ndarray, previous: Any) -> np.ndarray:
            return scene().mask - 0.5

    record = measure(Knows(), ClickProtocol())
    assert (len(record.clicks), record.iou, record.controls) == (1, (1.0,), {})


def test_unknown_pixels_count_neither_way() -> None:
    unknown = np.zeros((SIDE, SIDE + 10), bool)
    unknown[:, 28:] = True
    known = scene().mask & ~unknown
    record = measure(Paints(), ClickProtocol(clicks=5), scene(known, unknown))
    cut = measure(Paints(), ClickProtocol(clicks=5), scene(known[:, :28]))
    assert record.iou[-1] < 1 and all(x < 28 for x, _, _ in record.clicks)
    assert len(cut.clicks) == len(record.clicks)


def test_controls_say_whether_clicks_or_luck_helped() -> None:
    record = measure(Paints(4), ClickProtocol(clicks=8))
    controls, gain = record.controls, record.iou[-1] - record.iou[0]
    assert controls["labels_exchanged"] < controls["spoilt"] <= gain + 1e-9
    assert controls["random_places"] < gain
    assert controls["obeyed"] == 1 and 0 <= controls["collateral"] <= 1
    deaf = measure(Paints(0), ClickProtocol(clicks=4)).controls
    assert abs(deaf["random_places"]) < 0.01


@pytest.mark.parametrize("prompt", ["clicks", "box"])
@pytest.mark.parametrize(
    "give",
    [np.asarray, torch.from_numpy, lambda canvas: Answer(canvas, canvas)],
    ids=["array", "tensor", "own"],
)
def test_controls_start_at_the_first_answer_whatever_becomes_of_it(prompt: Any, give: Any) -> None:
    """One model paints into its last answer and returns it again, the other makes a new one each time."""

    class Goes(Paints):
        writes = True

        def answer(self, prompt: Any, clicks: np.ndarray, previous: Any) -> Any:
            if previous is None:
                return give(super().answer(prompt, clicks, None))
            canvas = np.asarray(previous)
            if not self.writes:
                canvas = canvas.copy()
            for x, y, label in clicks[-1:]:
                cv2.circle(canvas, (int(x), int(y)), self.radius, 5 if label else -5, -1)
            return give(canvas)

    protocol, other = ClickProtocol(prompt, clicks=5), Goes(4)
    other.writes = False
    assert measure(Goes(4), protocol).controls == measure(other, protocol).controls


def test_a_tensor_with_its_graph_and_what_cannot_be_copied_are_answers_too() -> None:
    tensor = torch.ones(2, requires_grad=True) * 2
    copy = own_copy(tensor)
    tensor.detach().zero_()
    assert copy.tolist() == [2, 2] and own_copy([tensor])[0] is tensor


def test_a_model_may_keep_what_it_needs_with_its_answer() -> None:
    class Keeps(Paints):
        def answer(self, prompt: Any, clicks: np.ndarray, previous: Any) -> Answer:
            logits = super().answer(prompt, clicks, previous)
            return Answer(logits, 1 + (0 if previous is None else previous.memory))

    model = Keeps()
    measure(model, ClickProtocol(clicks=4), with_controls=False)
    assert [given.memory for given in model.given[1:]] == [1, 2, 3]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "answered nothing"),
        (np.full((SIDE, SIDE + 10), np.nan), "answered NaN"),
        (np.zeros((SIDE, SIDE)), r"answered shape \(48, 48\), expected \(48, 58\)"),
        (np.zeros((1, SIDE, SIDE + 10)), "answered shape"),
        ("mask", "answered str, expected logits"),
        ([[1], [2, 3]], "answered list, expected logits"),
        (np.full((SIDE, SIDE + 10), 0.5j), "answered ndarray, expected logits"),
        (np.linspace(0, 1, SIDE * (SIDE + 10)).reshape(SIDE, -1), "answered 0 to 1, expected logits"),
        (np.full((SIDE, SIDE + 10), 0.3) + 0.6 * scene().mask, r"answered 0\.3 to 0\.9, expected logits"),
        (np.linspace(0, 255, SIDE * (SIDE + 10)).reshape(SIDE, -1), "answered 0 to 255, expected logits"),
        (np.linspace(0.01, 99.9, SIDE * (SIDE + 10)).reshape(SIDE, -1), "expected logits"),
        (torch.full((SIDE, SIDE + 10), 0.5j), "answered Tensor, expected logits"),
        (torch.arange(SIDE * (SIDE + 10)).reshape(SIDE, -1), "answered 0 to 2783"),
        ((np.arange(SIDE * (SIDE + 10)) % 256).astype(np.uint8).reshape(SIDE, -1), "answered 0 to 255"),
    ],
)
def test_what_is_no_answer_is_told(answer: Any, message: str) -> None:
    with pytest.raises(WrongAnswer, match=message):
        as_logits(answer, (SIDE, SIDE + 10))


@pytest.mark.parametrize(
    "kind",
    [
        lambda mask: mask,
        lambda mask: mask.astype(np.uint8) * 255,
        lambda mask: mask.tolist(),
        lambda mask: mask * 0.5,
        lambda mask: np.where(mask, 1e-60, -1e-60),
        lambda mask: np.where(mask, 1e300, -np.inf),
        lambda mask: torch.from_numpy(np.where(mask, 1e-60, -1e-60)),
        lambda mask: torch.from_numpy(mask - 0.5).bfloat16().requires_grad_(),
    ],
)
def test_masks_and_logits_of_any_size_say_what_is_object(kind: Any) -> None:
    mask = scene().mask
    np.testing.assert_array_equal(as_logits(kind(mask), mask.shape) > 0, mask)


def test_all_of_an_image_may_be_object() -> None:
    assert (as_logits(np.linspace(2, 9, SIDE**2).reshape(SIDE, -1), (SIDE, SIDE)) > 0).all()


@pytest.mark.parametrize("slow", ["encode", "answer"])
def test_a_limit_holds_where_nothing_can_be_interrupted(slow: str) -> None:
    """As in a library's long call, or in a thread beside the main one."""

    class Slow(Paints):
        def encode(self, image: np.ndarray) -> None:
            time.sleep(0.1 * (slow == "encode"))
            super().encode(image)

        def answer(self, prompt: Any, clicks: np.ndarray, previous: Any) -> np.ndarray:
            time.sleep(0.1 * (slow == "answer"))
            return super().answer(prompt, clicks, previous)

    with (
        ThreadPoolExecutor() as beside,
        pytest.raises(WrongAnswer, match=r"took longer than 0\.05 s"),
    ):
        beside.submit(measure, Slow(), ClickProtocol(clicks=1), limit=0.05).result()


def test_a_slow_model_is_ended() -> None:
    class Slow(Paints):
        def answer(self, prompt: Any, clicks: np.ndarray, previous: Any) -> np.ndarray:
            while len(clicks) == 2:
                time.sleep(0.01)
            return super().answer(prompt, clicks, previous)

    start = time.monotonic()
    with pytest.raises(WrongAnswer, match=r"longer than 0\.5 s"):
        measure(Slow(), ClickProtocol(clicks=3), limit=0.5)
    assert time.monotonic() - start < 30
