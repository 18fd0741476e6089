"""Grounds, colours that fill many blocks, and how the transform shows them best.

Of an even colour the transform can show only some shades, those that whole steps of a few channels reach: at low rates
they are several levels apart, and all of a screenshot's ground is off at once. Two things mend that for no bits. What
is beyond black, white or a pure colour is clipped to it, so a step too far shows it where a step too few does not. And
of the rates near one that is wanted some have steps that meet the colours.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pillow_cwic import models
from pillow_cwic.codec.exact import Blocks
from pillow_cwic.codec.graphics import LOSSES, one_colour
from pillow_cwic.codec.session import runtime
from pillow_cwic.coding.pixels import BLOCK
from pillow_cwic.coding.symbols import rounded, split
from pillow_cwic.models.config import CODE_LIMIT, EXACT_UNIT, STRIDE

SHARE, MOST = 0.03, 4  # of blocks that a ground fills, and how many are looked at
SIDE, CORE = 64, 32  # pixels of the even picture that is analysed, and of its middle, which is looked at
NEAR, STEP = 16, 4  # how far the rate may move, and by what
STEPS, CHANNELS = 3, 3  # by which codes go beyond a colour, and of how many channels: others move no even colour
ENOUGH, UNSEEN = 1.25, 0.1  # times the least loss, and the loss at a pixel, that are as good
ALIKE = 32  # rates with one analysis
POSITIONS, MIDDLE = BLOCK // STRIDE, slice(SIDE // STRIDE // 2, SIDE // STRIDE // 2 + 1)
LIMIT = CODE_LIMIT * EXACT_UNIT

Colour = tuple[int, int, int]
Shift = tuple[int, int]  # a channel, and what is added to its codes, in 1 / EXACT_UNIT


class Shown(NamedTuple):
    """How the transform shows a colour: what it loses at a pixel, and by how much codes move for that."""

    loss: float
    shifts: tuple[Shift, ...]


class Grounds:
    """The grounds of a picture (H, W, 3), whose blocks are ``worth`` so much, (rows, columns): 0 for exact ones."""

    def __init__(self, model: models.Model, pixels: NDArray[np.uint8], worth: NDArray[np.float64]) -> None:
        self.model = model
        blocks = one_colour(pixels) & (worth > 0)
        self.places: list[tuple[Colour, float, Blocks]] = []  # with each one's share of the worth, and its blocks
        least = max(1.0, SHARE * blocks.size)
        if np.count_nonzero(blocks) < least:
            return
        first = pixels[::BLOCK, ::BLOCK].astype(np.int64) @ (1 << 16, 1 << 8, 1)
        values, counts = np.unique(first[blocks], return_counts=True)
        for n in np.argsort(-counts, kind="stable")[:MOST]:
            if counts[n] >= least:
                value = int(values[n])
                colour = value >> 16, value >> 8 & 255, value & 255
                here = blocks & (first == value)
                self.places.append((colour, float(worth[here].sum() / blocks.size), here))

    def shift(self, exact: NDArray[np.int16], analysed_for: int, t: int) -> None:
        """Moves codes at rate t, in 1 / EXACT_UNIT, analysed for about that rate, to where grounds come out right."""
        for colour, _, blocks in self.places:
            if shifts := _shown(self.model, colour, _alike(analysed_for), t).shifts:
                where = blocks.repeat(POSITIONS, axis=0).repeat(POSITIONS, axis=1)
                for channel, by in shifts:
                    exact[channel][where] = np.clip(exact[channel][where] + np.int32(by), -LIMIT, LIMIT)

    def best_rate(self, t: int, lowest: int, highest: int) -> int:
        """The rate nearest to t, in this range, of those that show the grounds about best."""
        unseen = UNSEEN * sum(share for _, share, _ in self.places)
        if self._loss(t, t) <= unseen:
            return t
        near = {t, *range(lowest + -lowest % STEP, highest + 1, STEP)}
        rates: list[int] = sorted(near, key=lambda rate: (abs(rate - t), rate))
        losses = [self._loss(rate, t) for rate in rates]
        enough = max(ENOUGH * min(losses), unseen)
        return next(rate for rate, loss in zip(rates, losses, strict=True) if loss <= enough)

    def _loss(self, t: int, near: int) -> float:
        return sum(share * _shown(self.model, colour, _alike(near), t).loss for colour, share, _ in self.places)


def _alike(t: int) -> int:
    return ALIKE * round(t / ALIKE)


@lru_cache(1 << 8)
def _latents(model: models.Model, colour: Colour, analysed_for: int) -> Any:
    """The analysis of an even picture."""
    return runtime(model).networks.analyse(np.full((SIDE, SIDE, 3), colour, np.uint8), analysed_for)


@lru_cache(1 << 12)
def _shown(model: models.Model, colour: Colour, analysed_for: int, t: int) -> Shown:
    """How a colour is shown at rate t, with codes beyond it if its samples are least or most."""
    networks, entropy = runtime(model)
    analysed = _latents(model, colour, analysed_for)
    exact = networks.codes(analysed, t)[:, MIDDLE, MIDDLE]
    reach = networks.levels(analysed, t)[0, SIDE // BLOCK // 2, SIDE // BLOCK // 2]
    for group in split(exact, entropy.groups)[reach + 1 :]:
        group[:] = 0
    codes = rounded(exact)
    wanted, inner = np.full((CORE, CORE, 3), colour, np.uint8), slice((SIDE - CORE) // 2, (SIDE + CORE) // 2)

    def loss(tried: NDArray[np.int16]) -> float:
        every = np.broadcast_to(tried, (len(tried), SIDE // STRIDE, SIDE // STRIDE))
        made = networks.synthesise(np.ascontiguousarray(every), t, SIDE, SIDE, None)
        return float(LOSSES[model.tuning].of(wanted, made[inner, inner]).sum()) / CORE**2

    best, least = codes, loss(codes)
    if {0, 255} & set(colour):
        largest = sorted(np.flatnonzero(codes), key=lambda channel: -abs(int(codes[channel, 0, 0])))[:CHANNELS]
        for _ in range(STEPS):
            if not least:
                break
            tried = []
            for channel in largest:
                moved = best.copy()
                moved[channel] += np.sign(codes[channel])
                if abs(int(moved[channel, 0, 0])) <= CODE_LIMIT:
                    tried.append((loss(moved), moved))
            lower, moved = min(tried, key=lambda each: each[0], default=(least, best))
            if lower >= least:
                break
            best, least = moved, lower
    shifts = [(int(c), EXACT_UNIT * int(best[c, 0, 0]) - int(exact[c, 0, 0])) for c in np.flatnonzero(best != codes)]
    return Shown(least, tuple(shifts))
