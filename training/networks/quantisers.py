"""Quantisers with the proxy gradients of the paper (Li et al., CVPR 2018, sections 3.1 and 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

STEP_BITS, ONE_BITS, ZERO_BITS = 12.0, 5.0, 0.03  # for ``useful_levels``; at high rate a squared step is worth 8.7


def quantise_codes(latents: Tensor, limit: int) -> Tensor:
    """A bank of binarizers, ``c = -limit + sum over k of B(y > k - 1/2)`` for k in (-limit, limit]: any shape -> same.

    Summed up, the bank rounds to the nearest integer and clips at ``limit``. Its backward pass is the sum of the
    binarizers' proxies ``clip(y - k + 1, 0, 1)``: gradient 1 inside the bank, 0 outside.
    """
    inside = latents.clamp(-limit, limit)
    return inside + (inside.round() - inside).detach()


def quantise_map(importance: Tensor, levels: int) -> Tensor:
    """Importance in (0, 1) to levels 0 .. levels-1 as float, straight-through with slope ``levels``."""
    scaled = importance * levels
    return scaled + (scaled.floor().clamp(0, levels - 1) - scaled).detach()


def layer_mask(level: Tensor, layer: int) -> Tensor:
    """Mask of one layer: 1 where ``level >= layer``, else 0; (B, 1, h, w) -> same.

    The backward pass uses a ramp two levels wide around the step, as the paper's mask does.
    """
    ramp = ((level - layer + 1.5) * 0.5).clamp(0, 1)
    return ramp + ((level >= layer).to(ramp.dtype) - ramp).detach()


def channel_masks(level: Tensor, groups: Sequence[int]) -> Tensor:
    """Levels (B, 1, h/2, w/2) to the mask of every channel, (B, sum of groups, h, w)."""
    fine = F.interpolate(level, scale_factor=2.0, mode="nearest")
    masks = torch.cat([layer_mask(fine, g).expand(-1, c, -1, -1) for g, c in enumerate(groups)], dim=1)
    return masks.contiguous(memory_format=torch.channels_last)  # as the codes, so that products stay fast


def useful_levels(latents: Tensor, groups: Sequence[int]) -> Tensor:
    """The level up to which layers pay for their bits, (B, channels, h, w) -> (B, 1, h/2, w/2): a target for the map.

    A code c of a latent y lowers the squared error by y^2 - (y - c)^2 steps. A step is worth ``STEP_BITS`` bits, and
    the code costs about as much as the constants say. Levels end where the sum over a cell is highest.
    """
    codes = latents.round()
    cost = torch.where(codes == 0, ZERO_BITS, ONE_BITS + 2 * codes.abs().clamp(min=1).log2())
    gain = F.avg_pool2d(STEP_BITS * (latents.square() - (latents - codes).square()) - cost, 2)
    layers = torch.stack([part.sum(1) for part in torch.split(gain, list(groups), dim=1)], dim=1)
    return layers.cumsum(1).argmax(1, keepdim=True).to(latents.dtype)


def add_noise(latents: Tensor) -> Tensor:
    """Uniform noise in [-1/2, 1/2): the usual continuous stand-in for rounding (Balle et al., 2017)."""
    return latents + torch.rand_like(latents) - 0.5
