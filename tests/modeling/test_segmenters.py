"""Segmenters of one comparison: each answers as its own model does, and one encoding serves all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers.small_runs import small_batch, small_model
from pisam.core.locality import stay_near
from pisam.core.types import Clicks, ObjectFeatures, Prompts
from pisam.modeling.hq_sam import HqSam, build_hq_sam
from pisam.modeling.pisam import PiSam
from pisam.modeling.sam_segmenters import HqSamSegmenter, SamSegmenter
from pisam.modeling.segmenters import PiSamSegmenter, Segmenter, encode, first_answers, share_encoders

SIDE = 64


def clicks_of(*points: list[tuple[float, float, int]]) -> Clicks:
    """The clicks (x, y, label) of each sample, padded at (0, 0)."""
    most = max(map(len, points))
    rows = [list(sample) + [(0.0, 0.0, 0)] * (most - len(sample)) for sample in points]
    table = torch.tensor(rows)
    valid = torch.tensor([[index < len(sample) for index in range(most)] for sample in points])
    return Clicks(table[..., :2], table[..., 2].long(), valid)


CLICKS = clicks_of([(20.5, 30.5, 1), (50.5, 8.5, 0)], [], [(33.5, 12.5, 1)])


@pytest.fixture
def model() -> PiSam:
    model = small_model(SIDE).eval()
    torch.nn.init.normal_(model.interactor.residual.weight, std=0.5)  # untrained, it changes nothing
    return model


def hq_sam() -> HqSam:
    torch.manual_seed(1)
    return build_hq_sam("nano", image_size=SIDE).eval()


def segmenters(model: PiSam) -> list[Segmenter]:
    hq = hq_sam()
    share_encoders([model, hq])
    return [
        PiSamSegmenter(model),
        SamSegmenter(model),
        SamSegmenter(model, "SAM+mask", mask_input=True),
        HqSamSegmenter(hq),
        HqSamSegmenter(hq, "HQ-SAM+mask", mask_input=True, add_sam=True),
    ]


KINDS = pytest.mark.parametrize("index", range(5), ids=["pi", "sam", "sam+mask", "hq", "hq+mask"])


def test_pi_sam_answers_as_the_network_does(model: PiSam) -> None:
    batch = small_batch(3)
    segmenter = PiSamSegmenter(model)
    first = segmenter.first(batch.image, batch.box)
    after = segmenter.after(first, CLICKS)
    with torch.no_grad():
        assert first.logits.equal(model(batch.image, batch.box).high_res)
        assert after.logits.equal(model(batch.image, batch.box, CLICKS).high_res)
    assert not after.logits[0].equal(first.logits[0])


def test_sam_answers_as_its_own_parts_do(model: PiSam) -> None:
    """Box, then points beside it, in the pixel indices that SAM expects."""
    batch = small_batch(1)
    segmenter = SamSegmenter(model)
    first = segmenter.first(batch.image, batch.box)
    after = segmenter.after(first, clicks_of([(20.5, 30.5, 1), (50.5, 8.5, 0)]))
    box = torch.tensor([[12.0, 16, 39, 47]])
    points = (torch.tensor([[[20.0, 30.0], [50.0, 8.0]]]), torch.tensor([[1, 0]]))
    for state, given in ((first, None), (after, points)):
        with torch.no_grad():
            embedding, _ = model.encoder.image_encoder(model.normalise(batch.image))
            sparse, dense = model.encoder.prompt_encoder(points=given, boxes=box, masks=None)
            expected, _ = model.decoder.sam_decoder(
                image_embeddings=embedding,
                image_pe=model.encoder.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=False,
            )
        assert state.low_res.equal(expected)
        assert state.logits.equal(F.interpolate(expected, (SIDE, SIDE), mode="bilinear"))


def test_hq_sam_answers_as_the_network_does_alone_or_with_sams_mask() -> None:
    batch = small_batch(3)
    model = hq_sam()
    with torch.no_grad():
        expected = model(batch.image, batch.box)
        masks = model.decoder(model.encoder(model.normalise(batch.image), batch.box))
    first = HqSamSegmenter(model).first(batch.image, batch.box)
    torch.testing.assert_close(first.logits, expected.high_res, atol=1e-5, rtol=1e-5)
    both = HqSamSegmenter(model, add_sam=True).first(batch.image, batch.box)
    torch.testing.assert_close(both.low_res, masks.sam + masks.hq, atol=1e-5, rtol=1e-5)
    assert not both.low_res.allclose(first.low_res, atol=1e-3)


def test_sam_is_the_same_on_either_network(model: PiSam) -> None:
    batch = small_batch(2)
    answers = [SamSegmenter(network).first(batch.image, batch.box) for network in (model, hq_sam())]
    assert answers[0].logits.equal(answers[1].logits)


@KINDS
def test_a_batch_equals_its_samples_one_by_one(model: PiSam, index: int) -> None:
    """Also with different numbers of clicks: padding takes part nowhere."""
    batch = small_batch(3)
    segmenter = segmenters(model)[index]
    first = segmenter.first(batch.image, batch.box)
    after = segmenter.after(first, CLICKS)
    for sample in range(3):
        one = slice(sample, sample + 1)
        alone = segmenter.first(batch.image[one], batch.box[one])
        valid = CLICKS.valid[sample]
        own = Clicks(CLICKS.points[one, valid], CLICKS.labels[one, valid], CLICKS.valid[one, valid])
        torch.testing.assert_close(first.logits[one], alone.logits, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            after.logits[one], segmenter.after(alone, own).logits, atol=1e-5, rtol=1e-5
        )


@KINDS
def test_without_a_valid_click_nothing_changes(model: PiSam, index: int) -> None:
    batch = small_batch(3)
    segmenter = segmenters(model)[index]
    first = segmenter.first(batch.image, batch.box)
    after = segmenter.after(first, CLICKS)
    assert after.logits[1].equal(first.logits[1])
    assert not after.logits[0].equal(first.logits[0])
    assert segmenter.after(first, Clicks.none(3)).logits.equal(first.logits)


def test_the_previous_mask_is_told_only_on_request(model: PiSam) -> None:
    batch = small_batch(3)
    _, plain, with_mask, *_ = segmenters(model)
    first = plain.first(batch.image, batch.box)
    assert with_mask.first(batch.image, batch.box).logits.equal(first.logits)
    assert not with_mask.after(first, CLICKS).logits[0].equal(plain.after(first, CLICKS).logits[0])


def test_one_encoding_serves_all_models_on_the_same_sam(
    model: PiSam, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = small_batch(2)
    alone = [segmenter.first(batch.image, batch.box).logits for segmenter in segmenters(model)]
    encoded = encode(model, batch.image)
    monkeypatch.setattr(model.encoder.image_encoder, "forward", None)  # no second run
    shared = [segmenter.first(batch.image, batch.box, encoded).logits for segmenter in segmenters(model)]
    assert all(a.equal(b) for a, b in zip(alone, shared, strict=True))


@KINDS
def test_clicks_do_not_look_at_the_image_again(
    model: PiSam, index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a decoder takes of the image alone is worked out with the answer to the box."""
    batch = small_batch(3)
    segmenter = segmenters(model)[index]
    first = segmenter.first(batch.image, batch.box)
    after = segmenter.after(first, CLICKS).logits
    for part in ("head.rgb_embedding", "embedding_encoder", "compress_vit_feat"):
        if any(name == part for name, _ in segmenter.model.decoder.named_modules()):
            monkeypatch.setattr(segmenter.model.decoder.get_submodule(part), "forward", None)
    assert segmenter.after(first, CLICKS).logits.equal(after)


