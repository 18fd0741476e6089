"""The alpha plane of a CWIC file, section 1.2 of ``docs/FORMAT.md``, as plainly as it can be read.

Beside ``reference_decoder.py``, and like it without any code of the package. Standard library only.
"""

from __future__ import annotations

import lzma

DICTIONARY = {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 22, "lc": 3, "lp": 0, "pb": 0}


def decode_alpha(payload: bytes, width: int, height: int) -> list[list[int]]:
    """Rows of alpha, 0 to 255."""
    if payload[0] == 0:
        return [[payload[1]] * width for _ in range(height)]
    data = lzma.decompress(payload[1:], format=lzma.FORMAT_RAW, filters=[DICTIONARY])
    kinds, data = data[:height], data[height:]
    above, rows = [0] * width, []
    for y, kind in enumerate(kinds):
        row: list[int] = []
        for x, value in enumerate(data[y * width : (y + 1) * width]):
            left = row[x - 1] if x > 0 else 0
            row.append((value + (0, left, above[x])[kind]) % 256)
        rows.append(row)
        above = row
    return rows
