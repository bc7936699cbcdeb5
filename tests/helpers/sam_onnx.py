"""A tiny random SAM of segment-anything, exported to ONNX by that package's own module."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from segment_anything.utils.onnx import SamOnnxModel

WIDTH = 16


def tiny_sam(side: int) -> Sam:
    """Of frames of `side` pixels; its mask prompts are a quarter of that."""
    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        img_size=side, patch_size=16, embed_dim=WIDTH, depth=1, num_heads=2, out_chans=WIDTH
    )
    prompts = PromptEncoder(WIDTH, (side // 16, side // 16), (side, side), mask_in_chans=4)
    transformer = TwoWayTransformer(depth=1, embedding_dim=WIDTH, num_heads=2, mlp_dim=WIDTH)
    decoder = MaskDecoder(transformer_dim=WIDTH, transformer=transformer)
    return Sam(encoder, prompts, decoder).eval()


def export_sam(sam: Sam, folder: Path) -> Path:
    """encoder.onnx and decoder.onnx with the inputs of its `export_onnx_model.py`; returns the folder."""
    side = sam.image_encoder.img_size
    asked = {
        "image_embeddings": torch.randn(1, WIDTH, side // 16, side // 16),
        "point_coords": torch.rand(1, 5, 2) * side,
        "point_labels": torch.randint(0, 4, (1, 5)).float(),
        "mask_input": torch.randn(1, 1, side // 4, side // 4),
        "has_mask_input": torch.tensor([1.0]),
        "orig_im_size": torch.tensor([side, side // 2]).float(),  # stays in segment-anything 1.0's `masks`
    }
    outputs = ["masks", "iou_predictions", "low_res_masks"]
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's, of shapes that stay constant
        torch.onnx.export(
            SamOnnxModel(sam, return_single_mask=True),
            tuple(asked.values()),
            str(folder / "decoder.onnx"),
            input_names=list(asked),
            output_names=outputs,
            dynamic_axes={"point_coords": {1: "points"}, "point_labels": {1: "points"}},
            opset_version=17,
            dynamo=False,
        )
        torch.onnx.export(
            sam.image_encoder,
            (torch.randn(1, 3, side, side),),
            str(folder / "encoder.onnx"),
            input_names=["image"],
            output_names=["image_embeddings"],
            opset_version=17,
            dynamo=False,
        )
    return folder
