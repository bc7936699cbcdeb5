"""Weights files that are something else, wrapped ones, and numbers that are no weights: in every loader."""

from __future__ import annotations

import gzip
import math
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pisam.core.errors import PisamError
from pisam.modeling.backbones import build_sam_parts
from pisam.modeling.checkpoint import checkpoint_of, load_checkpoint, load_model
from pisam.modeling.hq_sam import build_hq_sam, is_published_hq
from pisam.modeling.pisam import build_model
from pisam.modeling.sam_weights import load_sam_weights
from pisam.modeling.weights_file import read_checkpoint, unwrap

PARTS = ("image_encoder", "prompt_encoder", "mask_decoder")


class Other:
    """An object that is no tensor."""


@pytest.fixture
def weights() -> dict[str, Tensor]:
    """Of the nano SAM, all moved by one."""
    parts = build_sam_parts("nano", 64)
    return {f"{p}.{name}": v + 1 for p in PARTS for name, v in getattr(parts, p).state_dict().items()}


def save(contents: object, path: Path) -> Path:
    torch.save(contents, path)
    return path


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("sam_vit_b.pth", "weights")


FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "page": (lambda p: p.write_text("\n<!DOCTYPE html><html>404</html>"), "a web page, .* download"),
    "xml": (lambda p: p.write_text('<?xml version="1.0"?><Error>AccessDenied</Error>'), "a web page"),
    "pointer": (
        lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        "a pointer of git-lfs, .* git lfs pull",
    ),
    "empty": (lambda p: p.write_bytes(b""), "it is empty"),
    "json": (lambda p: p.write_text('{"message": "Not Found"}'), "it is JSON text"),
    "text": (lambda p: p.write_text("checkpoint of today"), "it is text"),
    "gzip": (lambda p: p.write_bytes(gzip.compress(b"0" * 99)), "a gzip archive; unpack"),
    "zip": (zipped, "a zip archive without tensors"),
    "objects": (lambda p: torch.save({"a": Other()}, p), r"it holds \S*Other, .*save the state_dict"),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_weights_file_is_called_what_it_is(tmp_path: Path, name: str) -> None:
    write, message = FILES[name]
    path = tmp_path / "sam_vit_b.pth"
    write(path)
    with pytest.raises(PisamError, match=rf"sam_vit_b\.pth: truncated, or not .*\(.*{message}") as caught:
        read_checkpoint(path)
    assert "weights_only" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state},
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model_state_dict": state, "optimizer": {}},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {"state_dict": {f"model.{name}": value for name, value in state.items()}},
        lambda state: {"model": {"state_dict": {f"module.sam.{n}": value for n, value in state.items()}}},
        lambda state: {f"_orig_mod.{name}": value.half() for name, value in state.items()},
    ],
)
def test_common_wrappings_load(tmp_path: Path, weights: dict, wrap: Callable[[dict], dict]) -> None:
    parts = build_sam_parts("nano", 64)
    load_sam_weights(parts, save(wrap(weights), tmp_path / "sam.pth"), 64)
    own = parts.mask_decoder.state_dict()
    for name, value in own.items():
        torch.testing.assert_close(value, weights[f"mask_decoder.{name}"], rtol=0, atol=2e-3)
    hq = weights | {"mask_decoder.hf_token.weight": torch.ones(1, 256)}
    assert is_published_hq(wrap(hq)) and not is_published_hq(wrap(weights))


def test_safetensors_are_told_by_their_content(tmp_path: Path, weights: dict) -> None:
    save_file(weights, tmp_path / "sam.pth")
    load_sam_weights(build_sam_parts("nano", 64), tmp_path / "sam.pth", 64)


SPOILT: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "NaN": (lambda v: v.clone().index_fill_(0, torch.tensor(0), math.nan), "values that are NaN or infinite"),
    "infinity": (lambda v: v.clone().index_fill_(0, torch.tensor(0), -math.inf), "NaN or infinite"),
    "beyond float32": (lambda v: v.double() * 1e300, "NaN or infinite"),
    "int8": (lambda v: v.to(torch.int8), "is int8; expected floating-point"),
    "int64": (lambda v: v.long(), "is int64; expected floating-point"),
    "bool": (lambda v: v != 0, "is bool; expected floating-point"),
    "repeated": (lambda v: torch.zeros(1).expand(v.shape), "repeats fewer numbers"),
    "enormous": (lambda v: torch.zeros(1).expand(10**6, 10**6), "repeats fewer numbers"),
    "meta": (lambda v: v.to("meta"), "is empty of numbers"),
    "complex": (lambda v: v.to(torch.complex64), "is complex64"),
    "sparse": (lambda v: v.to_sparse(), "is sparse_coo float32"),
    "number": (lambda v: 3, "is a int; expected a tensor"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_numbers_that_are_no_weights_are_refused_by_name_in_every_loader(
    tmp_path: Path, weights: dict, kind: str
) -> None:
    spoil, message = SPOILT[kind]
    name = "mask_decoder.iou_token.weight"
    path = save(weights | {name: spoil(weights[name])}, tmp_path / "sam.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PisamError, match=rf"SAM weights {path}: (tensor )?{name} .*{message}"):
            load_sam_weights(build_sam_parts("nano", 64), path, 64)
    for build, own in (
        (build_model, "decoder.token_mlp.layers.0.bias"),
        (build_hq_sam, "decoder.hf_token.weight"),
    ):
        model = build("nano", None, 64)
        contents = checkpoint_of(model)
        contents["state_dict"][f"model.{own}"] = spoil(contents["state_dict"][f"model.{own}"])
        path = save(contents, tmp_path / "own.ckpt")
        with pytest.raises(PisamError, match=rf"checkpoint {path}: (tensor )?{own} .*{message}"):
            load_checkpoint(model, read_checkpoint(path), path)


def test_spoilt_checkpoint_is_refused_by_the_predictor_too(tmp_path: Path) -> None:
    contents = checkpoint_of(build_model("nano", None, 64))
    contents["state_dict"]["model.decoder.output_token.weight"][0, 0] = math.nan
    with pytest.raises(PisamError, match=r"decoder\.output_token\.weight has 1 of 256 values"):
        load_model(save(contents, tmp_path / "own.ckpt"))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"mask_decoder.hf_token.weight": torch.ones(1, 256)}, "it is an HQ-SAM file"),
        ({"model.decoder.object_embedder.a": torch.ones(1)}, "it is a checkpoint of Pi-SAM"),
        ({"memory_encoder.a": torch.ones(1)}, "it is a SAM 2 file"),
        ({"image_encoder.patch_embed.proj.weight": torch.ones(1280, 3, 16, 16)}, "it is of vit_h"),
    ],
)
def test_another_model_is_called_what_it_is(tmp_path: Path, weights: dict, extra: dict, message: str) -> None:
    path = save(weights | extra, tmp_path / "sam.pth")
    with pytest.raises(PisamError, match=rf"does not fit this model: .*\({message}"):
        load_sam_weights(build_sam_parts("nano", 64), path, 64)


def test_what_is_not_wrapped_stays() -> None:
    assert unwrap({"a": torch.ones(1), "model": {"b": 1}}).keys() == {"a", "model"}
    assert unwrap({}) == {} and unwrap({"epoch": 3}) == {"epoch": 3}
