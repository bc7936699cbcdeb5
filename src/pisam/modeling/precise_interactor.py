"""Precise Interactor: stage 2 of Pi-SAM, which repairs the mask where the user clicks (Pi-SAM paper)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pisam.core.geometry import pixels_to_unit, sample_at
from pisam.core.types import Clicks, ObjectFeatures
from pisam.modeling.attention import Attention
from pisam.modeling.layers import MLP, LayerNorm2d, PositionEmbeddingRandom, conv3x3

FRAME_PER_FEATURE = 4  # S / F: clicks are in pixels of the frame, the enhanced feature is a quarter of it


class ClickEmbedding(nn.Module):
    """Turns a click into a token: what is there (O at the click), what it means (its label), where it is.

    Args:
        dim: channels of the enhanced feature.
        hidden: width inside the MLP, at least 4 dim.
    """

    def __init__(self, dim: int = 32, hidden: int = 256) -> None:
        super().__init__()
        self.flag = nn.Embedding(2, dim)  # index = click label: 0 background, 1 foreground
        mlp = MLP(3 * dim, hidden, dim, num_layers=3)
        self.mix = nn.Sequential(nn.LayerNorm(3 * dim), mlp, nn.LayerNorm(dim))
        _start_as_the_click(*mlp.layers)

    def forward(self, enhanced: Tensor, points: Tensor, labels: Tensor, position: Tensor) -> Tensor:
        """Embed clicks.

        Args:
            enhanced: float (B, dim, F, F).
            points: float (B, M, 2), (x, y) unit coordinates.
            labels: int64 (B, M).
            position: float (B, M, dim), Fourier code of the points.

        Returns:
            tokens, float (B, M, dim).
        """
        return self.mix(torch.cat([sample_at(enhanced, points), self.flag(labels), position], dim=-1))


@torch.no_grad()
def _start_as_the_click(first: nn.Linear, middle: nn.Linear, last: nn.Linear) -> None:
    """Initial weights with which a token holds what is at its click and where that is, beside a mix."""
    dim = last.out_features
    signs = torch.cat([torch.eye(dim), -torch.eye(dim)])  # through ReLU a number needs its negative too
    where, what = F.pad(signs, (2 * dim, 0)), F.pad(signs, (0, 2 * dim))
    first.weight[: 4 * dim] = torch.cat([where, what])
    middle.weight[: 4 * dim] = torch.eye(4 * dim, middle.in_features)
    last.weight[:, : 4 * dim] += torch.cat([signs, signs]).T
    for layer in (first, middle):
        layer.bias[: 4 * dim] = 0


class InteractorBlock(nn.Module):
    """Pixels read the tokens, mix with their neighbours, and the tokens read the pixels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.pixel_to_token = Attention(dim)
        self.norm1 = nn.LayerNorm(dim)
        self.convolutions = nn.Sequential(conv3x3(dim, dim), LayerNorm2d(dim), nn.ReLU(), conv3x3(dim, dim))
        self.norm2 = nn.LayerNorm(dim)
        self.token_to_pixel = Attention(dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(
        self, pixels: Tensor, tokens: Tensor, position: Tensor, valid: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """One exchange.

        Args:
            pixels: float (B, F*F, dim).
            tokens: float (B, 1 + M, dim).
            position: float (1, F*F, dim), Fourier code of the pixels; added inside attention only.
            valid: bool (B, 1 + M), False for padded clicks.
            size: (F, F).

        Returns:
            pixels and tokens, same shapes.
        """
        pixels = self.norm1(pixels + self.pixel_to_token(pixels + position, tokens, tokens, valid))
        grid = pixels.transpose(1, 2).unflatten(2, size)
        pixels = self.norm2(pixels + self.convolutions(grid).flatten(2).transpose(1, 2))
        positioned = pixels + position
        tokens = self.norm3(tokens + self.token_to_pixel(tokens, positioned, positioned))
        return pixels, tokens


class PreciseInteractor(nn.Module):
    """Correction of the enhanced feature by clicks.

    The last convolution starts at zero, so an untrained interactor changes nothing. Tokens start as what is
    at their click and where that is: pixels attend to clicks near and alike before anything is learned.

    Args:
        dim: channels of the enhanced feature.
        depth: number of interactor blocks.
    """

    def __init__(self, dim: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.position = PositionEmbeddingRandom(dim // 2)  # one Gaussian matrix, for clicks and pixels alike
        self.click_embedding = ClickEmbedding(dim)
        self.blocks = nn.ModuleList(InteractorBlock(dim) for _ in range(depth))
        self.final_attention = Attention(dim)
        self.final_norm = nn.LayerNorm(dim)
        self.residual = conv3x3(dim, dim)
        nn.init.zeros_(self.residual.weight)
        nn.init.zeros_(self.residual.bias)  # type: ignore[arg-type]

    def forward(self, objects: ObjectFeatures, clicks: Clicks) -> Tensor:
        """Repair the enhanced feature.

        Args:
            objects: the object's features, before any click.
            clicks: in pixels of the S x S frame, M of any size; padding changes nothing.

        Returns:
            O', float (B, 32, F, F); exactly O for a sample without a valid click.
        """
        return self.changed(objects, clicks)[0]

    def changed(self, objects: ObjectFeatures, clicks: Clicks) -> tuple[Tensor, Tensor | None]:
        """O' as `forward` gives it, and the logits (B, 1, F, F) that the head's are added to, if any."""
        enhanced = objects.enhanced
        repaired = enhanced + self.residual(self.attend(objects, clicks, enhanced))
        # Computed for all and selected per sample, so that every rank has gradients for every parameter.
        clicked = clicks.valid.any(dim=1)[:, None, None, None]
        return torch.where(clicked, repaired, enhanced), objects.base

    def seen(self, colours: Tensor, clicks: Clicks, frame: int) -> tuple[Tensor, Tensor] | None:
        """All that `touched` takes of image and clicks: nothing.

        Args:
            colours: float (B, 8, h, h), what the head takes of the image; of a window of the frame, or all.
            clicks: in pixels of the window.
            frame: side S of the whole frame.
        """
        return None

    def touched(self, logits: Tensor, seen: tuple[Tensor, Tensor] | None) -> Tensor:
        """The final logits, float (B, 1, h, h), from the head's and what `seen` gave: these themselves."""
        return logits

    def attend(self, objects: ObjectFeatures, clicks: Clicks, seen: Tensor) -> Tensor:
        """Pixels (B, 32, F, F) after the blocks and the final attention.

        Args:
            objects: the object's features, before any click; what clicks mean is read there.
            clicks: in pixels of the S x S frame.
            seen: float (B, 32, F, F), the pixels at first.
        """
        enhanced = objects.enhanced
        height, width = enhanced.shape[-2:]
        points = unit_points(enhanced, clicks)
        click_tokens = self.click_embedding(enhanced, points, clicks.labels, self._encode(points))
        tokens = torch.cat([objects.token.unsqueeze(1), click_tokens], dim=1)
        valid = torch.cat([clicks.valid.new_ones(enhanced.shape[0], 1), clicks.valid], dim=1)
        position = self.position((height, width)).flatten(1).transpose(0, 1).unsqueeze(0)

        pixels = seen.flatten(2).transpose(1, 2)
        for block in self.blocks:
            pixels, tokens = block(pixels, tokens, position, valid, (height, width))
        pixels = self.final_norm(pixels + self.final_attention(pixels + position, tokens, tokens, valid))
        return pixels.transpose(1, 2).view_as(enhanced)

    def _encode(self, points: Tensor) -> Tensor:
        return self.position.forward_with_coords(points, (1, 1))


def unit_points(enhanced: Tensor, clicks: Clicks) -> Tensor:
    """The clicks' places (B, M, 2) in unit coordinates, beside the enhanced feature they are clicks on."""
    height, width = enhanced.shape[-2:]
    return pixels_to_unit(clicks.points, height * FRAME_PER_FEATURE, width * FRAME_PER_FEATURE)
