"""Decisions that adapt and are mixed, sections 8.2 and 8.3 of ``docs/FORMAT.md``, as plainly as they can be read.

Part of ``reference_pixels.py``, and like it without any code of the package. Standard library only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence

from reference_range import TABLES, RangeDecoder, clamp, read_tables

Key = tuple[str | int, ...]  # what a slot or a set of weights is for

# 8.2 Slots

PROBABILITIES = read_tables(TABLES)[2]
RATE = [65536 // (n + 2) for n in range(1024)]


class Slot:
    """The probability of a 1, in 2^-22, and how often it was used."""

    __slots__ = ("p", "uses")

    def __init__(self, p: int = 2**21, uses: int = 0) -> None:
        self.p, self.uses = p, uses

    def learned(self, bit: int, limit: int) -> tuple[int, int]:
        """What the two become."""
        p = self.p + (((2**22 - 1) * bit - self.p) * RATE[self.uses] >> 16)
        return p, self.uses + (self.uses < limit)


def cost(i: int) -> int:
    """Of an outcome whose probability is (i + 1/2) / 4096, in 1/256 bits."""
    x, bits = 16 * i + 8, 256
    while x < 2**15:
        x, bits = 2 * x, bits + 256
    for step in (128, 64, 32, 16, 8, 4, 2, 1):
        x = x * x >> 15
        if x >= 2**16:
            x, bits = x >> 1, bits - step
    return bits


COST = [cost(i) for i in range(4096)]

# 8.3 Mixed decisions

STRETCH = [clamp(2 * min(bisect_left(PROBABILITIES, 16 * i + 8), 2815) - 2815, -2047, 2047) for i in range(4096)]
START = 1755  # of the sum of two weights


def new_finals() -> list[Slot]:
    return [Slot(64 * PROBABILITIES[min(64 * k, 2815)], 16) for k in range(45)]


class Mixer(RangeDecoder):
    """Decisions of one stream. While ``silent``, nothing is decoded: they are ``known``, and are learned from."""

    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self.silent = False
        self.spent = 0  # in 1/256 bits
        self.slots: defaultdict[Key, Slot] = defaultdict(Slot)
        self.weights: dict[Key, list[int]] = {}
        self.finals: defaultdict[Key, list[Slot]] = defaultdict(new_finals)

    def outcome(self, p: int, known: int = 0) -> int:
        """A decision that is 1 with probability p / 65536."""
        bit = known if self.silent else self.decode(p)
        self.spent += COST[(p if bit else 65536 - p) >> 4]
        return bit

    def plain(self, key: Key, limit: int, known: int = 0) -> int:
        """A decision under one slot."""
        slot = self.slots[key]
        bit = self.outcome(max(slot.p >> 6, 1), known)
        slot.p, slot.uses = slot.learned(bit, limit)
        return bit

    def mixed(self, keys: Sequence[Key], a: Key, b: Key, final: Key, limit: int, rate: int, known: int = 0) -> int:
        """A decision under several slots, mixed under the weights of ``a`` and ``b`` and corrected under ``final``."""
        slots, finals = [self.slots[key] for key in keys], self.finals[final]
        x = [*(STRETCH[slot.p >> 10] for slot in slots), 256]
        first, second = (self.weights.setdefault(key, [0] * len(x)) for key in (a, b))
        z = sum(value * (START + u + v) for value, u, v in zip(x, first, second, strict=True)) >> 14
        z = clamp(z, -2815, 2815) + 2816
        guess = PROBABILITIES[z >> 1]
        k, part = z >> 7, z & 127
        corrected = ((finals[k].p >> 6) * (128 - part) + (finals[k + 1].p >> 6) * part) >> 7
        bit = self.outcome(clamp((3 * corrected + guess) >> 2, 1, 65535), known)
        e = ((65536 * bit - guess) * rate) >> 7
        steps = [(value * e + 32768) >> 16 for value in x]
        for weights in (first, second):
            weights[:] = [clamp(w + step, -32768, 32767) for w, step in zip(weights, steps, strict=True)]
        nearer = finals[(z + 64) >> 7]
        nearer.p, nearer.uses = nearer.learned(bit, 1023)
        for slot in set(slots):  # one that stands for two is changed once
            slot.p, slot.uses = slot.learned(bit, limit)
        return bit
