"""The errors of a mask, component by component: for pictures, tables and benchmarks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pisam.clicks.checks import check_at_least_one, check_connectivity, check_maps
from pisam.clicks.components import component_depths, find_components
from pisam.clicks.error_map import ErrorMap, error_maps
from pisam.clicks.policies import clicks_per_component


@dataclass(frozen=True)
class ErrorComponent:
    """A connected region that a prediction gets wrong in one way.

    Attributes:
        label: of a click that repairs it: 1 = missed foreground, 0 = false foreground.
        area: pixels.
        depth: largest distance of its pixels to the nearest pixel outside, within 2 %; 1 for a thin line.
        box: xyxy edges in pixels.
        clicks: N, how many points the paper draws in it; 0 if it is too small to be clicked.
    """

    label: int
    area: int
    depth: float
    box: tuple[int, int, int, int]
    clicks: int


def inspect_errors(
    prediction: Tensor,
    mask: Tensor,
    *,
    min_area: int = 8,
    connectivity: int = 8,
    region: Tensor | None = None,
) -> list[list[ErrorComponent]]:
    """The error components that `simulate_clicks` sees, small ones included.

    Args:
        prediction: (B, 1, H, W) float logits, positive = object, or bool.
        mask: bool (B, 1, H, W), the truth.
        min_area: smallest component that is clicked, in pixels.
        connectivity: 8 joins pixels that touch at a corner, 4 does not.
        region: bool (B, 1, H, W), the error in place of prediction xor mask.

    Returns:
        B lists, largest component first.

    Raises:
        ValueError: an argument is not as described above, or a logit is NaN.
    """
    check_maps(prediction, mask, region)
    check_at_least_one("min_area", min_area)
    check_connectivity(connectivity)
    return [_inspect(errors, min_area, connectivity) for errors in error_maps(prediction, mask, region)]


def _inspect(errors: ErrorMap, min_area: int, connectivity: int) -> list[ErrorComponent]:
    components = find_components(errors, connectivity)
    rows = zip(
        components.labels.tolist(),
        components.areas.tolist(),
        component_depths(components).tolist(),
        map(tuple, components.boxes.tolist()),
        clicks_per_component(components.areas, min_area).tolist(),
        strict=True,
    )
    return sorted((ErrorComponent(*row) for row in rows), key=lambda component: -component.area)
