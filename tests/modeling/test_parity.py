"""Our network equals the authors' released one on weights and inputs made from the parity folder's rule."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from pisam.core.types import Clicks, SamFeatures
from pisam.modeling.backbones import build_mask_decoder
from pisam.modeling.hr_mask_decoder import HighResolutionMaskDecoder
from pisam.modeling.precise_interactor import PreciseInteractor
from pisam.modeling.released import DERIVED, translate

DEFAULT_DIR = Path(__file__).resolve().parents[3] / "shared" / "parity"
PARITY_DIR = Path(os.environ.get("PISAM_PARITY_DIR", DEFAULT_DIR))
PAIRS = sorted(PARITY_DIR.glob("*.json"))
EARLY_DIMS = {"vit_b": 768, "vit_l": 1024, "vit_h": 1280}
RGB_SHAPES = {
    "rgb_embed.0.weight": (8, 3, 1, 1),
    "rgb_embed.0.bias": (8,),
    "rgb_embed.1.weight": (8, 8, 3, 3),
    "rgb_embed.1.bias": (8,),
}


def test_the_parity_directory_holds_pairs() -> None:
    if not PARITY_DIR.is_dir():
        pytest.skip(f"parity outputs absent: no folder {PARITY_DIR} (set PISAM_PARITY_DIR to it)")
    assert PAIRS, f"{PARITY_DIR} holds no NAME.json"


@pytest.mark.parametrize("spec_path", PAIRS, ids=lambda path: path.stem)
@torch.no_grad()
def test_outputs_equal_the_released_network(spec_path: Path) -> None:
    spec = json.loads(spec_path.read_text())
    expected = np.load(spec_path.with_suffix(".npz"))
    rule = Rule(spec["seed"])
    decoder, interactor = rule.network(spec)
    features, image, clicks = rule.inputs(EARLY_DIMS[spec["vit"]])

    objects, prediction = decoder(features, image)
    clicked = decoder.head(interactor(objects, clicks), image)

    for name, ours in {
        "low_res": prediction.low_res,
        "high_res": prediction.high_res[:, :, ::4, ::4],
        "high_res_clicked": clicked[:, :, ::4, ::4],
    }.items():
        difference = np.abs(ours.numpy() - expected[name]).max()
        assert difference <= 1e-4, f"{name} differs by {difference:.2e}"
    assert np.abs(expected["high_res"] - expected["high_res_clicked"]).max() > 1e-2  # the clicks do something


class Rule:
    """The rule of the parity folder's README: every tensor from its name and one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def network(self, spec: dict) -> tuple[HighResolutionMaskDecoder, PreciseInteractor]:
        shapes = {name: tuple(shape) for name, shape in spec["keys"].items() if name not in DERIVED}
        state = translate({name: self.weight(name, shape) for name, shape in (shapes | RGB_SHAPES).items()})
        sam_decoder = build_mask_decoder()
        decoder = HighResolutionMaskDecoder(sam_decoder=sam_decoder, early_dim=EARLY_DIMS[spec["vit"]])
        interactor = PreciseInteractor()
        modules = torch.nn.ModuleDict({"decoder": decoder, "interactor": interactor})
        modules.load_state_dict(state)
        return decoder.eval(), interactor.eval()

    def inputs(self, early_dim: int) -> tuple[SamFeatures, torch.Tensor, Clicks]:
        features = SamFeatures(
            image_embedding=self.normal("image_embeddings", (1, 256, 64, 64)),
            early=self.normal("early_vit_features", (1, 64, 64, early_dim)).permute(0, 3, 1, 2),
            sparse_prompt=self.normal("sparse_prompt_embeddings", (1, 2, 256)),
            dense_prompt=self.normal("dense_prompt_embeddings", (1, 256, 64, 64)) * 0.1,
            position=self.normal("image_pe", (1, 256, 64, 64)),
        )
        unit = [self.uniform("foreground_clicks", (1, 3, 2)), self.uniform("background_clicks", (1, 2, 2))]
        clicks = Clicks(
            points=torch.cat(unit, dim=1) * 1024,
            labels=torch.tensor([[1, 1, 1, 0, 0]]),
            valid=torch.ones(1, 5, dtype=torch.bool),
        )
        return features, self.normal("image", (1, 3, 1024, 1024)), clicks

    def weight(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        value = self._draw(name).standard_normal(shape).astype(np.float32)
        if name.endswith("gaussian_matrix"):
            return torch.from_numpy(value)
        if value.ndim >= 2:
            return torch.from_numpy(value / np.sqrt(np.prod(shape[1:])).astype(np.float32))
        return torch.from_numpy(0.1 * value + (1 if name.endswith("weight") else 0))

    def normal(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.from_numpy(self._draw(f"input.{name}").standard_normal(shape).astype(np.float32))

    def uniform(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.from_numpy(self._draw(f"input.{name}").uniform(0, 1, shape).astype(np.float32))

    def _draw(self, key: str) -> np.random.RandomState:
        return np.random.RandomState((zlib.crc32(key.encode()) ^ self.seed) & 0xFFFFFFFF)
