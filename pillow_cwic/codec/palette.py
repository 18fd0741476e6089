"""Few colours for many: what makes resampled text and windows cheap to code pixel by pixel, at a small error."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SIZES = (8, 16, 32, 64, 128, 256)  # of palettes
MOST_COLOURS = 1 << 14  # that are told apart; if there are more, those with the same upper bits are one
ROUNDS = 3  # of moving colours to the middle of what is nearest to them
KEPT = 0.5  # the share of its pixels that makes a colour stand for all that are near it, as it is: white stays white


class Palettes:
    """Palettes of some pixels (N, C), uint8 with C 1 or 3: the best found of each of ``SIZES``."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._channels = pixels.shape[1]
        packed = _packed(pixels)
        for bits in range(8):
            colours, inverse, counts = np.unique(packed & _mask(bits), return_inverse=True, return_counts=True)
            if len(colours) <= MOST_COLOURS:
                break
        self._bits, self._colours, self._counts = bits, colours, counts.astype(np.float32)
        sums = [np.bincount(inverse, pixels[:, c]) for c in range(self._channels)]
        self._means: Floats = (np.stack(sums, axis=1) / counts[:, None]).astype(np.float32)
        self._boxes = dict(self._split())

    @property
    def sizes(self) -> list[int]:
        """Those of ``SIZES`` that are smaller than the number of colours."""
        return [size for size in SIZES if size in self._boxes]

    def apply(self, planes: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """Pixels (H, W, C) with each colour, also those that were not among the pixels, as one of so many."""
        table = self._table(size)
        packed = _packed(planes.reshape(-1, self._channels)) & _mask(self._bits)
        places = np.searchsorted(self._colours, packed).clip(0, len(self._colours) - 1)
        shown: NDArray[np.uint8] = table[places].reshape(planes.shape)
        return shown

    def _table(self, size: int) -> NDArray[np.uint8]:
        """For each colour the one that stands for it, (colours, C)."""
        labels = self._boxes[size]
        for _ in range(ROUNDS):
            weights = np.maximum(np.bincount(labels, self._counts, minlength=size), 1e-6)
            sums = [
                np.bincount(labels, self._counts * self._means[:, c], minlength=size) for c in range(self._channels)
            ]
            centres = (np.stack(sums, axis=1) / weights[:, None]).astype(np.float32)
            distances = (centres**2).sum(axis=1) - 2 * self._means @ centres.T
            labels = distances.argmin(axis=1)
        total = np.bincount(labels, self._counts, minlength=size)
        shown = np.rint(centres)
        order = np.argsort(self._counts, kind="stable")
        first = np.zeros(size, np.intp)
        first[labels[order]] = order  # the commonest of each
        kept = self._counts[first] >= KEPT * np.maximum(total, 1)
        shown[kept] = np.rint(self._means[first[kept]])
        table: NDArray[np.uint8] = shown.clip(0, 255).astype(np.uint8)[labels]
        return table

    def _split(self) -> Iterator[tuple[int, NDArray[np.intp]]]:
        """The colours in boxes, each time the one with the most error parted where it is widest, at its mean."""
        labels = np.zeros(len(self._colours), np.intp)
        heap = [self._box(np.arange(len(self._colours)), 0)]
        for count in range(1, min(max(SIZES), len(self._colours) - 1) + 1):
            if count in SIZES:
                yield count, labels.copy()
            _, _, label, members, axis, middle = heapq.heappop(heap)
            upper = self._means[members, axis] > middle
            if not upper.any():  # all that is left is the same, but for rounding
                return
            labels[members[upper]] = count
            heapq.heappush(heap, self._box(members[~upper], label))
            heapq.heappush(heap, self._box(members[upper], count))

    def _box(self, members: NDArray[np.intp], label: int) -> tuple[float, int, int, NDArray[np.intp], int, float]:
        counts, means = self._counts[members], self._means[members]
        middle = np.average(means, axis=0, weights=counts)
        spread = (counts[:, None] * (means - middle) ** 2).sum(axis=0)
        axis = int(spread.argmax())
        return -float(spread[axis]), label, label, members, axis, float(middle[axis])


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
