from __future__ import annotations

import torch

from helpers.model_inputs import normal
from pisam.modeling.hr_conv_head import HRConvHead


def test_logits_have_the_frames_size_and_gradient_reaches_every_parameter() -> None:
    head, enhanced = HRConvHead(), normal(2, 32, 8, 8).requires_grad_()

    logits = head(enhanced, normal(2, 3, 32, 32, seed=1))
    (logits * normal(2, 1, 32, 32, seed=2)).sum().backward()

    assert logits.shape == (2, 1, 32, 32)
    named = [*head.named_parameters(), ("enhanced", enhanced)]
    assert not [name for name, leaf in named if leaf.grad is None or not leaf.grad.any()]


@torch.no_grad()
def test_a_pixel_of_the_image_speaks_for_its_own_neighbourhood() -> None:
    """Three 3x3 convolutions lie between image and logits."""
    head, enhanced, image = HRConvHead(), normal(1, 32, 8, 8), normal(1, 3, 32, 32, seed=1)
    touched = image.clone()
    touched[:, :, 20, 9] += 5

    rows, columns = (head(enhanced, touched) - head(enhanced, image))[0, 0].nonzero().unbind(1)

    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (17, 23, 6, 12)


@torch.no_grad()
def test_a_pixel_of_the_enhanced_feature_speaks_for_its_four_by_four_pixels() -> None:
    head, enhanced, image = HRConvHead(), normal(1, 32, 8, 8), normal(1, 3, 32, 32, seed=1)
    touched = enhanced.clone()
    touched[:, :, 5, 2] += 5

    rows, columns = (head(touched, image) - head(enhanced, image))[0, 0].nonzero().unbind(1)

    # Two 3x3 convolutions follow the upscaling to rows 20..23 and columns 8..11.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (18, 25, 6, 13)
