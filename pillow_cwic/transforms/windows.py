"""Networks over large pictures: overlapping windows, so that memory does not grow with the picture.

A window's halo covers what the networks see around a place; where it ends at the picture's edge, so does the picture.
What is made of the windows is then what would be made of the whole picture, but for rounding in floating point.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

SIDE = 256  # codes along a window's side: 2,048 pixels; smaller ones spend more on halos, larger ones more memory

Place = tuple[slice, slice]  # rows and columns


class Window(NamedTuple):
    """A window in a grid of rows and columns."""

    core: Place  # in the grid; windows' cores cover it, each place once
    outer: Place  # the core with its halo, in the grid
    inner: Place  # the core in ``outer``


def spans(length: int, side: int) -> list[tuple[int, int]]:
    """Even parts of at most ``side``, which is even; bounds between parts are even, as two codes share a map level."""
    count = -(-length // side)
    bounds = [length * k // count // 2 * 2 for k in range(count)] + [length]
    return list(itertools.pairwise(bounds))


def windows(shape: Sequence[int], side: int, halo: int) -> Iterator[Window]:
    """Windows of a grid whose last two dimensions are rows and columns, with at most about ``side`` of either each.

    ``side`` and ``halo``, which comes on top of it, are even.
    """
    rows, columns = shape[-2:]
    for top, bottom in spans(rows, side):
        for left, right in spans(columns, side):
            y, x = max(0, top - halo), max(0, left - halo)
            outer = slice(y, min(rows, bottom + halo)), slice(x, min(columns, right + halo))
            inner = slice(top - y, bottom - y), slice(left - x, right - x)
            yield Window((slice(top, bottom), slice(left, right)), outer, inner)


def scaled(place: Place, factor: int) -> Place:
    """The same place in a grid that is ``factor`` times as fine."""
    rows, columns = (slice(s.start * factor, s.stop * factor) for s in place)
    return rows, columns


def halved(place: Place) -> Place:
    """The same place in a grid that is half as fine, rounded outwards."""
    rows, columns = (slice(s.start // 2, -(-s.stop // 2)) for s in place)
    return rows, columns
