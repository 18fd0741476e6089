"""The container of a CWIC file: preamble, chunks, layers and tiles, as ``docs/FORMAT.md`` section 1 defines them.

Nothing here knows what the layers mean. No length from a file is used before it is checked against the bytes left,
so a file makes a reader hold at most a copy of the file itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import IO, NamedTuple

from pillow_cwic.errors import ContainerError
from pillow_cwic.file.reading import file_length, take
from pillow_cwic.file.tiles import (
    MAX_PAYLOAD,
    CutShortError,
    Stream,
    check_range,
    join_streams,
    put_varint,
    split_streams,
)

SIGNATURE = b"\x89CWIC\r\n\x1a"
VERSION = 0
LOSSLESS = b"pixl"  # the family of files that need no model: their pixels are exact
FILTERED = b"cwc1"  # the family of files that may have a post-filter
FAMILIES = (FILTERED, b"cw18", LOSSLESS)
MODES = ("L", "RGB", "LA", "RGBA")
ALPHA_MODES = ("LA", "RGBA")
GREY_MODES = ("L", "LA")
MAX_SIDE = 2**24 - 1  # pixels
MAX_LAYERS = 255

# By their number in the file: the mode, and whether its colours are all grey.
_MODES = (("L", True), ("RGB", False), ("LA", True), ("RGBA", False), ("RGB", True), ("RGBA", True))
_PREAMBLE = Struct(">8sH4sH")  # signature, version, family, reserved
_HEAD = Struct(">IIBBh6s")  # width, height, mode, tile exponent, rate, model id
_CHUNK = Struct(">I4s")  # length, type
_U32 = Struct(">I")
_CHUNK_OVERHEAD = _CHUNK.size + _U32.size
CUT = ": the file is cut short, or damaged here"  # of errors whose numbers alone say it to few

HEADER_BYTES = _PREAMBLE.size + _CHUNK_OVERHEAD + _HEAD.size


@dataclass(frozen=True)
class Header:
    """What a file says about its picture before the first coded byte.

    ``width`` and ``height`` are in pixels, 1 to 2^24 - 1; ``mode`` is one of ``MODES``; tiles are
    ``2 ** tile_exponent`` pixels wide and high, with an exponent of 6 to 15; ``rate`` is the rate parameter in units
    of 1/512, -2048 to 2048; ``model_id`` is the first 6 bytes of the SHA-256 of the weights file; ``family`` is one
    of ``FAMILIES``; in lossless files, which have neither tiles nor a model, these three are zero. ``grey`` says that
    all colours are, as those of L and LA always are. Raises ContainerError for anything else.
    """

    width: int
    height: int
    mode: str
    tile_exponent: int
    rate: int
    model_id: bytes
    family: bytes = b"cwc1"
    grey: bool = False

    @classmethod
    def without_model(cls, width: int, height: int, mode: str, grey: bool) -> Header:
        """That of a lossless file."""
        return cls(width, height, mode, 0, 0, bytes(6), LOSSLESS, grey)

    @property
    def lossless(self) -> bool:
        """Whether the file gives back the very pixels it was made of."""
        return self.family == LOSSLESS

    @property
    def channels(self) -> int:
        """How many channels of colour the file holds."""
        return 1 if self.grey else 3

    @property
    def tiles(self) -> int:
        """How many tiles the picture has."""
        side = 1 << self.tile_exponent
        return -(-self.width // side) * -(-self.height // side)

    def __post_init__(self) -> None:
        check_range("width", self.width, 1, MAX_SIDE)
        check_range("height", self.height, 1, MAX_SIDE)
        check_range("tile exponent", self.tile_exponent, *((0, 0) if self.lossless else (6, 15)))
        check_range("rate", self.rate, *((0, 0) if self.lossless else (-2048, 2048)))
        if self.mode not in MODES:
            raise ContainerError(f"mode: {self.mode!r} is none of {', '.join(MODES)}")
        if len(self.model_id) != 6:
            raise ContainerError(f"model id: {len(self.model_id)} bytes instead of 6")
        if self.lossless and any(self.model_id):
            raise ContainerError(f"model id: {self.model_id.hex()} in a lossless file, which has none")
        if self.family not in FAMILIES:
            raise ContainerError(f"model family: {self.family!r} is none of {', '.join(map(repr, FAMILIES))}")
        if self.mode in GREY_MODES:
            object.__setattr__(self, "grey", True)


Layer = Stream  # one of the picture; its CRC is that of the symbols


class Parsed(NamedTuple):
    """A file taken apart.

    ``layers`` are those that arrived whole, in order; ``extra`` holds the ancillary chunks by type, in file order;
    ``alpha`` is the payload of ALPH, None unless the mode has alpha; ``complete`` is False if the file was cut short;
    ``trailing`` counts the bytes behind its end, which belong to nothing. ``pixels`` is the payload of PIXL,
    which lossless files have in place of layers, and others may have behind them; None without. Of a file that is cut
    within either payload it is what arrived, and None if the file is cut before. ``post`` is the payload of POST, None
    without, or if it did not arrive whole.
    """

    header: Header
    layers: list[Layer]
    extra: dict[bytes, bytes]
    alpha: bytes | None
    complete: bool
    trailing: int = 0
    pixels: bytes | None = None
    post: bytes | None = None

    def check_end(self) -> None:
        """Raises ContainerError if bytes follow the end of the file."""
        if self.trailing:
            raise ContainerError(f"end of file: {self.trailing} bytes follow the TAIL chunk")


def symbol_crc(data: bytes) -> int:
    """CRC-32, as in zlib and PNG, of a layer's symbols laid out as FORMAT.md section 1.4 says."""
    return zlib.crc32(data)


