"""Import of the authors' released checkpoints: their names to ours.

A released file holds decoder and interactor, without SAM's encoders and without the RGB embedding, which
their code left random and unsaved. It is rebuilt from the seed their code set, in their construction order.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from pisam.core.errors import PisamError
from pisam.modeling.backbone_table import BACKBONES
from pisam.modeling.backbones import build_image_encoder, build_prompt_encoder
from pisam.modeling.checkpoint import checkpoint_of
from pisam.modeling.hr_conv_head import HRConvHead
from pisam.modeling.pisam import PiSam, build_model
from pisam.modeling.weights_file import read_checkpoint, refuse_nonsense, unwrap

# The first prefix that fits decides; what follows it stays, unless SECOND names it.
PREFIXES = (
    ("interact_2.pe_layer.", "interactor.position."),
    ("interact_2.points_flag.", "interactor.click_embedding.flag."),
    ("interact_2.token_embed.", "interactor.click_embedding.mix."),
    ("interact_2.transformer.layers.", "interactor.blocks."),
    ("interact_2.transformer.final_attn_image_to_token.", "interactor.final_attention."),
    ("interact_2.transformer.norm_final_attn.", "interactor.final_norm."),
    ("interact_2.out_cov.", "interactor.residual."),
    ("hf_token.", "decoder.output_token."),
    ("hf_mlp.", "decoder.token_mlp."),
    ("compress_vit_feat.", "decoder.mask_feature.from_early."),
    ("embedding_encoder.", "decoder.mask_feature.from_embedding."),
    ("embedding_maskfeature.", "decoder.mask_feature.from_decoder."),
    ("embedding_act.", "decoder.mask_feature.fusion."),
    ("mask_aspp.mask_embedding.", "decoder.object_embedder.embedding."),
    ("mask_aspp.aspp1.atrous_conv.", "decoder.object_embedder.deformable3."),
    ("mask_aspp.aspp2.atrous_conv.", "decoder.object_embedder.deformable7."),
    ("mask_aspp.conv_out.", "decoder.object_embedder.fusion."),
    ("output_upscaling_2.", "decoder.head.upscaling."),
    ("out_act.", "decoder.head.output."),
    ("rgb_embed.", "decoder.head.rgb_embedding."),
    ("", "decoder.sam_decoder."),
)
SECOND = (
    ("cross_attn_image_to_token", "pixel_to_token"),
    ("cross_attn_token_to_image", "token_to_pixel"),
    ("mlp.", "convolutions."),
    ("0.offset_conv.", "0.offset."),
    ("0.modulator_conv.", "0.modulator."),
    ("0.regular_conv.", "0.kernel."),
)
SECOND_WITHIN = ("interactor.blocks.", "decoder.object_embedder.deformable")
DERIVED = ("interact_2.img_pe", "interact_2.bnd_op.laplacian_kernel")  # computed here, not loaded
BACKBONE_OF_EARLY_DIM = {row.early_dim: name for name, row in BACKBONES.items() if row.weights and row.depth}
RELEASED_SIZE = 1024
RELEASED_SEED = 42  # of rank 0


def our_name(released: str) -> str:
    """Our name of a released parameter."""
    theirs, ours = next(pair for pair in PREFIXES if released.startswith(pair[0]))
    rest = released.removeprefix(theirs)
    if ours.startswith(SECOND_WITHIN):
        for old, new in SECOND:
            rest = rest.replace(old, new)
    return ours + rest


def translate(released: dict[str, Tensor]) -> dict[str, Tensor]:
    """A released state under our names, without what is derived."""
    return {our_name(name): value for name, value in released.items() if name not in DERIVED}


def import_released(checkpoint: str | Path, weights: str | Path | None = None) -> dict:
    """A released checkpoint as one of ours, which stage 2, evaluation and `load_model` take.

    Args:
        checkpoint: the authors' file; may be wrapped in `model_state_dict`; a stage-1 file has no interactor,
            which then starts untrained.
        weights: SAM's checkpoint of the same backbone, as in `build_model`.

    Returns:
        contents for `torch.save`.

    Raises:
        PisamError: not a released checkpoint, or SAM's decoder in it is not the one of `weights`.
    """
    path = Path(checkpoint)
    released = unwrap(read_checkpoint(path))
    early = released.get("compress_vit_feat.0.weight")
    if early is None or len(early) not in BACKBONE_OF_EARLY_DIM:
        raise PisamError(
            f"checkpoint {path}: no released Pi-SAM file, which has compress_vit_feat.0.weight with one of "
            f"{sorted(BACKBONE_OF_EARLY_DIM)} rows"
        )
    refuse_nonsense(released, what=f"checkpoint {path}")
    backbone = BACKBONE_OF_EARLY_DIM[len(early)]
    model = build_model(backbone, weights, RELEASED_SIZE)
    state = translate(released) | released_rgb_embedding(backbone)
    _check_sam_decoder(model, state, path)
    untrained = {k: v for k, v in model.own_state().items() if k.startswith("interactor.")}
    own = {name: value for name, value in state.items() if not name.startswith("decoder.sam_decoder.")}
    has_interactor = any(name.startswith("interactor.") for name in own)
    model.load_own_state(own if has_interactor else untrained | own, what=f"checkpoint {path}")
    return checkpoint_of(model)


def released_rgb_embedding(backbone: str) -> dict[str, Tensor]:
    """The RGB embedding that the released code had on rank 0, from its seed and order of construction."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RELEASED_SEED)
        build_image_encoder(backbone, RELEASED_SIZE)
        build_prompt_encoder(RELEASED_SIZE)
        rgb_embedding = HRConvHead().rgb_embedding  # the head's first layers, so nothing is drawn between
    return {f"decoder.head.rgb_embedding.{k}": v for k, v in rgb_embedding.state_dict().items()}


def _check_sam_decoder(model: PiSam, state: dict[str, Tensor], path: Path) -> None:
    prefix = "decoder.sam_decoder."
    theirs = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    ours = model.decoder.sam_decoder.state_dict()
    refuse_nonsense(theirs, what=f"checkpoint {path}", own=ours)
    for name in sorted(theirs.keys() | ours.keys()):
        if name not in theirs or name not in ours or not torch.equal(theirs[name], ours[name]):
            raise PisamError(
                f"checkpoint {path}: its copy of SAM's mask decoder differs from the SAM weights in {name}"
            )
