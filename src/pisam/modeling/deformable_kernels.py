"""Modulated deformable convolution on CUDA as two Triton kernels.

The map of all taps, which eager operators write and read again, never exists: each program samples the taps
of a block of pixels and multiplies them with the kernel at once. The map is channels-last, so a corner is one
line of memory, to read and to add a gradient to. `make gpu` measures it against torchvision's operator.

Imported at the first convolution on a card: Triton takes seconds.
"""

from __future__ import annotations

import shutil
from typing import Any

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # it comes with torch where that has CUDA
    triton = None

BLOCK = 64  # pixels that a program handles at a time
STEPS = 16  # blocks of one tap that a program of the backward pass sums the kernel's gradient over
# Triton starts kernels by a C compiler.
AVAILABLE = triton is not None and any(shutil.which(name) for name in ("cc", "gcc", "clang"))


def fits(weight: Tensor) -> bool:
    """True where the kernels can run and take these channels: powers of two from 16 on."""
    return AVAILABLE and all(n >= 16 and n & (n - 1) == 0 for n in weight.shape[:2])


@torch.compiler.disable  # a compiler would have to be told how the kernels are differentiated
def deformable_conv(source: Tensor, predicted: Tensor, weight: Tensor) -> Tensor:
    """The convolution, float32 throughout; sums of its gradients depend on the order of the programs.

    Args:
        source: (B, C, H, W).
        predicted: (B, 3 K, H, W): K pairs of (y, x) offsets, then K logits of half the modulator.
        weight: (O, C, side, side), K = side squared.

    Returns:
        (B, O, H, W).
    """
    channels_last = source.float().permute(0, 2, 3, 1).contiguous()
    taps_first = weight.float().permute(2, 3, 1, 0).flatten(0, 1).contiguous()
    convolved: Tensor = _Deformable.apply(channels_last, predicted.float().contiguous(), taps_first)
    return convolved.permute(0, 3, 1, 2)


class _Deformable(torch.autograd.Function):
    """Source (B, H, W, C), predicted (B, 3 K, H, W) and weight (K, C, O) to (B, H, W, O)."""

    @staticmethod
    def forward(context: Any, source: Tensor, predicted: Tensor, weight: Tensor) -> Tensor:
        context.save_for_backward(source, predicted, weight)
        batch, height, width, channels = source.shape
        taps, _, outputs = weight.shape
        result = source.new_empty(batch, height, width, outputs)
        grid = (triton.cdiv(height * width, BLOCK), batch)
        sizes = (height, width, channels, outputs, taps, round(taps**0.5), BLOCK)
        with torch.cuda.device_of(source):  # Triton starts kernels on the current card
            _forward_kernel[grid](source, predicted, weight, result, *sizes)
        return result

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        source, predicted, weight = context.saved_tensors
        batch, height, width, channels = source.shape
        taps, _, outputs = weight.shape
        of_source, of_weight = torch.zeros_like(source), torch.zeros_like(weight)
        of_predicted = torch.empty_like(predicted)
        grid = (triton.cdiv(height * width, BLOCK * STEPS), taps, batch)
        tensors = (source, predicted, weight, gradient.contiguous(), of_source, of_predicted, of_weight)
        sizes = (height, width, channels, outputs, taps, round(taps**0.5), BLOCK, STEPS)
        with torch.cuda.device_of(source):
            _backward_kernel[grid](*tensors, *sizes)
        return of_source, of_predicted, of_weight


