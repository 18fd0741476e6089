"""Pixels without loss as a chunk holds them, ``docs/FORMAT.md`` section 1.2: one for all, or bands of rows."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

from pillow_cwic.errors import ContainerError
from pillow_cwic.file.tiles import CutShortError, check_range, get_varint, put_varint

CONSTANT, BANDS = 0, 2  # the first byte of a payload; 1 was an LZMA2 stream before there was a pixel coder
UNIT = 16  # rows: bands begin at multiples of it
_U32 = Struct(">I")


class Band(NamedTuple):
    """Rows of a picture: their stream, and the CRC-32 of their pixels."""

    data: bytes
    crc: int


class Payload(NamedTuple):
    """A payload taken apart: the one ``colour`` of all pixels, or ``bands`` of so many ``rows``, those that arrived."""

    colour: bytes | None
    rows: int
    bands: list[Band]

    def starts(self) -> list[int]:
        """The first row of each band that arrived."""
        return [k * self.rows for k in range(len(self.bands))]


def crc(data: bytes | memoryview) -> int:
    """CRC-32, as in zlib and PNG, of pixels row by row."""
    return zlib.crc32(data)


def write(rows: int, bands: Sequence[Band]) -> bytes:
    """The payload of bands of ``rows`` rows each, a multiple of ``UNIT``, the last of what is left."""
    table = b"".join(put_varint(len(band.data)) + _U32.pack(band.crc) for band in bands)
    return bytes([BANDS]) + put_varint(rows // UNIT) + table + b"".join(band.data for band in bands)


def write_constant(colour: bytes) -> bytes:
    """The payload of pixels that are all the same; one byte a channel."""
    return bytes([CONSTANT]) + colour


def write_blocks(mask: bytes, payload: bytes) -> bytes:
    """A payload of some blocks, behind the stream that says which."""
    return put_varint(len(mask)) + mask + payload


def read_blocks(payload: bytes, partial: bool = False) -> tuple[bytes | None, bytes]:
    """The reverse of ``write_blocks``; with ``partial``, None for a stream that did not arrive whole.

    Raises ContainerError.
    """
    try:
        size, at = get_varint(payload, 0, len(payload), "PIXL: blocks: length")
        if size > len(payload) - at:
            raise CutShortError(f"PIXL: blocks: length {size} exceeds the {len(payload) - at} bytes left")
    except CutShortError:
        if partial:
            return None, b""
        raise
    return payload[at : at + size], payload[at + size :]


def read(payload: bytes, height: int, channels: int, field: str, partial: bool = False) -> Payload:
    """A payload for a picture of so many rows and channels; ``partial`` takes one cut short, and the bands before.

    Raises ContainerError, its message beginning with ``field``.
    """
    try:
        return _read(payload, height, channels, field, partial)
    except CutShortError:
        if partial:
            return Payload(None, UNIT, [])
        raise


def _read(payload: bytes, height: int, channels: int, field: str, partial: bool) -> Payload:
    if not payload or payload[0] not in (CONSTANT, BANDS):
        found = f"{payload[0]}" if payload else "missing"
        raise ContainerError(f"{field}: method {found} is neither {CONSTANT} nor {BANDS}")
    if payload[0] == CONSTANT:
        if len(payload) < 1 + channels:
            raise CutShortError(f"{field}: {len(payload)} bytes instead of the {1 + channels} of one colour")
        if len(payload) > 1 + channels:
            raise ContainerError(f"{field}: {len(payload)} bytes instead of the {1 + channels} of one colour")
        return Payload(payload[1:], 0, [])
    units, at = get_varint(payload, 1, len(payload), f"{field}: rows of a band")
    check_range(f"{field}: rows of a band, in units of {UNIT}", units, 1, -(-height // UNIT))
    rows = UNIT * units
    count = -(-height // rows)
    table = []
    for n in range(count):
        size, at = get_varint(payload, at, len(payload), f"{field}: band {n}: length")
        if len(payload) - at < _U32.size:
            raise CutShortError(f"{field}: band {n}: CRC of 4 bytes exceeds the {len(payload) - at} bytes left")
        table.append((size, _U32.unpack_from(payload, at)[0]))
        at += _U32.size
    wanted, left = sum(size for size, _ in table), len(payload) - at
    if wanted < left or (wanted > left and not partial):
        raise ContainerError(f"{field}: bands of {wanted} bytes in all do not fill the {left} bytes behind the table")
    bands = []
    for size, check in table:
        if size > len(payload) - at:
            break
        bands.append(Band(payload[at : at + size], check))
        at += size
    return Payload(None, rows, bands)
