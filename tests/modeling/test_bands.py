"""Maps worked out some rows at a time are the ones worked out at once."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pisam.modeling import bands
from pisam.modeling.bands import in_bands
from pisam.modeling.hr_conv_head import HRConvHead


@pytest.mark.parametrize("rows", [1, 4, 20, 24, 96, 500])
@pytest.mark.parametrize("height", [1, 5, 24])
def test_bands_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch, rows: int, height: int) -> None:
    torch.manual_seed(0)
    head = HRConvHead(32).eval()
    enhanced, colours = torch.randn(2, 32, height, 10), torch.randn(2, 8, 4 * height, 40)
    monkeypatch.setattr(bands, "ROWS", 10_000)
    with torch.no_grad():
        whole = head.finish(enhanced, colours)
        monkeypatch.setattr(bands, "ROWS", rows)
        assert torch.allclose(head.finish(enhanced, colours), whole, atol=1e-6)


def test_a_band_sees_the_rows_beyond_it_and_the_frame_ends_where_it_did() -> None:
    seen: list[tuple[int, ...]] = []

    def blurred(low: Tensor, high: Tensor) -> Tensor:
        seen.append((low.shape[-2], high.shape[-2]))
        return F.avg_pool2d(high, 3, stride=1, padding=1)

    low, high = torch.zeros(1, 1, 64, 4), torch.rand(1, 3, 256, 16)
    with torch.no_grad():
        answer = in_bands(blurred, low, high, margin=1)
    assert seen == [(33, 132), (33, 132)], "half of the rows each, and one of the other half"
    assert torch.equal(answer, F.avg_pool2d(high, 3, stride=1, padding=1))


def test_gradients_are_those_of_the_whole_at_once() -> None:
    calls = []
    x = torch.rand(1, 1, 512, 4, requires_grad=True)
    in_bands(lambda each: calls.append(each.shape) or each * 2, x, margin=1).sum().backward()
    assert calls == [x.shape] and x.grad is not None and (x.grad == 2).all()
