"""EXIF, ICC profile, XMP and resolution as ancillary chunks: section 1.3 of ``docs/FORMAT.md``."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from struct import Struct
from typing import Any, NamedTuple

from pillow_cwic.errors import ContainerError, LimitError, quoted
from pillow_cwic.file.limits import MAX_METADATA

_TYPES = {"exif": b"eXIf", "icc_profile": b"iCCP", "xmp": b"xMPp"}
_KINDS = {"exif": "bytes or a PIL.Image.Exif", "icc_profile": "bytes", "xmp": "bytes or str"}  # of the save options
_RESOLUTION = b"rESo"
_DPI = Struct(">II")  # horizontal and vertical, in 1/1000 pixel per inch
_BYTES = (bytes, bytearray, memoryview)
MAX_DPI = (2**32 - 1) / 1000


class Metadata(NamedTuple):
    """What a file says beside its picture; ``None`` where it says nothing.

    ``exif`` begins with the TIFF header, ``xmp`` is UTF-8, ``dpi`` is pixels per inch, horizontal and vertical.
    """

    exif: bytes | None = None
    icc_profile: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None


def to_chunks(metadata: Metadata) -> list[tuple[bytes, bytes]]:
    """Chunks (type, payload) for all that is set. Raises LimitError if blocks pass ``MAX_METADATA`` bytes together."""
    chunks, total = [], 0
    for field, kind in _TYPES.items():
        if (block := getattr(metadata, field)) is not None:
            total += len(block)
            if total > MAX_METADATA:
                which = "" if total == len(block) else f" ({total} with those before)"
                raise LimitError(f"{field}: {len(block)} bytes{which} exceed the limit of {MAX_METADATA}")
            chunks.append((kind, zlib.compress(block, 9)))
    if metadata.dpi is not None:
        chunks.append((_RESOLUTION, _DPI.pack(*(round(1000 * value) for value in metadata.dpi))))
    return chunks


def from_chunks(chunks: Mapping[bytes, bytes]) -> Metadata:
    """The reverse; other chunks are skipped. Raises ContainerError if a payload is not as FORMAT.md says."""
    blocks: dict[str, bytes] = {}
    for field, kind in _TYPES.items():
        if kind in chunks:
            blocks[field] = _inflate(kind, chunks[kind], MAX_METADATA - sum(map(len, blocks.values())))
    return Metadata(**blocks, dpi=_resolution(chunks.get(_RESOLUTION)))


def from_options(exif: Any = None, icc_profile: Any = None, xmp: Any = None, dpi: Any = None) -> Metadata:
    """What the save options of these names say. Raises ValueError for what is none of their kinds.

    ``exif`` is bytes, with or without the leading ``Exif\\0\\0``, or has ``tobytes()`` as ``PIL.Image.Exif``;
    ``icc_profile`` is bytes, ``xmp`` bytes or str, ``dpi`` two numbers. What is empty is left out.
    """
    if hasattr(exif, "get_ifd"):
        try:
            exif = exif.tobytes() if exif else None
        except MemoryError:
            raise
        except Exception as error:  # whatever Pillow raises at tags that it cannot write
            raise ValueError(f"exif: tags {quoted(dict(exif))} are none that Pillow can write: {error}") from error
    if isinstance(xmp, str):
        try:
            xmp = xmp.encode()
        except UnicodeEncodeError:
            raise ValueError(f"xmp: {quoted(xmp)} is no text that UTF-8 can hold") from None
    blocks: dict[str, bytes] = {}
    for field, block in (("exif", exif), ("icc_profile", icc_profile), ("xmp", xmp)):
        if block is not None and not isinstance(block, _BYTES):
            raise ValueError(f"{field}: {quoted(block)} is not {_KINDS[field]}")
        blocks[field] = b"" if block is None else bytes(block)
    blocks["exif"] = blocks["exif"].removeprefix(b"Exif\0\0")
    found = {field: block or None for field, block in blocks.items()}
    return Metadata(**found, dpi=None if dpi is None else parse_dpi(dpi))


def parse_dpi(dpi: object) -> tuple[float, float] | None:
    """Checks the save option ``dpi``. Raises ValueError, which names its value and the range.

    None for what other formats say where they know no resolution: 0, or by way of 0 / 0, not a number.
    """
    try:
        pair: tuple[Any, ...] = () if isinstance(dpi, _BYTES) else tuple(dpi)  # type: ignore[arg-type]
        if any(isinstance(value, (str, *_BYTES)) for value in pair):  # of which float() takes some
            raise TypeError
        x, y = map(float, pair)
    except (TypeError, ValueError, ArithmeticError):
        raise ValueError(f"dpi: {quoted(dpi)} is not a pair of numbers") from None
    if not x or not y or math.isnan(x) or math.isnan(y):
        return None
    for value in (x, y):
        if not 0.001 <= value <= MAX_DPI:
            raise ValueError(f"dpi: {value} is outside 0.001 to {MAX_DPI} pixels per inch")
    return x, y


def _resolution(payload: bytes | None) -> tuple[float, float] | None:
    if payload is None:
        return None
    if len(payload) != _DPI.size:
        raise ContainerError(f"chunk {_RESOLUTION!r}: {len(payload)} bytes instead of {_DPI.size}")
    x, y = _DPI.unpack(payload)
    if not x or not y:
        raise ContainerError(f"chunk {_RESOLUTION!r}: {x} x {y} thousandths of a pixel per inch, 0 is none")
    return x / 1000, y / 1000


def _inflate(kind: bytes, payload: bytes, most: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        block = inflater.decompress(payload, most + 1)
    except zlib.error as error:
        raise ContainerError(f"chunk {kind!r}: {error}") from error
    if len(block) > most:
        raise ContainerError(f"chunk {kind!r}: more than the {most} bytes left of {MAX_METADATA} when decompressed")
    if not inflater.eof or inflater.unused_data:
        raise ContainerError(f"chunk {kind!r}: its {len(payload)} bytes are not one whole zlib stream")
    return block
