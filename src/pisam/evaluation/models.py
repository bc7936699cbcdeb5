"""The models of a comparison, known by their files, SAM by its own protocol too, and facts of each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import resize

from pisam.config.schema import Config
from pisam.core.errors import PisamError, nearest
from pisam.core.geometry import sam_boxes
from pisam.core.provenance import git_revision
from pisam.data.transforms import box_of
from pisam.metrics.protocol import Protocol
from pisam.modeling.checkpoint import load_in_frame, read_identity, read_own_checkpoint
from pisam.modeling.hq_sam import HqSam, is_published_hq, load_published_hq
from pisam.modeling.pisam import PiSam
from pisam.modeling.sam_network import SamNetwork
from pisam.modeling.sam_segmenters import HqSamSegmenter, SamSegmenter
from pisam.modeling.sam_weights import hash_tensors
from pisam.modeling.segmenters import PiSamSegmenter, Segmenter, share_encoders
from pisam.modeling.shared_weights import SUFFIX
from pisam.modeling.weights_file import read_checkpoint
from pisam.training.from_config import build_hq_network, build_network
from pisam.training.run_folder import best_checkpoint, stage1_checkpoint, stage_dir

SIDE = 1024  # of SAM's frame
RESIZE = "longest side to the frame, padded right and below"


class NativeSam:
    """SAM by its own protocol (`sam_logits`) among the models of an evaluation, before any click."""

    def __init__(self, model: PiSam, name: str) -> None:
        self.model = model
        self.name = name

    def answer(self, image: npt.NDArray[np.uint8], mask: Tensor) -> Tensor:
        """Logits (1, H, W) for the box of a mask, bool (H, W), in its image, uint8 (H, W, 3) RGB."""
        return sam_logits(self.model, image, torch.from_numpy(box_of(mask.cpu().numpy())))[None]


@torch.no_grad()
def sam_logits(model: PiSam, image: npt.NDArray[np.uint8], box: Tensor) -> Tensor:
    """Logits of SAM's own decoder for a box: the longest side scaled to 1024, padded, one mask.

    Args:
        model: network whose frozen parts hold SAM, with frames of 1024 pixels.
        image: uint8 (H, W, 3) RGB.
        box: (4,), xyxy edges in pixels of the image; SAM is given the inclusive pixel indices.

    Returns:
        float (H, W) logits at the size of the image, positive = object.

    Raises:
        ValueError: a model of another frame size.

    Source: `SamPredictor` of segment-anything, with `multimask_output=False`.
    """
    if model.image_size != SIDE:
        raise ValueError(f"SAM's protocol needs a model of image_size {SIDE}, got {model.image_size}")
    device = model.pixel_mean.device
    height, width = image.shape[:2]
    new_height, new_width = sam_size(height, width)
    # SAM resizes pictures with Pillow, which averages where it shrinks; other ways give other pixels.
    resized = np.array(resize(Image.fromarray(image), [new_height, new_width]))
    pixels = torch.from_numpy(resized).permute(2, 0, 1)[None].to(device)
    padding = (0, SIDE - new_width, 0, SIDE - new_height)
    frame = F.pad(model.normalise(pixels), padding)  # zero after normalising: padding is the mean colour

    scale = torch.tensor([new_width / width, new_height / height] * 2)
    boxes = sam_boxes(box[None].float().cpu()) * scale
    encoder = model.encoder
    embedding, _ = encoder.image_encoder(frame)
    sparse, dense = encoder.prompt_encoder(points=None, boxes=boxes.to(device), masks=None)
    low_res, _ = model.decoder.sam_decoder(
        image_embeddings=embedding,
        image_pe=encoder.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )
    framed = F.interpolate(low_res.float(), size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    content = framed[..., :new_height, :new_width]
    return F.interpolate(content, size=(height, width), mode="bilinear", align_corners=False)[0, 0]


def sam_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) with the longest side 1024, rounded as SAM does: halves up."""
    scale = SIDE / max(height, width)
    return int(height * scale + 0.5), int(width * scale + 0.5)


