"""The post-filter of FORMAT.md section 6.9: a few coefficients bring a picture's colours nearer to its original's.

Like the adaptive loop filter of H.266, but within each position, and with products of colours among what it weighs.
What follows is plain arithmetic, the same for arrays of numpy and tensors of torch, int32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of the coefficients of a constant, Y, U, V, YY, .., which are (3, 13): for luma, and for red and blue beside it.
UNITS = (512, 1, 4, 4, 2, 8, 8, 16, 16, 16, 4, 16, 16)
SHAPE = 3, len(UNITS)
BITS, ONE = 4, 8  # of a sample's fraction, and of a coefficient
MIDDLE, LOW, HIGH = 2048, -1024, 5119
LUMA = (77, 150, 29)  # in 1/256


def centred(samples: Any) -> Any:
    """Samples in 1/16, unbounded, to the values that features are made of."""
    return samples.clip(LOW, HIGH) - MIDDLE


def features(red: Any, green: Any, blue: Any, point: bool = False) -> list[Any]:
    """What the coefficients weigh, without their units, (.., 8, 8); what each ``point`` has by itself of any shape."""
    y = (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue) >> 8
    u, v = red - green, blue - green
    products = [(a * b) >> 11 for a, b in ((y, y), (y, u), (y, v), (u, u), (u, v), (v, v))]
    return [y * 0 + 1, y, u, v, *products, *([] if point else map(_differences, (y, u, v)))]


def _differences(x: Any) -> Any:
    """How much the neighbours within the position, (.., 8, 8), are more, together."""
    out = x * 0
    below, right = x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]
    out[..., :-1, :] += below
    out[..., 1:, :] -= below
    out[..., :-1] += right
    out[..., 1:] -= right
    return out


def apply(samples: Any, post: NDArray[np.int8], point: bool = False) -> Any:
    """Samples (3, .., 8, 8) in 1/16, before they are clipped, to those of the picture, 0 to 255.

    ``point``: as if none had neighbours, of any shape (3, ..).
    """
    red, green, blue = (centred(each) for each in samples)
    seen = features(red, green, blue, point)
    luma, u, v = (
        sum((unit * int(c) * each for unit, c, each in zip(UNITS, of, seen, strict=False)), 1 << ONE >> 1) >> ONE
        for of in post
    )
    g = luma - ((LUMA[0] * u + LUMA[2] * v + 128) >> 8) + MIDDLE
    made = red + g + u, green + g, blue + g + v
    return [(each >> BITS).clip(0, 255) for each in made]