def is_cwic(prefix: bytes) -> bool:
    """Whether a file that begins with ``prefix`` (8 bytes or more) has the CWIC signature."""
    return prefix[: len(SIGNATURE)] == SIGNATURE


def needs_newer(prefix: bytes) -> str | None:
    """What a reader needs that this one lacks, from the first 16 bytes of a CWIC file; None if nothing."""
    if len(prefix) < _PREAMBLE.size:
        return None
    _, version, family, _ = _PREAMBLE.unpack_from(prefix)
    if version != VERSION:
        return f"format version: {version}, this reader knows {VERSION}: needs a newer pillow_cwic"
    if family not in FAMILIES:
        known = ", ".join(map(repr, FAMILIES))
        return f"model family: {family!r}, this reader knows {known}: needs a newer pillow_cwic"
    return None


def read_header(prefix: bytes | memoryview) -> Header:
    """The header, from the first ``HEADER_BYTES`` (or more) bytes of a file.

    Raises ContainerError if they are too few, not CWIC, damaged, or of a version or family that this reader lacks.
    """
    if not is_cwic(bytes(prefix[: len(SIGNATURE)])):
        found = bytes(prefix[:8]).hex() or "no bytes"
        raise ContainerError(f"signature: {found} instead of {SIGNATURE.hex()}, not a CWIC file")
    if len(prefix) < HEADER_BYTES:
        raise ContainerError(f"header: {len(prefix)} bytes instead of {HEADER_BYTES}")
    if newer := needs_newer(bytes(prefix[: _PREAMBLE.size])):
        raise ContainerError(newer)
    _, _, family, reserved = _PREAMBLE.unpack_from(prefix)
    if reserved != 0:
        raise ContainerError(f"reserved: {reserved} instead of 0")
    kind, payload, _ = _read_chunk(memoryview(prefix)[:HEADER_BYTES], _PREAMBLE.size)
    if kind != b"HEAD" or len(payload) != _HEAD.size:
        raise ContainerError(f"first chunk: {kind!r} of {len(payload)} bytes instead of HEAD of {_HEAD.size}")
    width, height, mode, tile_exponent, rate, model_id = _HEAD.unpack(payload)
    check_range("mode", mode, 0, len(_MODES) - 1)
    name, grey = _MODES[mode]
    return Header(width, height, name, tile_exponent, rate, model_id, family, grey)


def write_file(
    header: Header,
    layers: Sequence[Layer],
    extra: Sequence[tuple[bytes, bytes]] = (),
    alpha: bytes | None = None,
    pixels: bytes | None = None,
    post: bytes | None = None,
) -> bytes:
    """The bytes of a whole file.

    ``layers`` are 1 to 255, or none in a lossless file; ``pixels`` is the payload of PIXL, which others may have, and
    ``post`` that of POST, which no lossless file has;
    ``extra`` and ``alpha`` are those of ``between``. Raises ContainerError if something does not fit its field.
    """
    if header.lossless and pixels is None:
        raise ContainerError(f"pixels: missing for family {header.family!r}")
    if header.family != FILTERED and post is not None:
        raise ContainerError(f"post-filter: {len(post)} bytes for family {header.family!r}, which has none")
    check_range("layers", len(layers), *((0, 0) if header.lossless else (1, MAX_LAYERS)))
    for n, layer in enumerate(layers):
        check_range(f"layer {n}: CRC", layer.crc, 0, 2**32 - 1)
    mode = _MODES.index((header.mode, header.grey))
    head = _HEAD.pack(header.width, header.height, mode, header.tile_exponent, header.rate, header.model_id)
    picture = b"" if pixels is None else _chunk(b"PIXL", pixels)
    if not header.lossless:
        filtered = b"" if post is None else _chunk(b"POST", post)
        picture = _chunk(b"CODE", bytes([len(layers)]) + join_streams(layers)) + filtered + picture
    preamble = _PREAMBLE.pack(SIGNATURE, VERSION, header.family, 0)
    return preamble + _chunk(b"HEAD", head) + between(extra, alpha) + picture + _TAIL


