"""What a picture is saved with, checked once, before anything heavy is loaded. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

DEFAULT_QUALITY, DEFAULT_EFFORT, DEFAULT_MODEL = 50, 3, "cwic1"
TARGETS = ("rate", "size", "quality", "psnr", "ssim")  # at most one may be given


@dataclass(frozen=True)
class Options:
    """How a picture becomes a file; metadata and the importance mask, which are of the picture, are apart.

    ``rate`` in bits per pixel, above 0 and up to 100, and ``size`` in bytes are upper bounds of the whole file;
    ``quality`` is 1 to 100; ``psnr`` in dB over all samples and ``ssim``, that of the luma, are lower bounds. One of
    the five is set: ``quality`` if none is given. ``effort`` is 0 to 9. What is None takes its default. Raises
    ValueError, which names the option, its value and the range.
    """

    rate: float | None = None
    size: int | None = None
    quality: int | None = None
    psnr: float | None = None
    ssim: float | None = None
    model: str = DEFAULT_MODEL
    tuning: str | None = None
    effort: int = DEFAULT_EFFORT

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Those of ``given``, such as the options of Pillow's ``save``; it may hold others, which are not looked at.

        Raises ValueError as the class does, and for what would be ignored at the cost of the picture.
        """
        if given.get("lossless"):
            raise ValueError(f"lossless: {given['lossless']!r}, but CWIC has no lossless mode")
        return cls(**{name: given[name] for name in cls.__dataclass_fields__ if given.get(name) is not None})

    def __post_init__(self) -> None:
        given = [name for name in TARGETS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"options {' and '.join(given)}: only one of {', '.join(TARGETS)} can be given")
        for name, value in (("quality", DEFAULT_QUALITY), ("effort", DEFAULT_EFFORT), ("model", DEFAULT_MODEL)):
            if getattr(self, name) is None and not (name == "quality" and given):
                object.__setattr__(self, name, value)
        _number(self, "rate", lambda x: 0 < x <= 100, "a number of bits per pixel above 0 and up to 100")
        _number(self, "psnr", lambda x: 10 <= x <= 60, "a number of dB from 10 to 60")
        _number(self, "ssim", lambda x: 0 < x < 1, "a number between 0 and 1")
        _whole(self, "size", lambda x: x >= 1, "a whole number of bytes above 0")
        _whole(self, "quality", lambda x: 1 <= x <= 100, "a whole number from 1 to 100")
        _whole(self, "effort", lambda x: 0 <= x <= 9, "a whole number from 0 to 9")
        for name in ("model", "tuning"):
            if not isinstance(value := getattr(self, name), str | None):
                raise ValueError(f"{name}: {value!r} is not a name")

    def bytes_for(self, width: int, height: int) -> int | None:
        """The bound in bytes for a picture of so many pixels; None if the target is none of size."""
        if self.rate is not None:
            return math.floor(self.rate * width * height / 8)
        return self.size


def _number(options: Options, name: str, fits: Any, wanted: str) -> None:
    value = getattr(options, name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Real) or not fits(float(value)):
        raise ValueError(f"{name}: {value!r} is not {wanted}")
    object.__setattr__(options, name, float(value))


def _whole(options: Options, name: str, fits: Any, wanted: str) -> None:
    value = getattr(options, name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Integral) or not fits(int(value)):
        raise ValueError(f"{name}: {value!r} is not {wanted}")
    object.__setattr__(options, name, int(value))
