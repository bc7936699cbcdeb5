"""Coordinate conventions: (x, y), pixel centres at +0.5, boxes of edges. Maps are wider than high."""

from __future__ import annotations

import torch
from segment_anything.modeling import PromptEncoder

from pisam.core.geometry import pixels_to_unit, sam_boxes, sample_at

HEIGHT, WIDTH = 6, 10


def test_sam_puts_the_corners_of_its_box_on_pixel_centres() -> None:
    # SAM's own encoder is the judge: it must encode the centres of the outermost pixels.
    encoder = PromptEncoder(8, (4, 4), (64, 64), 8)
    box = torch.tensor([[3.0, 5.0, 9.0, 30.0]])  # pixels x 3..8, y 5..29
    corners = encoder._embed_boxes(sam_boxes(box))
    centres = torch.tensor([[[3.5, 5.5], [8.5, 29.5]]])
    expected = encoder.pe_layer.forward_with_coords(centres, (64, 64))
    expected = expected + torch.stack([encoder.point_embeddings[i].weight[0] for i in (2, 3)])
    assert torch.allclose(corners, expected, atol=1e-6)


def test_sam_boxes_leave_their_argument_alone() -> None:
    box = torch.tensor([[3.0, 5.0, 4.0, 6.0]])
    assert sam_boxes(box).tolist() == [[3, 5, 3, 5]]
    assert box.tolist() == [[3, 5, 4, 6]]


def test_unit_coordinates_divide_x_by_width_and_y_by_height() -> None:
    points = torch.tensor([[[5.0, 3.0], [10.0, 0.0]], [[0.0, 6.0], [2.5, 1.5]]])
    unit = pixels_to_unit(points, HEIGHT, WIDTH)
    assert torch.allclose(unit, torch.tensor([[[0.5, 0.5], [1.0, 0.0]], [[0.0, 1.0], [0.25, 0.25]]]))


def features() -> torch.Tensor:
    """(2, 3, HEIGHT, WIDTH) in which every value is different."""
    return torch.arange(2 * 3 * HEIGHT * WIDTH, dtype=torch.float32).view(2, 3, HEIGHT, WIDTH)


def test_a_pixel_centre_samples_that_pixel() -> None:
    pixels = [(7, 2), (0, 0), (WIDTH - 1, HEIGHT - 1), (1, 5)]
    points = torch.tensor(pixels).expand(2, -1, -1) + 0.5
    values = sample_at(features(), pixels_to_unit(points, HEIGHT, WIDTH))
    assert values.shape == (2, 4, 3)
    for n, (x, y) in enumerate(pixels):
        assert torch.allclose(values[:, n], features()[:, :, y, x], atol=1e-4)


def test_between_centres_values_mix_along_the_right_axis() -> None:
    unit = pixels_to_unit(torch.tensor([[[4.0, 2.5], [4.5, 3.0], [4.75, 2.5]]]), HEIGHT, WIDTH)
    image = features()[:1, :1]
    left, here, right, below = image[0, 0, 2, 3], image[0, 0, 2, 4], image[0, 0, 2, 5], image[0, 0, 3, 4]
    expected = torch.stack([(left + here) / 2, (here + below) / 2, 0.75 * here + 0.25 * right])
    assert torch.allclose(sample_at(image, unit)[0, :, 0], expected, atol=1e-4)


def test_beyond_the_border_lies_zero() -> None:
    ones = torch.ones(1, 1, HEIGHT, WIDTH)
    points = torch.tensor([[[0.0, 0.5], [0.5 / WIDTH, 0.5], [0.0, 0.0], [1.5, 0.5], [0.5, -0.5]]])
    assert torch.allclose(
        sample_at(ones, points)[0, :, 0], torch.tensor([0.5, 1.0, 0.25, 0.0, 0.0]), atol=1e-5
    )


def test_samples_of_a_batch_do_not_mix_and_no_point_is_allowed() -> None:
    points = torch.rand(2, 5, 2, generator=torch.Generator().manual_seed(0))
    together = sample_at(features(), points)
    for b in range(2):
        assert torch.equal(sample_at(features()[b : b + 1], points[b : b + 1])[0], together[b])
    assert sample_at(features(), points[:, :0]).shape == (2, 0, 3)


def test_the_gradient_goes_to_the_sampled_pixel() -> None:
    image = features().requires_grad_()
    centre = pixels_to_unit(torch.tensor([[[7.5, 1.5]], [[7.5, 1.5]]]), HEIGHT, WIDTH)
    sample_at(image, centre).sum().backward()
    assert image.grad is not None
    expected = torch.zeros_like(image.grad)
    expected[:, :, 1, 7] = 1
    assert torch.allclose(image.grad, expected, atol=1e-5)
