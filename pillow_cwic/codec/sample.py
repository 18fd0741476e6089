"""Parts of a picture that stand for the whole: what the encoder looks at before it looks at all of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pillow_cwic.transforms.windows import Place, scaled

SIDE = 8  # cells of the map along the side of a part
SHARE, MOST = 4, 16  # one of so many parts, and how many at most
NEAR = 12  # steps that are tried on either side of the golden one
BUSY, ROWS = 8, 512  # a difference of neighbours of which more says no more; and how many rows tell enough


@cache
def golden(count: int) -> int:
    """The step that goes through so many places, the first of them evenly spread.

    It has no divisor in common with them; and the quotients of Euclid's algorithm, which are all 1 for the golden
    ratio, tell how uneven the places are on the way.
    """
    near = round(0.618034 * count)
    steps = [k for k in range(max(1, near - NEAR), near + NEAR) if math.gcd(k, count) == 1]
    return min(steps, key=lambda k: (_largest_quotient(k, count), abs(k - near)))


def _largest_quotient(a: int, b: int) -> int:
    largest = 0
    while a:
        largest, a, b = max(largest, b // a), b % a, a
    return largest


def scattered(count: int) -> NDArray[np.intp]:
    """All of so many places, the first of them evenly spread."""
    return np.arange(count) * golden(count) % count


def parts(rows: int, columns: int) -> list[Place]:
    """Some whole squares of a map of so many cells, evenly spread; none of a map that is small."""
    across = columns // SIDE
    count = rows // SIDE * across
    if count < SHARE:
        return []
    chosen = np.sort(scattered(count)[: min(MOST, count // SHARE)]).tolist()
    corners = [(SIDE * (n // across), SIDE * (n % across)) for n in chosen]
    return [(slice(top, top + SIDE), slice(left, left + SIDE)) for top, left in corners]


def stacked(plane: NDArray[Any], places: Sequence[Place], factor: int = 1) -> NDArray[Any]:
    """These parts of a plane that is ``factor`` times as fine as the map, one below the other."""
    return np.concatenate([plane[scaled(place, factor)] for place in places])


def activity(pixels: NDArray[np.uint8]) -> float:
    """How much there is in a picture (H, W, 3), on a scale on which bits grow about evenly: 0 where it is even.

    Of a tall one in some of the rows.
    """
    step = max(2, len(pixels) // ROWS)
    rows, below = (pixels[start::step].astype(np.int16) for start in (0, 1))
    across, down = np.diff(rows, axis=1), below - rows[: len(below)]
    sums = [int(np.minimum(np.abs(each), BUSY).sum(dtype=np.int64)) for each in (across, down)]
    return sums[0] / max(1, across.size) + sums[1] / max(1, down.size)
