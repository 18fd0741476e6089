"""How near a decoded picture is to its original: what ``psnr=`` and ``ssim=`` ask for."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from pillow_cwic.networks.distortion import WINDOW, luma_ssim

STRIP = 512  # rows at a time, so that memory stays bounded


def grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) to (H, W): the rounded mean of the three channels, as FORMAT.md has it for grey files."""
    mean: NDArray[np.uint8] = ((pixels.astype(np.uint16).sum(axis=2) * 2 + 3) // 6).astype(np.uint8)
    return mean


def psnr(original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio over all samples of two pictures of one shape, in dB; infinite if they are equal."""
    total = 0
    for top in range(0, original.shape[0], STRIP):
        rows = slice(top, top + STRIP)
        total += int(np.square(original[rows].astype(np.int32) - decoded[rows]).sum(dtype=np.int64))
    return 10 * math.log10(255**2 * original.size / total) if total else math.inf


def ssim(original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
    """SSIM of the luma of two pictures (H, W, 3), Wang et al., 2004. Raises ValueError for a side below 11."""
    height, width = original.shape[:2]
    if min(height, width) < WINDOW:
        raise ValueError(f"ssim: a picture of {width} x {height} is smaller than the window of {WINDOW}")
    total, places = 0.0, height - WINDOW + 1
    for top in range(0, places, STRIP):
        rows = slice(top, min(height, top + STRIP + WINDOW - 1))
        pair = (torch.from_numpy(p[rows].copy()).permute(2, 0, 1)[None].float() for p in (original, decoded))
        total += float(luma_ssim(*pair)) * (min(top + STRIP, places) - top)
    return float(total / places)
