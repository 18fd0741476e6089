"""The colour behind transparency, which nobody sees: made cheap before a transform codes it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def fill(colour: NDArray[np.uint8], plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture (H, W, C) with smooth colour wherever alpha (H, W) is 0, so that what nobody sees costs few bits.

    A pyramid: each level is the mean over 2 x 2 of what is visible in the finer one, and the gaps of the finer one
    are filled from it. A picture without visible pixels becomes grey.
    """
    hidden = plane == 0
    if not hidden.any():
        return colour
    if hidden.all():
        return np.full_like(colour, 128)
    visible = (~hidden[..., None]).astype(np.float32)
    smooth = _filled(colour * visible, visible)
    return np.where(hidden[..., None], np.rint(smooth).astype(np.uint8), colour)


def extend(colour: NDArray[np.uint8], plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture (H, W, C) with the nearest visible colour to the left, or else to the right, wherever alpha is 0.

    Rows of which nothing is visible are as the one above, or else below: what is drawn or written stays so.
    """
    seen = plane != 0
    if not seen.any():
        return fill(colour, plane)
    rows, columns = seen.any(axis=1), np.broadcast_to(np.arange(seen.shape[1]), seen.shape)
    across = _latest(np.where(seen, columns, -1), seen.argmax(axis=1)[:, None])
    down = _latest(np.where(rows, np.arange(len(rows)), -1)[None], rows.argmax())[0]
    extended: NDArray[np.uint8] = colour[down[:, None], across[down]]
    return extended


def _latest(places: NDArray[np.intp], first: Any) -> NDArray[np.intp]:
    """In rows (N, W), the largest of the values up to each; where those are -1, the row's ``first``."""
    latest: NDArray[np.intp] = np.maximum.accumulate(places, axis=1)
    return np.where(latest < 0, first, latest)


def _filled(sums: Floats, counts: Floats) -> Floats:
    """Means (H, W, C) from sums (H, W, C) and counts (H, W, 1); where the count is 0, from coarser means."""
    means = sums / np.maximum(counts, 1)
    if counts.all():
        return means
    coarse = _filled(_halved(sums), _halved(counts))
    finer = _doubled(_doubled(coarse).swapaxes(0, 1)).swapaxes(0, 1)
    return np.where(counts > 0, means, finer[: len(sums), : sums.shape[1]])


def _halved(grid: Floats) -> Floats:
    """Sums over squares of 2 x 2: (H, W, C) -> (ceil(H / 2), ceil(W / 2), C)."""
    padded = np.pad(grid, ((0, grid.shape[0] % 2), (0, grid.shape[1] % 2), (0, 0)))
    return padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]


def _doubled(grid: Floats) -> Floats:
    """Linear interpolation along the first axis: (H, W, C) -> (2 H, W, C)."""
    padded = np.pad(grid, ((1, 1), (0, 0), (0, 0)), mode="edge")
    both = np.stack([padded[:-2] + 3 * grid, padded[2:] + 3 * grid], axis=1) / 4
    return both.reshape(-1, *grid.shape[1:])
