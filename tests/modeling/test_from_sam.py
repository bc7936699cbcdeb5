"""A decoder that starts as SAM's, and a network that is asked again with the clicks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from helpers.model_inputs import random_clicks, randomise
from helpers.small_runs import small_batch
from pisam.core.errors import PisamError
from pisam.core.types import Clicks, PromptKind, Prompts
from pisam.modeling.attention import run_sam_transformer, sam_mask
from pisam.modeling.checkpoint import load_model
from pisam.modeling.pisam import PiSam, build_model
from pisam.modeling.sam_segmenters import SamSegmenter
from pisam.modeling.segmenters import PiSamSegmenter
from pisam.modeling.shared_weights import save_model


@pytest.fixture
def model() -> PiSam:
    """A network as if trained, in all it adds to SAM."""
    torch.manual_seed(0)
    model = build_model("nano", image_size=64, from_sam=True, local=True, reprompt=True).eval()
    randomise(model.interactor, scale=0.2)
    for part in (model.decoder.token_mlp, model.decoder.head.output):
        randomise(part, scale=0.2)
    return model


@torch.no_grad()
def test_begins_as_sam() -> None:
    torch.manual_seed(0)
    model = build_model("nano", image_size=64, from_sam=True).eval()
    batch = small_batch(2)
    _, prediction = model.straight_forward(batch.image, batch.box)
    sam = SamSegmenter(model).first(batch.image, batch.box)
    # The output token is among SAM's own in its transformer, so the last digits differ.
    scale = sam.low_res.abs().mean()
    assert (prediction.low_res - sam.low_res).abs().mean() < 0.3 * scale
    enlarged = F.interpolate(prediction.low_res, (64, 64), mode="bilinear", align_corners=False)
    assert torch.equal(prediction.high_res, enlarged), "the head adds nothing"
    far = build_model("nano", image_size=64).eval().straight_forward(batch.image, batch.box)[1]
    assert (far.low_res - sam.low_res).abs().mean() > 0.5 * scale


def pointed(batch: int, *points: tuple[float, float, int], kind: PromptKind = "points") -> Prompts:
    """The same points for each sample."""
    clicks = Clicks(
        torch.tensor([[point[:2] for point in points]] * batch),
        torch.tensor([[point[2] for point in points]] * batch),
        torch.ones(batch, len(points), dtype=torch.bool),
    )
    return Prompts([kind] * batch, clicks, torch.zeros(batch, 1, 16, 16))


ONE, TWO = [(26.5, 30.5, 1)], [(26.5, 30.5, 1), (20.5, 40.5, 1)]


@torch.no_grad()
@pytest.mark.parametrize(
    ("prompts", "index"),
    [(pointed(2, *ONE), 3), (pointed(2, *TWO), 0), (pointed(2, *ONE, kind="box+points"), 0), (None, 0)],
    ids=["a point alone", "two points", "a point in a box", "a box"],
)
def test_a_single_point_alone_is_of_the_whole(prompts: Prompts | None, index: int) -> None:
    torch.manual_seed(0)
    model = build_model("nano", image_size=64, from_sam=True).eval()
    batch = small_batch(2)
    sam, decoder = (
        SamSegmenter(model).first(batch.image, batch.box, prompts=prompts),
        model.decoder.sam_decoder,
    )
    for row in range(2):
        one = slice(row, row + 1)
        asked = None if prompts is None else prompts.select([row])
        features = model.encoder(model.normalise(batch.image[one]), batch.box[one], asked)
        masks, _ = decoder.predict_masks(
            features.image_embedding, features.position, features.sparse_prompt, features.dense_prompt
        )
        torch.testing.assert_close(sam.low_res[one], masks[:, index : index + 1])
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        ours = sam_mask(decoder, *run_sam_transformer(decoder, own, features), features.ambiguous)
        torch.testing.assert_close(ours, sam.low_res[one], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_point_beside_another_kind_of_prompt_means_what_it_means_alone(model: PiSam) -> None:
    batch = small_batch(2)
    mixed = Prompts(["points", "box"], pointed(2, *ONE).points, torch.zeros(2, 1, 16, 16))
    together = model.straight_forward(batch.image, batch.box, mixed)[1].low_res
    for row in range(2):
        one = slice(row, row + 1)
        alone = model.straight_forward(batch.image[one], batch.box[one], mixed.select([row]))[1].low_res
        torch.testing.assert_close(together[one], alone, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_asked_again_hears_clicks_and_keeps_samples_without(model: PiSam) -> None:
    batch, clicks = small_batch(3), random_clicks(3, 4)
    clicks.valid = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1], [1, 0, 1, 0]], dtype=torch.bool)
    encoded = model.encode(batch.image)
    objects, prediction = model.decode(*encoded, batch.image, batch.box)
    after, low_res = model.ask_again(encoded, batch.box, clicks, objects, prediction.low_res)
    assert torch.equal(after.enhanced[0], objects.enhanced[0])
    assert torch.equal(low_res[0], prediction.low_res[0])
    for row in (1, 2):
        valid = clicks.valid[row]
        own = Clicks(*(value[[row]][:, valid] for value in vars(clicks).values()))
        one = objects.each(lambda value, row=row: value[[row]])
        alone, logits = model.ask_again(
            (encoded[0][[row]], encoded[1][[row]]), batch.box[[row]], own, one, prediction.low_res[[row]]
        )
        torch.testing.assert_close(logits[0], low_res[row], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(alone.enhanced[0], after.enhanced[row], atol=1e-4, rtol=1e-4)
        assert not torch.allclose(low_res[row], prediction.low_res[row], atol=1e-3)
    objects, low_res = model.ask_again(encoded, batch.box, Clicks.none(3), objects, prediction.low_res)
    assert low_res is prediction.low_res


@torch.no_grad()
def test_a_segmenter_asks_again_or_lets_the_interactor_answer_alone(model: PiSam) -> None:
    batch, clicks = small_batch(2), random_clicks(2, 3)
    clicks.valid[0] = False
    alone = PiSamSegmenter(model, reprompt=False)
    first = alone.first(batch.image, batch.box)
    assert first.objects is not None
    paper = alone.after(first, clicks)
    assert torch.equal(paper.logits[1], model.interact(first.objects, batch.image, clicks)[1])
    both = PiSamSegmenter(model).after(first, clicks)
    assert not torch.allclose(both.logits[1], paper.logits[1], atol=1e-3)
    assert torch.equal(both.logits[0], first.logits[0]) and torch.equal(paper.logits[0], first.logits[0])


@torch.no_grad()
def test_weights_in_one_small_file(model: PiSam, tmp_path: Path) -> None:
    file, batch, clicks = tmp_path / "own.safetensors", small_batch(1), random_clicks(1, 3)
    save_model(model, file)
    umask = os.umask(0o022)
    os.umask(umask)
    assert file.stat().st_mode & 0o777 == 0o666 & ~umask, "readable to others, as any file"
    loaded = load_model(file)
    assert loaded.identity() == model.identity()
    before, after = (each(batch.image, batch.box, clicks).high_res for each in (model, loaded))
    assert (before - after).abs().max() < 0.05 * before.abs().max(), "half precision"
    save_model(loaded, tmp_path / "again.safetensors")
    assert file.read_bytes() == (tmp_path / "again.safetensors").read_bytes()
    assert file.stat().st_size < 1.1 * sum(2 * value.numel() for value in model.own_state().values()) + 50_000


def test_a_damaged_file_is_refused(model: PiSam, tmp_path: Path) -> None:
    file = tmp_path / "own.safetensors"
    save_model(model, file)
    good = file.read_bytes()
    file.write_bytes(good[:-100] + bytes([good[-100] ^ 1]) + good[-99:])
    with pytest.raises(PisamError, match="damaged, its checksum"):
        load_model(file)
    file.write_bytes(good[:1000])
    with pytest.raises(PisamError, match="not written by pisam, or truncated"):
        load_model(file)
    with pytest.raises(PisamError, match="no such file"):
        load_model(tmp_path / "absent.safetensors")
    with pytest.raises(ValueError, match="expected a path that ends in"):
        save_model(model, tmp_path / "own.bin")
