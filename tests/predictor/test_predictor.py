from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.odd_files import exif_of
from helpers.png import write_png
from pisam.clicks.guarantee import share_obeyed
from pisam.core.errors import PisamError
from pisam.core.types import Clicks
from pisam.data.reading.reader import read_image
from pisam.data.transforms import frame_for_validation
from pisam.metrics.protocol import logits_to_original
from pisam.modeling.checkpoint import load_model
from pisam.modeling.pisam import PiSam, build_model
from pisam.predictor import PiSamPredictor
from pisam.predictor.images import as_mask, as_rgb

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


@pytest.fixture
def network_alone(model: PiSam, image: np.ndarray) -> PiSamPredictor:
    predictor = PiSamPredictor(model, guarantee=False)
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
    network_alone: PiSamPredictor, model: PiSam, image: np.ndarray
) -> None:
    predictor = network_alone
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


def test_a_model_that_is_trained_further_is_asked_as_in_evaluation(image: np.ndarray) -> None:
    torch.manual_seed(0)
    model = build_model("nano", image_size=SIZE, from_sam=True, guard=True)
    with torch.no_grad():
        for parameter in model.decoder.head.parameters():
            parameter.normal_(0, 0.5)
    assert model.decoder.guard is not None
    for turned in range(20):  # pictures of which none is like this one
        early = torch.zeros_like(model.encode(torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8))[1])
        early[:, 0], early[:, 1] = 1, turned / 100
        model.decoder.guard.remember(early, torch.ones(1, 2))
    predictor = PiSamPredictor(model)
    predictor.set_image(image)
    predictor.set_box(BOX)
    before = predictor.logits
    predictor.click(*CLICKS[0])
    clicked = predictor.logits

    model.train()
    predictor.set_image(image)
    predictor.set_box(BOX)
    np.testing.assert_array_equal(predictor.logits, before)
    predictor.click(*CLICKS[0])
    np.testing.assert_array_equal(predictor.logits, clicked)
    assert model.training and model.decoder.training and not model.encoder.training  # as it was left


def test_weights_of_other_bits_or_on_another_device_are_refused_and_leave_no_trace(image: np.ndarray) -> None:
    model = build_model("nano", image_size=SIZE)
    predictor = PiSamPredictor(model)
    predictor.set_image(image)
    mask = predictor.set_box(BOX)
    model.double()
    for question in (lambda: predictor.click(*CLICKS[0]), lambda: predictor.set_image(image)):
        with pytest.raises(ValueError, match=r"expected weights of torch\.float32, got torch\.float64"):
            question()
    model.float().to("meta")
    for question in (lambda: predictor.click(*CLICKS[0]), lambda: predictor.set_box(BOX)):
        with pytest.raises(ValueError, match="model: is on meta now, the image on cpu; call set_image again"):
            question()
    np.testing.assert_array_equal(predictor.mask, mask)
    assert predictor.history == (1, 0)


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
        np.zeros((3, 5, 6), np.uint8),
        np.zeros((0, 6, 3), np.uint8),
        np.zeros((5, 6, 3), np.int64),
        np.zeros(5, np.uint8),
        [[1, 2], [3, 4]],
        None,
        "no/such/file.png",
    ],
    ids=["float", "channels first", "empty", "int64", "a line", "a list", "nothing", "no file"],
)
def test_other_images_are_refused(predictor: PiSamPredictor, wrong: np.ndarray) -> None:
    predictor.set_box(BOX)
    with pytest.raises(ValueError, match=r"expected .*uint8 or uint16|no such file") as error:
        predictor.set_image(wrong)
    assert "\n" not in str(error.value)
    assert predictor.mask.shape == (HEIGHT, WIDTH)  # the image before is still there


