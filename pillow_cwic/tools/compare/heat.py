"""Importance maps in colour."""

from __future__ import annotations

from PIL import Image

RAMP = ((20, 14, 60), (91, 28, 120), (177, 54, 100), (236, 112, 50), (252, 190, 60), (252, 246, 190))
SHARE = 0.6  # of the colour in an overlay; the rest is the picture


def colours() -> list[int]:
    """Palette of 256 colours, red, green and blue in turn: from dark violet by red to light yellow."""
    found = []
    for level in range(256):
        k, rest = divmod(level * (len(RAMP) - 1), 255)
        following = RAMP[min(k + 1, len(RAMP) - 1)]
        found += [round(a + (b - a) * rest / 255) for a, b in zip(RAMP[k], following, strict=True)]
    return found


def heat(levels: Image.Image) -> Image.Image:
    """A map of mode L, 0 to 255, as a picture with a palette, of mode P."""
    found = levels.copy()
    found.putpalette(colours())
    return found


def overlaid(picture: Image.Image, levels: Image.Image) -> Image.Image:
    """A picture, made grey, under its map in translucent colour; RGB, both of the same size."""
    return Image.blend(picture.convert("L").convert("RGB"), heat(levels).convert("RGB"), SHARE)
