"""The Triton kernels of the deformable convolution against its CPU path, in Triton's own interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest

from helpers.small_runs import SOURCE
from pisam.modeling import deformable_kernels
from pisam.modeling.deformable_conv import DeformableConv

COMPARE = """
import sys
import torch
from pisam.modeling.deformable_conv import DeformableConv
from pisam.modeling.deformable_kernels import deformable_conv

torch.manual_seed(0)
side, height, width = map(int, sys.argv[1:])
layer = DeformableConv(16, 32, side)
for predicting in (layer.offset, layer.modulator):
    torch.nn.init.normal_(predicting.weight, std=0.15)
    torch.nn.init.normal_(predicting.bias, std=0.5)  # beyond the border too
x, gradient = torch.randn(2, 16, height, width, requires_grad=True), torch.randn(2, 32, height, width)
found = []
for convolve in (layer, lambda x: deformable_conv(x, layer._predict(x), layer.kernel.weight)):
    x.grad = None
    layer.zero_grad()
    result = convolve(x)
    result.backward(gradient)
    found.append([result.detach(), x.grad, *(p.grad for p in layer.parameters())])
for expected, ours in zip(*found):
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
print("equal")
"""


@pytest.mark.skipif(
    deformable_kernels.triton is None, reason="Triton, which comes with torch for CUDA, is missing"
)
@pytest.mark.parametrize(
    "shape", [("3", "9", "13"), pytest.param(("7", "10", "8"), marks=pytest.mark.slow)], ids=lambda s: s[0]
)
def test_result_and_every_gradient_equal_the_other_path(shape: tuple[str, ...]) -> None:
    """In a process of its own: the interpreter is chosen before the kernels are defined."""
    environment = {"PYTHONPATH": str(SOURCE), "TRITON_INTERPRET": "1", "PATH": ""}
    ended = subprocess.run(
        [sys.executable, "-c", COMPARE, *shape], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.stdout.strip() == "equal", ended.stderr


def test_without_a_compiler_or_with_other_channels_they_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weight = DeformableConv(32, 32, 3).kernel.weight
    monkeypatch.setattr(deformable_kernels, "AVAILABLE", True)
    assert deformable_kernels.fits(weight)
    assert not deformable_kernels.fits(DeformableConv(8, 32, 3).kernel.weight)
    assert not deformable_kernels.fits(DeformableConv(48, 32, 3).kernel.weight)
    monkeypatch.setattr(deformable_kernels, "AVAILABLE", False)
    assert not deformable_kernels.fits(weight)
