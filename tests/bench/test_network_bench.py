"""How long the network's steps take on a CPU, beside the released recipe and beside features kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from gpu.networks import batch, first_stage, network, release, second_stage
from helpers.timing import fastest
from pisam.clicks.simulate import simulate_clicks
from pisam.core.types import Batch, Clicks
from pisam.modeling.pisam import PiSam
from pisam.training.features.feature_store import FeatureStore
from pisam.training.features.frozen_features import StoredFeatures, object_layout

pytestmark = pytest.mark.bench

Report = Callable[[str], None]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


def pair(backbone: str, size: int) -> tuple[PiSam, PiSam]:
    """A network, and another with its weights by the released recipe."""
    ours, released = network(backbone, size), network(backbone, size)
    release(released)
    return ours, released


def step(model: PiSam, samples: Batch) -> None:
    first_stage(model, samples)[0].backward()
    model.zero_grad(set_to_none=True)


def test_sams_encoder(report: Report) -> None:
    ours, released = (model.encoder.image_encoder for model in pair("vit_b", 1024))
    frame = torch.randn(1, 3, 1024, 1024)
    with torch.no_grad():
        torch.testing.assert_close(ours(frame)[0], released(frame)[0], rtol=1e-5, atol=1e-5)
        times = fastest(3, ours=lambda: ours(frame), released=lambda: released(frame))
    ratio = times["ours"] / times["released"]
    report(f"ViT-B at 1024 px: {ratio:.2f} of segment-anything's encoder ({times['ours']:.0f} ms)")
    assert ratio <= 0.75


@pytest.mark.parametrize(("backbone", "size"), [("vit_t", 512), ("nano", 256)])
def test_step_of_stage_1(backbone: str, size: int, report: Report) -> None:
    samples, models = batch(2, size, "cpu"), pair(backbone, size)
    for model in models:
        model.train_only("decoder")
        step(model, samples)
    ours, released = models
    times = fastest(5, ours=partial(step, ours, samples), released=partial(step, released, samples))
    ratio = times["ours"] / times["released"]
    report(f"{backbone} at {size} px: {ratio:.2f} of the released recipe ({times['ours']:.0f} ms)")
    assert ratio <= 0.7


def test_step_of_stage_2_with_a_filled_store(tmp_path: Path, report: Report) -> None:
    size, model, samples = 1024, network("vit_b", 1024), batch(1, 1024, "cpu")
    key = ("train", samples.sets[0], samples.ids[0], samples.views[0])
    layout = object_layout(size, half=False)
    store = FeatureStore(tmp_path, layout=layout, stamps={key: "1"}, identity={}, limit=10**9)
    stored = StoredFeatures(store)

    def compute(image: torch.Tensor, box: torch.Tensor, prompts: object) -> object:
        with torch.no_grad():
            return model.straight_forward(image, box)

    _, predicted = stored(samples, "train", compute)
    clicks: Clicks = simulate_clicks(predicted.high_res > 0, samples.mask, seeds=samples.seeds)
    model.train_only("interactor")

    def computed() -> None:
        second_stage(model, samples, clicks)[0].backward()

    def kept() -> None:
        objects, _ = stored(samples, "train", compute)
        second_stage(model, samples, clicks, objects)[0].backward()

    times = fastest(2, computed=computed, kept=kept)
    ratio = times["computed"] / times["kept"]
    report(f"stage 2, ViT-B at {size} px: {ratio:.1f} times faster with features kept on disk")
    assert ratio >= 5
