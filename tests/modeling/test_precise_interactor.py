from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from helpers.model_inputs import random_clicks, random_objects, randomise
from pisam.core.types import Clicks, ObjectFeatures
from pisam.modeling.precise_interactor import PreciseInteractor


@pytest.fixture
def interactor() -> PreciseInteractor:
    """As if trained: every parameter is random, the last convolution too."""
    torch.manual_seed(0)
    interactor = PreciseInteractor()
    randomise(interactor, scale=0.2)
    return interactor


def join(*clicks: Clicks) -> Clicks:
    """More clicks on the same samples."""
    return Clicks(
        *(torch.cat([getattr(c, name) for c in clicks], dim=1) for name in ("points", "labels", "valid"))
    )


def invalid(clicks: Clicks) -> Clicks:
    return Clicks(clicks.points, clicks.labels, torch.zeros_like(clicks.valid))


def captured_inputs(module: nn.Module, run: object) -> list[Tensor]:
    """The positional inputs of `module` while `run` is called."""
    calls: list[tuple[Tensor, ...]] = []
    hook = module.register_forward_pre_hook(lambda _, inputs: calls.append(inputs))
    run()  # type: ignore[operator]
    hook.remove()
    return list(calls[0])


@torch.no_grad()
def test_untrained_changes_nothing() -> None:
    objects = random_objects(2)
    assert torch.equal(PreciseInteractor()(objects, random_clicks(2, 3)), objects.enhanced)


@torch.no_grad()
def test_before_training_a_click_acts_where_it_is() -> None:
    clicks = Clicks(
        points=torch.tensor([[20.0, 20.0], [108.0, 108.0]]).expand(2, -1, -1),
        labels=torch.tensor([[0, 1], [1, 1]]),
        valid=torch.ones(2, 2, dtype=torch.bool),
    )
    ratios = []
    for seed in range(8):
        torch.manual_seed(seed)
        interactor = PreciseInteractor()
        nn.init.dirac_(interactor.residual.weight)  # shows what the last convolution starts from
        objects = ObjectFeatures(torch.zeros(2, 32, 32, 32), torch.randn(1, 32).expand(2, -1))
        changed = interactor(objects, clicks).diff(dim=0).abs().mean(dim=(0, 1))
        ratios.append((changed[:10, :10].mean() / changed[-10:, -10:].mean()).item())
    assert sum(ratios) / len(ratios) > 1.5  # 1.0 with weights that know nothing of places


