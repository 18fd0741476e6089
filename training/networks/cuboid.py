"""Training twin of the integer predictors in ``csrc/planes.c``: the convolutional entropy encoder of ``cwic2018``.

Every bit of the codes, and every bit of the map's levels, is predicted from the 5x5x4 cuboid of bits around it: the
three planes before its own and the places of its own that come earlier. A one enters as 1, a zero as -1, and what is
not there (outside, masked, not yet coded) as 0. Each plane has a small network of its own, since the channels of a
learned code have no order that would let planes share one. FORMAT.md section 7 specifies the integers.

Paper: Li et al., CVPR 2018, section 3.4.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pillow_cwic.transforms.torch.context import ACTIVATION_MAX
from pillow_cwic.transforms.torch.context_weights import SUM_BITS, WEIGHT_BITS, fixed_point

HIDDEN = 16
DEPTH, SIDE = 4, 5  # of the cuboid
TAPS = (DEPTH - 1) * SIDE**2 + SIDE**2 // 2  # places of the cuboid that can be coded before the bit: 87
MACS = TAPS * HIDDEN + HIDDEN**2 + HIDDEN  # multiply-accumulates a coded bit
LOG_ODDS_MAX = 11.0  # in nats; the integers stop at 2815 / 256


class Predictors(nn.Module):
    """One small network a plane: bits (B, planes, h, w), 1, -1 and 0 where there is none, to log odds of 1."""

    seen: Tensor

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.planes = planes
        self.near = nn.Conv2d(DEPTH * planes, HIDDEN * planes, SIDE, padding=SIDE // 2, groups=planes)
        self.mix = nn.Conv2d(HIDDEN * planes, HIDDEN * planes, 1, groups=planes)
        self.out = nn.Conv2d(HIDDEN * planes, planes, 1, groups=planes)
        seen = torch.ones(DEPTH * SIDE**2)
        seen[TAPS:] = 0
        self.register_buffer("seen", seen.reshape(DEPTH, SIDE, SIDE), persistent=False)

    def forward(self, bits: Tensor) -> Tensor:
        b, _, h, w = bits.shape
        padded = F.pad(bits, (0, 0, 0, 0, DEPTH - 1, 0))
        cuboids = padded.unfold(1, DEPTH, 1).permute(0, 1, 4, 2, 3).reshape(b, DEPTH * self.planes, h, w)
        near = F.conv2d(cuboids, self.near.weight * self.seen, self.near.bias, padding=SIDE // 2, groups=self.planes)
        x = near.clamp(0, ACTIVATION_MAX)
        return self.out(self.mix(x).clamp(0, ACTIVATION_MAX)).float()


def level_bits(level: Tensor, planes: int) -> Tensor:
    """Levels (B, 1, h, w) to their bits, highest first, (B, planes, h, w), 1 and -1."""
    shifts = torch.arange(planes - 1, -1, -1, device=level.device)[:, None, None]
    return (((level.long() >> shifts) & 1) * 2 - 1).float()


def code_bits(codes: Tensor, mask: Tensor) -> Tensor:
    """Codes (B, n, h, w), zeros and ones, to 1 and -1, and 0 where the mask is 0."""
    return (2 * codes - 1) * mask


def bits_of(log_odds: Tensor, bits: Tensor) -> Tensor:
    """Code length of bits (1, -1, or 0 for none) under log odds, of one shape, in bits."""
    nats = F.softplus(-bits * log_odds.clamp(-LOG_ODDS_MAX, LOG_ODDS_MAX))
    return nats * bits.abs() / math.log(2)


class CuboidModel(nn.Module):
    """Predictors of the map's planes and of the codes' channels."""

    def __init__(self, level_planes: int, channels: int) -> None:
        super().__init__()
        self.map = Predictors(level_planes)
        self.codes = Predictors(channels)

    def forward(self, level: Tensor, codes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Levels (B, 1, h, w), codes and mask (B, n, h, w): bits that the map and the codes take, each (B,)."""
        map_bits = level_bits(level, self.map.planes)
        own = code_bits(codes, mask)
        return (
            bits_of(self.map(map_bits), map_bits).sum((1, 2, 3)),
            bits_of(self.codes(own), own).sum((1, 2, 3)),
        )


def to_integers(model: CuboidModel) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
    """Weights and biases as FORMAT.md section 7.3 lays them out. Raises ValueError if a value is too large."""
    weights, biases = [], []
    for name, part in (("map", model.map), ("codes", model.codes)):
        layers = (part.near, part.mix, part.out)
        near, mix, out = (layer.weight.detach().reshape(part.planes, -1, layer.weight[0].numel()) for layer in layers)
        columns = torch.cat([x.mT.flatten(1) for x in (near[:, :, :TAPS], mix, out)], dim=1)
        added = torch.cat([b.detach().reshape(part.planes, -1) for x in layers if (b := x.bias) is not None], dim=1)
        weights.append(fixed_point(columns, WEIGHT_BITS, np.int16, f"{name} weights"))
        biases.append(fixed_point(added, SUM_BITS, np.int32, f"{name} biases"))
    return np.concatenate(weights), np.concatenate(biases)


@torch.no_grad()
def from_integers(model: CuboidModel, weights: NDArray[np.int16], biases: NDArray[np.int32]) -> None:
    """Gives float predictors the values of released integers."""
    columns = torch.from_numpy(weights.reshape(-1, MACS) / 2**WEIGHT_BITS).float()
    added = torch.from_numpy(biases.reshape(-1, 2 * HIDDEN + 1) / 2**SUM_BITS).float()
    start = 0
    for part in (model.map, model.codes):
        own = columns[start : start + part.planes]
        near, mix, out = torch.split(own, [TAPS * HIDDEN, HIDDEN**2, HIDDEN], dim=1)
        part.near.weight.zero_()
        part.near.weight.reshape(part.planes, HIDDEN, -1)[:, :, :TAPS] = near.reshape(-1, TAPS, HIDDEN).mT
        part.mix.weight.copy_(mix.reshape(-1, HIDDEN, HIDDEN).mT.reshape(part.mix.weight.shape))
        part.out.weight.copy_(out.reshape(part.out.weight.shape))
        values = torch.split(added[start : start + part.planes], [HIDDEN, HIDDEN, 1], dim=1)
        for layer, value in zip((part.near, part.mix, part.out), values, strict=True):
            assert layer.bias is not None
            layer.bias.copy_(value.flatten())
        start += part.planes
