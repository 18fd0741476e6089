"""Quality of a decoded picture, and the distance between two rate-distortion curves.

Pictures are uint8 arrays of shape (height, width, 3), RGB, 0 to 255.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pillow_cwic.rate import decibel
from pillow_cwic.tools.compare.measure import MS_SSIM_SIDE

__all__ = ["MS_SSIM_SIDE", "Curve", "bd_rate", "common_range", "decibel", "luma", "ms_ssim", "psnr", "ssim"]

Pixels = NDArray[np.uint8]


def psnr(original: Pixels, decoded: Pixels) -> float:
    """PSNR in dB for the mean squared error over all samples of all three channels; infinite for equal pictures."""
    mse = np.mean(np.square(original.astype(np.float64) - decoded))
    return math.inf if mse == 0 else 10 * math.log10(255**2 / mse)


def luma(pixels: Pixels) -> NDArray[np.float64]:
    """ITU-R BT.601 luma, 0 to 255, not rounded."""
    weighted: NDArray[np.float64] = pixels.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return weighted


def ssim(original: Pixels, decoded: Pixels) -> float:
    """SSIM of the luma with the 11x11 Gaussian window of sigma 1.5 (Wang et al., 2004); sides of at least 11 pixels."""
    from skimage.metrics import structural_similarity

    return float(
        structural_similarity(
            luma(original), luma(decoded), gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
        )
    )


def ms_ssim(original: Pixels, decoded: Pixels) -> float | None:
    """Five-scale MS-SSIM, the mean over R, G and B (Wang et al., 2003); None for a side below ``MS_SSIM_SIDE``."""
    if min(original.shape[:2]) < MS_SSIM_SIDE:
        return None
    import pytorch_msssim
    import torch

    first, second = (torch.from_numpy(p.astype(np.float32)).permute(2, 0, 1)[None] for p in (original, decoded))
    with torch.inference_mode():
        return float(pytorch_msssim.ms_ssim(first, second, data_range=255))


@dataclass(frozen=True)
class Curve:
    """A rate-distortion curve: quality (higher is better) over rate, both strictly increasing."""

    rate: NDArray[np.float64]
    quality: NDArray[np.float64]

    @classmethod
    def of(cls, points: Iterable[tuple[float, float]]) -> Curve:
        """The curve through (rate, quality) points in any order; a point no better than a cheaper one is left out."""
        kept: list[tuple[float, float]] = []
        for rate, quality in sorted(points, key=lambda p: (p[0], -p[1])):
            if not kept or quality > kept[-1][1]:
                kept.append((rate, quality))
        return cls(np.array([p[0] for p in kept]), np.array([p[1] for p in kept]))

    def quality_at(self, rate: float) -> float | None:
        """Quality at a rate, by PCHIP over the logarithm of the rate; None outside the curve."""
        from scipy.interpolate import PchipInterpolator

        if len(self.rate) < 2 or not self.rate[0] <= rate <= self.rate[-1]:
            return None
        return float(PchipInterpolator(np.log(self.rate), self.quality)(math.log(rate)))

    def rate_at(self, quality: float) -> float | None:
        """The rate that a quality takes, its logarithm by PCHIP over the quality; None outside the curve."""
        from scipy.interpolate import PchipInterpolator

        if len(self.rate) < 2 or not self.quality[0] <= quality <= self.quality[-1]:
            return None
        return math.exp(float(PchipInterpolator(self.quality, np.log(self.rate))(quality)))

    def quality_range(self, rates: tuple[float, float] | None = None) -> tuple[float, float] | None:
        """Lowest and highest quality of the curve, at rates inside ``rates`` if given; None if it has none."""
        if len(self.rate) < 2:
            return None
        low, high = rates or (0.0, math.inf)
        low, high = max(low, float(self.rate[0])), min(high, float(self.rate[-1]))
        ends = (self.quality_at(low), self.quality_at(high)) if low < high else (None, None)
        return None if ends[0] is None or ends[1] is None else (ends[0], ends[1])


def common_range(first: Curve, second: Curve, rates: tuple[float, float] | None = None) -> tuple[float, float] | None:
    """The quality range that both curves reach (at rates inside ``rates``, if given), or None."""
    a, b = first.quality_range(rates), second.quality_range(rates)
    if a is None or b is None:
        return None
    low, high = max(a[0], b[0]), min(a[1], b[1])
    return (low, high) if low < high else None


def bd_rate(anchor: Curve, test: Curve, rates: tuple[float, float] | None = None) -> float | None:
    """Bjontegaard delta rate: by how many percent more bits ``test`` needs than ``anchor``, at equal quality.

    The logarithm of the rate is interpolated over the quality by PCHIP, and the difference of the two is averaged over
    the quality range that both curves reach. With ``rates`` = (low, high) each curve counts only from its quality at
    ``low`` (or its lowest rate, if that is higher) to its quality at ``high`` (or its highest rate, if that is lower).
    SSIM and MS-SSIM go in as decibels. None where the two have no quality in common.
    """
    from scipy.interpolate import PchipInterpolator

    common = common_range(anchor, test, rates)
    if common is None:
        return None
    low, high = common
    anchor_area, test_area = (
        float(PchipInterpolator(c.quality, np.log(c.rate)).integrate(low, high)) for c in (anchor, test)
    )
    return 100 * math.expm1((test_area - anchor_area) / (high - low))
