"""Training twin of the integer context model in ``csrc/tile.c``.

The twin has the same topology, the same clips and the same input scalings as the integer model; it differs only
in that nothing is rounded to fixed point. ``docs/FORMAT.md`` section "Context model" is the specification of both.

Paper: the "convolutional entropy encoder" of Li et al., CVPR 2018, section 3.4.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATION_MAX = 2047 / 64  # activations are fixed point with 6 fractional bits in 12 bits
CODE_SCALE = 1 / 4  # a code of 1 enters the network as 0.25 (16 in fixed point)
CODE_CLIP = 127  # and codes are clipped there before they enter
LOG_SCALE_MIN = -26 / 8  # the 64 scales are exp((i - 26) / 8)
LOG_SCALE_MAX = 37 / 8
TAPS = 12  # causal neighbours in a 5x5 window: two rows above and two to the left


def _activate(x: Tensor) -> Tensor:
    return F.hardtanh(x, 0.0, ACTIVATION_MAX)


class _LogisticNats(torch.autograd.Function):
    """``logistic_bits`` in nats with its gradient in closed form: a third of the passes over memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
        ctx.save_for_backward(x, mean, log_scale)
        inverse = torch.exp(-log_scale)
        upper = (x - mean).add_(0.5).mul_(inverse)
        nats = F.softplus(upper - inverse)
        nats += F.softplus(upper.neg_())
        return nats.sub_(torch.expm1(inverse.neg_()).neg_().log_())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, log_scale = ctx.saved_tensors
        inverse = torch.exp(-log_scale)
        upper = (x - mean).add_(0.5).mul_(inverse)
        above, below = torch.sigmoid(-upper), upper - inverse  # S(-upper), lower
        under = torch.sigmoid(below)  # S(lower)
        by_scale = None
        if ctx.needs_input_grad[2]:
            by_scale = upper.mul_(above).sub_(below.mul_(under)).add_(inverse / torch.expm1(inverse)).mul_(gradient)
        by_x = under.sub_(above).mul_(inverse).mul_(gradient)
        return by_x, -by_x if ctx.needs_input_grad[1] else None, by_scale


def logistic_bits(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Bits of x under a logistic distribution integrated over unit-wide bins; all of one shape.

    With S the sigmoid and upper - lower = 1 / scale, S(upper) - S(lower) = S(upper) S(-lower) (1 - exp(-1 / scale)),
    whose logarithm is exact however far x lies from the mean.
    """
    nats: Tensor = _LogisticNats.apply(x, mean, log_scale)  # type: ignore[no-untyped-call]
    return nats / math.log(2)


class CausalConv(nn.Conv2d):
    """5x5 convolution over the two rows above and the two positions to the left: (B, C, h, w) -> (B, O, h, w)."""

    mask: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, (3, 5), bias=False)
        mask = torch.ones(3, 5)
        mask[2, 2:] = 0
        self.register_buffer("mask", mask, persistent=False)
        with torch.no_grad():
            self.weight.mul_(math.sqrt(15 / TAPS))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (2, 2, 2, 0)), self.weight * self.mask)


class GroupContext(nn.Module):
    """Predicts mean and log scale of one group of channels.

    Inputs: ``earlier`` (B, P, h, w), channels of earlier groups and side planes, scaled (None if there are none);
    ``own`` (B, C, h, w), the group's own codes, scaled, of which only causal neighbours are used; ``t`` (B,).
    Returns mean and log scale, each (B, C, h, w).
    """

    def __init__(self, earlier: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.channels = channels
        self.rate = nn.Linear(2, hidden)
        self.dense = nn.Conv2d(earlier, hidden, 3, padding=1, bias=False) if earlier else None
        self.mix = nn.Conv2d(hidden, hidden, 3, padding=1) if earlier else nn.Conv2d(hidden, hidden, 1)
        self.own = CausalConv(channels, hidden)
        self.hidden = nn.Conv2d(hidden, hidden, 1)
        self.out = nn.Conv2d(hidden, 2 * channels, 1)
        with torch.no_grad():
            self.out.weight.mul_(0.5)

    def forward(self, earlier: Tensor | None, own: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        # The rate enters with 1/64 resolution, as in the integer model; outside [-1, 1] it is held at the ends.
        rate = self.rate(torch.stack([t.clamp(-1, 1), t.clamp(-1, 1) ** 2], dim=1))[:, :, None, None]
        x = rate.expand(-1, -1, own.shape[2], own.shape[3])
        if self.dense is not None:
            x = self.dense(earlier) + x
        x = _activate(self.mix(_activate(x)) + self.own(own))
        x = _activate(self.hidden(x))
        mean, log_scale = self.out(x).float().chunk(2, dim=1)
        return mean, log_scale.clamp(LOG_SCALE_MIN, LOG_SCALE_MAX)


def scale_codes(codes: Tensor) -> Tensor:
    """Codes as the context networks see them."""
    return codes.clamp(-CODE_CLIP, CODE_CLIP) * CODE_SCALE


class ContextModel(nn.Module):
    """Context model of the map and of every layer.

    Layer g is a group of ``groups[g]`` channels. It sees the channels of all earlier groups everywhere within
    reach, its own causally, the map and the rate parameter. The map (1 channel, half the resolution) comes first.
    """

    def __init__(self, groups: list[int], hidden: int, map_hidden: int, levels: int) -> None:
        super().__init__()
        self.groups = groups
        self.levels = levels
        starts = [sum(groups[:g]) for g in range(len(groups))]
        self.map = GroupContext(0, 1, map_hidden)
        assert self.map.out.bias is not None
        with torch.no_grad():
            self.map.out.bias[0] = levels - 1.0  # where the map starts
        self.layers = nn.ModuleList(GroupContext(s + 1, c, hidden) for s, c in zip(starts, groups, strict=True))

    def map_plane(self, level: Tensor) -> Tensor:
        """Levels at half resolution to the side plane that the layers see, 0 where everything is kept."""
        return F.interpolate(level - (self.levels - 1), scale_factor=2.0, mode="nearest")

    def forward(self, codes: Tensor, level: Tensor, t: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Codes (B, C, h, w), level (B, 1, h/2, w/2): mean and log scale of every layer."""
        x = torch.cat([self.map_plane(level), scale_codes(codes)], dim=1)
        out, start = [], 1
        for network, channels in zip(self.layers, self.groups, strict=True):
            out.append(network(x[:, :start], x[:, start : start + channels], t))
            start += channels
        return out

    def map_parameters(self, level: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log scale of the map's levels, each (B, 1, h/2, w/2)."""
        return self.map(None, scale_codes(level), t)
