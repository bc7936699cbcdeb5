"""Import of released checkpoints, made here with their names and random values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT, PromptEncoder
from torch import Tensor, nn

from helpers.model_inputs import random_clicks
from pisam.core.errors import PisamError
from pisam.modeling import released
from pisam.modeling.backbones import build_mask_decoder, build_sam_parts
from pisam.modeling.checkpoint import load_model
from pisam.modeling.pisam import PiSam
from pisam.modeling.released import DERIVED, import_released, our_name, released_rgb_embedding

NANO_DIM = 192


def released_shapes(shared: Path) -> dict[str, tuple[int, ...]]:
    """Every name of the authors' file, with its shape."""
    keys = json.loads((shared / "parity" / "pi_vit_b.json").read_text())["keys"]
    return {name: tuple(shape) for name, shape in keys.items()}


def released_file(
    shapes: dict[str, tuple[int, ...]], sam_decoder: dict[str, Tensor], *, early_dim: int = 768
) -> dict[str, Tensor]:
    """Random values under their names, with the given SAM decoder."""
    generator = torch.Generator().manual_seed(0)
    early = {"compress_vit_feat.0.weight": (early_dim, 256, 2, 2)}
    state = {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in (shapes | early).items()}
    return state | sam_decoder


def test_every_released_name_has_one_of_ours(shared: Path) -> None:
    with torch.device("meta"):
        model = PiSam(backbone="vit_b", image_size=1024, parts=build_sam_parts("vit_b", 1024))
    ours = {
        name: tuple(value.shape)
        for name, value in model.state_dict().items()
        if not name.startswith(("encoder.", "decoder.head.rgb_embedding."))
    }
    shapes = released_shapes(shared)
    translated = {our_name(name): shape for name, shape in shapes.items() if name not in DERIVED}
    assert translated == ours
    assert len(translated) == len(shapes) - len(DERIVED)  # no two became one


