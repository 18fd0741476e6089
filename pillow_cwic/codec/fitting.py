"""The post-filter of a picture: which coefficients pay for their bits.

Least squares; then coefficients are moved one by one to where the squared error that they save, in bits, less the bits
that they take, is highest. All sums are of whole numbers, so that one picture has one file everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pillow_cwic.codec.sample import golden, scattered
from pillow_cwic.coding import coefficients
from pillow_cwic.coding.coefficients import LIMIT, SHAPE
from pillow_cwic.file import container
from pillow_cwic.models.config import STRIDE
from pillow_cwic.transforms import native
from pillow_cwic.transforms.postfilter import LUMA, ONE, UNITS
from pillow_cwic.transforms.protocol import Transforms
from pillow_cwic.transforms.windows import Window, scaled, spans, windows

WHOLE = 1 << 13  # positions of a picture that is looked at as a whole
SIDE, HALO, WINDOWS = 32, 4, 8  # of larger ones, how many windows
POSITIONS = 2048  # that count
AREA, MUCH = 8, 16  # positions along the side of an area, and by how much its squared error may grow beside doubling
SWEEPS = 12
OUTPUTS, FEATURES = SHAPE
CONSTANT = np.eye(1, FEATURES, dtype=bool)[0]
EVERY = np.ones(FEATURES, bool)
NONE = np.zeros(FEATURES, bool)
# What may be other than 0 for luma, and for red and blue beside it. SSIM sees luma alone, and least squares make it
# smoother than it was.
ALLOWED = {"mse": (EVERY, EVERY, EVERY), "ssim": (CONSTANT, EVERY, EVERY)}
GREY = {"mse": (EVERY, NONE, NONE), "ssim": (CONSTANT, NONE, NONE)}
# Red, green and blue, in 1/256, of what is added to luma, and to red and blue beside it; and the other way round.
MADE = (256, 256, 256), (256 - LUMA[0], -LUMA[0], -LUMA[0]), (-LUMA[2], -LUMA[2], 256 - LUMA[2])
OF = LUMA, (256, -256, 0), (0, -256, 256)
SCALE = 1 << 2 * (ONE + 8)  # of sums in the problem below
_BITS: list[int] = [coefficients.bits(c) for c in range(LIMIT + 1)]
_SHORTEST = [c for c in range(1, LIMIT + 1) if c == LIMIT or _BITS[c + 1] > _BITS[c]]  # the largest of each length


def fitted(
    networks: Transforms,
    codes: NDArray[np.int16],
    rate: int,
    pixels: NDArray[np.uint8],
    where: NDArray[np.bool_],
    seen: NDArray[np.bool_],
    allowed: Sequence[NDArray[np.bool_]],
) -> NDArray[np.int8] | None:
    """The coefficients, (3, 13), with which codes at rate T are shown most like ``pixels`` (H, W, 3); None if none pay.

    What counts is ``where``, of the codes' positions (rows, columns). Of many, and of a large picture, some are looked
    at; but what is unlike them is filtered, too, and wherever it is ``seen`` must not be much worse for it.
    """
    picture = _Picture(networks, codes, rate, pixels)
    post = _of_some(picture, where, allowed)
    return post if post is not None and _is_harmless(picture, seen, post) else None


class _Picture(NamedTuple):
    """Codes at rate T, and what their picture is to look like, (H, W, 3)."""

    networks: Transforms
    codes: NDArray[np.int16]
    rate: int
    pixels: NDArray[np.uint8]


def _is_harmless(picture: _Picture, seen: NDArray[np.bool_], post: NDArray[np.int8]) -> bool:
    """Whether no area is much worse for the filter, as the means of its positions tell: those of a small picture."""
    networks, codes, rate, pixels = picture
    (rows, columns), (height, width) = seen.shape, pixels.shape[:2]
    padded = np.pad(pixels, ((0, STRIDE * rows - height), (0, STRIDE * columns - width), (0, 0)), mode="edge")
    of_columns = padded.reshape(rows, STRIDE, -1).sum(1, dtype=np.uint16)
    sums = of_columns.reshape(rows, columns, STRIDE, 3).sum(2, dtype=np.int64)
    first = codes[: sum(networks.groups[: networks.draft_groups(STRIDE)])]

    def lost(by: NDArray[np.int8] | None) -> NDArray[np.int64]:
        shown = networks.draft(first, rate, STRIDE * rows, STRIDE * columns, STRIDE, by).astype(np.int64)
        errors = np.square(STRIDE**2 * shown - sums).sum(2) * seen
        tall, broad = (np.arange(0, side, AREA) for side in (rows, columns))
        area: NDArray[np.int64] = np.add.reduceat(np.add.reduceat(errors, tall, 0), broad, 1)
        return area

    spare = MUCH * 3 * AREA**2 * STRIDE**4
    return not (lost(post) > 2 * lost(None) + spare).any()


def _of_some(
    picture: _Picture, where: NDArray[np.bool_], allowed: Sequence[NDArray[np.bool_]]
) -> NDArray[np.int8] | None:
    """The coefficients that pay for some of the positions."""
    networks, codes, rate, pixels = picture
    parts = []  # of what is shown, of the original, and their positions that count
    for window in _windows(codes.shape):
        places = np.flatnonzero(where[window.core])
        if places.size:
            height, width = (STRIDE * (s.stop - s.start) for s in window.outer)
            shown = networks.synthesise(codes[(..., *window.outer)], rate, height, width, None)
            shown = shown[scaled(window.inner, STRIDE)]
            original = pixels[scaled(window.core, STRIDE)]
            below, right = (a - b for a, b in zip(shown.shape[:2], original.shape[:2], strict=True))
            original = np.pad(original, ((0, below), (0, right), (0, 0)), mode="edge")  # as the encoder sees it
            parts.append((shown, original, places))
    if not parts:
        return None
    total = sum(places.size for *_, places in parts)
    some = np.sort(scattered(total)[:POSITIONS])
    starts = np.cumsum([0, *(places.size for *_, places in parts)])
    squares, wanted = np.zeros((FEATURES, FEATURES), np.int64), np.zeros((FEATURES, 3), np.int64)
    for (shown, original, places), start, end in zip(parts, starts, starts[1:], strict=False):
        counted = some[(some >= start) & (some < end)] - start
        native.add_sums(shown, original, places[counted], squares, wanted)
    worth = networks.lagrangian(rate) / 3 * np.count_nonzero(where) / some.size  # of a squared error of one sample
    problem = _Problem(_scaled(squares, UNITS, UNITS), _scaled(wanted, UNITS, (1, 1, 1)), worth / 256, allowed)
    best = min((problem.descended(start) for start in ([0] * OUTPUTS * FEATURES, problem.nearest())), key=problem.cost)
    return np.array(best, np.int8).reshape(SHAPE) if problem.cost(best) < 0 else None


def _windows(shape: Sequence[int]) -> list[Window]:
    """All of a small grid of positions, or some windows of it."""
    rows, columns = shape[-2:]
    if rows * columns <= WHOLE:
        return list(windows(shape, max(rows, columns), 0))
    across = len(spans(columns, SIDE))
    every = -(-len(spans(rows, SIDE)) * across // WINDOWS)
    step = golden(every)
    return [w for n, w in enumerate(windows(shape, SIDE, HALO)) if (n // across + step * (n % across)) % every == 0]


def _scaled(values: NDArray[np.int64], by: Sequence[int], across: Sequence[int]) -> list[list[int]]:
    return [[a * b * v for b, v in zip(across, row, strict=True)] for a, row in zip(by, values.tolist(), strict=True)]


class _Problem:
    """Coefficients c, as one row, and what they cost: worth * (c S c - 2 w c) + bits(c), less the bits of none."""

    def __init__(
        self,
        squares: list[list[int]],
        wanted: list[list[int]],
        worth: float,
        allowed: Sequence[NDArray[np.bool_]],
    ) -> None:
        """``squares`` of features (13, 13), ``wanted`` their products with the errors of red, green, blue (13, 3)."""
        self.worth, self.squares = worth / SCALE, squares
        mixed = [[_dot(left, right) for right in MADE] for left in MADE]
        self.rows = [[share * value for share in of for value in row] for of in mixed for row in squares]
        self.wanted = [_dot(of, row) << 8 + ONE for of in MADE for row in wanted]
        self.own = [[_dot(of, row) << ONE for row in wanted] for of in OF]  # of luma, red and blue, each alone
        self.free = [n for n, free in enumerate(np.concatenate(allowed)) if free and self.rows[n][n] > 0]
        self.least = float(8 * container.chunk_size(b"") + OUTPUTS * FEATURES * _BITS[0])

    def nearest(self) -> list[int]:
        """Least squares without a thought for bits, rounded."""
        found = [0] * OUTPUTS * FEATURES
        for output, wanted in enumerate(self.own):
            use = [n - FEATURES * output for n in self.free if n // FEATURES == output]
            for n, value in zip(use, _solved(self.squares, wanted, use), strict=True):
                found[FEATURES * output + n] = max(-LIMIT, min(LIMIT, round(value / 256)))
        return found

    def cost(self, c: Sequence[int]) -> float:
        pairs = [(n, value) for n, value in enumerate(c) if value]
        error = sum(a * (sum(b * self.rows[n][k] for k, b in pairs) - 2 * self.wanted[n]) for n, a in pairs)
        return self.worth * error + self.least + sum(_BITS[abs(value)] - _BITS[0] for _, value in pairs)

    def descended(self, start: Sequence[int]) -> list[int]:
        """From coefficients to better ones, until no single one can be bettered."""
        c = list(start)
        slope = [want - _dot(row, c) for want, row in zip(self.wanted, self.rows, strict=True)]
        for _ in range(SWEEPS):
            before = list(c)
            for n in self.free:
                square, steep = self.rows[n][n], slope[n]
                best = max(-LIMIT, min(LIMIT, c[n] + (2 * steep + square) // (2 * square)))
                sign = 1 if best > 0 else -1
                tried = [0, best, *(sign * short for short in _SHORTEST if short < abs(best))]

                def gain(value: int, at: int = c[n], square: int = square, steep: int = steep) -> float:
                    d = value - at
                    return self.worth * (d * (2 * steep - square * d)) - _BITS[abs(value)]

                value = max(tried, key=gain)
                if d := value - c[n]:
                    c[n] = value
                    slope = [s - d * each for s, each in zip(slope, self.rows[n], strict=True)]
            if c == before:
                break
        return c


def _dot(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _solved(squares: list[list[int]], wanted: list[int], use: list[int]) -> list[float]:
    """Least squares with these of the unknowns, by elimination; a little is added so that none is undetermined."""
    rows = [[squares[a][b] * (1 + 1e-9 * (a == b)) for b in use] + [float(wanted[a])] for a in use]
    for k, pivot in enumerate(rows):
        for other in (row for row in rows if row is not pivot):
            share = other[k] / pivot[k]
            other[k:] = [value - share * of for value, of in zip(other[k:], pivot[k:], strict=True)]
    return [row[-1] / row[k] for k, row in enumerate(rows)]