def trained_model(config: Config, checkpoint: Path) -> PiSam:
    """The configured network with the weights of a checkpoint, in evaluation mode.

    Its frame is the configured one, also where it was trained with another.

    Raises:
        PisamError: unreadable, or of another model.
    """
    build, contents = partial(build_network, config), read_own_checkpoint(checkpoint)
    return load_in_frame(build, contents, checkpoint, config.model.image_size).eval()


def trained_hq_sam(config: Config, checkpoint: Path) -> HqSam:
    """An HQ-SAM of the configured backbone and frame, in evaluation mode.

    Args:
        config: of the run that it is compared with.
        checkpoint: of a run of `model.decoder=hq`, or one that the authors published.

    Raises:
        PisamError: unreadable, or of another model.
    """
    contents = read_checkpoint(checkpoint)
    if is_published_hq(contents):
        model = load_published_hq(checkpoint, config.model.image_size)
        if model.backbone != config.model.backbone:
            raise PisamError(
                f"checkpoint {checkpoint}: made with backbone {model.backbone}, this run has "
                f"{config.model.backbone}"
            )
        return model
    build = partial(build_hq_network, config)
    return load_in_frame(build, contents, checkpoint, config.model.image_size).eval()


def checkpoint_facts(model: SamNetwork) -> dict[str, Any]:
    """The identity of a model's weights."""
    return {**model.identity(), "checkpoint_hash": hash_tensors(model.own_state())}


def facts(config: Config, model: SamNetwork) -> dict[str, Any]:
    """Facts that the numbers of a model depend on beside the data."""
    protocol = Protocol(image_size=model.image_size, checkpoint_hash=hash_tensors(model.own_state()))
    return {
        "name": config.name,
        "seed": config.seed,
        **model.identity(),
        **git_revision(),
        "precision": config.trainer.precision,
        "protocol": protocol.as_dict(),
    }


NAMES = {"sam": "SAM", "hq": "HQ-SAM", "pi": "Pi-SAM", "sam1024": "SAM, 1024 px"}
KINDS = tuple(NAMES)


