"""First answers are asked for once an image, as long as there is room for them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers.small_runs import small_batch, small_model
from pisam.core.errors import PisamError
from pisam.core.types import Batch
from pisam.evaluation.interaction.models import FirstAnswers
from pisam.modeling.pisam import PiSam
from pisam.modeling.sam_segmenters import SamSegmenter
from pisam.modeling.segmenters import PiSamSegmenter, State, first_answers

LARGE = 10**9


@pytest.fixture
def model() -> PiSam:
    return small_model().eval()


def picture(name: str, seed: int) -> Batch:
    return replace(small_batch(1, seed=seed), ids=[name])


def tensors(states: list[State]) -> list[torch.Tensor]:
    return [tensor for state in states for tensor in (state.logits, state.low_res, state.encoded.embedding)]


def states_of(answers: FirstAnswers, batch: Batch) -> list[State]:
    given = answers.of(batch)
    assert list(given) == [segmenter.name for segmenter in answers.segmenters]
    return [answer.state for answer in given.values()]


def test_the_same_image_is_asked_once(model: PiSam, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenters = [SamSegmenter(model), PiSamSegmenter(model)]
    answers, batches = FirstAnswers(segmenters, LARGE), [picture("a", 0), picture("b", 1)]
    asked = [states_of(answers, batch) for batch in batches]
    for states, batch in zip(asked, batches, strict=True):
        expected = first_answers(segmenters, batch.image, batch.box)
        assert all(map(torch.equal, tensors(states), tensors(expected)))
    monkeypatch.setattr(model.encoder.image_encoder, "forward", None)
    for batch, states in zip(batches, asked, strict=True):
        assert all(a is b for a, b in zip(states_of(answers, batch), states, strict=True))
    other_set = replace(batches[0], sets=["other"])
    with pytest.raises(TypeError):  # the encoder is asked
        answers.of(other_set)


def test_what_does_not_fit_is_asked_again_with_the_same_result(model: PiSam) -> None:
    segmenters = [SamSegmenter(model), PiSamSegmenter(model)]
    a, b = picture("a", 0), picture("b", 1)
    # Both models share the encoding of an image, which counts once.
    one = first_answers(segmenters, a.image, a.box)
    parts = [a.image, a.box, one[0].encoded.embedding, one[0].encoded.early, one[1].of_image]
    parts += [one[1].objects.enhanced, one[1].objects.token]  # type: ignore[union-attr]
    parts += [tensor for state in one for tensor in (state.logits, state.low_res)]
    room = sum(part.nbytes for part in parts if part is not None)
    for memory, remembered in ((room, (True, False)), (room - 1, (False, False)), (2 * room, (True, True))):
        answers = FirstAnswers(segmenters, memory)
        first, again = (
            [states_of(answers, a), states_of(answers, b)],
            [states_of(answers, a), states_of(answers, b)],
        )
        assert (
            tuple(
                all(o is n for o, n in zip(old, new, strict=True))
                for old, new in zip(first, again, strict=True)
            )
            == remembered
        )
        for old, new in zip(first, again, strict=True):
            assert all(map(torch.equal, tensors(old), tensors(new)))


def test_batches_of_several_are_refused(model: PiSam) -> None:
    with pytest.raises(ValueError, match="batches of one image, got 2"):
        FirstAnswers([SamSegmenter(model)]).of(small_batch(2))


def test_an_answer_that_is_no_number_is_named(model: PiSam) -> None:
    torch.nn.init.constant_(model.decoder.head.output[-1].bias, float("nan"))
    with pytest.raises(PisamError, match=r"Pi-SAM: its logits for val/a are not finite"):
        FirstAnswers([SamSegmenter(model), PiSamSegmenter(model)]).of(picture("a", 0))
