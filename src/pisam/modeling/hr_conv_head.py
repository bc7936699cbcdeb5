"""HR-Conv Head: from the object's features to a mask at the full resolution of the frame (Pi-SAM paper)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from pisam.modeling.bands import in_bands
from pisam.modeling.guard import guarded
from pisam.modeling.layers import Conv1x1, LayerNorm2d, conv3x3, upscale2x


class HRConvHead(nn.Module):
    """Upscales the enhanced feature by four and adds an embedding of the image's own colours.

    Args:
        dim: channels of the enhanced feature.
    """

    def __init__(self, dim: int = 32) -> None:
        super().__init__()
        self.rgb_embedding = nn.Sequential(Conv1x1(3, dim // 4), conv3x3(dim // 4, dim // 4))
        self.upscaling = nn.Sequential(
            upscale2x(dim, dim // 2), LayerNorm2d(dim // 2), nn.GELU(), upscale2x(dim // 2, dim // 4)
        )
        self.output = nn.Sequential(
            LayerNorm2d(dim // 4),
            conv3x3(dim // 4, dim // 4),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            conv3x3(dim // 4, 1),
        )

    def forward(
        self, enhanced: Tensor, image: Tensor, base: Tensor | None = None, familiar: Tensor | None = None
    ) -> Tensor:
        """Predict the high-resolution mask.

        Args:
            enhanced: float (B, dim, F, F), O or the interactor's O'.
            image: float (B, 3, S, S), normalised with SAM's mean and standard deviation; S = 4 F.
            base: float (B, 1, F, F), logits to add to, if any.
            familiar: float (B,) of a guard, if any: see `guarded`.

        Returns:
            logits (B, 1, S, S).
        """
        return self.finish(enhanced, self.rgb_embedding(image), base, familiar)

    def finish(
        self, enhanced: Tensor, colours: Tensor, base: Tensor | None = None, familiar: Tensor | None = None
    ) -> Tensor:
        """Logits (B, 1, S, S), with `colours` float (B, dim / 4, S, S) as `rgb_embedding` gives them."""
        logits = in_bands(self._from_colours, enhanced, colours, margin=1)
        if base is None:
            return logits
        base = F.interpolate(base, size=logits.shape[-2:], mode="bilinear", align_corners=False)
        return guarded(logits + base, base, familiar)

    def _from_colours(self, enhanced: Tensor, colours: Tensor) -> Tensor:
        logits: Tensor = self.output(self.upscaling(enhanced) + colours)
        return logits
