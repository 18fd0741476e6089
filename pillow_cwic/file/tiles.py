"""Numbers of one to five bytes, tables of streams, and layers as the streams of their tiles: FORMAT.md section 1.4."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

from pillow_cwic.errors import ContainerError

MAX_PAYLOAD = 2**32 - 1  # bytes of one chunk
VARINT_BYTES = 5
_U32 = Struct(">I")


class CutShortError(ContainerError):
    """The bytes end too early: the file is cut, or a length in it damaged."""


def check_range(field: str, value: int, low: int, high: int) -> None:
    """Raises ContainerError, naming ``field``, for a value outside ``low`` to ``high``."""
    if not low <= value <= high:
        raise ContainerError(f"{field}: {value} is outside {low} to {high}")


def put_varint(n: int) -> bytes:
    """``n``, 0 to 2^35 - 1, in 1 to 5 bytes: groups of 7 bits, lowest first. Raises ContainerError outside."""
    check_range("varint", n, 0, 2 ** (7 * VARINT_BYTES) - 1)
    groups = bytearray()
    while n >= 0x80:
        groups.append(n & 0x7F | 0x80)
        n >>= 7
    groups.append(n)
    return bytes(groups)


def get_varint(data: bytes | memoryview, offset: int, end: int, field: str) -> tuple[int, int]:
    """The varint at ``offset``, and the offset behind it, without reading at or past ``end`` <= ``len(data)``.

    Raises ContainerError, naming ``field``, if it ends late, has more than 5 bytes or is not in its shortest form.
    """
    value = 0
    for n in range(VARINT_BYTES):
        if offset + n >= end:
            raise CutShortError(f"{field}: number cut short after {n} bytes, at byte {end}")
        byte = data[offset + n]
        value |= (byte & 0x7F) << 7 * n
        if byte < 0x80:
            if byte == 0 and n > 0:
                raise ContainerError(f"{field}: number {value} takes {n + 1} bytes, not the shortest form")
            return value, offset + n + 1
    raise ContainerError(f"{field}: number longer than {VARINT_BYTES} bytes")


class Stream(NamedTuple):
    """Entropy-coded bytes, and the CRC-32 of what they decode to."""

    data: bytes
    crc: int


def join_streams(streams: Sequence[Stream]) -> bytes:
    """Streams behind a table of their lengths and CRCs."""
    table = b"".join(put_varint(len(stream.data)) + _U32.pack(stream.crc) for stream in streams)
    return table + b"".join(stream.data for stream in streams)


def split_streams(
    data: bytes | memoryview, at: int, count: int, stop: int | None, name: str, whole: str
) -> tuple[list[Stream], Stream | None]:
    """The reverse of ``join_streams`` for what stands at ``at``: so many streams, or those that arrived whole.

    What arrived of the next one, if it did not, is the second result.

    ``stop`` is where they end, as it is stated; ``data`` may end before, or anywhere if it is None. Raises
    ContainerError, which calls each stream ``name`` and all of them ``whole``, unless table and streams go up to there.
    """
    end, table = len(data), []
    for n in range(count):
        size, at = get_varint(data, at, end, f"{name} {n}: length")
        if end - at < _U32.size:
            raise CutShortError(f"{name} {n}: CRC of 4 bytes exceeds the {end - at} bytes left")
        table.append((size, _U32.unpack_from(data, at)[0]))
        at += _U32.size
    total, left = sum(size for size, _ in table), (end if stop is None else stop) - at
    # Compared with what is stated, not with the bytes that arrived: a cut file passes, a wrong one fails.
    if total < left or (total > left and stop is not None):
        raise ContainerError(f"{whole} of {total} bytes in all do not fill the {left} bytes behind the table")
    streams: list[Stream] = []
    for size, crc in table:
        stream = Stream(bytes(data[at : at + size]), crc)
        if size > end - at:
            return streams, stream
        streams.append(stream)
        at += size
    return streams, None


def join_tiles(streams: Sequence[bytes]) -> bytes:
    """One layer from its tiles' streams (one or more, raster order): a single stream as is, others behind lengths."""
    if len(streams) == 1:
        return streams[0]
    check_range("tiles", len(streams), 1, MAX_PAYLOAD)
    return b"".join(put_varint(len(stream)) + stream for stream in streams)


def split_tiles(layer: bytes, tiles: int, field: str) -> list[bytes]:
    """The streams of a layer's ``tiles`` tiles, the reverse of join_tiles.

    Raises ContainerError, its message beginning with ``field``, unless they fill the layer exactly.
    """
    if tiles == 1:
        return [layer]
    if not 1 <= tiles <= len(layer):  # each has a length of a byte or more
        raise ContainerError(f"{field}: {tiles} tiles cannot lie in {len(layer)} bytes")
    streams = []
    offset = 0
    for n in range(tiles):
        length, offset = get_varint(layer, offset, len(layer), f"{field}: tile {n}")
        if length > len(layer) - offset:
            raise ContainerError(f"{field}: tile {n}: length {length} exceeds the {len(layer) - offset} bytes left")
        streams.append(layer[offset : offset + length])
        offset += length
    if offset != len(layer):
        raise ContainerError(f"{field}: its tiles end at byte {offset} of {len(layer)}")
    return streams