def file_size(layers: Sequence[int], inserted: int = 0) -> int:
    """Bytes of a file with layers of so many bytes each, and ``inserted`` bytes of chunks ``between``."""
    code = 1 + sum(len(put_varint(size)) + _U32.size + size for size in layers)
    return HEADER_BYTES + inserted + _CHUNK_OVERHEAD + code + len(_TAIL)


def chunk_size(payload: bytes | None) -> int:
    """Bytes of a chunk with this payload, 0 without."""
    return 0 if payload is None else _CHUNK_OVERHEAD + len(payload)


def between(extra: Sequence[tuple[bytes, bytes]] = (), alpha: bytes | None = None) -> bytes:
    """The chunks between HEAD and the picture, CODE or PIXL.

    ``extra`` are ancillary chunks (type, payload), each type four ASCII letters of which the first is lower case, and
    at most once; ``alpha`` is the payload of ALPH, for modes with alpha. Raises ContainerError for other types.
    """
    seen: set[bytes] = set()
    for kind, _ in extra:
        _check_ancillary(kind, seen)
        seen.add(kind)
    chunks = [*extra, (b"ALPH", alpha)] if alpha is not None else extra
    return b"".join(_chunk(kind, payload) for kind, payload in chunks)


def read_file(data: bytes | memoryview, allow_truncated: bool = False) -> Parsed:
    """Take a whole file apart; every byte of it is accounted for, and those behind its end are counted.

    With ``allow_truncated``, a file cut anywhere behind its header gives what arrived, with ``complete`` False: no
    layers, and no alpha, if it is cut before them. The chunk CRC of a cut ALPH, CODE or PIXL is missing, so that its
    layers, or bands, are guarded by their own CRCs alone, and what arrived of the band that is cut by none. A file
    that is damaged rather than cut raises ContainerError either way.
    """
    view = memoryview(data).cast("B")
    header = read_header(view)
    extra: dict[bytes, bytes] = {}
    alpha: bytes | None = None
    picture = b"PIXL" if header.lossless else b"CODE"
    layers: list[Layer] = []
    pixels: bytes | None = None
    post: bytes | None = None
    offset = HEADER_BYTES
    try:
        while (kind := _chunk_start(view, offset)[1]) not in (b"ALPH", picture):
            _, payload, offset = _read_chunk(view, offset)
            _check_ancillary(kind, extra)
            extra[kind] = bytes(payload)
        if (kind == b"ALPH") != (header.mode in ALPHA_MODES):
            raise ContainerError(f"chunk {kind!r}: not what mode {header.mode} has before {picture.decode()}")
        if kind == b"ALPH":
            start, end, offset = _open_chunk(view, offset, allow_truncated)
            alpha = bytes(view[start:end])
            if (kind := _chunk_start(view, offset)[1]) != picture:
                raise ContainerError(f"chunk {kind!r}: follows ALPH instead of {picture.decode()}")
        if not header.lossless:
            start, end, offset = _open_chunk(view, offset, allow_truncated)
            layers = _read_code(view[:end], start, offset - _U32.size)
            if header.family == FILTERED and _kind_at(view, offset) == b"POST":
                picture = b"POST"
                start, end, offset = _open_chunk(view, offset, allow_truncated)
                post = bytes(view[start:end]) if offset <= len(view) else None
        if header.lossless or _kind_at(view, offset) == b"PIXL":
            picture = b"PIXL"
            start, end, offset = _open_chunk(view, offset, allow_truncated)
            pixels = bytes(view[start:end])
    except CutShortError:
        if not allow_truncated or bytes(view[-len(_TAIL) :]) == _TAIL:  # whole: it is a length that is wrong
            raise
        return Parsed(header, [], extra, alpha, False)
    if offset > len(view) and bytes(view[-len(_TAIL) :]) == _TAIL:  # whole, as above
        raise ContainerError(f"chunk {picture!r}: ends at byte {offset}, the file at {len(view)}")
    complete = _read_tail(view, offset, picture, allow_truncated)
    return Parsed(header, layers, extra, alpha, complete, max(0, len(view) - offset - len(_TAIL)), pixels, post)


def read_extra(stream: IO[bytes]) -> dict[bytes, bytes]:
    """The ancillary chunks of a seekable file whose header has been read, without the rest of the file.

    Raises ContainerError if one of them is damaged or does not lie in the file.
    """
    size, offset = file_length(stream), HEADER_BYTES
    stream.seek(offset)
    extra: dict[bytes, bytes] = {}
    while True:
        start = take(stream, _CHUNK.size)
        length, kind = _chunk_start(memoryview(start), 0)
        if kind[:1].isupper():  # whether it may stand there is for read_file to say
            return extra
        end = offset + length + _CHUNK_OVERHEAD
        check_range(f"chunk {kind!r}: end", end, 0, size)
        _, payload, _ = _read_chunk(memoryview(start + take(stream, length + _U32.size)), 0)
        _check_ancillary(kind, extra)
        extra[kind] = bytes(payload)
        offset = end


