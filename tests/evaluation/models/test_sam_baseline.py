"""SAM in our harness is SAM by its own predictor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from segment_anything.modeling import Sam
from torch import Tensor, nn

from pisam.data.reading.reader import read_image, read_mask
from pisam.data.sources.pairs import list_pairs
from pisam.data.sources.rows import Source
from pisam.data.transforms import box_of
from pisam.evaluation.models.sam_baseline import sam_logits, sam_size
from pisam.metrics.functional import boundary_iou, iou
from pisam.modeling.pisam import PiSam, build_model
from pisam.modeling.sam_network import PIXEL_MEAN, PIXEL_STD

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
