"""Entrants answer as their models do alone; two never share a file; a user's class is checked."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helpers.small_runs import small_model
from pisam.core.errors import PisamError
from pisam.core.types import Clicks, Prompts
from pisam.data.transforms import frame_for_validation
from pisam.evaluation.benchmark.entrant import as_logits, facts_of, file_stem, name_of
from pisam.evaluation.benchmark.entrants import Encodings, EngineEntrant, entrants_of
from pisam.evaluation.benchmark.interaction_file import is_fact
from pisam.evaluation.benchmark.record import ClickProtocol
from pisam.evaluation.benchmark.run import Scene, click_scene
from pisam.evaluation.parallel import threads_beside
from pisam.metrics.protocol import logits_to_original
from pisam.modeling.checkpoint import load_model
from pisam.modeling.hq_sam import build_hq_sam
from pisam.modeling.sam_segmenters import HqSamSegmenter, SamSegmenter
from pisam.modeling.segmenters import PiSamSegmenter, Segmenter
from pisam.predictor.predictor import TorchEngine


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (("one/a", "two/a"), "two are called a; rename"),
        (("a b", "a-b"), "two are called a b and a-b, one file name; rename"),
        (("a@1", "a#1"), "two are called a@1 and a#1, one file name; rename"),
    ],
)
def test_two_models_with_one_file_of_results_are_refused(
    tmp_path: Path, folders: tuple[str, str], said: str
) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(PisamError, match=said):
        entrants_of([f"masks:{tmp_path / folder}" for folder in folders], None)


def test_models_with_files_of_their_own_stand_beside_each_other(tmp_path: Path) -> None:
    for name in ("a", "A", "a+b", "a.b"):
        (tmp_path / name).mkdir()
    models = entrants_of([f"masks:{tmp_path / name}" for name in ("a", "A", "a+b", "a.b")], None)
    assert [file_stem(name_of(model)) for model in models] == ["a", "A", "a+b", "a.b"]


@pytest.mark.parametrize("what", ["name", "facts"])
def test_a_property_that_fails_is_named_with_its_line(tmp_path: Path, what: str) -> None:
    (tmp_path / "mine.py").write_text(
        f"class Mine:\n    @property\n    def {what}(self): return 1 / 0\n"
        "    def encode(self, image): ...\n    def answer(self, prompt, clicks, previous): ...\n"
    )
    with pytest.raises(PisamError, match=r"mine\.py:3: ZeroDivisionError"):
        entrants_of([f"{tmp_path / 'mine.py'}:Mine"], None)


def test_a_fact_that_no_file_holds_is_none() -> None:
    entrant = SimpleNamespace(name="mine", facts={"n": 10**5000, "depth": 3})
    assert [key for key, value in facts_of(entrant).items() if is_fact(value)] == ["name", "depth"]


def test_logits_beyond_32_bits_are_as_sure_as_can_be() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (as_logits(np.array([[1e39, -1e39]]), (1, 2)) > 0).tolist() == [[True, False]]


IMAGE = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
CLICKS = np.array([[20.5, 40.5, 1], [50.5, 10.5, 0], [30.5, 60.5, 1]])


@pytest.fixture(scope="module")
def model():
    model = small_model().eval()
    torch.nn.init.normal_(model.interactor.residual.weight, std=0.5)
    return model


def enter(segmenter: Segmenter, encodings: Encodings | None = None) -> EngineEntrant:
    return EngineEntrant(TorchEngine(segmenter), segmenter.name, {}, encodings)


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
    entrant = enter(segmenter)
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
    entrant = enter(segmenter)
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
        enter(segmenter, encodings)
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
    another = IMAGE[::-1].copy()
    for entrant in entrants:
        entrant.encode(another)
    assert len(calls) == 2


@pytest.mark.parametrize("reprompt", [False, True])
@pytest.mark.parametrize("prompt", [None, (7.0, 9.0, 63.0, 45.0)])
def test_an_export_answers_as_the_model_that_it_was_made_from(
    exported: Path, checkpoint: Path, tmp_path: Path, prompt: tuple[float, ...] | None, reprompt: bool
) -> None:
    """Also where the decoder is asked again with its last mask, whose size is that of this small frame."""
    folder = shutil.copytree(exported, tmp_path / "small")
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"reprompt": reprompt}))
    (onnx,) = entrants_of([f"onnx:{folder}"], None)
    torch_model = load_model(checkpoint)
    entrants = [onnx, enter(PiSamSegmenter(torch_model, reprompt=reprompt))]
    answers = []
    for entrant in entrants:
        entrant.encode(IMAGE)
        last, kept = None, []
        for number in range(0 if prompt else 1, len(CLICKS) + 1):
            last = entrant.answer(prompt, CLICKS[:number], last)
            kept.append(last.logits)
        answers.append(kept)
    for ours, theirs in zip(*answers, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
    assert np.abs(answers[0][0] - answers[0][-1]).max() > 1e-2
    assert onnx.name == "small" and onnx.facts["image_size"] == torch_model.image_size
    assert onnx.facts["reprompt"] is reprompt


def test_an_export_needs_no_mask_of_its_own(exported: Path) -> None:
    with pytest.raises(PisamError, match=r"give onnx:.*exported, it keeps its own mask"):
        entrants_of([f"onnx+mask:{exported}"], None)
