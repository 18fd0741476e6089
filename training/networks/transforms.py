"""Analysis and synthesis transforms and the importance-map head of model ``cwic1``.

Both transforms are the sum of a convolutional network and a linear path that starts as the 8x8 DCT. Paper: Li et al.,
CVPR 2018, sections 3.1 (encoder and decoder) and 3.2 (importance map).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.dct import SIDE, basis
from training.networks.layers import FiLM, Gain, Trunk
from training.networks.normalisation import Normalisation

# A uniform quantiser's step suits the Lagrangian at t = 0 when its square is 18 / (ln 2 * 0.014) on a scale of 0..255.
INITIAL_LOG_GAIN = math.log(255 / math.sqrt(18 / (math.log(2) * 0.014)))


def to_blocks(picture: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 192, H/8, W/8): the pixels of each 8x8 block as channels."""
    return F.pixel_unshuffle(picture, SIDE).contiguous(memory_format=torch.channels_last)


def to_picture(blocks: Tensor) -> Tensor:
    """The inverse of ``to_blocks``."""
    return F.pixel_shuffle(blocks, SIDE)


class Analysis(nn.Module):
    """Picture to codes. Works on the picture's 8x8 blocks, ``to_blocks(picture)``."""

    def __init__(self, wide: int, blocks: int, channels: int, gain_slope: float, normalised: bool) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3 * SIDE**2, wide, 1)
        self.film = FiLM(wide)
        self.trunk = Trunk(wide, blocks)
        self.leave = nn.Conv2d(wide, channels, 1)
        self.linear = nn.Conv2d(3 * SIDE**2, channels, 1, bias=False)
        self.normalisation = Normalisation(channels, inverse=False) if normalised else None
        self.gain = Gain(channels, INITIAL_LOG_GAIN, gain_slope)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.linear.weight.copy_(basis(channels)[:, :, None, None])

    def features(self, pixels: Tensor, t: Tensor) -> Tensor:
        """Blocks of pixels in [-0.5, 0.5], (B, 192, H/8, W/8) -> (B, wide, H/8, W/8)."""
        x: Tensor = self.trunk(self.film(self.enter(pixels), t.clamp(-1, 1)))
        return x

    def latents(self, pixels: Tensor, features: Tensor, t: Tensor) -> Tensor:
        """Blocks of pixels and their features -> (B, channels, H/8, W/8), before the gain."""
        x: Tensor = self.leave(features) + self.linear(pixels)
        return self.normalisation(x, t) if self.normalisation is not None else x


class Synthesis(nn.Module):
    """Codes to blocks of pixels: (B, channels, H/8, W/8) integers as float -> (B, 192, H/8, W/8), about [-0.5, 0.5]."""

    def __init__(self, wide: int, blocks: int, channels: int, gain_slope: float, normalised: bool) -> None:
        super().__init__()
        self.gain = Gain(channels, -INITIAL_LOG_GAIN, -gain_slope)
        self.normalisation = Normalisation(channels, inverse=True) if normalised else None
        self.enter = nn.Conv2d(channels, wide, 1)
        self.film = FiLM(wide)
        self.trunk = Trunk(wide, blocks)
        self.leave = nn.Conv2d(wide, 3 * SIDE**2, 1)
        self.linear = nn.Conv2d(channels, 3 * SIDE**2, 1, bias=False)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.linear.weight.copy_(basis(channels).T[:, :, None, None])

    def latents(self, codes: Tensor, t: Tensor) -> Tensor:
        """Codes without the gain and the normalisation that the encoder gave them, of the same shape."""
        scaled: Tensor = codes * self.gain(t)
        return self.normalisation(scaled, t) if self.normalisation is not None else scaled

    def forward(self, codes: Tensor, t: Tensor) -> Tensor:
        scaled = self.latents(codes, t)
        x: Tensor = self.leave(self.trunk(self.film(self.enter(scaled), t.clamp(-1, 1)))) + self.linear(scaled)
        return x


class ImportanceHead(nn.Module):
    """Importance map from the analysis features: (B, wide, H/8, W/8) -> (B, 1, H/16, W/16) in (0, 1).

    Starts near 1 (every channel kept), so that a model trained without the map goes on as it was.
    """

    def __init__(self, wide: int, hidden: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(wide, hidden, 4, stride=2, padding=1)
        self.out = nn.Conv2d(hidden, 1, 1)
        nn.init.uniform_(self.out.weight, -0.02, 0.02)
        nn.init.constant_(self.out.bias, 3.0)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        return torch.sigmoid(self.out(torch.relu(self.down(features))))