@torch.no_grad()
def test_padding_changes_nothing_wherever_it_lies(interactor: PreciseInteractor) -> None:
    objects, clicks = random_objects(2), random_clicks(2, 3)
    garbage = invalid(random_clicks(2, 4, seed=1))
    garbage.points = torch.tensor([[0.0, 0.0], [-1e4, 7.0], [1e6, 1e6], [32.0, 32.0]]).expand(2, -1, -1)

    plain = interactor(objects, clicks)

    torch.testing.assert_close(interactor(objects, join(clicks, garbage)), plain, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(interactor(objects, join(garbage, clicks)), plain, atol=1e-6, rtol=1e-6)
    garbage.valid = torch.ones_like(garbage.valid)
    assert (interactor(objects, join(clicks, garbage)) - plain).abs().max() > 1e-3


@torch.no_grad()
def test_a_sample_without_a_valid_click_stays_as_it_was(interactor: PreciseInteractor) -> None:
    objects, clicks = random_objects(3), random_clicks(3, 4)
    clicks.valid[1] = False

    repaired = interactor(objects, clicks)

    assert torch.equal(repaired[1], objects.enhanced[1])
    for sample in (0, 2):
        assert (repaired[sample] - objects.enhanced[sample]).abs().max() > 1e-3
    assert torch.equal(interactor(objects, Clicks.none(3)), objects.enhanced)


@torch.no_grad()
def test_batched_equals_looped_with_different_numbers_of_clicks(interactor: PreciseInteractor) -> None:
    objects, clicks, counts = random_objects(3), random_clicks(3, 5), (1, 5, 0)
    for sample, count in enumerate(counts):
        clicks.valid[sample, count:] = False

    batched = interactor(objects, clicks)

    for i, count in enumerate(counts):
        own = slice(i, i + 1)
        alone = Clicks(clicks.points[own, :count], clicks.labels[own, :count], clicks.valid[own, :count])
        looped = interactor(ObjectFeatures(objects.enhanced[own], objects.token[own]), alone)
        torch.testing.assert_close(batched[own], looped, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_order_of_clicks_does_not_matter(interactor: PreciseInteractor) -> None:
    objects, clicks = random_objects(1), random_clicks(1, 5)
    turned = Clicks(clicks.points.flip(1), clicks.labels.flip(1), clicks.valid)
    torch.testing.assert_close(interactor(objects, clicks), interactor(objects, turned), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_swapped_coordinates_or_flipped_labels_change_the_result(interactor: PreciseInteractor) -> None:
    objects, clicks = random_objects(2), random_clicks(2, 3)
    plain = interactor(objects, clicks)
    swapped = Clicks(clicks.points.flip(-1), clicks.labels, clicks.valid)
    flipped = Clicks(clicks.points, 1 - clicks.labels, clicks.valid)
    for other in (swapped, flipped):
        assert (interactor(objects, other) - plain).abs().amax(dim=(1, 2, 3)).min() > 1e-3


@pytest.mark.parametrize("frame", [64, 256, 512])
@torch.no_grad()
def test_a_click_takes_feature_and_position_of_the_pixel_it_hits(
    interactor: PreciseInteractor, frame: int
) -> None:
    """A click in the middle of the 4 x 4 frame pixels of a feature pixel, at any frame size."""
    objects, row, column = random_objects(1, side=frame // 4), 5, 11
    points = torch.tensor([[[4.0 * column + 2, 4.0 * row + 2], [4.0 * column + 4, 4.0 * row + 2]]])
    clicks = Clicks(points, torch.tensor([[1, 0]]), torch.ones(1, 2, dtype=torch.bool))

    (mixed,) = captured_inputs(interactor.click_embedding.mix, lambda: interactor(objects, clicks))

    feature, flag, position = mixed[0].split(32, dim=-1)
    here, right = objects.enhanced[0, :, row, column], objects.enhanced[0, :, row, column + 1]
    torch.testing.assert_close(feature[0], here, atol=1e-4, rtol=0)
    torch.testing.assert_close(feature[1], (here + right) / 2, atol=1e-4, rtol=0)  # on the border of both
    torch.testing.assert_close(flag, interactor.click_embedding.flag.weight[[1, 0]])
    code = interactor.position((frame // 4, frame // 4))[:, row, column]
    torch.testing.assert_close(position[0], code, atol=1e-4, rtol=0)


@torch.no_grad()
def test_pixels_get_their_position_in_every_attention_and_nowhere_else(interactor: PreciseInteractor) -> None:
    objects, clicks, side = random_objects(1), random_clicks(1, 3), 16
    position = interactor.position((side, side)).flatten(1).T
    pixels = objects.enhanced.flatten(2).transpose(1, 2)

    def run() -> Tensor:
        return interactor(objects, clicks)

    for block in interactor.blocks:
        query, key, value, *_ = captured_inputs(block.pixel_to_token, run)
        torch.testing.assert_close(query - position, pixels, atol=1e-5, rtol=1e-5)
        assert torch.equal(key, value)  # tokens get no position
        outputs: list[tuple[Tensor, Tensor]] = []
        hook = block.register_forward_hook(lambda _, __, output, kept=outputs: kept.append(output))
        tokens, key, value = captured_inputs(block.token_to_pixel, run)
        hook.remove()
        pixels = outputs[0][0]
        torch.testing.assert_close(key - position, pixels, atol=1e-5, rtol=1e-5)
        assert torch.equal(key, value)
        assert tokens.shape == (1, 1 + 3, 32)
    query, key, value, *_ = captured_inputs(interactor.final_attention, run)
    torch.testing.assert_close(query - position, pixels, atol=1e-5, rtol=1e-5)
    assert torch.equal(key, value)

    # With every attention silent, no position code can reach the result.
    for name, parameter in interactor.named_parameters():
        if ".out_proj." in name:
            parameter.zero_()
    silent = run()
    interactor.position.positional_encoding_gaussian_matrix += 1
    assert torch.equal(run(), silent)


@pytest.mark.parametrize("clicks", [Clicks.none(2), invalid(random_clicks(2, 3))], ids=["none", "padding"])
def test_gradients_are_defined_and_zero_without_any_click(
    interactor: PreciseInteractor, clicks: Clicks
) -> None:
    interactor(random_objects(2), clicks).sum().backward()
    for name, parameter in interactor.named_parameters():
        assert parameter.grad is not None and not parameter.grad.any(), name


def test_gradient_reaches_every_parameter(interactor: PreciseInteractor) -> None:
    (interactor(random_objects(2), random_clicks(2, 3)) ** 2).sum().backward()
    assert not [
        name
        for name, parameter in interactor.named_parameters()
        # The last block's tokens are keys of the final attention, so nothing but key biases may stay silent.
        if not parameter.grad.any() and not name.endswith("k_proj.bias")
    ]


def test_the_position_matrix_is_a_buffer_that_is_saved() -> None:
    assert "position.positional_encoding_gaussian_matrix" in PreciseInteractor().state_dict()