def test_grey_rgba_16_bit_and_pictures_are_read_as_files_are(
    predictor: PiSamPredictor, image: np.ndarray, tmp_path: Path
) -> None:
    grey = image[..., 0]
    same = np.repeat(grey[..., None], 3, axis=2)
    clear = np.dstack([image, np.zeros_like(grey)])
    wide = grey.astype(np.uint16) * 257
    Image.fromarray(image).save(tmp_path / "image.png")
    for picture, expected in (
        (grey, same),
        (grey[..., None], same),
        (np.dstack([image, np.full_like(grey, 255)]), image),
        (clear, np.full_like(image, 255)),
        (wide, same),
        (np.repeat(wide[..., None], 3, axis=2), same),
        (Image.fromarray(image), image),
        (Image.fromarray(grey), same),
        (image[:, ::-1], image[:, ::-1]),
        (tmp_path / "image.png", image),
    ):
        predictor.set_image(picture)
        answer = predictor.set_box(BOX), predictor.logits
        predictor.set_image(np.ascontiguousarray(expected))
        np.testing.assert_array_equal(predictor.set_box(BOX), answer[0])
        np.testing.assert_array_equal(predictor.logits, answer[1])


def stored(folder: Path) -> list[Path]:
    """Photographs that Pillow alone would show otherwise than they are."""
    eight = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    files = [folder / name for name in ("turned.png", "turned.jpg", "turned.webp")]
    for file in files:
        Image.fromarray(eight).save(file, exif=exif_of(6))
    for number, bits in enumerate((eight.astype(np.uint16), eight.astype(np.uint16) * 257)):
        files.append(write_png(folder / f"wide-{number}.png", bits, 16))
    white = 65535 - eight[..., 0].astype(np.uint16) * 257
    tifffile.imwrite(folder / "white-is-zero.tif", white, photometric="miniswhite")
    return [*files, folder / "white-is-zero.tif"]


def test_a_picture_of_pillow_is_read_as_its_file_is(tmp_path: Path) -> None:
    for path in stored(tmp_path):
        expected = read_image(path)
        with Image.open(path) as opened:
            for _ in range(2):
                np.testing.assert_array_equal(as_rgb(opened), expected, path.name)
            opened.load()
            if "wide" not in path.name:  # of which Pillow keeps the high bytes
                np.testing.assert_array_equal(as_rgb(opened), expected, path.name)
            made = opened.convert("RGB")
        np.testing.assert_array_equal(as_rgb(made), np.asarray(made))
    wide = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint16)
    np.testing.assert_array_equal(as_rgb(wide), wide)


def test_pictures_that_pillow_cannot_decode_are_a_value_error(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)).save(
        tmp_path / "a.png"
    )
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:-9000])
    with (
        Image.open(tmp_path / "b.png") as cut,
        pytest.raises(ValueError, match="image: damaged"),
    ):
        as_rgb(cut)
    with Image.open(tmp_path / "a.png") as closed:
        pass
    for read in (as_rgb, lambda picture: as_mask(picture, (5, 5))):
        with pytest.raises(ValueError, match=r"(image|mask): damaged"):
            read(closed)


@pytest.mark.parametrize(
    "box",
    [(10, 10, 10, 20), (20, 10, 10, 20), (-1, 0, 10, 10), (0, 0, 161, 90), (0, 0, 160, 91), (0, 0, 5)],
)
def test_boxes_without_area_or_outside_are_refused(predictor: PiSamPredictor, box: tuple) -> None:
    with pytest.raises(ValueError, match="box: expected 0 <= x0 < x1 <= 160 and 0 <= y0 < y1 <= 90, got"):
        predictor.set_box(box)


@pytest.mark.parametrize(
    "kind",
    [
        lambda box: torch.tensor(box, requires_grad=True),
        lambda box: torch.tensor(box).bfloat16(),
        lambda box: np.array(box, object),
        lambda box: np.ma.masked_array(box, [False] * 4),
    ],
)
def test_numbers_of_any_kind_are_a_box_for_every_verb(predictor: PiSamPredictor, kind: Any) -> None:
    expected = predictor.set_box(BOX)
    np.testing.assert_array_equal(predictor.set_box(kind(BOX)), expected)
    np.testing.assert_array_equal(predictor.masks_of([kind(BOX)])[0], expected)
    predictor.set_mask(expected, box=kind(BOX))
    with_points = predictor.set_points([(40, 40)], [1], box=BOX)
    points, labels = torch.tensor([[40.0, 40.0]], requires_grad=True), torch.tensor([1])
    np.testing.assert_array_equal(predictor.set_points(points, labels, box=kind(BOX)), with_points)


