"""Pixels without loss as a chunk holds them, ``docs/FORMAT.md`` section 1.2: one for all, or bands of rows."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

from pillow_cwic.errors import ContainerError
from pillow_cwic.file.tiles import (
    CutShortError,
    Stream,
    check_range,
    get_varint,
    join_streams,
    put_varint,
    split_streams,
)

# The first byte of a payload; 1 was an LZMA2 stream before there was a pixel coder.
CONSTANT, BANDS, COARSE = 0, 2, 3
STEPS = (2, 255)  # between the values of coarse samples
UNIT = 16  # rows: bands begin at multiples of it


Band = Stream  # rows of a picture; its CRC is that of their pixels


class Payload(NamedTuple):
    """A payload taken apart: the one ``colour`` of all pixels, or ``bands`` of so many ``rows``, those that arrived.

    ``cut`` is what arrived of the band behind them, None if they are all. What is shown of a coded sample is ``step``
    times as much, at most 255.
    """

    colour: bytes | None
    rows: int
    bands: list[Band]
    cut: Band | None = None
    step: int = 1


def crc(data: bytes | memoryview) -> int:
    """CRC-32, as in zlib and PNG, of pixels row by row."""
    return zlib.crc32(data)


def write(rows: int, bands: Sequence[Band], step: int = 1) -> bytes:
    """The payload of bands of ``rows`` rows each, a multiple of ``UNIT``, the last of what is left."""
    method = bytes([BANDS]) if step == 1 else bytes([COARSE, step])
    return method + put_varint(rows // UNIT) + join_streams(bands)


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
    """A payload for a picture of so many rows and channels; ``partial`` takes what arrived of one cut short.

    Raises ContainerError, its message beginning with ``field``.
    """
    try:
        return _read(payload, height, channels, field, partial)
    except CutShortError:
        if partial:
            return Payload(None, UNIT, [])
        raise


def _read(payload: bytes, height: int, channels: int, field: str, partial: bool) -> Payload:
    known = f"none of {CONSTANT}, {BANDS} and {COARSE}"
    if not payload:
        raise CutShortError(f"{field}: method missing is {known}")
    if payload[0] not in (CONSTANT, BANDS, COARSE):
        raise ContainerError(f"{field}: method {payload[0]} is {known}")
    if payload[0] == CONSTANT:
        if len(payload) < 1 + channels:
            raise CutShortError(f"{field}: {len(payload)} bytes instead of the {1 + channels} of one colour")
        if len(payload) > 1 + channels:
            raise ContainerError(f"{field}: {len(payload)} bytes instead of the {1 + channels} of one colour")
        return Payload(payload[1:], 0, [])
    step, at = 1, 1
    if payload[0] == COARSE:
        if len(payload) < 2:
            raise CutShortError(f"{field}: step of its samples missing")
        step, at = payload[1], 2
        check_range(f"{field}: step of its samples", step, *STEPS)
    units, at = get_varint(payload, at, len(payload), f"{field}: rows of a band")
    check_range(f"{field}: rows of a band, in units of {UNIT}", units, 1, -(-height // UNIT))
    rows = UNIT * units
    stop = None if partial else len(payload)
    bands, cut = split_streams(payload, at, -(-height // rows), stop, f"{field}: band", f"{field}: bands")
    return Payload(None, rows, bands, cut, step)
