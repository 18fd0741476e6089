"""Divisive normalisation of the codes, for what the eye and SSIM weigh: an error matters less where much is going on.

The decoder multiplies each channel of a place by a root of the energy that the place's own codes show, the encoder
divides by it; so steps are wide in busy blocks and narrow in quiet ones, without side information. In form the
inverse of the generalised divisive normalisation of Balle et al., 2016, with both directions exact inverses at first.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.dct import luma_contrast
from training.networks.layers import RateMLP

# SSIM weighs an error with 1 / (2 variance + C2), C2 = (0.03 * 255)^2; a block's luma codes hold 192 variances of
# pixels in [-0.5, 0.5], so this times their energy is 2 variance / C2.
UNIT = 2 / (192 * 0.03**2)
QUIET = 0.55  # the square of a step in a quiet block over that in a block of about three times C2


class Normalisation(nn.Module):
    """Codes before the gain, (B, channels, H/8, W/8), compressed or, with ``inverse``, expanded; at rates t, (B,).

    Expanded: ``x = y * sqrt(floor + energy(y))``, where ``energy`` is a non-negative mixture of all channels' squares.
    """

    def __init__(self, channels: int, *, inverse: bool) -> None:
        super().__init__()
        self.inverse = inverse
        luma, contrast = luma_contrast(channels)
        self.mixture = nn.Parameter(0.002 + contrast.float()[:, None] * luma.float()[None, :])
        self.floor = nn.Parameter(1 + (QUIET - 1) * contrast.float())
        with torch.no_grad():
            self.mixture[~contrast] = 0  # block means take no part
            self.mixture[:, ~contrast] = 0
        self.rate = RateMLP(channels)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        mixture = UNIT * torch.relu(self.mixture)[:, :, None, None]
        energy = F.conv2d(x.square(), mixture) * torch.exp(self.rate(t.clamp(-1, 1)))[:, :, None, None]
        floor = self.floor.clamp(min=0.1)[:, None, None]
        if self.inverse:
            return x * torch.sqrt(floor + energy)
        return x * torch.sqrt(2 / (floor + torch.sqrt(floor.square() + 4 * energy)))
