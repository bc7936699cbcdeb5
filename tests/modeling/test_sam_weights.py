"""SAM checkpoints, on the nano SAM: loading does not depend on the size of a model."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor

from helpers.model_inputs import normal
from pisam.core.errors import PisamError
from pisam.modeling.backbones import SamParts, build_sam_parts
from pisam.modeling.pisam import build_model
from pisam.modeling.sam_weights import (
    find_sam_weights,
    fit_positions,
    hash_tensors,
    load_sam_weights,
)
from pisam.modeling.weights_file import read_checkpoint

PARTS = ("image_encoder", "prompt_encoder", "mask_decoder")


def state_of(parts: SamParts) -> dict[str, Tensor]:
    return {f"{p}.{name}": v for p in PARTS for name, v in getattr(parts, p).state_dict().items()}


def save(contents: object, path: Path) -> Path:
    torch.save(contents, path)
    return path


@pytest.fixture
def weights() -> dict[str, Tensor]:
    """Other values than those of the nano SAM."""
    return {name: value + 1 for name, value in state_of(build_sam_parts("nano", 64)).items()}


def test_loads_every_value_and_ignores_declared_names_only(tmp_path: Path, weights: dict) -> None:
    parts, head = build_sam_parts("nano", 64), {"image_encoder.head.weight": torch.ones(3)}
    load_sam_weights(parts, save(weights | head, tmp_path / "sam.pth"), 64)
    loaded = state_of(parts)
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())


def test_wrong_model_is_refused_with_the_names_and_nothing_is_loaded(tmp_path: Path, weights: dict) -> None:
    parts = build_sam_parts("nano", 64)
    before = hash_tensors(state_of(parts))
    weights.pop("mask_decoder.iou_token.weight")
    weights["image_encoder.extra"] = torch.ones(1)
    weights["mask_decoder.mask_tokens.weight"] = torch.ones(2, 256)
    path = save(weights, tmp_path / "sam.pth")

    with pytest.raises(PisamError) as error:
        load_sam_weights(parts, path, 64)

    assert str(path) in str(error.value)
    assert "1 missing (mask_decoder.iou_token.weight)" in str(error.value)
    assert "1 unexpected (image_encoder.extra)" in str(error.value)
    assert "1 of another shape (mask_decoder.mask_tokens.weight)" in str(error.value)
    assert hash_tensors(state_of(parts)) == before


def test_long_lists_of_names_are_cut(tmp_path: Path) -> None:
    path = save({"something": torch.ones(1)}, tmp_path / "sam.pth")
    with pytest.raises(PisamError, match=r"\d+ missing \((\S+, ){4}\.\.\.\); 1 unexpected") as error:
        load_sam_weights(build_sam_parts("nano", 64), path, 64)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kept", [0, 1, 3, 100, 0.5, 0.99])
def test_truncated_file_is_one_error(tmp_path: Path, kept: float) -> None:
    path = save({"a": torch.ones(1000)}, tmp_path / "cut.pth")
    contents = path.read_bytes()
    path.write_bytes(contents[: int(kept * len(contents)) if kept < 1 else int(kept)])
    with pytest.raises(PisamError, match=rf"checkpoint {path}: truncated, or not a file of tensors"):
        read_checkpoint(path)


def test_a_file_of_anything_is_one_error(tmp_path: Path) -> None:
    """Bytes that begin as a pickle does, so that the reader does not give up at once."""
    path, generator = tmp_path / "noise.pth", torch.Generator().manual_seed(0)
    for noise in torch.randint(0, 256, (100, 200), generator=generator).tolist():
        path.write_bytes(b"\x80\x02" + bytes(noise))
        with pytest.raises(PisamError, match="truncated, or not a file of tensors"):
            read_checkpoint(path)


def test_other_contents_and_absent_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.pth").write_text("not a checkpoint")
    with pytest.raises(PisamError, match="not a file of tensors"):
        read_checkpoint(tmp_path / "notes.pth")
    with pytest.raises(PisamError, match="expected a dictionary of tensors, got list"):
        read_checkpoint(save([torch.ones(1)], tmp_path / "list.pth"))
    with pytest.raises(PisamError, match=r"absent\.pth: no such file"):
        read_checkpoint(tmp_path / "absent.pth")


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return Path.mkdir, (self.folder,)


@pytest.mark.parametrize("forced", [False, True])
def test_a_malicious_pickle_is_never_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forced: bool
) -> None:
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    folder = tmp_path / "made"
    for path in (save({"a": Malicious(folder)}, tmp_path / "zip.pth"), tmp_path / "plain.pth"):
        if not path.exists():
            path.write_bytes(pickle.dumps({"a": Malicious(folder)}, protocol=2))
        with pytest.raises(PisamError, match="not a file of tensors"):
            read_checkpoint(path)
    assert not folder.exists()


def test_weights_are_found_by_name_in_a_directory(tmp_path: Path) -> None:
    for name in ("sam_vit_b_01ec64.pth", "sam_vit_l_0b3195.pth", "mobile_sam.pt"):
        (tmp_path / name).touch()
    assert find_sam_weights(tmp_path, "vit_b").name == "sam_vit_b_01ec64.pth"
    assert find_sam_weights(str(tmp_path), "vit_t").name == "mobile_sam.pt"
    other_name = tmp_path / "mobile_sam.pt"
    assert find_sam_weights(other_name, "vit_b") == other_name  # a file is taken at its word


def test_no_or_two_candidates_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PisamError, match=r"vit_h: expected one sam_vit_h\*\.pth in .*, found none"):
        find_sam_weights(tmp_path, "vit_h")
    for name in ("sam_vit_h_a.pth", "sam_vit_h_b.pth"):
        (tmp_path / name).touch()
    with pytest.raises(PisamError, match=r"found sam_vit_h_a\.pth, sam_vit_h_b\.pth"):
        find_sam_weights(tmp_path, "vit_h")
    with pytest.raises(PisamError, match=r"vit_h: no file or directory .*elsewhere"):
        find_sam_weights(tmp_path / "elsewhere", "vit_h")


@pytest.mark.parametrize("image_size", [64, 192, 320])
def test_positions_fit_another_frame_and_load_strictly(tmp_path: Path, image_size: int) -> None:
    trained = state_of(build_sam_parts("nano", 128))
    parts = build_sam_parts("nano", image_size)
    load_sam_weights(parts, save(trained, tmp_path / "sam.pth"), image_size)
    embedding, _ = parts.image_encoder(normal(1, 3, image_size, image_size))
    assert embedding.isfinite().all()


def test_fitted_positions_keep_their_meaning() -> None:
    """A table that rises evenly over the frame still does so, whatever its length."""
    ramp, side, new_side = torch.arange(8.0) + 0.5, 8, 16
    state = {
        "image_encoder.pos_embed": ramp[None, None, :, None].expand(1, side, side, 2) / side,
        "image_encoder.blocks.1.attn.rel_pos_h": torch.arange(-7.0, 8.0)[:, None].expand(-1, 4) / side,
        "image_encoder.blocks.0.attn.rel_pos_h": torch.randn(27, 4),  # of a window
    }
    before = {name: value.clone() for name, value in state.items()}

    fitted = fit_positions(state, new_side * 16)

    table = fitted["image_encoder.pos_embed"]
    expected = (torch.arange(16.0) + 0.5) / new_side
    assert table.shape == (1, new_side, new_side, 2)
    torch.testing.assert_close(table[0, 5, 3:-3, 1], expected[3:-3], atol=0.01, rtol=0)
    relative = fitted["image_encoder.blocks.1.attn.rel_pos_h"]
    assert relative.shape == (2 * new_side - 1, 4)
    assert relative[new_side - 1].abs().max() < 1e-6  # no offset stays in the middle
    torch.testing.assert_close(relative[2:-2, 0], torch.arange(-13.0, 14.0) / new_side, atol=0.05, rtol=0)
    assert fitted["image_encoder.blocks.0.attn.rel_pos_h"] is state["image_encoder.blocks.0.attn.rel_pos_h"]
    assert all(torch.equal(state[name], before[name]) for name in state)
    assert fit_positions(state, side * 16) is state


def test_hash_sees_names_types_shapes_and_bits() -> None:
    base = {"a": torch.zeros(4), "b": torch.tensor(3)}
    assert hash_tensors(base) == hash_tensors(dict(reversed(base.items())))
    assert hash_tensors(base) == hash_tensors({"a": torch.zeros(8)[::2], "b": base["b"]})
    others = [
        {"a": torch.tensor([0.0, 0, 0, -0.0]), "b": base["b"]},
        {"a": torch.zeros(2, 2), "b": base["b"]},
        {"a": torch.zeros(4, dtype=torch.int32), "b": base["b"]},
        {"c": torch.zeros(4), "b": base["b"]},
        {"a": torch.zeros(4)},
    ]
    assert len({hash_tensors(state) for state in [base, *others]}) == 6


@torch.no_grad()
def test_mobile_sam_loads_from_its_folder(shared: Path) -> None:
    model = build_model("vit_t", shared / "weights", 128)
    file = torch.load(shared / "weights" / "mobile_sam.pt", weights_only=True)
    loaded = model.encoder.image_encoder.state_dict()
    assert all(torch.equal(value, file[f"image_encoder.{name}"]) for name, value in loaded.items())
    image = torch.randint(0, 256, (1, 3, 128, 128), dtype=torch.uint8)
    assert model(image, torch.tensor([[10.0, 10, 90, 90]])).high_res.isfinite().all()
