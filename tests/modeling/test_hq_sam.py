"""HQ-SAM here is the authors' HQ-SAM, on a SAM that stays SAM."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from helpers.model_inputs import normal, random_features, randomise
from pisam.core.errors import PisamError
from pisam.core.types import SamFeatures
from pisam.modeling.backbones import build_mask_decoder, build_sam_parts
from pisam.modeling.checkpoint import checkpoint_of, load_checkpoint, load_model
from pisam.modeling.hq_sam import HQ_PARTS, HqMaskDecoder, HqSam, build_hq_sam, load_published_hq
from pisam.modeling.pisam import build_model
from pisam.modeling.sam_hq_package import MaskDecoderHQ

SIZE = 64
BOX = torch.tensor([[5.0, 8, 50, 60], [0, 0, 20, 64], [9, 9, 40, 30]])
EARLY = 24


def images(size: int = SIZE) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, 3, size, size), dtype=torch.uint8, generator=generator)


def authors_decoder(ours: HqMaskDecoder, early_dim: int) -> MaskDecoderHQ:
    """The package's own class with the same weights."""
    theirs = MaskDecoderHQ(
        transformer_dim=256, transformer=ours.sam_decoder.transformer, vit_dim=early_dim
    ).eval()
    state = {name.removeprefix("sam_decoder."): value for name, value in ours.state_dict().items()}
    theirs.load_state_dict(state, strict=True)
    return theirs


def ask_authors(theirs: MaskDecoderHQ, features: SamFeatures, index: int, *, hq_token_only: bool) -> Tensor:
    one = slice(index, index + 1)
    return theirs(
        image_embeddings=features.image_embedding[one],
        image_pe=features.position,
        sparse_prompt_embeddings=features.sparse_prompt[one],
        dense_prompt_embeddings=features.dense_prompt[one],
        multimask_output=False,
        hq_token_only=hq_token_only,
        interm_embeddings=[features.early[one].permute(0, 2, 3, 1)],
    )[0]


