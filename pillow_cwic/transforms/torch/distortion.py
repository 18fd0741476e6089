"""Distortions that the tunings are trained for, each a differentiable function of pictures (B, 3, H, W) in 0..255.

Structural similarity: Wang et al., 2004; multi-scale: Wang et al., 2003. Blurring is two products with a banded matrix,
which needs no more than matrix multiplication and is fast in both directions on every device; where sides are long,
most of such a matrix is zero, and a convolution takes its place.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pillow_cwic.measures import (
    C1,
    C2,
    COLOUR_SHARE,
    COLOUR_SIDES,
    LUMA,
    MS_SSIM_SCALE,
    MSE_SHARE,
    SCALE_WEIGHTS,
    SSIM_SCALE,
    TAPS,
    WINDOW,
)

__all__ = ["WINDOW", "distortion", "similarities"]

LONG = 512


@cache
def _blur_matrix(side: int, device: torch.device) -> Tensor:
    """(side - 10, side): each row holds the Gaussian window at one place."""
    rows = torch.arange(side - WINDOW + 1)[:, None]
    matrix = torch.zeros(side - WINDOW + 1, side)
    matrix[rows, rows + torch.arange(WINDOW)] = torch.tensor(TAPS)
    return matrix.to(device)


def _blur(x: Tensor) -> Tensor:
    """(..., H, W) to (..., H - 10, W - 10)."""
    height, width = x.shape[-2:]
    if max(height, width) <= LONG:
        return _blur_matrix(height, x.device) @ x @ _blur_matrix(width, x.device).T
    window = torch.tensor(TAPS, device=x.device)
    planes = x.reshape(-1, 1, height, width)
    blurred = F.conv2d(F.conv2d(planes, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))
    return blurred.view(*x.shape[:-2], *blurred.shape[-2:])


def _similarity(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean SSIM and mean of its contrast and structure part, each (B, C)."""
    mx, my, xx, yy, xy = _blur(torch.stack([x, y, x * x, y * y, x * y]))
    part = (2 * (xy - mx * my) + C2) / (xx - mx * mx + yy - my * my + C2)
    light = (2 * mx * my + C1) / (mx * mx + my * my + C1)
    return (light * part).mean((2, 3)), part.mean((2, 3))


def _luma(x: Tensor) -> Tensor:
    return torch.einsum("bchw,c->bhw", x, x.new_tensor(LUMA))[:, None]


def similarities(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM of the luma and MS-SSIM, the mean over R, G and B, of two batches of pictures, each (B,).

    Of the five scales as many are used as the window fits into, their weights brought to the sum of all.
    """
    scales = sum(min(x.shape[-2:]) >> k >= WINDOW for k in range(len(SCALE_WEIGHTS)))
    if not scales:
        raise ValueError(f"pictures of {x.shape[-1]} x {x.shape[-2]} are smaller than the window of {WINDOW}")
    weights = torch.tensor(SCALE_WEIGHTS[:scales], device=x.device)
    weights = weights / weights.sum() * sum(SCALE_WEIGHTS)
    product, luma = x.new_ones(x.shape[:2]), x.new_zeros(0)
    for k in range(scales):
        if k == 0:
            whole, part = _similarity(*(torch.cat([p, _luma(p)], dim=1) for p in (x, y)))
            luma, whole, part = whole[:, 3], whole[:, :3], part[:, :3]
        else:
            odd = x.shape[-2] % 2, x.shape[-1] % 2  # padded as others do
            x, y = F.avg_pool2d(x, 2, padding=odd), F.avg_pool2d(y, 2, padding=odd)
            whole, part = _similarity(x, y)
        product = product * torch.relu(whole if k == scales - 1 else part) ** weights[k]
    return luma, product.mean(1)


def distortion(tuning: str, original: Tensor, decoded: Tensor) -> tuple[Tensor, Tensor]:
    """What weighs against bits, and the mean squared error; pictures (B, 3, H, W) in 0..255, results (B,).

    For ``ssim`` structural terms take the place of most of the squared error. They are scaled so that, where the mean
    squared error is what a photograph has at the same rate, they weigh about as much as it would.
    """
    if tuning not in ("mse", "ssim"):
        raise ValueError(f"tuning: {tuning!r} is neither 'mse' nor 'ssim'")
    mse = (decoded - original).square().mean((1, 2, 3))
    return (mse if tuning == "mse" else torch.stack(structural(original, decoded, mse)).sum(0)), mse


def structural(original: Tensor, decoded: Tensor, mse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The terms of ``ssim``'s distortion, each (B,): SSIM, MS-SSIM, and squared errors with those of mean colours."""
    ssim, ms_ssim = similarities(original, decoded)
    colours = MSE_SHARE * mse + COLOUR_SHARE * colour_error(original, decoded)
    return SSIM_SCALE * (1 - ssim), MS_SSIM_SCALE * (1 - ms_ssim), colours


def colour_error(original: Tensor, decoded: Tensor) -> Tensor:
    """``measures.colour_error`` of two batches of pictures, (B,)."""
    red, green, blue = (decoded - original).unbind(1)
    off = torch.stack([red - green, (red + green) / 2 - blue], dim=1)
    means = [F.avg_pool2d(off, side, ceil_mode=True, count_include_pad=False) for side in COLOUR_SIDES]
    return torch.stack([mean.square().mean((1, 2, 3)) for mean in means]).sum(0)
