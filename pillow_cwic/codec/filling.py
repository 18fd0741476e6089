"""Exact blocks beyond the transform's finest: for what a bound leaves over, or for a quality that it does not reach."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pillow_cwic.codec import exact
from pillow_cwic.codec.graphics import ITSELF, Exact, Graphics, Look, Loss

Floats = NDArray[np.float64]

# What comes of exact blocks: the bits of all, and what each block takes and loses by the transform.
Code = Callable[[Exact | None], tuple[float, Floats, Floats]]

LEAST, MOST = -12.0, 24.0  # powers of 2, between which lies what a unit of loss is worth in bits
HALVINGS = 24  # of what is between them
LAYERS = 8.0 * 120  # bits of layers to which nothing is left, where that was not yet seen
LEARNT, BEST, TRIALS = 2, 2, 5  # splits after which what is expected stays, looks that go on, and splits of each
CLOSE, AIM, NEAR = 0.985, 0.995, 0.97  # the shares of a goal that end the trials, that they aim at, or else


class Split(NamedTuple):
    """How each block is coded, and what all of them take, in bits, and lose: expected, not yet seen."""

    ways: NDArray[np.intp]  # 0 by the transform, 1 exact with this look, 2 exact with its own
    look: Look
    bits: float
    loss: float

    def order(self, aim: float, by_bits: bool) -> tuple[bool, float]:
        """Less is better: whether it misses the aim in bits, or else in loss, and how much of the other it has."""
        met, other = (self.bits, self.loss) if by_bits else (self.loss, self.bits)
        return met > aim, other


class Filling:
    """Which blocks of a picture are best exact, as they are or nearly so, and which are left to the transform.

    ``bits`` and ``losses`` are what each block takes and loses by the transform alone, errors of which cost ``loss``;
    ``worth`` says how much they count where. Beside exact blocks the transform takes and loses more in those that are
    left, and exact ones take more than in a picture that is exact as a whole, from which their bits are known: so what
    is expected follows what was seen.
    """

    def __init__(
        self, picture: Graphics, loss: Loss, bits: Floats, losses: Floats, worth: float | Floats = 1.0
    ) -> None:
        self.picture, self.loss, self.bits, self.losses, self.worth = picture, loss, bits, losses, worth
        self._off = {ITSELF: np.zeros(losses.shape)}  # what blocks lose with each look
        for looks in picture.looks:
            for look in looks:
                off = loss.of(picture.planes, picture.shown(look))
                if off.sum() >= losses.sum():
                    break
                self._off[look] = off
        # Of exact blocks: how many times what they were expected to they take, and what each takes by the transform.
        self.more, self.beside = 1.0, 0.0
        self.least = 0.0  # what the transform takes if nothing is left to it

    def exact(self, split: Split) -> Exact | None:
        """The exact blocks of a split; None if there are none."""
        blocks, fewer = split.ways > 0, split.ways == 1
        if not blocks.any():
            return None
        planes, shown = self.picture.planes, self.picture.shown(split.look)
        where = exact.spread(fewer, *planes.shape[:2])[..., None]
        return self.picture.made(blocks, np.where(where, shown, planes), None, split.look if fewer.any() else ITSELF)

    def expected(self, goal: float, by_bits: bool) -> float:
        """What the best split is expected to lose with so many bits, or else to take; infinite if none meets it."""
        missed, other = self._ranked(goal, by_bits)[0].order(goal, by_bits)
        return math.inf if missed else other

    def search(self, goal: float, by_bits: bool, code: Code) -> None:
        """Codes splits until what they take in bits, or else what they lose, is close below the ``goal``.

        They lose least of those that take so much, or take least of those that lose so much, as far as it is known.
        """
        self._follow(goal, by_bits, code)
        for split in self._whole(goal, by_bits):
            code(self.exact(split))

    def _follow(self, goal: float, by_bits: bool, code: Code) -> None:
        """Codes what is expected to be best, and learns from it what to expect."""
        near: dict[float, Look] = {}  # by how far from the goal they led
        for _ in range(LEARNT):
            split = self._ranked(AIM * goal, by_bits)[0]
            blocks = self.exact(split)
            taken, bits, losses = code(blocks)
            found = taken if by_bits else float(losses.sum())
            if CLOSE * goal <= found <= goal:
                return
            near[abs(found - goal)] = split.look
            self._learn(split, 0 if blocks is None else 8 * len(blocks.payload), bits, losses)
        for n, split in enumerate(self._ranked(AIM * goal, by_bits)):
            if n < BEST or split.look == near[min(near)]:
                self._approach(split, goal, by_bits, code)

    def _whole(self, goal: float, by_bits: bool) -> list[Split]:
        """Of the splits with all blocks in one look those that are best within the goal: little of them is a guess."""
        ways = np.ones(self.bits.shape, np.intp)
        looks = ((look, float(self.picture.bits(look).sum()), float(off.sum())) for look, off in self._off.items())
        splits = [Split(ways, *each) for each in looks if each[0] != ITSELF]
        goal -= (self.least or LAYERS) if by_bits else 0.0
        found: dict[Look, Split] = {}
        for aim in (AIM * goal, NEAR * goal):
            best = min(splits, key=lambda split: split.order(aim, by_bits), default=None)
            if best and not best.order(aim, by_bits)[0]:
                found[best.look] = best
        return list(found.values())

    def _ranked(self, aim: float, by_bits: bool) -> list[Split]:
        """The split of each look, the best first."""
        splits = [self._searched(look, aim, by_bits) for look in self._off]
        return sorted(splits, key=lambda split: split.order(aim, by_bits))

    def _approach(self, split: Split, goal: float, by_bits: bool, code: Code) -> None:
        """Codes splits of one look, whose aims come nearer to the goal."""
        below = above = None
        aim = AIM * goal
        for _ in range(TRIALS):
            taken, _, losses = code(self.exact(split))
            found = taken if by_bits else float(losses.sum())
            if CLOSE * goal <= found <= goal:
                break
            if found <= goal:
                below = aim, found
            else:
                above = aim, found
            if below and above:
                share = (AIM * goal - below[1]) / (above[1] - below[1])
                aim = below[0] + min(max(share, 0.1), 0.9) * (above[0] - below[0])
            else:
                aim *= AIM * goal / max(found, goal / 4)
            split = self._searched(split.look, aim, by_bits)

    def _learn(self, split: Split, taken: float, bits: Floats, losses: Floats) -> None:
        """How it was: bits ``taken`` by exact blocks, and what each of the others took and lost by the transform."""
        left = split.ways == 0
        if not left.all():
            expected = np.take_along_axis(self._ways(split.look)[0] - self.beside, split.ways[None], axis=0)[0]
            self.more *= taken / max(float(expected[~left].sum()), 1.0)
        if not left.any():
            self.least = float(bits.sum())
        else:
            self.beside = float(bits[~left].mean()) if not left.all() else 0.0
            pairs = (bits, self.bits), (losses, self.losses)
            more, worse = (float(new[left].sum() / max(old[left].sum(), 1e-9)) for new, old in pairs)
            self.bits = np.where(left, bits, self.bits * more)
            self.losses = np.where(left, losses, self.losses * worse)

    def _ways(self, look: Look) -> tuple[Floats, Floats]:
        """What each block takes and loses in each way, two arrays (3, rows, columns)."""
        nearly, itself = (self.more * self.picture.bits(each) + self.beside for each in (look, ITSELF))
        if look.step > 1:  # which all of them have
            itself = np.full(itself.shape, np.inf)
        return np.stack([self.bits, nearly, itself]), np.stack([self.losses, self._off[look], self._off[ITSELF]])

    def _searched(self, look: Look, aim: float, by_bits: bool) -> Split:
        """Of the splits that take, or lose, so much at most, that which loses, or takes, least; else the nearest.

        The transform takes next to nothing beside exact blocks if nothing is left to it.
        """
        bits, losses = self._ways(look)

        def split(power: float, first: int) -> Split:
            ways = first + np.argmin(bits[first:] + 2.0**power * self.worth * losses[first:], axis=0)
            taken, lost = (float(np.take_along_axis(each, ways[None], axis=0).sum()) for each in (bits, losses))
            return Split(ways, look, taken if (ways == 0).any() else taken - self.beside * ways.size + self.least, lost)

        def found(first: int) -> Split:
            low, high = (LEAST, MOST) if by_bits else (MOST, LEAST)  # of the weights of losses: with the first it fits
            best = split(low, first)
            for _ in range(HALVINGS):
                tried = split(middle := (low + high) / 2, first)
                if (tried.bits if by_bits else tried.loss) <= aim:
                    low, best = middle, tried
                else:
                    high = middle
            return best

        return min((found(0), found(1)), key=lambda it: it.order(aim, by_bits))
