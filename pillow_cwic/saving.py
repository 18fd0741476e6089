"""What a picture is saved with, checked once, before anything heavy is loaded."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from _pillow_cwic_autoload import EXTENSION
from pillow_cwic.errors import CwicError, quoted

DEFAULT_QUALITY, DEFAULT_EFFORT, DEFAULT_MODEL = 50, 3, "cwic1"
BESIDE = ("exif", "icc_profile", "xmp", "dpi", "importance", "progress", "save_all", "append_images")  # Options
ALIKE = 0.9  # how much of an unknown name must be that of an option to be taken for a slip, by difflib
ROUNDING = 1e-12  # how much a rate of 8 * bytes / pixels may have lost in a division
TARGETS = ("rate", "size", "quality", "psnr", "ssim")  # at most one may be given

RULES: dict[str, tuple[type, type, Callable[[Any], bool], str]] = {  # kind, what it becomes, range, and both in words
    "rate": (Real, float, lambda x: 0 < x <= 100, "a number of bits per pixel above 0 and up to 100"),
    "psnr": (Real, float, lambda x: 10 <= x <= 60, "a number of dB from 10 to 60"),
    "ssim": (Real, float, lambda x: 0 < x < 1, "a number between 0 and 1"),
    "size": (Integral, int, lambda x: 1 <= x < 2**63, "a whole number of bytes above 0 and below 2^63"),
    "quality": (Integral, int, lambda x: 1 <= x <= 100, "a whole number from 1 to 100"),
    "effort": (Integral, int, lambda x: 0 <= x <= 9, "a whole number from 0 to 9"),
}


@dataclass(frozen=True)
class Options:
    """How a picture becomes a file; metadata and the importance mask, which are of the picture, are apart.

    ``rate`` in bits per pixel, above 0 and up to 100, bounds the file but for its metadata, ``size`` in bytes all of
    it; ``quality`` is 1 to 100; ``psnr`` in dB over all samples and ``ssim``, that of the luma, are lower bounds,
    where alpha hides nothing. One of the five is set: ``quality`` if none is given. ``effort`` is 0 to 9. ``lossless``
    keeps every pixel: that reaches any quality, and a ``rate`` or ``size`` if the file happens to be small enough. What
    is None takes its default. Raises ValueError, which names the option, its value and the range.
    """

    rate: float | None = None
    size: int | None = None
    quality: int | None = None
    psnr: float | None = None
    ssim: float | None = None
    model: str = DEFAULT_MODEL
    tuning: str | None = None
    effort: int = DEFAULT_EFFORT
    lossless: bool = False

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Those of ``given``, such as the options of Pillow's ``save``; it may hold others, which are not looked at.

        Raises ValueError as the class does.
        """
        return cls(**{name: given[name] for name in cls.__dataclass_fields__ if given.get(name) is not None})

    def __post_init__(self) -> None:
        given = [name for name in TARGETS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"options {' and '.join(given)}: only one of {', '.join(TARGETS)} can be given")
        defaults = {"quality": DEFAULT_QUALITY, "effort": DEFAULT_EFFORT, "model": DEFAULT_MODEL, "lossless": False}
        for name, value in defaults.items():
            if getattr(self, name) is None and not (name == "quality" and given):
                object.__setattr__(self, name, value)
        for name, (kind, make, fits, wanted) in RULES.items():
            if (value := getattr(self, name)) is not None:
                try:
                    made = make(value) if isinstance(value, kind) and not isinstance(value, bool) else None
                except OverflowError:
                    made = None
                if made is None or not fits(made):
                    raise ValueError(f"{name}: {quoted(value)} is not {wanted}")
                object.__setattr__(self, name, made)
        if not _is_switch(self.lossless):
            raise ValueError(f"lossless: {quoted(self.lossless)} is neither True nor False")
        object.__setattr__(self, "lossless", bool(self.lossless))
        for name in ("model", "tuning"):
            if (value := getattr(self, name)) is not None and not (isinstance(value, str) and value):
                raise ValueError(f"{name}: {quoted(value)} is not a name")

    def bytes_for(self, pixels: int, metadata: int) -> int | None:
        """The bound in bytes of a file without its metadata, which takes so many; None if the target is no size."""
        if self.rate is not None:
            return math.floor(self.rate * pixels / 8 * (1 + ROUNDING))
        return None if self.size is None else self.size - metadata

    def check_size(self, pixels: int, metadata: int, size: int) -> None:
        """Raises CwicError, which says what would do, if the smallest possible file without metadata is too large."""
        bound = self.bytes_for(pixels, metadata)
        if bound is None or size <= bound:
            return
        if self.rate is None:
            raise CwicError(f"size: {self.size} bytes are too few, the smallest file found has {size + metadata}")
        least = math.ceil(8e4 * size / pixels * (1 - ROUNDING)) / 1e4
        what = f"at rate {least:g}" if least <= 100 else "which no rate allows: ask for a size"
        raise CwicError(
            f"rate: {self.rate:g} bits per pixel are {bound} bytes, the smallest file found has {size} beside its "
            f"metadata, {what}"
        )


def misnamed(path: Path) -> str:
    """What to say of a name that is none of a CWIC file, and which one would do."""
    wrong = f", not {path.suffix}" if path.suffix else ""
    return f"{path}: the name of a CWIC file ends in {EXTENSION}{wrong}: say {path.with_suffix(EXTENSION)}"


def warn_of_slips(given: Mapping[str, Any]) -> None:
    """Warns of names that are nearly those of options, such as ``lossles``. All else is ignored, as Pillow does."""
    known = (*Options.__dataclass_fields__, *BESIDE)
    if unknown := [name for name in given if name not in known]:
        from difflib import get_close_matches

        for name in unknown:
            for meant in get_close_matches(name, known, 1, ALIKE):
                said = f"{name}: no option of CWIC, and ignored; there is {meant}"
                warnings.warn(said, UserWarning, stacklevel=_level_of_user())


def _level_of_user() -> int:
    """How many calls up from the caller's line the code is that called this package, itself or through Pillow."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in ("pillow_cwic", "PIL"):
        level, frame = level + 1, frame.f_back
    return level


def _is_switch(value: object) -> bool:
    """Whether it is a truth value, of Python or numpy, or one of the numbers 0 and 1."""
    return (isinstance(value, (bool, Integral)) and value in (0, 1)) or type(value).__name__ in ("bool", "bool_")
