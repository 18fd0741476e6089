"""The range coder and the tables of a CWIC file, sections 3 and 4.2 of ``docs/FORMAT.md``, as plain as can be.

Part of ``reference_decoder.py``, and like it without any code of the package. Standard library only.
"""

from __future__ import annotations

import re
from pathlib import Path

from reference_container import require

TABLES = Path(__file__).resolve().parents[1] / "csrc" / "tables.c"


def clamp(x: int, low: int, high: int) -> int:
    return max(low, min(x, high))


# 3. Range coder


class RangeDecoder:
    """Binary decisions from one tile's stream."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.fetched = 0
        self.range = 2**64 - 1
        self.dif = self.fetch(8)

    def fetch(self, count: int) -> int:
        """The next ``count`` bytes as a number; past the end they are 0."""
        piece = self.data[self.fetched : self.fetched + count]
        self.fetched += count
        return int.from_bytes(piece.ljust(count, b"\0"), "big")

    def decode(self, p: int) -> int:
        """One decision that is 1 with probability p / 65536."""
        bound = (self.range >> 16) * p
        bit = int(self.dif < bound)
        self.range, self.dif = (bound, self.dif) if bit else (self.range - bound, self.dif - bound)
        if self.range < 2**32:
            self.range <<= 32
            self.dif = (self.dif << 32 | self.fetch(4)) % 2**64  # 64 bits hold it, unless the stream is damaged
        return bit

    def settled(self) -> bool:
        """Whether the decisions so far stay what they are, whatever follows the data."""
        missing = max(0, self.fetched - len(self.data))
        return missing < 8 and self.range - self.dif >= 2 ** (8 * missing)

    def finish(self) -> None:
        """To be called after the last decision: whether the stream has the length that the decisions took."""
        require(self.fetched - len(self.data) <= 8, "stream: too short")
        require(self.fetched >= len(self.data), "stream: too long")


# 4.2 Tables

# FIRST [64][16] and STEP [64][257], log odds in 1/256 by scale index; PROBABILITIES [2816], in 2^-16.
Tables = tuple[list[list[int]], list[list[int]], list[int]]


def read_tables(path: Path) -> Tables:
    """The tables out of ``csrc/tables.c``."""
    text = path.read_text(encoding="ascii")

    def table(name: str, rows: int, columns: int) -> list[list[int]]:
        numbers = [int(n) for n in re.findall(r"-?\d+", text.partition(f"{name} = {{")[2].partition(";")[0])]
        require(len(numbers) == rows * columns, f"{path}: {name} has {len(numbers)} numbers")
        return [numbers[i * columns : (i + 1) * columns] for i in range(rows)]

    (probabilities,) = table("cwic_probabilities[2816]", 1, 2816)
    return table("cwic_first[64][16]", 64, 16), table("cwic_step[64][257]", 64, 257), probabilities
