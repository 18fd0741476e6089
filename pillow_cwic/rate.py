"""The rate parameter on other scales: quality, bits per pixel, bytes, decibel. Standard library only."""

from __future__ import annotations

import math

LOWEST = -2048  # the lowest rate parameter that the format can hold
HIGHEST = (
    832  # the format can hold more, but quality falls again from there on (t = 1.6; 2 bpp and more for photographs)
)
TYPICAL_SLOPE = 1.36 / 512  # growth of log size with the rate parameter, for the first steps
DECIBEL_SLOPE = 5.8 / 512  # and of PSNR, and of SSIM in decibel
MIDDLE_RATE = 0.40  # bpp of a photograph in the middle of the range


def decibel(similarity: float) -> float:
    """-10 log10(1 - x), the scale on which SSIM and MS-SSIM grow evenly with the rate; infinite at 1."""
    return math.inf if similarity >= 1 else -10 * math.log10(1 - similarity)


def quality_to_rate(quality: int) -> int:
    """Quality 1 .. 100 to the rate parameter: linear, 50 in the middle of the trained range, 90 near its end."""
    return round((quality - 50) * 512 * 1.25 / 50)


def guess_rate(bpp: float, middle: float | None) -> int:
    """A first guess for a photograph, from the mean over many; ``middle`` is what rate parameter 0 gives, if known."""
    return max(-700, min(800, round(math.log(max(bpp, 1e-3) / (middle or MIDDLE_RATE)) / TYPICAL_SLOPE)))


def typical_bpp(rate: int, middle: float | None) -> float:
    """About what a photograph takes at a rate parameter; ``middle`` as in ``guess_rate``."""
    return (middle or MIDDLE_RATE) * math.exp(rate * TYPICAL_SLOPE)
