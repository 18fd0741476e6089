"""SSIMULACRA 2.1 with gradients; tools/compare/ssimulacra2.py has its definition, and all of its numbers."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pillow_cwic.tools.compare import ssimulacra2 as exact
from pillow_cwic.transforms.torch.distortion import distortion as plain
from pillow_cwic.transforms.torch.distortion import structural

# A point in units of the distortion of tuning ``ssim``: about what its term of MS-SSIM is at 0.06 bits per pixel,
# twice that at 0.3 and three times at 1.2, where a point is harder to gain.
SCALE = 0.5
LEAST = 1e-6  # below which an error's fourth power, whose root is taken, counts as this one's


@cache
def _blur_matrix(side: int, device: torch.device) -> Tensor:
    """(side, side): each row holds the window at one place, as far as it lies within the picture."""
    offsets = torch.arange(side) - torch.arange(side)[:, None]
    window = torch.from_numpy(exact.WINDOW)
    inside = window[(offsets + exact.REACH).clamp(0, len(window) - 1)]
    return torch.where(offsets.abs() <= exact.REACH, inside, 0.0).to(device)


def _blur(x: Tensor) -> Tensor:
    height, width = x.shape[-2:]
    return _blur_matrix(height, x.device) @ x @ _blur_matrix(width, x.device)


def _linear(x: Tensor) -> Tensor:
    """Linear light of samples, 0 to 255."""
    x = (x / 255).clamp(0, 1)
    return torch.where(x <= 0.04045, x / 12.92, ((x.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)


def _xyb(light: Tensor) -> Tensor:
    bias = float(exact.BIAS)
    cones = torch.einsum("bchw,dc->dbhw", light, light.new_tensor(exact.CONES)) + bias
    a, b, c = cones ** (1 / 3) - bias ** (1 / 3)
    x, y = (a - b) / 2, (a + b) / 2
    return torch.stack([x * 14 + 0.42, y + 0.01, c - y + 0.55], dim=1)


def _errors(x: Tensor, y: Tensor) -> Tensor:
    """(B, channel, mean or 4-norm, map)."""
    mx, my, xx, yy, xy = _blur(torch.stack([x, y, x * x, y * y, x * y]))
    covariance = 2 * (xy - mx * my) + exact.STABLE
    structure = 1 - (1 - (mx - my) ** 2) * covariance / (xx - mx * mx + yy - my * my + exact.STABLE)
    edges = (1 + (y - my).abs()) / (1 + (x - mx).abs()) - 1
    maps = torch.relu(torch.stack([structure, edges, -edges], dim=2))
    return torch.stack([maps.mean((3, 4)), (maps**4).mean((3, 4)).clamp(min=LEAST**4) ** 0.25], dim=2)


def score(original: Tensor, decoded: Tensor) -> Tensor:
    """The scores (B,), at most 100, of two batches of sRGB pictures (B, 3, H, W), 0 to 255, sides of 8 and more."""
    first, second = _linear(original), _linear(decoded)
    found = [_errors(_xyb(first), _xyb(second))]
    while len(found) < exact.SCALES and min(first.shape[2:]) >= exact.SIDE:
        odd = 0, first.shape[3] % 2, 0, first.shape[2] % 2
        first, second = (F.avg_pool2d(F.pad(each, odd, mode="replicate"), 2) for each in (first, second))
        found.append(_errors(_xyb(first), _xyb(second)))
    norms = torch.stack(found, dim=2).flatten(1)
    x = norms @ norms.new_tensor(exact.WEIGHTS.ravel()[: norms.shape[1]])
    x = exact.LINE * x + exact.SQUARE * x**2 + exact.CUBE * x**3
    return 100 - 10 * x.clamp(min=LEAST) ** exact.POWER


def distortion(tuning: str, share: float, original: Tensor, decoded: Tensor) -> tuple[Tensor, Tensor]:
    """That of a tuning, with SSIMULACRA2 in the place of a share of MS-SSIM, and the mean squared error, each (B,).

    SSIM keeps its weight: it asks for other places of a picture than SSIMULACRA2 does, and lost 5 % where it gave half
    of it away, when MS-SSIM lost nothing (docs/experiments.md, row 58).
    """
    if not share:
        return plain(tuning, original, decoded)
    mse = (decoded - original).square().mean((1, 2, 3))
    ssim, ms_ssim, colours = structural(original, decoded, mse)
    return ssim + torch.lerp(ms_ssim, SCALE * (100 - score(original, decoded)), share) + colours, mse
