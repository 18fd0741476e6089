"""Few colours for many: what makes resampled text and windows cheap to code pixel by pixel, at a small error.

Colours are whole numbers of ``UNIT`` to a level, in double precision, which holds their sums and products exactly: so
every processor finds the same palettes, in whatever order it adds.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Wholes = NDArray[np.float64]

SIZES = (8, 16, 32, 64, 128, 256)  # of palettes
UNIT = 16.0
MOST_COLOURS = 1 << 14  # that are told apart; if there are more, those with the same upper bits are one
ROUNDS = 3  # of moving colours to the middle of what is nearest to them
# A colour that is rare, such as a button's, would cost less error as grey than a gradient in fewer steps; but a user
# looks for it, and rare colours cost few bytes. So those that are this far from what stands for them, in R - G and
# (R + G) / 2 - B, and have as many pixels, get places beside the others, at most as many as those.
FAR, SEEN = 48.0, 12.0
KEPT = 0.5  # the share of its pixels that makes a colour stand for all that are near it, as it is: white stays white


class Palettes:
    """Palettes of some pixels (N, C), uint8 with C 1 or 3: the best found of each of ``SIZES``, with rare colours."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._channels = pixels.shape[1]
        packed = _packed(pixels)
        for bits in range(8):
            colours, inverse, counts = np.unique(packed & _mask(bits), return_inverse=True, return_counts=True)
            if len(colours) <= MOST_COLOURS:
                break
        self._bits, self._colours, self._counts = bits, colours, counts.astype(np.float64)
        sums = [np.bincount(inverse, pixels[:, c]) for c in range(self._channels)]
        self._means: Wholes = np.rint(UNIT * np.stack(sums, axis=1) / counts[:, None])
        self._boxes = dict(self._split())
        self._tables: dict[int, NDArray[np.uint8]] = {}

    @property
    def sizes(self) -> list[int]:
        """Those of ``SIZES`` that are smaller than the number of colours."""
        return [size for size in SIZES if size in self._boxes]

    def apply(self, planes: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """Pixels (H, W, C) in so many colours and rare ones; also those that were not among the pixels become one."""
        if size not in self._tables:
            self._tables[size] = self._table(size)
        packed = _packed(planes.reshape(-1, self._channels)) & _mask(self._bits)
        places = np.searchsorted(self._colours, packed).clip(0, len(self._colours) - 1)
        shown: NDArray[np.uint8] = self._tables[size][places].reshape(planes.shape)
        return shown

    def _table(self, size: int) -> NDArray[np.uint8]:
        """For each colour the one that stands for it, (colours, C)."""
        labels = self._boxes[size]
        size = int(labels.max()) + 1
        for _ in range(ROUNDS):
            weights = np.maximum(np.bincount(labels, self._counts, minlength=size), 1e-6)
            sums = [
                np.bincount(labels, self._counts * self._means[:, c], minlength=size) for c in range(self._channels)
            ]
            centres = np.rint(np.stack(sums, axis=1) / weights[:, None])
            distances = (centres**2).sum(axis=1) - 2 * self._means @ centres.T
            labels = distances.argmin(axis=1)
        total = np.bincount(labels, self._counts, minlength=size)
        shown = np.rint(centres / UNIT)
        order = np.argsort(self._counts, kind="stable")
        first = np.zeros(size, np.intp)
        first[labels[order]] = order  # the commonest of each
        kept = self._counts[first] >= KEPT * np.maximum(total, 1)
        shown[kept] = np.rint(self._means[first[kept]] / UNIT)
        table: NDArray[np.uint8] = shown.clip(0, 255).astype(np.uint8)[labels]
        return table

    def _split(self) -> Iterator[tuple[int, NDArray[np.intp]]]:
        """The colours in boxes, each time the one with the most error parted where it is widest, at its mean."""
        labels = np.zeros(len(self._colours), np.intp)
        boxes = [_Box(np.arange(len(labels)), self._means, self._counts)]
        for count in range(1, min(max(SIZES), len(labels) - 1) + 1):
            if count in SIZES:
                yield count, self._with_own(labels.copy(), boxes.copy())
            label = max(range(count), key=lambda label: boxes[label].error)
            if not self._part(labels, boxes, label, boxes[label].upper()):
                return  # all that is left is the same, but for rounding

    def _with_own(self, labels: NDArray[np.intp], boxes: list[_Box]) -> NDArray[np.intp]:
        """Rare colours in boxes of their own, the farthest first; ``labels`` and ``boxes`` change."""
        for _ in range(len(boxes)):
            label = max(range(len(boxes)), key=lambda label: boxes[label].farthest)
            if not boxes[label].farthest or not self._part(labels, boxes, label, boxes[label].far()):
                break
        return labels

    def _part(self, labels: NDArray[np.intp], boxes: list[_Box], label: int, parted: NDArray[np.bool_]) -> bool:
        """Gives those of a box a new one; whether there are any."""
        members = boxes[label].members
        if not parted.any():
            return False
        labels[members[parted]] = len(boxes)
        boxes[label] = _Box(members[~parted], self._means, self._counts)
        boxes.append(_Box(members[parted], self._means, self._counts))
        return True


class _Box:
    """Colours of which one is to stand for all."""

    def __init__(self, members: NDArray[np.intp], means: Wholes, counts: Wholes) -> None:
        self.members, self._means, counts = members, means[members], counts[members]
        self._middle: Wholes = np.rint((counts[:, None] * self._means).sum(axis=0) / counts.sum())
        spread = (counts[:, None] * (self._means - self._middle) ** 2).sum(axis=0)
        self._axis = int(spread.argmax())
        self.error = float(spread[self._axis])
        away = _away(self._means, self._middle)
        aside = int((away * np.minimum(counts, SEEN) ** 2).argmax())
        self._aside, distance = self._means[aside], float(away[aside])
        seen = distance > (2 * UNIT * FAR) ** 2 and counts[self.far()].sum() >= SEEN
        self.farthest = distance if seen else 0.0  # how far away a colour is that wants a place of its own, as _away

    def upper(self) -> NDArray[np.bool_]:
        """Which members are beyond the middle where the box is widest."""
        beyond: NDArray[np.bool_] = self._means[:, self._axis] > self._middle[self._axis]
        return beyond

    def far(self) -> NDArray[np.bool_]:
        """Which members are nearer to the colour that wants a place of its own than to the middle."""
        nearer: NDArray[np.bool_] = _away(self._means, self._aside) < _away(self._means, self._middle)
        return nearer


def _away(colours: Wholes, one: Wholes) -> Wholes:
    """How far colours (N, C) are from one (C,), but for their brightness; 0 if they are grey. In squares of 1/2."""
    if len(one) == 1:
        return np.zeros(len(colours))
    red, green, blue = (colours - one).T
    away: Wholes = (2 * (red - green)) ** 2 + (red + green - 2 * blue) ** 2
    return away


def count(pixels: NDArray[np.uint8]) -> int:
    """How many colours pixels (N, C) have."""
    return len(np.unique(_packed(pixels)))


def _packed(pixels: NDArray[np.uint8]) -> NDArray[np.uint32]:
    packed = np.zeros(len(pixels), np.uint32)
    for c in range(pixels.shape[1]):
        packed |= pixels[:, c].astype(np.uint32) << np.uint32(8 * c)
    return packed


def _mask(bits: int) -> np.uint32:
    """Which bits of a packed colour tell it from others."""
    return np.uint32(0x01010101 * (0xFF >> bits << bits))
