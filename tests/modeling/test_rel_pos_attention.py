"""Ours against segment-anything's layer, which holds a bias for each pair of pixels."""

from __future__ import annotations

import copy

import pytest
import torch
from segment_anything.modeling.image_encoder import Attention, ImageEncoderViT

from helpers.model_inputs import normal, randomise
from pisam.modeling import rel_pos_attention
from pisam.modeling.rel_pos_attention import RelPosAttention, use_fused_attention

SIZES = [(14, 14), (6, 9)]


def layer(size: tuple[int, int]) -> Attention:
    attention = Attention(24, num_heads=3, use_rel_pos=True, input_size=size)
    return randomise(attention, scale=0.5).requires_grad_(False)


@pytest.mark.parametrize("band_bytes", [1, 2**24])
@pytest.mark.parametrize("size", SIZES)
def test_bands_give_segment_anythings_numbers(size: tuple[int, int], band_bytes: int, monkeypatch) -> None:
    monkeypatch.setattr(rel_pos_attention, "BAND_BYTES", band_bytes)
    theirs, x = layer(size), normal(2, *size, 24)
    torch.testing.assert_close(RelPosAttention(theirs)(x), theirs(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_columns_give_segment_anythings_numbers(size: tuple[int, int], monkeypatch) -> None:
    """The way that other devices take."""
    monkeypatch.setattr(RelPosAttention, "_in_bands", RelPosAttention._in_columns)
    theirs, x = layer(size), normal(2, *size, 24)
    torch.testing.assert_close(RelPosAttention(theirs)(x), theirs(x), atol=1e-5, rtol=1e-5)


def test_an_encoder_keeps_names_values_and_answers() -> None:
    theirs = ImageEncoderViT(
        img_size=128, embed_dim=24, depth=2, num_heads=3, out_chans=16, use_rel_pos=True, window_size=3,
        global_attn_indexes=(1,),
    )  # fmt: skip
    randomise(theirs, scale=0.2).requires_grad_(False)
    ours = copy.deepcopy(theirs)
    use_fused_attention(ours)
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())
    image = normal(1, 3, 128, 128)
    torch.testing.assert_close(ours(image), theirs(image), atol=1e-5, rtol=1e-5)
