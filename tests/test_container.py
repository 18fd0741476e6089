"""The container: round trips, and that no damaged, cut or hostile file passes or costs memory."""

from __future__ import annotations

import dataclasses
import io
import struct
import tracemalloc
import zlib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillow_cwic.errors import ContainerError, CwicError
from pillow_cwic.file.container import (
    ALPHA_MODES,
    HEADER_BYTES,
    SIGNATURE,
    Header,
    Layer,
    between,
    file_size,
    is_cwic,
    read_extra,
    read_file,
    read_header,
    symbol_crc,
    write_file,
)
from pillow_cwic.file.tiles import put_varint

HEADER = Header(width=300, height=77, mode="RGB", tile_exponent=9, rate=-310, model_id=b"\x01\x02\x03\xfe\xff\x00")
LAYERS = [Layer(b"map", 0x01020304), Layer(b"", 0), Layer(b"\xff" * 5, 0xFFFFFFFF), Layer(b"last one", 7)]
EXTRA = [(b"iCCP", b"a profile"), (b"zzZz", b"")]
FILE = write_file(HEADER, LAYERS, EXTRA)

EXTRA_ENDS = [HEADER_BYTES + 12 + 9, HEADER_BYTES + 12 + 9 + 12]
CODE_AT = EXTRA_ENDS[-1]
TABLE_END = CODE_AT + 8 + 1 + 5 * len(LAYERS)

headers = st.builds(
    Header,
    width=st.integers(1, 2**24 - 1),
    height=st.integers(1, 2**24 - 1),
    mode=st.sampled_from(["L", "RGB", "LA", "RGBA"]),
    tile_exponent=st.integers(6, 15),
    rate=st.integers(-2048, 2048),
    model_id=st.binary(min_size=6, max_size=6),
    family=st.sampled_from([b"cwc1", b"cw18"]),
    grey=st.booleans(),
)
all_layers = st.lists(st.builds(Layer, st.binary(max_size=200), st.integers(0, 2**32 - 1)), min_size=1, max_size=20)
types = st.from_regex(rb"[a-z][A-Za-z]{3}", fullmatch=True)
extras = st.lists(st.tuples(types, st.binary(max_size=50)), max_size=4, unique_by=lambda chunk: chunk[0])


def chunk(kind: bytes, payload: bytes, length: int | None = None) -> bytes:
    """A chunk with a right CRC; ``length`` overrides what it states."""
    stated = len(payload) if length is None else length
    return struct.pack(">I", stated) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def code(*entries: tuple[bytes, int], count: int | None = None) -> bytes:
    """A CODE payload from (length as bytes, CRC) entries, without the layers' data."""
    table = b"".join(length + struct.pack(">I", crc) for length, crc in entries)
    return bytes([len(entries) if count is None else count]) + table


HEAD = FILE[16:HEADER_BYTES]
CODE = FILE[CODE_AT:-12]
TAIL = FILE[-12:]


def of(*chunks: bytes) -> bytes:
    return FILE[:16] + b"".join(chunks)


@given(headers, all_layers, extras, st.binary(max_size=50))
def test_round_trip(header: Header, layers: list[Layer], extra: list[tuple[bytes, bytes]], plane: bytes) -> None:
    alpha = plane if header.mode in ALPHA_MODES else None
    data = write_file(header, layers, extra, alpha)
    assert len(data) == len(write_file(header, layers)) + len(between(extra, alpha))
    assert len(data) == file_size([len(layer.data) for layer in layers], len(between(extra, alpha)))
    parsed = read_file(data)
    assert parsed == (header, layers, dict(extra), alpha, True, 0, None, None)
    assert list(parsed.extra) == [kind for kind, _ in extra]
    assert read_header(data[:HEADER_BYTES]) == header
    assert read_file(memoryview(data), allow_truncated=True) == parsed
    assert write_file(parsed.header, parsed.layers, list(parsed.extra.items()), parsed.alpha) == data
    assert read_extra(io.BytesIO(data)) == parsed.extra


def test_bytes_are_those_of_the_format() -> None:
    header = Header(width=0x0203, height=0x01, mode="L", tile_exponent=15, rate=-2, model_id=b"abcdef", family=b"cw18")
    head = bytes.fromhex("00000203 00000001 00 0f fffe") + b"abcdef"
    payload = bytes.fromhex("02 8101 00000005 00 ffffffff") + b"x" * 129
    want = b"\x89CWIC\r\n\x1a" + b"\0\0cw18\0\0" + chunk(b"HEAD", head) + chunk(b"CODE", payload) + chunk(b"TAIL", b"")
    assert write_file(header, [Layer(b"x" * 129, 5), Layer(b"", 2**32 - 1)]) == want