@torch.no_grad()
def test_a_batch_equals_the_authors_forward_image_by_image() -> None:
    torch.manual_seed(0)
    ours = HqMaskDecoder(sam_decoder=build_mask_decoder(), early_dim=EARLY).eval()
    randomise(ours, scale=0.1)
    features = random_features(3, early_dim=EARLY)
    theirs = authors_decoder(ours, EARLY)
    masks = ours(features)
    for index in range(3):
        one = slice(index, index + 1)
        hq = ask_authors(theirs, features, index, hq_token_only=True)
        both = ask_authors(theirs, features, index, hq_token_only=False)
        assert hq.std() > 0.1
        torch.testing.assert_close(masks.hq[one], hq, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(masks.sam[one] + masks.hq[one], both, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backbone", ["nano", "vit_t"])
@torch.no_grad()
def test_its_sam_is_sam_bit_by_bit(backbone: str, request: pytest.FixtureRequest) -> None:
    """The SAM inside HQ-SAM is the one inside Pi-SAM, and says the same."""
    weights = request.getfixturevalue("shared") / "weights" if backbone == "vit_t" else None
    hq, pi = (build(backbone, weights, SIZE).eval() for build in (build_hq_sam, build_model))
    assert hq.frozen_hash() == pi.frozen_hash()
    features = [model.encoder(model.normalise(images()[:1]), BOX[:1]) for model in (hq, pi)]
    sam = [
        model.decoder.sam_decoder(
            image_embeddings=said.image_embedding,
            image_pe=said.position,
            sparse_prompt_embeddings=said.sparse_prompt,
            dense_prompt_embeddings=said.dense_prompt,
            multimask_output=False,
        )[0]
        for model, said in zip((hq, pi), features, strict=True)
    ]
    assert sam[0].equal(sam[1])


@torch.no_grad()
def test_the_sam_mask_beside_the_hq_token_is_sams_own_where_nobody_attends_to_the_token() -> None:
    """The authors' decoder lets SAM's tokens see the HQ token: remove that, and SAM's mask comes out."""
    model = build_hq_sam("nano", image_size=SIZE).eval()
    features = model.encoder(model.normalise(images()), BOX)
    sam = model.decoder.sam_decoder
    plain = torch.cat(
        [
            sam(
                image_embeddings=features.image_embedding[one],
                image_pe=features.position,
                sparse_prompt_embeddings=features.sparse_prompt[one],
                dense_prompt_embeddings=features.dense_prompt[one],
                multimask_output=False,
            )[0]
            for one in (slice(index, index + 1) for index in range(3))
        ]
    )
    seen = model.decoder(features).sam
    assert not seen.allclose(plain, atol=1e-4)

    masked_token = len(sam.iou_token.weight) + len(sam.mask_tokens.weight)
    blind(sam.transformer, masked_token)
    torch.testing.assert_close(model.decoder(features).sam, plain, atol=1e-5, rtol=1e-5)


def blind(transformer: torch.nn.Module, token: int) -> None:
    """Drop one token from the keys of every attention over tokens (6 learned ones and 2 of the box)."""
    for module in transformer.modules():
        if hasattr(module, "k_proj"):
            module.register_forward_pre_hook(
                lambda module, inputs, kwargs: ((), without(kwargs, token)), with_kwargs=True
            )


def without(given: dict[str, Tensor], token: int) -> dict[str, Tensor]:
    if given["k"].shape[1] != 8:
        return given
    kept = [index for index in range(8) if index != token]
    return given | {"k": given["k"][:, kept], "v": given["v"][:, kept]}


def test_only_hq_parts_get_gradients_and_sam_stays_in_evaluation_mode() -> None:
    model = build_hq_sam("nano", image_size=SIZE)
    frozen = model.frozen_hash()
    model.train_only("decoder")
    model.train()
    model(images(), BOX).low_res.square().mean().backward()
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    expected = {name for name, _ in model.named_parameters() if name.split(".")[:2][-1] in HQ_PARTS}
    assert with_gradient == expected and len(expected) > 20
    assert not any(module.training for module in model.decoder.sam_decoder.modules())
    assert model.frozen_hash() == frozen


@torch.no_grad()
def test_the_frame_mask_is_the_low_resolution_one_enlarged() -> None:
    model = build_hq_sam("nano", image_size=SIZE).eval()
    prediction = model(images(), BOX)
    assert prediction.low_res.shape == (3, 1, SIZE // 4, SIZE // 4)
    enlarged = torch.nn.functional.interpolate(prediction.low_res, (SIZE, SIZE), mode="bilinear")
    assert prediction.high_res.equal(enlarged)


@torch.no_grad()
def test_checkpoint_holds_the_hq_parts_alone_and_brings_the_model_back(tmp_path: Path) -> None:
    model = build_hq_sam("nano", image_size=SIZE).eval()
    randomise(model.decoder.hf_mlp)
    contents = checkpoint_of(model)
    assert {name.split(".")[2] for name in contents["state_dict"]} == set(HQ_PARTS)
    assert contents["pisam"]["decoder"] == "hq"
    again = build_hq_sam("nano", image_size=SIZE).eval()
    load_checkpoint(again, contents, tmp_path / "hq.ckpt")
    assert again(images(), BOX).low_res.equal(model(images(), BOX).low_res)


def test_a_checkpoint_of_the_other_decoder_is_refused_by_name(tmp_path: Path) -> None:
    hq, pi = build_hq_sam("nano", image_size=SIZE), build_model("nano", image_size=SIZE)
    with pytest.raises(PisamError, match=r"pi\.ckpt: made with decoder pi, this model has hq"):
        load_checkpoint(hq, checkpoint_of(pi), tmp_path / "pi.ckpt")
    torch.save(checkpoint_of(hq), tmp_path / "hq.ckpt")
    with pytest.raises(PisamError, match=r"hq\.ckpt: made with decoder hq, this model has pi"):
        load_model(tmp_path / "hq.ckpt")


def published(model: HqSam) -> dict[str, Tensor]:
    """A state dict in the names of the authors' package, SAM included."""
    names = {
        "encoder.image_encoder.": "image_encoder.",
        "encoder.prompt_encoder.": "prompt_encoder.",
        "decoder.sam_decoder.": "mask_decoder.",
        "decoder.": "mask_decoder.",
    }
    return {
        next(
            theirs + name.removeprefix(ours) for ours, theirs in names.items() if name.startswith(ours)
        ): value
        for name, value in model.state_dict().items()
    }


@torch.no_grad()
def test_a_published_light_model_loads_and_answers_as_the_package_does(tmp_path: Path) -> None:
    """A state dict from the package's own builder, scored by the package's own decoder."""
    from segment_anything_hq import sam_model_registry

    torch.manual_seed(0)
    theirs = sam_model_registry["vit_tiny"]().eval()
    torch.save(theirs.state_dict(), tmp_path / "sam_hq_vit_tiny.pth")
    model = load_published_hq(tmp_path / "sam_hq_vit_tiny.pth")
    assert (model.backbone, model.image_size, model.training) == ("vit_t", 1024, False)

    features = model.encoder(model.normalise(images(1024)[:1]), BOX[:1])
    embedding, early = theirs.image_encoder(theirs.preprocess(images(1024)[:1].float()))
    torch.testing.assert_close(features.image_embedding, embedding, atol=1e-5, rtol=1e-5)
    expected = theirs.mask_decoder(
        image_embeddings=embedding,
        image_pe=theirs.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=features.sparse_prompt,
        dense_prompt_embeddings=features.dense_prompt,
        multimask_output=False,
        hq_token_only=True,
        interm_embeddings=early,
    )[0]
    torch.testing.assert_close(model.decoder(features).hq, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["vit_b", "vit_l", "vit_h"])
def test_published_names_of_the_large_models_are_all_ours(backbone: str) -> None:
    from segment_anything_hq import sam_model_registry

    with torch.device("meta"):
        theirs = sam_model_registry[backbone]().state_dict()
        ours = published(HqSam(backbone=backbone, image_size=1024, parts=build_sam_parts(backbone, 1024)))
    assert {name: value.shape for name, value in ours.items()} == {
        name: value.shape for name, value in theirs.items()
    }


@pytest.mark.parametrize("damage", ["missing", "extra", "shape", "sam"])
def test_a_published_file_that_does_not_fit_is_refused_by_name(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pisam.modeling.hq_sam.BACKBONE_OF_EARLY_DIM", {192: "nano"})
    state = published(build_hq_sam("nano", image_size=1024))
    path = tmp_path / "hq.pth"
    torch.save(state, path)
    load_published_hq(path)
    name = "mask_decoder.hf_mlp.layers.0.bias"
    match damage:
        case "missing":
            del state[name]
            message = r"hq\.pth: does not fit this model: 1 missing \(decoder\.hf_mlp\.layers\.0\.bias\)"
        case "extra":
            state["mask_decoder.third_token"] = normal(1)
            message = r"1 unexpected \(mask_decoder\.third_token\)"
        case "shape":
            state[name] = normal(3)
            message = r"1 of another shape \(decoder\.hf_mlp\.layers\.0\.bias\)"
        case _:
            state = {name: value for name, value in state.items() if not name.startswith("mask_decoder.hf")}
            message = r"hq\.pth: no published HQ-SAM"
    torch.save(state, path)
    with pytest.raises(PisamError, match=message):
        load_published_hq(path)