@pytest.fixture
def nano_as_released(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Lets an import stand on the nano SAM at 64 pixels; gives its decoder."""
    monkeypatch.setattr(released, "BACKBONE_OF_EARLY_DIM", {NANO_DIM: "nano"})
    monkeypatch.setattr(released, "RELEASED_SIZE", 64)
    return build_sam_parts("nano", 64).mask_decoder.state_dict()


@pytest.mark.parametrize("wrapped", [False, True])
def test_import_gives_a_checkpoint_of_ours(
    tmp_path: Path, shared: Path, nano_as_released: dict[str, Tensor], wrapped: bool
) -> None:
    state = released_file(released_shapes(shared), nano_as_released, early_dim=NANO_DIM)
    torch.save({"model_state_dict": state, "epoch": 3} if wrapped else state, tmp_path / "theirs.pth")

    torch.save(import_released(tmp_path / "theirs.pth"), tmp_path / "ours.ckpt")
    model = load_model(tmp_path / "ours.ckpt")

    loaded = model.state_dict()
    for name, value in state.items():
        if name not in DERIVED:
            assert torch.equal(loaded[our_name(name)], value), name
    for name, value in released_rgb_embedding("nano").items():
        assert torch.equal(loaded[name], value), name
    image, box = torch.zeros(1, 3, 64, 64, dtype=torch.uint8), torch.tensor([[5.0, 5, 40, 40]])
    with torch.no_grad():
        assert not torch.equal(model(image, box, random_clicks(1, 2)).high_res, model(image, box).high_res)


def test_a_stage_1_file_gets_an_untrained_interactor(
    tmp_path: Path, shared: Path, nano_as_released: dict[str, Tensor]
) -> None:
    shapes = {n: s for n, s in released_shapes(shared).items() if not n.startswith("interact_2.")}
    torch.save(released_file(shapes, nano_as_released, early_dim=NANO_DIM), tmp_path / "theirs.pth")
    torch.save(import_released(tmp_path / "theirs.pth"), tmp_path / "ours.ckpt")
    assert not load_model(tmp_path / "ours.ckpt").interactor.residual.weight.any()


def test_a_file_of_another_sam_is_refused(
    tmp_path: Path, shared: Path, nano_as_released: dict[str, Tensor]
) -> None:
    state = released_file(released_shapes(shared), nano_as_released, early_dim=NANO_DIM)
    damages = {
        "mask_tokens.weight": state["mask_tokens.weight"] + 1e-3,
        "iou_token.weight": torch.ones(2, 256),
        "unknown_head.weight": torch.ones(1),
    }
    for name, value in damages.items():
        torch.save(state | {name: value}, tmp_path / "theirs.pth")
        with pytest.raises(PisamError, match=f"its copy of SAM's mask decoder differs .* in {name}"):
            import_released(tmp_path / "theirs.pth")


@pytest.mark.parametrize(
    "contents",
    [
        {"image_encoder.pos_embed": torch.ones(1)},
        {"model_state_dict": None},
        {"compress_vit_feat.0.weight": torch.ones(7, 1)},
    ],
    ids=["sam", "empty", "unknown backbone"],
)
def test_other_files_are_refused(tmp_path: Path, contents: dict) -> None:
    torch.save(contents, tmp_path / "theirs.pth")
    with pytest.raises(PisamError, match=r"theirs\.pth: no released Pi-SAM file.*\[768, 1024, 1280\] rows"):
        import_released(tmp_path / "theirs.pth")


def test_a_released_file_that_lacks_names_is_refused(
    tmp_path: Path, shared: Path, nano_as_released: dict[str, Tensor]
) -> None:
    shapes = {n: s for n, s in released_shapes(shared).items() if n != "hf_token.weight"}
    torch.save(released_file(shapes, nano_as_released, early_dim=NANO_DIM), tmp_path / "theirs.pth")
    with pytest.raises(PisamError, match=r"1 missing \(decoder\.output_token\.weight\)"):
        import_released(tmp_path / "theirs.pth")


@pytest.mark.slow
def test_import_at_vit_b(tmp_path: Path, shared: Path, random_sam_vit_b: Path) -> None:
    sam = torch.load(random_sam_vit_b, weights_only=True)
    decoder = {n.removeprefix("mask_decoder."): v for n, v in sam.items() if n.startswith("mask_decoder.")}
    state = released_file(released_shapes(shared), decoder)
    torch.save({"model_state_dict": state}, tmp_path / "theirs.pth")

    torch.save(import_released(tmp_path / "theirs.pth", random_sam_vit_b), tmp_path / "ours.ckpt")
    model = load_model(tmp_path / "ours.ckpt", random_sam_vit_b.parent)

    assert (model.backbone, model.image_size) == ("vit_b", 1024)
    loaded = model.state_dict()
    assert all(torch.equal(loaded[our_name(n)], v) for n, v in state.items() if n not in DERIVED)
    torch.save({"model_state_dict": state | build_mask_decoder().state_dict()}, tmp_path / "other.pth")
    with pytest.raises(PisamError, match="its copy of SAM's mask decoder differs"):
        import_released(tmp_path / "other.pth", random_sam_vit_b)


@pytest.mark.slow
def test_the_rgb_embedding_is_what_seed_42_gives_after_sams_encoders() -> None:
    torch.manual_seed(42)
    ImageEncoderViT(
        img_size=1024,
        embed_dim=768,
        depth=12,
        num_heads=12,
        out_chans=256,
        use_rel_pos=True,
        window_size=14,
        global_attn_indexes=(2, 5, 8, 11),
    )
    PromptEncoder(256, (64, 64), (1024, 1024), mask_in_chans=16)
    expected = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1)).state_dict()

    rebuilt = released_rgb_embedding("vit_b")

    assert rebuilt.keys() == {f"decoder.head.rgb_embedding.{name}" for name in expected}
    assert all(torch.equal(rebuilt[f"decoder.head.rgb_embedding.{n}"], v) for n, v in expected.items())