def test_an_encoding_of_another_sam_is_refused(model: PiSam) -> None:
    batch = small_batch(1)
    encoded = encode(small_model(SIDE), batch.image)
    for segmenter in segmenters(model):
        with pytest.raises(ValueError, match="another model's SAM"):
            segmenter.first(batch.image, batch.box, encoded)


def test_models_on_unlike_sams_answer_together_each_with_its_own_encoding(model: PiSam) -> None:
    other = hq_sam()
    with torch.no_grad():
        other.encoder.image_encoder.neck[1].weight += 0.1
    batch = small_batch(2)
    together = [PiSamSegmenter(model), HqSamSegmenter(other), SamSegmenter(model)]
    alone = [segmenter.first(batch.image, batch.box).logits for segmenter in together]
    answers = first_answers(together, batch.image, batch.box)
    assert all(state.logits.equal(logits) for state, logits in zip(answers, alone, strict=True))
    assert answers[0].encoded is answers[2].encoded is not answers[1].encoded


def test_encoders_of_unlike_sams_are_not_shared(model: PiSam) -> None:
    other = hq_sam()
    with torch.no_grad():
        other.decoder.sam_decoder.iou_token.weight[0, 0] += 1
    share_encoders([model, other])
    assert other.encoder is not model.encoder


@pytest.mark.parametrize("like", [True, False])
def test_several_clicks_at_once_count_for_sam_only_where_it_keeps_the_object(
    model: PiSam, like: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = small_batch(3, SIDE)
    monkeypatch.setattr("pisam.core.locality.alike", lambda alone, again: like)
    monkeypatch.setattr("pisam.core.locality.in_the_middle", lambda before, after, clicks: True)
    asking, alone = PiSamSegmenter(model, reprompt=True), PiSamSegmenter(model, reprompt=False)
    first = asking.first(batch.image, batch.box)
    after, without = asking.after(first, CLICKS), alone.after(first, CLICKS)
    assert [one.clicks for one in after.heard] == [2, 0, 1]  # SAM hears the one of the third sample
    assert [one.settled for one in after.heard] == [like, False, like]
    near = stay_near(first.logits[0, 0].numpy(), without.logits[0, 0].numpy(), CLICKS.rows(0))
    assert np.array_equal(after.logits[0, 0].numpy(), near) != like
    assert torch.equal(after.low_res[0], first.low_res[0]) != like
    assert torch.equal(after.logits[1], first.logits[1])
    assert not torch.equal(after.logits[2], without.logits[2])


def test_only_answers_that_are_read_are_worked_out(model: PiSam, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a given mask SAM's answer counts alone, unless several clicks are new."""
    batch, calls = small_batch(1, SIDE), []
    repair = model.interact_each

    def counted(each: list[ObjectFeatures], *given: Any) -> list[torch.Tensor]:
        calls.append(len(each))
        return repair(each, *given)

    monkeypatch.setattr(model, "interact_each", counted)
    segmenter = PiSamSegmenter(model, reprompt=True)
    mask = torch.zeros(1, 1, SIDE // 4, SIDE // 4)
    given = Prompts(["box+mask"], Clicks.none(1), mask)
    one, two = clicks_of([(20.5, 30.5, 1)]), clicks_of([(20.5, 30.5, 1), (9.5, 9.5, 0)])
    for prompts, clicks, times in ((None, one, 2), (given, one, 1), (given, two, 2)):
        calls.clear()
        segmenter.after(segmenter.first(batch.image, batch.box, prompts=prompts), clicks)
        assert calls == [times]
