"""Grey pictures, and the measures that ``psnr=`` and ``ssim=`` ask for."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pillow_cwic import measures
from pillow_cwic.file import container


def psnr(original: NDArray[np.uint8], made: NDArray[np.uint8], seen: float = 1.0) -> float:
    """In dB, of the pixels that are seen, this share of all, above 0; the others must be equal."""
    return measures.psnr(original, made) + 10 * math.log10(seen)


def ssim(original: NDArray[np.uint8], made: NDArray[np.uint8], seen: float = 1.0) -> float:
    """As ``psnr``: what the whole picture loses is what the pixels lose that are seen."""
    return 1 - (1 - measures.ssim(original, made)) / seen


def grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) to (H, W): the rounded mean of the three channels, as FORMAT.md has it for grey files."""
    mean: NDArray[np.uint8] = ((pixels.astype(np.uint16).sum(axis=2) * 2 + 3) // 6).astype(np.uint8)
    return mean


def as_grey(colour: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) or (H, W, 1) to (H, W, 1)."""
    return colour if colour.shape[2] == 1 else grey(colour)[..., None]


def dressed(colour: NDArray[np.uint8], header: container.Header, plane: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """RGB (H, W, 3), or grey (H, W, 1), as the mode has it: (H, W) for L, else (H, W, C).

    It is opaque where alpha (H, W, 1) is missing.
    """
    pixels = as_grey(colour) if header.grey else colour
    if header.mode in container.GREY_MODES or not header.grey:
        shown = pixels
    else:
        shown = np.repeat(pixels, 3, axis=2)
    if header.mode == "L":
        return shown[..., 0]
    if header.mode not in container.ALPHA_MODES:
        return shown
    return np.dstack([shown, np.full(shown.shape[:2], 255, np.uint8) if plane is None else plane])
