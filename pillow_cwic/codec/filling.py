"""Exact blocks beyond the transform's finest: for what a bound leaves over, or for a quality that it does not reach."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pillow_cwic.codec import exact
from pillow_cwic.codec.graphics import ITSELF, Exact, Graphics, Loss

Floats = NDArray[np.float64]

Code = Callable[[Exact | None], tuple[float, Floats, Floats]]

LEAST, MOST = -12.0, 24.0  # powers of 2, between which lies what a unit of loss is worth in bits
HALVINGS = 24  # of what is between them
TRIALS, LEARNT = 7, 2  # of splits, and after how many what is expected stays
CLOSE, AIM = 0.985, 0.995  # the shares of a goal that end the trials, and that they aim at


class Split(NamedTuple):
    """How each block is coded, and what all of them take, in bits, and lose: expected, not yet seen."""

    ways: NDArray[np.intp]  # 0 by the transform, 1 exact in so many colours, 2 exact in its own
    colours: int
    bits: float
    loss: float


class Filling:
    """Which blocks of a picture are best exact, in their own or in fewer colours, and which are left to the transform.

    ``bits`` and ``losses`` are what each block takes and loses by the transform alone, errors of which cost ``loss``.
    Beside exact blocks it takes and loses more in those that are left, and these take more than in a picture that is
    exact as a whole, from which their bits are known: so what is expected follows what was seen.
    """

    def __init__(self, picture: Graphics, loss: Loss, bits: Floats, losses: Floats) -> None:
        self.picture, self.loss, self.bits, self.losses = picture, loss, bits, losses
        self._off = {ITSELF: np.zeros(losses.shape)}  # what blocks lose in so many colours
        for size in reversed(picture.sizes):
            off = loss.of(picture.planes, picture.shown(size))
            if off.sum() >= losses.sum():
                break
            self._off[size] = off
        # Of exact blocks: how many times what they were expected to they take, and what each takes by the transform.
        self.more, self.beside = 1.0, 0.0

    def within(self, bits: float) -> Split:
        """What loses least of all that takes so many bits at most, or next to none."""
        splits = (self._searched(size, lambda it: it.bits <= bits, LEAST, MOST) for size in self._off)
        return min(chain(*splits), key=lambda it: (it.bits > bits, it.loss))

    def reaching(self, loss: float) -> Split:
        """What takes fewest bits of all that lose so much at most."""
        splits = (self._searched(size, lambda it: it.loss <= loss, MOST, LEAST) for size in self._off)
        return min(chain(*splits), key=lambda it: (it.loss > loss, it.bits))

    def exact(self, split: Split) -> Exact | None:
        """The exact blocks of a split; None if there are none."""
        blocks, fewer = split.ways > 0, split.ways == 1
        if not blocks.any():
            return None
        planes = self.picture.planes
        if split.colours == ITSELF or not fewer.any():
            return self.picture.made(blocks, planes, None, ITSELF)
        where = exact.spread(fewer, *planes.shape[:2])[..., None]
        shown = np.where(where, self.picture.shown(split.colours), planes)
        return self.picture.made(blocks, shown, None, split.colours)

    def search(self, choose: Callable[[float], Split], goal: float, code: Code) -> None:
        """Codes splits that ``choose`` makes of bits or losses, until what comes of one is close below the ``goal``.

        ``code`` gives that, in the unit of the goal, and what each block then takes and loses by the transform.
        """
        below = above = None
        aim = AIM * goal
        for trial in range(TRIALS):
            split = choose(aim)
            blocks = self.exact(split)
            found, bits, losses = code(blocks)
            if CLOSE * goal <= found <= goal:
                break
            if trial < LEARNT:
                self._learn(split, 0 if blocks is None else 8 * len(blocks.payload), bits, losses)
                continue
            if found <= goal:
                below = aim, found
            else:
                above = aim, found
            if below and above:
                share = (AIM * goal - below[1]) / (above[1] - below[1])
                aim = below[0] + min(max(share, 0.1), 0.9) * (above[0] - below[0])
            else:
                aim *= AIM * goal / max(found, goal / 4)

    def _learn(self, split: Split, taken: float, bits: Floats, losses: Floats) -> None:
        """How it was: bits ``taken`` by exact blocks, and what each of the others took and lost by the transform."""
        left = split.ways == 0
        if not left.all():
            expected = np.take_along_axis(self._ways(split.colours)[0] - self.beside, split.ways[None], axis=0)[0]
            self.more *= taken / max(float(expected[~left].sum()), 1.0)
        if left.any():
            self.beside = float(bits[~left].mean()) if not left.all() else 0.0
            pairs = (bits, self.bits), (losses, self.losses)
            more, worse = (float(new[left].sum() / max(old[left].sum(), 1e-9)) for new, old in pairs)
            self.bits = np.where(left, bits, self.bits * more)
            self.losses = np.where(left, losses, self.losses * worse)

    def _ways(self, colours: int) -> tuple[Floats, Floats]:
        """What each block takes and loses in each way, two arrays (3, rows, columns)."""
        none = np.zeros(self.losses.shape)
        fewer, itself = (self.more * self.picture.bits(size) + self.beside for size in (colours, ITSELF))
        return np.stack([self.bits, fewer, itself]), np.stack([self.losses, self._off[colours], none])

    def _searched(self, colours: int, fits: Callable[[Split], bool], start: float, end: float) -> list[Split]:
        """Of the splits that fit, those whose weight of losses is farthest from ``start``, where all do.

        One leaves nothing to the transform, which then takes nothing beside exact blocks.
        """
        bits, losses = self._ways(colours)

        def split(power: float, first: int) -> Split:
            ways = first + np.argmin(bits[first:] + 2.0**power * losses[first:], axis=0)
            taken, lost = (float(np.take_along_axis(each, ways[None], axis=0).sum()) for each in (bits, losses))
            return Split(ways, colours, taken if (ways == 0).any() else taken - self.beside * ways.size, lost)

        def farthest(first: int) -> Split:
            low, high, found = start, end, split(start, first)
            for _ in range(HALVINGS):
                tried = split((low + high) / 2, first)
                if fits(tried):
                    low, found = (low + high) / 2, tried
                else:
                    high = (low + high) / 2
            return found

        return [farthest(first) for first in (0, 1)]