def compared_models(
    config: Config, kinds: Sequence[str] = (), checkpoints: Sequence[Path] = ()
) -> dict[str, Segmenter | NativeSam]:
    """The models of a comparison by kind, in evaluation mode; those of one frame share an image encoder.

    Args:
        config: its model section says which SAM, frame and own decoder; its run is where a checkpoint of that
            decoder comes from when none is given.
        kinds: out of `KINDS`; empty for what the checkpoints hold, or else the decoder of the configuration.
            All but sam1024, SAM by its own protocol, see the configured frame.
        checkpoints: files of ours, published HQ-SAM files, or folders of a run or stage.

    Raises:
        PisamError: an unknown kind, a kind without checkpoint or with two, a checkpoint of another backbone,
            frame or SAM.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise PisamError(
                f"models: got {kind!r}, expected some of {', '.join(KINDS)}{nearest(kind, KINDS)}"
            )
    if len(set(kinds)) != len(kinds):
        raise PisamError(f"models: got {', '.join(kinds)}, expected each once")
    models = load_networks(config, checkpoints)
    own = config.model.decoder
    wanted = tuple(kinds) or tuple(models) or (own,)
    if unused := [kind for kind in models if kind not in wanted]:
        raise PisamError(
            f"models: {', '.join(wanted)} leaves out the given checkpoint of decoder {unused[0]}"
        )
    for kind in wanted:
        if kind not in ("sam", "sam1024", *models):
            if kind != own:
                raise PisamError(
                    f"models: {kind} has no checkpoint; give checkpoint=FILE, or several as [FILE,FILE] "
                    f"(this experiment's own run is of decoder {own})"
                )
            models[kind] = _load(config, stage1_checkpoint(config))
    frozen = next(iter(models.values()), None) or build_network(config).eval()  # SAM is in any
    native = {"sam1024": build_network(config, SIDE).eval()} if "sam1024" in wanted else {}
    share_encoders([frozen, *models.values(), *native.values()])
    return {
        kind: NativeSam(native[kind], NAMES[kind])
        if kind in native
        else _segmenter(kind, models.get(kind, frozen))
        for kind in wanted
    }


def interacting_models(config: Config, checkpoints: Sequence[Path] = ()) -> dict[str, SamNetwork]:
    """The networks that `pisam interact` compares, by kind: Pi-SAM, and HQ-SAM where one is given.

    Args:
        config: its run is where Pi-SAM comes from, as the best stage 2, when none is given.
        checkpoints: as in `compared_models`; of a run of Pi-SAM its stage 2.

    Raises:
        PisamError: no Pi-SAM, one that learned no clicks, two models of a kind, or one of another backbone,
            frame or SAM.
    """
    models = load_networks(config, checkpoints, stages=(2, 1))
    if "pi" not in models:
        folder = stage_dir(config, 2)
        if not (best := best_checkpoint(folder)):
            raise PisamError(
                f"interact needs a trained stage 2, and there is no {folder}/checkpoints/best.ckpt: run "
                "stage 2 first, or give checkpoint=FILE"
            )
        models["pi"] = trained_model(config, best)
    pi = models["pi"]
    if isinstance(pi, PiSam) and not pi.interactor.residual.weight.any():
        raise PisamError(
            "interact: the given Pi-SAM is one of stage 1, which learned no clicks; give a stage 2"
        )
    share_encoders(models.values())
    return models


def load_networks(
    config: Config, checkpoints: Sequence[Path], stages: Sequence[int] = (1,)
) -> dict[str, SamNetwork]:
    """The networks of checkpoints by kind, in evaluation mode; arguments and errors as above."""
    models: dict[str, SamNetwork] = {}
    for source in checkpoints:
        path = find_checkpoint(source, stages)
        model = _load(config, path)
        if model.kind in models:
            raise PisamError(
                f"checkpoint {path}: a second model of decoder {model.kind}; evaluate it by itself"
            )
        models[model.kind] = model
    return models


def find_checkpoint(source: Path, stages: Sequence[int] = (1,)) -> Path:
    """The file itself, or the best checkpoint of a folder: a stage's, or the first of `stages` of a run."""
    if found := best_checkpoint(source, stages):
        return found
    raise PisamError(f"checkpoint {source}: no such file, and no run or stage with checkpoints/best.ckpt")


def model_facts(config: Config, segmenter: Segmenter | NativeSam) -> dict[str, Any]:
    """Facts that the numbers of a model depend on beside the data: see `trained.facts`."""
    known = facts(config, segmenter.model)
    if isinstance(segmenter, NativeSam):
        known["protocol"]["resize"] = RESIZE
    if isinstance(segmenter, HqSamSegmenter):
        known["protocol"]["hq_mask"] = "HQ plus SAM" if segmenter.add_sam else "HQ alone"
    elif isinstance(segmenter, (SamSegmenter, NativeSam)):
        known["decoder"] = "sam"
        known["protocol"]["checkpoint_hash"] = None  # frozen_hash says which SAM
    return known


def _load(config: Config, path: Path) -> SamNetwork:
    contents = read_own_checkpoint(path) if path.suffix == SUFFIX else read_checkpoint(path)
    if is_published_hq(contents) or read_identity(contents, path).get("decoder") == "hq":
        return trained_hq_sam(config, path)
    return trained_model(config, path)


def _segmenter(kind: str, model: SamNetwork) -> Segmenter:
    if kind == "pi" and isinstance(model, PiSam):
        return PiSamSegmenter(model, NAMES[kind])
    if kind == "hq" and isinstance(model, HqSam):
        return HqSamSegmenter(model, NAMES[kind])
    return SamSegmenter(model, NAMES[kind])