@pytest.mark.parametrize(
    "box",
    [
        ("20", "15", "120", "80"),
        np.array(BOX, complex),
        np.array([20, 15, 120, 80], "timedelta64[s]"),
        np.ma.masked_array(BOX, [0, 0, 1, 0]),
        [[1], [2, 3]],
        None,
    ],
)
def test_what_is_no_number_is_no_box_and_no_click(predictor: PiSamPredictor, box: Any) -> None:
    with pytest.raises(ValueError, match="box: expected 0 <= x0"):
        predictor.set_box(box)
    predictor.set_box(BOX)
    for ask in (lambda: predictor.set_mask(predictor.mask, box="abc"), lambda: predictor.click("1", 2)):  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"(box|click): expected 0 <= x"):
            ask()
    with pytest.raises(ValueError, match="click: expected") as error:
        predictor.click(10**400, 1)
    assert len(str(error.value)) < 200
    with pytest.raises(ValueError, match=r"got \(161\.0, 2\.0\)"):
        predictor.set_points([(161, 2)])


@pytest.mark.parametrize("point", [(-0.1, 5), (5, -0.1), (160.1, 5), (5, 90.1), (float("nan"), 5)])
def test_clicks_outside_the_image_are_refused_and_leave_no_trace(
    predictor: PiSamPredictor, point: tuple[float, float]
) -> None:
    predictor.set_box(BOX)
    before = predictor.logits
    with pytest.raises(ValueError, match="click: expected 0 <= x <= 160 and 0 <= y <= 90, got"):
        predictor.click(*point)
    np.testing.assert_array_equal(predictor.logits, before)


@pytest.mark.parametrize("label", [2, None, "yes", 0.5, -1, float("nan"), [1]])
def test_other_labels_are_refused_and_leave_no_trace(predictor: PiSamPredictor, label: object) -> None:
    predictor.set_box(BOX)
    with pytest.raises(ValueError, match="click: foreground: expected True or False"):
        predictor.click(9, 9, label)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="labels: expected True or False"):
        predictor.set_points([(9, 9)], [label])  # type: ignore[list-item]
    assert predictor.clicks == []


clicks_on_it = st.lists(
    st.tuples(st.floats(0, WIDTH), st.floats(0, HEIGHT), st.booleans()), min_size=1, max_size=5
)


@settings(max_examples=8, deadline=None)
@given(clicks_on_it, st.data())
def test_clicks_are_obeyed_and_undo_and_redo_are_exact(
    model: PiSam, image: np.ndarray, clicks: list[tuple[float, float, bool]], data: st.DataObject
) -> None:
    predictor = PiSamPredictor(model)
    predictor.set_image(image)
    predictor.set_box(BOX)
    logits = [predictor.logits]
    for click in clicks:
        mask = predictor.click(*click)
        assert share_obeyed(mask, predictor.clicks) == 1
        logits.append(predictor.logits)
    back = data.draw(st.integers(0, len(clicks)))
    for number in range(back):
        np.testing.assert_array_equal(predictor.undo(), logits[-2 - number] > 0)
        np.testing.assert_array_equal(predictor.logits, logits[-2 - number])
    for number in range(back):
        predictor.redo()
        np.testing.assert_array_equal(predictor.logits, logits[len(clicks) - back + number + 1])
    with pytest.raises(ValueError, match="redo: there is no click to make again"):
        predictor.redo()


def test_a_new_click_ends_what_can_be_made_again(predictor: PiSamPredictor) -> None:
    predictor.set_box(BOX)
    for click in CLICKS:
        predictor.click(*click)
    predictor.undo()
    predictor.click(*CLICKS[0])
    with pytest.raises(ValueError, match="redo"):
        predictor.redo()
    assert predictor.clicks == [(x, y, int(label)) for x, y, label in (*CLICKS[:2], CLICKS[0])]


