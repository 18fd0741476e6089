"""Grey pictures, and the measures that ``psnr=`` and ``ssim=`` ask for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pillow_cwic.file import container
from pillow_cwic.measures import psnr, ssim

__all__ = ["dressed", "grey", "psnr", "ssim"]


def grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) to (H, W): the rounded mean of the three channels, as FORMAT.md has it for grey files."""
    mean: NDArray[np.uint8] = ((pixels.astype(np.uint16).sum(axis=2) * 2 + 3) // 6).astype(np.uint8)
    return mean


def dressed(
    colour: NDArray[np.uint8], header: container.Header, plane: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """RGB (H, W, 3) as the mode has it: (H, W) for L, else (H, W, C); opaque where alpha (H, W) is missing."""
    pixels = grey(colour) if header.grey else colour
    if header.grey and header.mode not in container.GREY_MODES:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if header.mode not in container.ALPHA_MODES:
        return pixels
    return np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8) if plane is None else plane])
