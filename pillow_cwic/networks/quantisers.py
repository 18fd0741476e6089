"""Quantisers with the proxy gradients of the paper (Li et al., CVPR 2018, sections 3.1 and 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


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
    return torch.cat([layer_mask(fine, g).expand(-1, c, -1, -1) for g, c in enumerate(groups)], dim=1)


def add_noise(latents: Tensor) -> Tensor:
    """Uniform noise in [-1/2, 1/2): the usual continuous stand-in for rounding (Balle et al., 2017)."""
    return latents + torch.rand_like(latents) - 0.5