def test_a_model_that_was_trained_for_it_is_asked_again(model: PiSam, image: np.ndarray) -> None:
    """The decoder hears box, clicks and its own previous mask; the image is not encoded again."""
    answers = {}
    for reprompt in (False, True):
        predictor = PiSamPredictor(model, guarantee=False, reprompt=reprompt)
        predictor.set_image(image)
        calls: list[object] = []
        hooks = [
            part.register_forward_hook(lambda *call, calls=calls: calls.append(call))
            for part in (model.encoder.prompt_encoder, model.encoder.image_encoder)
        ]
        predictor.set_box(BOX)
        for click in CLICKS:
            predictor.click(*click)
        for hook in hooks:
            hook.remove()
        assert len(calls) == (1 + len(CLICKS) if reprompt else 1)
        answers[reprompt] = predictor.logits
    assert np.abs(answers[True] - answers[False]).max() > 1e-3


def test_boxes_at_once_are_those_one_by_one(predictor: PiSamPredictor) -> None:
    boxes = [BOX, (0, 0, WIDTH, HEIGHT), (5, 5, 40, 40), *[(index, 1, 90, 60) for index in range(8)]]
    one_by_one = [predictor.another().set_box(box) for box in boxes]
    predictor.set_box(BOX)
    predictor.click(*CLICKS[0])
    before = predictor.logits
    masks = predictor.masks_of(boxes)
    assert masks.shape == (len(boxes), HEIGHT, WIDTH) and masks.dtype == bool
    assert (masks == np.stack(one_by_one)).mean() > 0.999
    np.testing.assert_array_equal(predictor.logits, before)
    assert predictor.masks_of([]).shape == (0, HEIGHT, WIDTH)
    with pytest.raises(ValueError, match="box: expected"):
        predictor.masks_of([BOX, (3, 3, 3, 3)])


def test_another_object_has_its_own_clicks_and_the_same_encoding(
    predictor: PiSamPredictor, model: PiSam
) -> None:
    predictor.set_box(BOX)
    predictor.click(*CLICKS[0])
    before = predictor.logits
    calls: list[object] = []
    hook = model.encoder.image_encoder.register_forward_hook(lambda *call: calls.append(call))
    other = predictor.another()
    other.set_box((5, 5, 40, 40))
    other.click(*CLICKS[1])
    hook.remove()
    assert not calls and len(other.clicks) == 1
    np.testing.assert_array_equal(predictor.logits, before)
    np.testing.assert_array_equal(predictor.undo(), predictor.set_box(BOX))


WRONG_POINTS: tuple[tuple[Any, Any], ...] = (
    ([], None),
    ([(1, 2, 3)], None),
    (np.ones((9, 3)), None),
    ([(1, 2)], [1, 0]),
    ([(-1, 2)], None),
    ([(1, 2)], 5),
    ([(10**400, 2)], None),
    (None, None),
    ([(1, 2), (3, 4)], [0, 0]),
)


