"""Which models a comparison runs, what is refused by name; SAM here is SAM by its own predictor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from segment_anything.modeling import Sam
from torch import Tensor, nn

from helpers.small_runs import small_batch
from pisam.config.load import load_config
from pisam.config.schema import Config
from pisam.core.errors import PisamError
from pisam.data.reading.reader import read_image, read_mask
from pisam.data.sources.pairs import list_pairs
from pisam.data.sources.rows import Source
from pisam.data.transforms import box_of
from pisam.evaluation.models import (
    NativeSam,
    compared_models,
    find_checkpoint,
    model_facts,
    sam_logits,
    sam_size,
)
from pisam.metrics.functional import boundary_iou, iou
from pisam.modeling.checkpoint import checkpoint_of, load_model
from pisam.modeling.hq_sam import build_hq_sam
from pisam.modeling.pisam import PiSam, build_model
from pisam.modeling.sam_network import PIXEL_MEAN, PIXEL_STD, SamNetwork
from pisam.modeling.sam_segmenters import HqSamSegmenter, SamSegmenter
from pisam.modeling.segmenters import PiSamSegmenter, first_answers
from pisam.modeling.shared_weights import save_model


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment of frames of 64 pixels, its trained run, and other checkpoints."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "small.yaml").write_text("model: {backbone: nano, image_size: 64}\n")
    torch.manual_seed(3)
    models = {
        "run/stage1/checkpoints/best.ckpt": build_model("nano", image_size=64),
        "hq.ckpt": build_hq_sam("nano", image_size=64),
        "large.ckpt": build_model("nano", image_size=128),
        "large_hq.ckpt": build_hq_sam("nano", image_size=128),
    }
    for name, model in models.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save(checkpoint_of(model), folder / name)
    return folder


def config_of(files: Path, *overrides: str) -> Config:
    return load_config(files / "small.yaml", [f"run_dir={files / 'run'}", *overrides])


def test_without_arguments_it_is_the_runs_own_model(files: Path) -> None:
    models = compared_models(config_of(files))
    assert list(models) == ["pi"] and isinstance(models["pi"], PiSamSegmenter)
    assert not models["pi"].model.training


def test_all_three_stand_on_one_encoder_with_the_weights_of_their_files(files: Path) -> None:
    models = compared_models(config_of(files), ["sam", "hq", "pi"], [files / "hq.ckpt"])
    assert [type(model) for model in models.values()] == [SamSegmenter, HqSamSegmenter, PiSamSegmenter]
    assert [model.name for model in models.values()] == ["SAM", "HQ-SAM", "Pi-SAM"]
    assert len({id(model.model.encoder) for model in models.values()}) == 1
    for kind, file in (("hq", "hq.ckpt"), ("pi", "run/stage1/checkpoints/best.ckpt")):
        saved = torch.load(files / file, weights_only=True)["state_dict"]
        own = models[kind].model.own_state()
        assert all(value.equal(saved[f"model.{name}"]) for name, value in own.items())
    batch = small_batch(1)
    answers = [state.logits for state in first_answers(models.values(), batch.image, batch.box)]
    assert len({float(logits.sum()) for logits in answers}) == 3


def test_facts_tell_the_models_apart(files: Path) -> None:
    config = config_of(files)
    models = compared_models(config, ["sam", "hq", "pi"], [files / "hq.ckpt"])
    facts = {kind: model_facts(config, model) for kind, model in models.items()}
    assert [facts[kind]["decoder"] for kind in facts] == ["sam", "hq", "pi"]
    hashes = [facts[kind]["protocol"]["checkpoint_hash"] for kind in facts]
    assert hashes[0] is None and len(set(hashes)) == 3
    assert len({known["frozen_hash"] for known in facts.values()}) == 1
    assert facts["hq"]["protocol"]["hq_mask"] == "HQ alone"


def test_sam_by_its_own_protocol_stands_beside_the_others_and_says_so(files: Path) -> None:
    config = config_of(files)
    models = compared_models(config, ["sam1024", "sam", "pi"])
    native = models["sam1024"]
    assert isinstance(native, NativeSam) and list(models) == ["sam1024", "sam", "pi"]
    assert [model.name for model in models.values()] == ["SAM, 1024 px", "SAM", "Pi-SAM"]
    assert not native.model.training
    own, framed = (model_facts(config, models[kind]) for kind in ("sam1024", "sam"))
    assert (own["protocol"]["image_size"], framed["protocol"]["image_size"]) == (1024, 64)
    assert "padded" in own["protocol"]["resize"] and framed["protocol"]["resize"] == "squash"
    assert own["decoder"] == "sam" and own["protocol"]["checkpoint_hash"] is None
    assert list(compared_models(config, ["sam1024"])) == ["sam1024"]


@pytest.mark.parametrize("name", ["large.ckpt", "large_hq.ckpt"])
def test_a_model_of_another_frame_takes_the_configured_one_and_says_so(
    name: str, files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (segmenter,) = compared_models(config_of(files), [], [files / name]).values()
    assert segmenter.model.image_size == 64 and not segmenter.model.training
    saved = torch.load(files / name, weights_only=True)["state_dict"]
    assert all(value.equal(saved[f"model.{key}"]) for key, value in segmenter.model.own_state().items())
    assert f"{name}: trained with frames of 128 px, used with 64" in caplog.text


def test_sam_alone_needs_no_checkpoint(files: Path, tmp_path: Path) -> None:
    models = compared_models(config_of(files, f"run_dir={tmp_path}"), ["sam"])
    assert list(models) == ["sam"]


def test_the_run_of_an_hq_experiment_is_its_own(files: Path, tmp_path: Path) -> None:
    run = tmp_path / "stage1" / "checkpoints"
    run.mkdir(parents=True)
    (run / "best.ckpt").write_bytes((files / "hq.ckpt").read_bytes())
    models = compared_models(config_of(files, f"run_dir={tmp_path}", "model.decoder=hq"))
    assert list(models) == ["hq"]


def test_a_published_hq_sam_is_told_by_its_names(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model: SamNetwork = build_hq_sam("nano", image_size=1024)
    state = {}
    for name, value in model.state_dict().items():
        name = name.replace("decoder.sam_decoder.", "decoder.")
        state[f"mask_{name}" if name.startswith("decoder.") else name.removeprefix("encoder.")] = value
    torch.save(state, files / "sam_hq_vit_b.pth")
    monkeypatch.setattr("pisam.modeling.hq_sam.BACKBONE_OF_EARLY_DIM", {192: "nano"})
    models = compared_models(config_of(files), ["hq", "pi"], [files / "sam_hq_vit_b.pth"])
    assert models["hq"].model.image_size == 64
    batch = small_batch(1)
    assert len(first_answers(models.values(), batch.image, batch.box)) == 2

    monkeypatch.setattr("pisam.modeling.hq_sam.BACKBONE_OF_EARLY_DIM", {192: "nano"})
    with pytest.raises(PisamError, match=r"sam_hq_vit_b\.pth: made with backbone nano, this .* has vit_b"):
        compared_models(config_of(files, "model.backbone=vit_b"), ["hq"], [files / "sam_hq_vit_b.pth"])


@pytest.mark.parametrize(
    ("kinds", "checkpoints", "message"),
    [
        (["sma"], [], "models: got 'sma', expected some of sam, hq, pi, sam1024; did you mean sam?"),
        (["sam", "sam"], [], "expected each once"),
        (["sam", "hq"], [], "models: hq has no checkpoint"),
        (["pi"], ["hq.ckpt"], "models: pi leaves out the given checkpoint of decoder hq"),
        ([], ["hq.ckpt", "hq.ckpt"], r"hq\.ckpt: a second model of decoder hq"),
        ([], ["no.ckpt"], r"no\.ckpt: no such file, and no run or stage"),
        ([], ["small.yaml"], r"small\.yaml: truncated, or not a file of tensors"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    kinds: list[str], checkpoints: list[str], message: str, files: Path
) -> None:
    with pytest.raises(PisamError, match=message):
        compared_models(config_of(files), kinds, [files / name for name in checkpoints])


def test_a_checkpoint_is_a_file_a_stage_or_a_run(files: Path) -> None:
    best = files / "run" / "stage1" / "checkpoints" / "best.ckpt"
    assert [find_checkpoint(path) for path in (best, best.parents[2], files / "run")] == [best] * 3


def test_a_file_of_weights_to_share_is_compared_too(files: Path, tmp_path: Path) -> None:
    shared = tmp_path / "model.safetensors"
    save_model(load_model(files / "run/stage1/checkpoints/best.ckpt"), shared)
    (segmenter,) = compared_models(config_of(files), [], [shared]).values()
    saved = load_model(shared).own_state()
    assert all(value.equal(saved[name]) for name, value in segmenter.model.own_state().items())


# The table of the photographs' README: IoU and boundary IoU of mobile_sam.pt, means over the images of val.
PUBLISHED = {
    "carrot_weed": (0.137, 0.090),
    "cwfid": (0.180, 0.184),
    "ccp_person": (0.936, 0.769),
    "alphamatting": (0.931, 0.581),
}


class OnlyEmbedding(nn.Module):
    """Our image encoder as segment-anything expects it."""

    img_size = 1024

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Tensor) -> Tensor:
        return self.encoder(image)[0]


def predictor_of(model: PiSam) -> SamPredictor:
    encoder = model.encoder
    parts = (OnlyEmbedding(encoder.image_encoder), encoder.prompt_encoder, model.decoder.sam_decoder)
    return SamPredictor(Sam(*parts, list(PIXEL_MEAN), list(PIXEL_STD)).eval())


def test_logits_equal_those_of_sams_own_predictor() -> None:
    model = build_model("nano", image_size=1024).eval()
    image = np.random.default_rng(0).integers(0, 256, (1300, 701, 3), dtype=np.uint8)
    predictor = predictor_of(model)
    predictor.set_image(image)
    expected, _, _ = predictor.predict(
        box=np.array([10, 20, 69, 899]), multimask_output=False, return_logits=True
    )
    logits = sam_logits(model, image, torch.tensor([10.0, 20.0, 70.0, 900.0]))
    assert logits.shape == (1300, 701)
    torch.testing.assert_close(logits, torch.from_numpy(expected[0]), atol=1e-5, rtol=1e-5)


def test_sizes_round_halves_up() -> None:
    assert sam_size(1200, 1600) == (768, 1024)
    assert sam_size(2048, 1025) == (1024, 513)
    assert sam_size(1, 100) == (10, 1024)


def test_another_frame_size_is_refused() -> None:
    model = build_model("nano", image_size=256)
    with pytest.raises(ValueError, match="image_size 1024, got 256"):
        sam_logits(model, np.zeros((8, 8, 3), np.uint8), torch.tensor([0.0, 0.0, 4.0, 4.0]))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", PUBLISHED)
def test_figures_of_the_photographs_are_reproduced(name: str, shared: Path) -> None:
    model = build_model("vit_t", shared / "weights").eval()
    folder = shared / "data" / name / "val"
    scores = []
    for pair in list_pairs(Source(name, folder / "images", folder / "masks")):
        image, mask = read_image(pair.image), read_mask(pair.mask)
        predicted = sam_logits(model, image, torch.from_numpy(box_of(mask))) > 0
        truth = torch.from_numpy(mask)
        scores.append([float(iou(predicted, truth)), float(boundary_iou(predicted, truth))])
    means = np.mean(scores, axis=0)
    print(f"{name}: {len(scores)} images, IoU {means[0]:.4f}, boundary IoU {means[1]:.4f}")
    assert means == pytest.approx(PUBLISHED[name], abs=0.01)
