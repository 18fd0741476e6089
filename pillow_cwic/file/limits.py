"""Limits that hold before anything is allocated, each with its reason."""

from __future__ import annotations

from pillow_cwic.errors import LimitError

# A picture of this size takes about 24 GB to decode in one piece; whoever meets a larger one meets an attack first.
# Pillow's own limit on decompression bombs (Image.MAX_IMAGE_PIXELS) is lower and holds at Image.open.
MAX_PIXELS = 1 << 30

# EXIF, ICC and XMP of this size together are none; few compressed bytes cannot make a reader hold more than this.
MAX_METADATA = 1 << 24

# Released weights have 5 MB and a header of 15 KB; no model that a CPU can run needs more than these.
MAX_WEIGHTS, MAX_WEIGHTS_HEADER = 1 << 28, 1 << 20


UNIT = 16  # pixels: decoders hold and compute sides that are multiples of it


def padded(width: int, height: int) -> int:
    """How many pixels are held and computed for a picture of ``width`` x ``height``: many times its own if thin."""
    return -(-width // UNIT) * -(-height // UNIT) * UNIT * UNIT


def check_pixels(width: int, height: int) -> None:
    """Raises LimitError if a picture of ``width`` x ``height`` pixels takes more than ``MAX_PIXELS``."""
    if (count := padded(width, height)) > MAX_PIXELS:
        raise LimitError(f"picture: {width} x {height}, {count} pixels with padding, exceed the limit of {MAX_PIXELS}")