def test_wrong_arguments_are_value_errors(predictor: PiSamPredictor) -> None:
    predictor.set_box(BOX)
    before = predictor.mask
    for ask, message in (
        (lambda: predictor.masks_of(None), "boxes: expected"),  # type: ignore[arg-type]
        (lambda: predictor.masks_of([None]), "box: expected"),  # type: ignore[list-item]
        (lambda: predictor.save(None), "path: expected"),  # type: ignore[arg-type]
        (lambda: predictor.load(None), "path: expected"),  # type: ignore[arg-type]
        (lambda: build_model(["nano"]), "backbone must be"),  # type: ignore[arg-type]
        (lambda: build_model("nano", image_size="128"), "image_size must be"),  # type: ignore[arg-type]
        (lambda: build_model("nano", image_size=128.0), "image_size must be"),  # type: ignore[arg-type]
        (lambda: PiSamPredictor(torch.nn.Linear(1, 1)), "what load_model gives"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match=message):
            ask()
    assert predictor.detailed(tile=10**400).shape == before.shape
    assert predictor.set_points([(1, 2)], [0], box=BOX).shape == before.shape
    with pytest.raises(PisamError, match="got an empty path"):
        load_model("")


def test_points_are_a_prompt_alone_or_beside_a_box(predictor: PiSamPredictor) -> None:
    alone = predictor.set_points([(30, 40), (100, 20)], [1, 0])
    assert alone.shape == (HEIGHT, WIDTH) and predictor.clicks == []
    logits = [predictor.logits]
    predictor.set_points([(30, 40), (100, 20)], [1, 0], box=BOX)
    logits.append(predictor.logits)
    predictor.set_box(BOX)
    logits.append(predictor.logits)
    assert all(np.abs(a - b).max() > 1e-4 for a, b in pairwise(logits))
    predictor.set_points([(30, 40)])
    predictor.click(*CLICKS[0])
    predictor.undo()
    with pytest.raises(ValueError, match="undo"):
        predictor.undo()
    for points, labels in WRONG_POINTS:
        with pytest.raises(ValueError, match="expected") as error:
            predictor.set_points(points, labels)
        assert "\n" not in str(error.value)


def test_an_image_is_kept_and_loaded(predictor: PiSamPredictor, model: PiSam, tmp_path: Path) -> None:
    file = tmp_path / "image.npz"
    expected = predictor.set_box(BOX), predictor.logits
    predictor.save(file)
    other = PiSamPredictor(model)
    other.load(file)
    np.testing.assert_array_equal(other.set_box(BOX), expected[0])
    np.testing.assert_array_equal(other.logits, expected[1])

    unlike = PiSamPredictor(build_model("nano", image_size=128))
    with pytest.raises(ValueError, match="not an image that this predictor saved: encoded by nano 64"):
        unlike.load(file)
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(file.read_bytes()[:-2000])
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, format=np.array([{}], dtype=object))
    for wrong in (damaged, pickled, tmp_path / "none.npz", tmp_path):
        with pytest.raises(ValueError, match="not an image that this predictor saved"):
            other.load(wrong)
    np.testing.assert_array_equal(other.logits, expected[1])  # the image before is still there
    with pytest.raises(ValueError, match="expected an image first"):
        PiSamPredictor(model).save(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": np.array([10**9, 10**9])}, r"size \[1000000000, 1000000000\]"),
        ({"size": np.array([90.5, 160.0])}, r"size \[90.5, 160.0\]"),
        ({"more": np.zeros(10**7, np.uint8)}, "larger than what this model says of an image"),
        ({"format": np.array([1, 2])}, "not an image that this predictor saved"),
    ],
    ids=str,
)
def test_a_kept_image_is_checked(
    predictor: PiSamPredictor, tmp_path: Path, change: dict[str, np.ndarray], message: str
) -> None:
    predictor.save(tmp_path / "image.npz")
    kept = dict(np.load(tmp_path / "image.npz"))
    np.savez_compressed(tmp_path / "other.npz", **{**kept, **change})
    with pytest.raises(ValueError, match=message):
        predictor.load(tmp_path / "other.npz")
    whole = (tmp_path / "other.npz").read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:200] + b"\0" * 200 + whole[400:], b""):
        (tmp_path / "other.npz").write_bytes(damaged)
        with pytest.raises(ValueError, match="not an image that this predictor saved"):
            predictor.load(tmp_path / "other.npz")


def test_kept_numbers_that_are_not_finite_are_refused(predictor: PiSamPredictor, tmp_path: Path) -> None:
    predictor.save(tmp_path / "image.npz")
    kept = dict(np.load(tmp_path / "image.npz"))
    kept["encoded_early"][0, 0, 0, 0] = np.nan
    np.savez(tmp_path / "image.npz", **kept)
    with pytest.raises(ValueError, match="numbers that are not finite"):
        predictor.load(tmp_path / "image.npz")


def test_wrong_arguments_are_one_line(predictor: PiSamPredictor) -> None:
    for no_model in (None, "best.ckpt"):
        with pytest.raises(ValueError, match="model: expected what load_model gives, got"):
            PiSamPredictor(no_model)  # type: ignore[arg-type]
    for location in (None, 5, b"x"):
        with pytest.raises(PisamError, match="checkpoint: expected a path, got"):
            load_model(location)  # type: ignore[arg-type]
    pixel = np.zeros((1, 1, 3), np.uint8)
    for image in (np.broadcast_to(pixel, (10**6, 10**6, 3)), Image.new("RGB", (0, 5))):
        with pytest.raises(ValueError, match="image: expected uint8"):
            predictor.set_image(image)
    for path in ("", ".", "a\0b", 5, "x" * 300):
        with pytest.raises(ValueError, match="path: expected a file, got"):
            predictor.load(path)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="box: expected 0 <= x0 < x1"):
        predictor.set_box((10**400, 1, 2, 3))
