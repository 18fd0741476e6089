"""Save options, checked before anything heavy is loaded. Standard library only."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import NamedTuple

DEFAULT_QUALITY = 50
DEFAULT_EFFORT = 3


class Target(NamedTuple):
    """What the file should meet; exactly one is set.

    ``rate`` in bits per pixel and ``size`` in bytes are upper bounds of the whole file; ``quality`` is 1 to 100;
    ``psnr`` in dB over all samples and ``ssim``, that of the luma, are lower bounds.
    """

    rate: float | None = None
    size: int | None = None
    quality: int | None = None
    psnr: float | None = None
    ssim: float | None = None

    def bytes_for(self, width: int, height: int) -> int | None:
        """The bound in bytes for a picture of so many pixels; None if the target is none of size."""
        if self.rate is not None:
            return math.floor(self.rate * width * height / 8)
        return self.size


def parse_target(
    rate: object = None, size: object = None, quality: object = None, psnr: object = None, ssim: object = None
) -> Target:
    """Checks the five options. Raises ValueError, which names the option, its value and the range."""
    options = {"rate": rate, "size": size, "quality": quality, "psnr": psnr, "ssim": ssim}
    given = [name for name, value in options.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"options {' and '.join(given)}: only one of {', '.join(options)} can be given")
    if rate is not None:
        if isinstance(rate, bool) or not isinstance(rate, Real) or not 0 < float(rate) <= 100:
            raise ValueError(f"rate: {rate!r} is not a number of bits per pixel above 0 and up to 100")
        return Target(rate=float(rate))
    if size is not None:
        if isinstance(size, bool) or not isinstance(size, Integral) or int(size) < 1:
            raise ValueError(f"size: {size!r} is not a whole number of bytes above 0")
        return Target(size=int(size))
    if psnr is not None:
        if isinstance(psnr, bool) or not isinstance(psnr, Real) or not 10 <= float(psnr) <= 60:
            raise ValueError(f"psnr: {psnr!r} is not a number of dB from 10 to 60")
        return Target(psnr=float(psnr))
    if ssim is not None:
        if isinstance(ssim, bool) or not isinstance(ssim, Real) or not 0 < float(ssim) < 1:
            raise ValueError(f"ssim: {ssim!r} is not a number between 0 and 1")
        return Target(ssim=float(ssim))
    if quality is None:
        return Target(quality=DEFAULT_QUALITY)
    if isinstance(quality, bool) or not isinstance(quality, Integral) or not 1 <= int(quality) <= 100:
        raise ValueError(f"quality: {quality!r} is not a whole number from 1 to 100")
    return Target(quality=int(quality))


def parse_effort(effort: object = None) -> int:
    """Checks the effort, 0 to 9. Raises ValueError, which names the value and the range."""
    if effort is None:
        return DEFAULT_EFFORT
    if isinstance(effort, bool) or not isinstance(effort, Integral) or not 0 <= int(effort) <= 9:
        raise ValueError(f"effort: {effort!r} is not a whole number from 0 to 9")
    return int(effort)
