"""The container of a CWIC file, section 1 of ``docs/FORMAT.md``, as plainly as it can be read.

Part of ``reference_decoder.py``, and like it without any code of the package. Standard library only.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

Plane = list[list[int]]  # [y][x]
Fields = dict[str, Any]


class DamagedError(Exception):
    """The file or the weights break a rule of the format."""


def require(rule: bool, message: str) -> None:
    if not rule:
        raise DamagedError(message)


def read(source: BytesIO, count: int) -> bytes:
    data = source.read(count)
    require(len(data) == count, f"cut short: {len(data)} bytes left of {count}")
    return data


def read_varint(source: BytesIO) -> int:
    value = 0
    for n in range(5):
        byte = read(source, 1)[0]
        value |= (byte & 0x7F) << (7 * n)
        if byte < 0x80:
            require(n == 0 or byte > 0, "varint: not in its shortest form")
            return value
    raise DamagedError("varint: more than 5 bytes")


def read_chunks(source: BytesIO) -> Iterator[tuple[bytes, bytes]]:
    """Type and payload of the chunks up to TAIL; what follows that belongs to nothing."""
    kind = b""
    while kind != b"TAIL":
        length, kind = read(source, 4), read(source, 4)
        payload = read(source, int.from_bytes(length, "big"))
        require(int.from_bytes(read(source, 4), "big") == zlib.crc32(kind + payload), f"chunk {kind!r}: CRC differs")
        require(kind.isalpha(), f"chunk {kind!r}: not letters")
        yield kind, payload


def read_file(data: bytes) -> tuple[Fields, list[tuple[bytes, int]]]:
    """Header fields and the layers as (coded bytes, CRC of the symbols).

    Among the fields ``lossless``, the payloads ``alpha`` and ``pixels``, and the coefficients ``post``, None if there
    is none.
    """
    source = BytesIO(data)
    signature, version, family, reserved = struct.unpack(">8sH4sH", read(source, 16))
    require(signature == b"\x89CWIC\r\n\x1a" and reserved == 0, "not a CWIC file")
    known = version == 0 and family in (b"cwc1", b"pixl")
    require(known, f"version {version}, family {family!r}: needs a newer reader")
    chunks = list(read_chunks(source))
    kinds, payloads, lossless = [kind for kind, _ in chunks], dict(chunks), family == b"pixl"
    head = read_head(chunks[0][1] if chunks else b"", lossless)
    wanted = [b"HEAD", *(k for k in kinds if k[:1].islower()), *[b"ALPH"] * ("A" in head["mode"])]
    wanted += [b"PIXL"] if lossless else [b"CODE", *(k for k in (b"POST", b"PIXL") if k in kinds)]
    require(kinds == [*wanted, b"TAIL"] and len(payloads) == len(kinds), f"chunks: {kinds}")
    require(payloads[b"TAIL"] == b"", "TAIL: not empty")
    head |= {"lossless": lossless, "alpha": payloads.get(b"ALPH"), "pixels": payloads.get(b"PIXL")}
    head["post"] = read_post(payloads[b"POST"]) if b"POST" in kinds else None
    return head, [] if lossless else read_code(BytesIO(payloads[b"CODE"]))


def read_head(payload: bytes, lossless: bool) -> Fields:
    """1.1 HEAD"""
    require(len(payload) == 18, "HEAD: not 18 bytes")
    width, height, mode, exponent, rate, model = struct.unpack(">IIBBh6s", payload)
    require(1 <= width < 2**24 and 1 <= height < 2**24, f"size {width} x {height}")
    in_range = payload[9:] == bytes(9) if lossless else 6 <= exponent <= 15 and -2048 <= rate <= 2048
    require(mode < 6 and in_range, "HEAD: field out of range")
    fields = width, height, ("L", "RGB", "LA", "RGBA", "RGB", "RGBA")[mode], mode in (0, 2, 4, 5), exponent, rate, model
    return dict(zip(("width", "height", "mode", "grey", "tile_exponent", "rate", "model_id"), fields, strict=True))


def read_payload(
    payload: bytes, height: int, channels: int, coarse: bool
) -> tuple[bytes | None, int, list[tuple[int, bytes, int]]]:
    """1.2: the one colour of all pixels, or their step and bands from the top, (rows, stream, CRC of the pixels)."""
    source = BytesIO(payload)
    method = read(source, 1)[0]
    require(method in (0, 2) or (method == 3 and coarse), f"pixels: method {method}")
    step = read(source, 1)[0] if method == 3 else 1
    require(step > 1 or method != 3, f"pixels: step {step}")
    if method == 0:
        colour, bands = read(source, channels), []
    else:
        rows = 16 * read_varint(source)
        require(16 <= rows < height + 16, f"pixels: bands of {rows} rows")
        colour, heights = None, [min(rows, height - y) for y in range(0, height, rows)]
        table = [(count, read_varint(source), int.from_bytes(read(source, 4), "big")) for count in heights]
        bands = [(count, read(source, length), crc) for count, length, crc in table]
    require(source.read() == b"", "pixels: bytes left over")
    return colour, step, bands


def read_code(source: BytesIO) -> list[tuple[bytes, int]]:
    """1.4 CODE"""
    table = [(read_varint(source), int.from_bytes(read(source, 4), "big")) for _ in range(read(source, 1)[0])]
    layers = [(read(source, length), crc) for length, crc in table]
    require(source.read() == b"", "CODE: its layers do not fill it")
    return layers


def read_post(payload: bytes) -> list[int]:
    """1.7 POST: the coefficients of the post-filter."""
    bits = iter("".join(f"{byte:08b}" for byte in payload))

    def bit() -> int:
        digit = next(bits, "")
        require(digit != "", "POST: too short")
        return int(digit)

    coefficients = []
    for _ in range(39):
        b, n = 0, 1
        while b < 7 and bit():
            b += 1
        for _ in range(b):
            n = 2 * n + bit()
        coefficients.append((1 - n) // 2 if n % 2 else n // 2)
    left = "".join(bits)
    require(len(left) < 8 and "1" not in left, "POST: something behind its coefficients")
    return coefficients


def symbol_crc(channels: list[Plane], layer: int) -> int:
    """CRC over a byte per level, or 2 per code, little-endian."""
    symbols = [c for channel in channels for row in channel for c in row]
    return zlib.crc32(struct.pack(f"<{len(symbols)}{'B' if layer == 0 else 'h'}", *symbols))


def split_tiles(layer: bytes, tiles: int) -> list[bytes]:
    """The tiles' streams: alone a stream is the layer, else each stands behind its length."""
    if tiles == 1:
        return [layer]
    source = BytesIO(layer)
    streams = [read(source, read_varint(source)) for _ in range(tiles)]
    require(source.read() == b"", "tiles: do not fill their layer")
    return streams