@pytest.mark.parametrize(("size", "each"), [(0, 5), (127, 5), (128, 6), (2**14, 7), (2**21 - 1, 7)])
def test_overhead(size: int, each: int) -> None:
    assert len(write_file(HEADER, [Layer(bytes(size), 1)] * 9)) == 71 + 9 * (each + size)


def test_signature() -> None:
    assert FILE.startswith(SIGNATURE)
    assert is_cwic(FILE[:8]) and is_cwic(FILE[:16])
    assert not is_cwic(FILE[:7]) and not is_cwic(b"\x89PNG\r\n\x1a\n") and not is_cwic(b"")


def test_symbol_crc_is_that_of_png() -> None:
    assert symbol_crc(b"IEND") == 0xAE426082


def test_errors_are_os_errors() -> None:
    assert issubclass(ContainerError, CwicError) and issubclass(CwicError, OSError)


# Damage


@pytest.mark.parametrize("allow_truncated", [False, True])
def test_every_bit_flip_raises(allow_truncated: bool) -> None:
    """Without exception: each byte is a checked constant, under a CRC, or a length that must fit its neighbours."""
    damaged = bytearray(FILE)
    for bit in range(8 * len(FILE)):
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ContainerError):
            read_file(bytes(damaged), allow_truncated)
        damaged[bit // 8] ^= 1 << bit % 8
    assert damaged == FILE


def test_every_bit_flip_of_the_header_raises() -> None:
    for bit in range(8 * HEADER_BYTES):
        damaged = bytearray(FILE[:HEADER_BYTES])
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ContainerError):
            read_header(bytes(damaged))


def test_every_prefix_raises() -> None:
    for size in range(len(FILE)):
        with pytest.raises(ContainerError):
            read_file(FILE[:size])
    for size in range(HEADER_BYTES):
        with pytest.raises(ContainerError):
            read_header(FILE[:size])


@pytest.mark.parametrize("rest", [b"\0", TAIL, chunk(b"abcd", b""), b"\0" * 1000])
@pytest.mark.parametrize("allow_truncated", [False, True])
def test_trailing_bytes_are_counted(rest: bytes, allow_truncated: bool) -> None:
    """05-trailing-bytes-refused.py"""
    parsed = read_file(FILE + rest, allow_truncated)
    assert parsed == read_file(FILE)._replace(trailing=len(rest)) and parsed.complete
    read_file(FILE).check_end()
    with pytest.raises(ContainerError, match=f"end of file: {len(rest)} bytes follow the TAIL chunk"):
        parsed.check_end()


@given(st.binary(max_size=300), st.booleans())
def test_noise_raises(noise: bytes, allow_truncated: bool) -> None:
    """Behind a header it may look like a chunk that is cut: then nothing of it is taken."""
    for data in (noise, FILE[:16] + noise, FILE[:HEADER_BYTES] + noise):
        if allow_truncated and data.startswith(FILE[:HEADER_BYTES]):
            with suppress(ContainerError):
                assert read_file(data, allow_truncated)[1:] == ([], {}, None, False, 0, None, None)
        else:
            with pytest.raises(ContainerError):
                read_file(data, allow_truncated)


@given(st.binary(max_size=60), st.booleans())
def test_noise_in_a_valid_code_chunk(noise: bytes, allow_truncated: bool) -> None:
    """Whatever CODE holds, the result is an error or layers that are written back as the same bytes."""
    data = of(HEAD, chunk(b"CODE", noise), TAIL)
    try:
        parsed = read_file(data, allow_truncated)
    except ContainerError:
        return
    assert write_file(parsed.header, parsed.layers) == data