if triton is not None:

    @triton.jit
    def _places(predicted, pixel, inside, tap, pixels, width, TAPS: tl.constexpr, SIDE: tl.constexpr):
        """Places where a tap of some pixels samples, and the sigmoid of its modulator."""
        at = predicted + pixel
        y = tl.load(at + 2 * tap * pixels, mask=inside, other=0.0)
        x = tl.load(at + (2 * tap + 1) * pixels, mask=inside, other=0.0)
        half = tl.sigmoid(tl.load(at + (2 * TAPS + tap) * pixels, mask=inside, other=0.0))
        y += (pixel // width + tap // SIDE - SIDE // 2).to(tl.float32)
        x += (pixel % width + tap % SIDE - SIDE // 2).to(tl.float32)
        return y, x, half

    @triton.jit
    def _corner(source, y, x, inside, height, width, channels, CHANNELS: tl.constexpr):
        """A corner's place in the source, whether it is there, and its channels: zeros beyond the map."""
        there = inside & (y >= 0) & (y < height) & (x >= 0) & (x < width)
        place = (tl.where(there, y * width + x, 0) * CHANNELS)[:, None] + channels[None, :]
        return place, there[:, None], tl.load(source + place, mask=there[:, None], other=0.0)

    @triton.jit
    def _forward_kernel(
        source,
        predicted,
        weight,
        result,
        height,
        width,
        CHANNELS: tl.constexpr,
        OUTPUTS: tl.constexpr,
        TAPS: tl.constexpr,
        SIDE: tl.constexpr,
        BLOCK: tl.constexpr,
    ):
        sample, pixels = tl.program_id(1).to(tl.int64), height * width
        source += sample * pixels * CHANNELS
        predicted += sample * 3 * TAPS * pixels
        pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        inside = pixel < pixels
        channels, outputs = tl.arange(0, CHANNELS), tl.arange(0, OUTPUTS)
        total = tl.zeros((BLOCK, OUTPUTS), tl.float32)
        for tap in range(TAPS):
            y, x, half = _places(predicted, pixel, inside, tap, pixels, width, TAPS, SIDE)
            top, left = tl.floor(y), tl.floor(x)
            down, right = (y - top)[:, None], (x - left)[:, None]
            row, column = top.to(tl.int32), left.to(tl.int32)
            _, _, a = _corner(source, row, column, inside, height, width, channels, CHANNELS)
            _, _, b = _corner(source, row, column + 1, inside, height, width, channels, CHANNELS)
            _, _, c = _corner(source, row + 1, column, inside, height, width, channels, CHANNELS)
            _, _, d = _corner(source, row + 1, column + 1, inside, height, width, channels, CHANNELS)
            sampled = (1 - down) * ((1 - right) * a + right * b) + down * ((1 - right) * c + right * d)
            kernel = tl.load(weight + (tap * CHANNELS + channels[:, None]) * OUTPUTS + outputs[None, :])
            total += tl.dot(sampled * (2 * half)[:, None], kernel, input_precision="ieee")
        place = (sample * pixels + pixel)[:, None] * OUTPUTS + outputs[None, :]
        tl.store(result + place, total, mask=inside[:, None])

    @triton.jit
    def _backward_kernel(
        source,
        predicted,
        weight,
        gradient,
        of_source,
        of_predicted,
        of_weight,
        height,
        width,
        CHANNELS: tl.constexpr,
        OUTPUTS: tl.constexpr,
        TAPS: tl.constexpr,
        SIDE: tl.constexpr,
        BLOCK: tl.constexpr,
        STEPS: tl.constexpr,
    ):
        tap, sample, pixels = tl.program_id(1), tl.program_id(2).to(tl.int64), height * width
        source += sample * pixels * CHANNELS
        of_source += sample * pixels * CHANNELS
        predicted += sample * 3 * TAPS * pixels
        of_predicted += sample * 3 * TAPS * pixels
        gradient += sample * pixels * OUTPUTS
        channels, outputs = tl.arange(0, CHANNELS), tl.arange(0, OUTPUTS)
        of_kernel = tap * CHANNELS * OUTPUTS + channels[:, None] * OUTPUTS + outputs[None, :]
        kernel = tl.load(weight + of_kernel)
        total = tl.zeros((CHANNELS, OUTPUTS), tl.float32)
        for step in range(STEPS):
            pixel = (tl.program_id(0) * STEPS + step) * BLOCK + tl.arange(0, BLOCK)
            inside = pixel < pixels
            given = tl.load(
                gradient + pixel[:, None] * OUTPUTS + outputs[None, :], mask=inside[:, None], other=0.0
            )
            of_modulated = tl.dot(given, tl.trans(kernel), input_precision="ieee")
            y, x, half = _places(predicted, pixel, inside, tap, pixels, width, TAPS, SIDE)
            top, left = tl.floor(y), tl.floor(x)
            down, right = (y - top)[:, None], (x - left)[:, None]
            row, column = top.to(tl.int32), left.to(tl.int32)
            at_a, is_a, a = _corner(source, row, column, inside, height, width, channels, CHANNELS)
            at_b, is_b, b = _corner(source, row, column + 1, inside, height, width, channels, CHANNELS)
            at_c, is_c, c = _corner(source, row + 1, column, inside, height, width, channels, CHANNELS)
            at_d, is_d, d = _corner(source, row + 1, column + 1, inside, height, width, channels, CHANNELS)
            sampled = (1 - down) * ((1 - right) * a + right * b) + down * ((1 - right) * c + right * d)
            of_sampled = of_modulated * (2 * half)[:, None]
            of_y = tl.sum(of_sampled * ((1 - right) * (c - a) + right * (d - b)), axis=1)
            of_x = tl.sum(of_sampled * ((1 - down) * (b - a) + down * (d - c)), axis=1)
            of_logit = tl.sum(of_modulated * sampled, axis=1) * 2 * half * (1 - half)
            tl.store(of_predicted + 2 * tap * pixels + pixel, of_y, mask=inside)
            tl.store(of_predicted + (2 * tap + 1) * pixels + pixel, of_x, mask=inside)
            tl.store(of_predicted + (2 * TAPS + tap) * pixels + pixel, of_logit, mask=inside)
            tl.atomic_add(of_source + at_a, of_sampled * (1 - down) * (1 - right), mask=is_a, sem="relaxed")
            tl.atomic_add(of_source + at_b, of_sampled * (1 - down) * right, mask=is_b, sem="relaxed")
            tl.atomic_add(of_source + at_c, of_sampled * down * (1 - right), mask=is_c, sem="relaxed")
            tl.atomic_add(of_source + at_d, of_sampled * down * right, mask=is_d, sem="relaxed")
            total += tl.dot(tl.trans(sampled * (2 * half)[:, None]), given, input_precision="ieee")
        tl.atomic_add(of_weight + of_kernel, total, sem="relaxed")
