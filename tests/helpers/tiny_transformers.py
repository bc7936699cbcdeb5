"""Tiny random models of transformers, saved as their users save real ones."""

from __future__ import annotations

from pathlib import Path

import torch

SIDE = 64
DECODER = {
    "hidden_size": 16,
    "mlp_dim": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "iou_head_hidden_dim": 16,
}


def save_tiny(kind: str, folder: Path) -> Path:
    """A model of `sam`, `sam_hq`, `sam2` or `sam3_tracker` with frames of 64 pixels; returns the folder."""
    torch.manual_seed(0)
    model, processor = {"sam": _sam, "sam_hq": _sam_hq, "sam2": _sam2, "sam3_tracker": _sam3}[kind]()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _vit() -> dict:
    return {
        "hidden_size": 16,
        "output_channels": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 8,
        "window_size": 0,
        "global_attn_indexes": [1],
        "mlp_dim": 32,
        "num_pos_feats": 8,
    }


def _prompts(patch: int) -> dict:
    return {"hidden_size": 16, "image_size": SIDE, "patch_size": patch, "mask_input_channels": 4}


def _padding():
    from transformers import SamImageProcessor

    whole, quarter = {"height": SIDE, "width": SIDE}, {"height": SIDE // 2, "width": SIDE // 2}
    return SamImageProcessor(
        size={"longest_edge": SIDE},
        mask_size={"longest_edge": SIDE // 2},
        pad_size=whole,
        mask_pad_size=quarter,
    )


def _sam():
    from transformers import SamConfig, SamModel

    config = SamConfig(vision_config=_vit(), prompt_encoder_config=_prompts(8), mask_decoder_config=DECODER)
    return SamModel(config), _padding()


def _sam_hq():
    from transformers import SamHQConfig, SamHQModel

    decoder = {**DECODER, "vit_dim": 16}
    config = SamHQConfig(vision_config=_vit(), prompt_encoder_config=_prompts(8), mask_decoder_config=decoder)
    return SamHQModel(config), _padding()


def _sam2():
    from transformers import Sam2Config, Sam2HieraDetConfig, Sam2ImageProcessor, Sam2Model, Sam2VisionConfig

    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        num_attention_heads=1,
        image_size=[SIDE, SIDE],
        window_positional_embedding_background_size=[2, 2],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 1, 1],
        window_size_per_stage=[4, 2, 2, 2],
        global_attention_blocks=[3],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
        fpn_hidden_size=16,
    )
    config = Sam2Config(vision_config=vision, prompt_encoder_config=_prompts(16), mask_decoder_config=DECODER)
    size = {"height": SIDE, "width": SIDE}
    return Sam2Model(config), Sam2ImageProcessor(size=size, mask_size={"height": 16, "width": 16})


def _sam3():
    from transformers import Sam3ImageProcessor, Sam3TrackerConfig, Sam3TrackerModel, Sam3VisionConfig

    backbone = {
        "model_type": "sam3_vit_model",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 16,
        "window_size": 2,
        "global_attn_indexes": [1],
        "pretrain_image_size": SIDE,
    }
    vision = Sam3VisionConfig(
        backbone_config=backbone, fpn_hidden_size=16, backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]]
    )
    config = Sam3TrackerConfig(
        vision_config=vision, prompt_encoder_config=_prompts(16), mask_decoder_config=DECODER
    )
    size = {"height": SIDE, "width": SIDE}
    return Sam3TrackerModel(config), Sam3ImageProcessor(size=size, mask_size={"height": 16, "width": 16})