@pytest.mark.parametrize(
    ("preamble", "message"),
    [
        (b"\x89PNG\r\n\x1a\n" + FILE[8:16], "signature: 89504e470d0a1a0a instead of 89435749430d0a1a"),
        (SIGNATURE + b"\0\1cwc1\0\0", "version: 1, this reader knows 0: needs a newer pillow_cwic"),
        (SIGNATURE + b"\0\0cwc2\0\0", "family: b'cwc2'.*needs a newer pillow_cwic"),
        (SIGNATURE + b"\0\0cwc1\0\1", "reserved: 1 instead of 0"),
    ],
)
def test_preamble(preamble: bytes, message: str) -> None:
    with pytest.raises(ContainerError, match=message):
        read_header(preamble + HEAD)
    with pytest.raises(ContainerError, match="signature: no bytes instead of 89435749430d0a1a, not a CWIC file"):
        read_header(b"")
    with pytest.raises(ContainerError, match=message):
        read_file(preamble + FILE[16:])


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (0, bytes(4), "width: 0 is outside 1 to 16777215"),
        (4, b"\1\0\0\0", "height: 16777216 is outside 1 to 16777215"),
        (8, b"\6", "mode: 6 is outside 0 to 5"),
        (9, b"\5", "tile exponent: 5 is outside 6 to 15"),
        (9, b"\x10", "tile exponent: 16 is outside 6 to 15"),
        (10, b"\x08\x01", "rate: 2049 is outside -2048 to 2048"),
        (10, b"\xf7\xff", "rate: -2049 is outside -2048 to 2048"),
    ],
)
def test_head_fields(offset: int, value: bytes, message: str) -> None:
    payload = HEAD[8:-4]
    payload = payload[:offset] + value + payload[offset + len(value) :]
    with pytest.raises(ContainerError, match=message):
        read_header(of(chunk(b"HEAD", payload)))


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0}, {"height": 2**24}, {"mode": "CMYK"}, {"tile_exponent": 5}, {"rate": 2049}, {"model_id": b"short"},
        {"family": b"cwc2"},
    ],
)  # fmt: skip
def test_header_refuses(change: dict[str, Any]) -> None:
    with pytest.raises(ContainerError):
        dataclasses.replace(HEADER, **change)


def test_write_refuses() -> None:
    for layers in ([], [Layer(b"", 0)] * 256, [Layer(b"", 2**32)], [Layer(b"", -1)]):
        with pytest.raises(ContainerError):
            write_file(HEADER, layers)
    for kind in (b"HEAD", b"ALPH", b"CODE", b"TAIL", b"NEWc", b"abc", b"abcde", b"ab1d", b"ab\xe9d"):
        with pytest.raises(ContainerError):
            write_file(HEADER, LAYERS, [(kind, b"")])
    with pytest.raises(ContainerError, match="appears twice"):
        write_file(HEADER, LAYERS, [(b"abcd", b"1"), (b"abcd", b"2")])


EXIF = chunk(b"eXIf", b"x")
ALPHA_HEAD = chunk(b"HEAD", HEAD[8:16] + b"\3" + HEAD[17:-4])
ALPHA = chunk(b"ALPH", b"\0\1")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (of(HEAD, HEAD, CODE, TAIL), "b'HEAD': out of order"),
        (of(HEAD, CODE, CODE, TAIL), "behind CODE"),
        (of(HEAD, CODE, EXIF, TAIL), "behind CODE"),
        (of(HEAD, TAIL), "b'TAIL': out of order"),
        (of(HEAD, TAIL, CODE), "b'TAIL': out of order"),
        (of(CODE, HEAD, TAIL), "b'CODE': length|first chunk"),
        (of(EXIF, HEAD, CODE, TAIL), "first chunk"),
        (of(HEAD, EXIF, EXIF, CODE, TAIL), "b'eXIf': appears twice"),
        (of(HEAD, chunk(b"NEWs", b""), CODE, TAIL), "b'NEWs': critical and unknown: needs a newer pillow_cwic"),
        (of(HEAD, ALPHA, CODE, TAIL), "b'ALPH': not what mode RGB has before CODE"),
        (of(ALPHA_HEAD, CODE, TAIL), "b'CODE': not what mode RGBA has before CODE"),
        (of(ALPHA_HEAD, ALPHA, ALPHA, CODE, TAIL), "b'ALPH': follows ALPH instead of CODE"),
        (of(ALPHA_HEAD, ALPHA, EXIF, CODE, TAIL), "b'eXIf': follows ALPH instead of CODE"),
        (of(ALPHA_HEAD, CODE, ALPHA, TAIL), "b'CODE': not what mode RGBA has before CODE"),
        (of(HEAD, chunk(b"e\0If", b""), CODE, TAIL), "not four ASCII letters"),
        (of(HEAD, CODE, chunk(b"TAIL", b"x")), "instead of TAIL"),
        (of(chunk(b"HEAD", HEAD[8:-4] + b"\0"), CODE, TAIL), "exceeds|first chunk"),
        (of(chunk(b"HEAD", HEAD[8:-5]), CODE, TAIL), "first chunk: b'HEAD' of 17 bytes instead of HEAD of 18"),
    ],
)
@pytest.mark.parametrize("allow_truncated", [False, True])
def test_wrong_chunks(data: bytes, message: str, allow_truncated: bool) -> None:
    with pytest.raises(ContainerError, match=message):
        read_file(data, allow_truncated)


def test_unknown_ancillary_chunks_are_kept() -> None:
    assert read_file(of(HEAD, EXIF, chunk(b"neWs", b"some"), CODE, TAIL)).extra == {b"eXIf": b"x", b"neWs": b"some"}