def _check_type(kind: bytes) -> None:
    if len(kind) != 4 or not kind.isalpha():  # bytes.isalpha() is ASCII only
        raise ContainerError(f"chunk type: {kind!r} is not four ASCII letters")


def _check_ancillary(kind: bytes, seen: set[bytes] | dict[bytes, bytes]) -> None:
    """Whether a chunk of type ``kind`` may stand between HEAD and the picture, behind those already ``seen``."""
    _check_type(kind)
    if kind in (b"HEAD", b"ALPH", b"CODE", b"POST", b"PIXL", b"TAIL"):
        raise ContainerError(f"chunk {kind!r}: out of order between HEAD and the picture")
    if kind[:1].isupper():
        raise ContainerError(f"chunk {kind!r}: critical and unknown: needs a newer pillow_cwic")
    if kind in seen:
        raise ContainerError(f"chunk {kind!r}: appears twice")


def _chunk(kind: bytes, payload: bytes) -> bytes:
    check_range(f"chunk {kind!r}: length", len(payload), 0, MAX_PAYLOAD)
    return _CHUNK.pack(len(payload), kind) + payload + _U32.pack(zlib.crc32(payload, zlib.crc32(kind)))


_TAIL = _chunk(b"TAIL", b"")


def _kind_at(view: memoryview, offset: int) -> bytes:
    """The type of the chunk at ``offset``, or what arrived of it."""
    return bytes(view[offset : offset + _CHUNK.size])[4:]


def _chunk_start(view: memoryview, offset: int) -> tuple[int, bytes]:
    """Length (not yet checked) and type of the chunk at ``offset``."""
    if len(view) - offset < _CHUNK.size:
        left = max(0, len(view) - offset)
        raise CutShortError(f"chunk at byte {offset}: {left} bytes left of {_CHUNK_OVERHEAD} or more{CUT}")
    length, kind = _CHUNK.unpack_from(view, offset)
    _check_type(kind)
    return length, kind


def _read_chunk(view: memoryview, offset: int) -> tuple[bytes, memoryview, int]:
    """Type and payload of the whole chunk at ``offset``, its CRC checked, and the offset behind it."""
    length, kind = _chunk_start(view, offset)
    start = offset + _CHUNK.size
    if length > len(view) - start - _U32.size:
        left = max(0, len(view) - start - _U32.size)
        raise CutShortError(f"chunk {kind!r}: length {length} exceeds the {left} bytes left{CUT}")
    end = start + length
    found = zlib.crc32(view[offset + 4 : end])
    (stored,) = _U32.unpack_from(view, end)
    if found != stored:
        raise ContainerError(f"chunk {kind!r}: CRC {found:08x} of its bytes differs from the stored {stored:08x}")
    return kind, view[start:end], end + _U32.size


def _open_chunk(view: memoryview, offset: int, allow_truncated: bool) -> tuple[int, int, int]:
    """Where the payload of a chunk of pixels or codes starts, what arrived of it ends, and the next chunk is."""
    length, _ = _chunk_start(view, offset)
    start = offset + _CHUNK.size
    stop = start + length
    if stop + _U32.size <= len(view) or not allow_truncated:
        _read_chunk(view, offset)
    return start, min(stop, len(view)), stop + _U32.size


def _read_code(view: memoryview, start: int, stop: int) -> list[Layer]:
    """Layers of a CODE payload from ``start`` to ``stop``, of which the bytes up to the end of ``view`` arrived."""
    if start >= len(view):
        raise CutShortError("CODE: 0 bytes, too few for the number of layers")
    count = view[start]
    check_range("layers", count, 1, MAX_LAYERS)
    return split_streams(view, start + 1, count, stop, "layer", "CODE: layers")[0]


def _read_tail(view: memoryview, offset: int, picture: bytes, allow_truncated: bool) -> bool:
    """Whether the end chunk stands at ``offset``; False if the file is cut before or in it."""
    rest = bytes(view[offset : offset + len(_TAIL)])
    if rest == _TAIL:
        return True
    if allow_truncated and len(rest) < _CHUNK.size:
        return False  # the start of whatever chunk
    if not _TAIL.startswith(rest):
        raise ContainerError(f"chunk behind {picture.decode()}: {rest.hex()} instead of TAIL, {_TAIL.hex()}")
    if not allow_truncated:
        raise ContainerError(f"TAIL: {len(rest)} bytes left of {len(_TAIL)}")
    return False