ONE = put_varint(1)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "CODE: 0 bytes"),
        (b"\0", "layers: 0 is outside 1 to 255"),
        (code((ONE, 9)) + b"xy", "layers of 1 bytes in all do not fill the 2 bytes"),
        (code((ONE, 9)), "layers of 1 bytes in all do not fill the 0 bytes"),
        (code((ONE, 9), count=255) + b"x", "layer 1: length|layer 1: CRC"),
        (code((b"\x81\0", 9)) + b"x", "layer 0: length: number 1 takes 2 bytes, not the shortest form"),
        (code((b"\x80\x80\x80\x80\x80\1", 9)), "layer 0: length: number longer than 5 bytes"),
        (b"\1\x80", "layer 0: length: number cut short after 1 bytes"),
        (b"\1\0\0\0\0", "layer 0: CRC of 4 bytes exceeds the 3 bytes left"),
    ],
)
@pytest.mark.parametrize("allow_truncated", [False, True])
def test_wrong_code(payload: bytes, message: str, allow_truncated: bool) -> None:
    with pytest.raises(ContainerError, match=message):
        read_file(of(HEAD, chunk(b"CODE", payload), TAIL), allow_truncated)


@pytest.mark.parametrize(
    "data",
    [
        of(chunk(b"HEAD", HEAD[8:-4], 2**32 - 1), CODE, TAIL),
        of(HEAD, chunk(b"eXIf", b"x", 2**32 - 1), CODE, TAIL),
        of(HEAD, chunk(b"CODE", CODE[8:-4], 2**32 - 1), TAIL),
        of(HEAD, CODE, chunk(b"TAIL", b"", 2**32 - 1)),
        of(HEAD, chunk(b"CODE", code(*[(put_varint(2**35 - 1), 9)] * 255)), TAIL),
        of(HEAD, chunk(b"CODE", code((put_varint(2**32 - 1 - 10), 9)), 2**32 - 1)[:-4], b"x" * 100),
    ],
)
@pytest.mark.parametrize("allow_truncated", [False, True])
def test_hostile_lengths_cost_no_memory(data: bytes, allow_truncated: bool) -> None:
    """They raise; only where a cut file may state such lengths does it pass, with no layer."""
    tracemalloc.start()
    try:
        layers = read_file(data, allow_truncated).layers
    except ContainerError as error:
        assert "exceeds" in str(error) or "do not fill" in str(error) or "instead of TAIL" in str(error)
    else:
        assert allow_truncated and layers == []
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 100_000


# Files cut short


def test_truncated_mode_at_every_size() -> None:
    """Each cut behind the header gives what arrived whole."""
    ends = [TABLE_END + sum(len(layer.data) for layer in LAYERS[: n + 1]) for n in range(len(LAYERS))]
    for size in range(len(FILE)):
        if size < HEADER_BYTES:
            with pytest.raises(ContainerError):
                read_file(FILE[:size], allow_truncated=True)
        elif size < TABLE_END:
            _, layers, extra, alpha, complete, *_ = read_file(FILE[:size], allow_truncated=True)
            assert (layers, alpha, complete) == ([], None, False)
            assert list(extra.items()) == EXTRA[: sum(end <= size for end in EXTRA_ENDS)]
        else:
            arrived = sum(end <= size for end in ends)
            assert read_file(FILE[:size], True) == (HEADER, LAYERS[:arrived], dict(EXTRA), None, False, 0, None, None)
    assert read_file(FILE, True) == (HEADER, LAYERS, dict(EXTRA), None, True, 0, None, None)


def test_cut_and_damaged_before_the_cut_raises() -> None:
    """In what a CRC guards; layers of a cut CODE chunk have no chunk CRC, they are left to their symbol CRCs.

    A chunk that is said to end behind the cut may be whole but for its length or type, or cut: nothing is shown.
    """
    shown = 0
    for bit in range(8 * (CODE_AT + 8)):
        damaged = bytearray(FILE[: TABLE_END + 4])
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            parsed = read_file(bytes(damaged), allow_truncated=True)
        except ContainerError:
            continue
        assert (parsed.layers, parsed.complete) == ([], False)
        shown += 1
    assert shown <= 32 * len(EXTRA) + 32  # the bits of those lengths, and of the type CODE


def test_whole_chunk_with_a_wrong_crc_raises_in_a_cut_file() -> None:
    damaged = bytearray(FILE[:-12])
    damaged[TABLE_END] ^= 1
    with pytest.raises(ContainerError, match="CRC"):
        read_file(bytes(damaged), allow_truncated=True)
