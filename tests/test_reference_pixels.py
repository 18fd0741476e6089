"""The reference decoder of pixels without loss against the C coder: streams, payloads, whole files."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_decoder as reference
import reference_mixing
import reference_pixels
from numpy.typing import NDArray
from PIL import Image
from reference_container import read_chunks

import pillow_cwic
from pillow_cwic import codec
from pillow_cwic.codec import exact
from pillow_cwic.coding import pixels as coder
from pillow_cwic.errors import ContainerError, EntropyError
from pillow_cwic.file import container, pixels
from pillow_cwic.file.pixels import Band
from pillow_cwic.saving import Options

Pixels = NDArray[np.uint8]
Blocks = NDArray[np.bool_]
PHOTO = Path(__file__).parent / "data" / "kodim23.png"
GOLDEN = Path(__file__).parent / "golden" / "v1"


def photo(width: int, height: int, channels: int) -> Pixels:
    with Image.open(PHOTO) as im:
        part = np.asarray(im.convert("RGB").crop((200, 100, 200 + width, 100 + height)))
    return np.ascontiguousarray(np.dstack([part, part[..., 1:2]])[..., :channels])


def drawing(side: int, channels: int) -> Pixels:
    """Glyphs of three colours, over and over, a flat half, and a strip of a photograph."""
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    glyph = (0x2F35B46D >> ((x % 6 * 7 + y % 9 * 3 + x // 6 * 5) & 31) & 1) * (1 + x // 6 % 2)
    picture = np.array([[255, 250, 245, 240], [20, 30, 40, 50], [9, 0, 200, 1]], np.uint8)[glyph, :channels]
    picture[side // 2 :, : side // 2] = 77
    picture[: side // 3, side // 2 :] = photo(side - side // 2, side // 3, channels)
    return np.ascontiguousarray(picture)


def random(*shape: int, seed: int = 1) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def agree(stream: bytes, shape: tuple[int, ...], blocks: Blocks | None = None) -> bool:
    """That both decoders give the same pixels (True) or both an error of the same kind (False)."""
    height, width, channels = shape
    made, said = np.full(shape, 77, np.uint8), ""
    try:
        coder.decode(stream, made, blocks)
    except EntropyError as error:
        said = "too short" if "the stream ends before" in str(error) else "too long"
    given = None if blocks is None else blocks.astype(int).tolist()
    if said:
        with pytest.raises(reference.DamagedError, match=said):
            reference_pixels.decode_pixels(stream, width, height, channels, given)
        return False
    rows = reference_pixels.decode_pixels(stream, width, height, channels, given)
    found = np.array([[(77,) * channels if p is None else p for p in row] for row in rows], np.uint8)
    assert np.array_equal(found, made)
    assert [[p is None for p in row] for row in rows] == [
        [blocks is not None and not blocks[y // 16, x // 16] for x in range(width)] for y in range(height)
    ]
    return True


def is_rich(stream: bytes) -> bool:
    return stream[:1] < b"\x80"


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("kind", "rich"),
    [
        ("photograph", True),
        ("drawing", False),
        ("noise", False),
        ("few colours", False),
        ("edges of a photograph", False),
    ],
)
def test_streams(kind: str, rich: bool, channels: int) -> None:
    picture = {
        "photograph": lambda: photo(14, 12, channels),
        "drawing": lambda: drawing(20, channels),
        "noise": lambda: random(6, 7, channels),
        "few colours": lambda: np.array([0, 5, 250], np.uint8)[random(13, 12, 1) % 3].repeat(channels, axis=2),
        "edges of a photograph": lambda: photo(12, 13, channels) // 64 * 64,
    }[kind]()
    stream = coder.encode(picture)
    assert is_rich(stream) == rich
    assert agree(stream, picture.shape)


@pytest.mark.parametrize("rich", [True, False])
def test_larger_pictures(rich: bool) -> None:
    """Where tables have more entries, counts their limits, and flat runs each length."""
    if rich:
        picture = photo(64, 64, 1)
    else:
        picture = np.full((120, 130, 1), 200, np.uint8)
        picture[40:104, 30:94] = drawing(64, 1)
    stream = coder.encode(picture)
    assert is_rich(stream) == rich
    assert agree(stream, picture.shape)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 4), (1, 40, 3), (40, 1, 3), (2, 2, 3), (3, 2, 1), (1, 2, 2)])
@pytest.mark.parametrize("kind", ["photograph", "noise", "flat"])
def test_thin_pictures(kind: str, shape: tuple[int, int, int]) -> None:
    height, width, channels = shape
    flat = np.full(shape, 9, np.uint8)
    picture = {"photograph": photo(width, height, channels), "noise": random(*shape), "flat": flat}[kind]
    assert agree(coder.encode(picture), shape)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "blocks", [[[0, 1, 0], [1, 0, 1]], [[1, 1, 0], [0, 0, 1]], [[0, 0, 1], [0, 1, 1]], [[0, 0, 0], [0, 0, 0]]]
)
def test_blocks(blocks: list[list[int]], channels: int) -> None:
    chosen = np.array(blocks, np.bool_)
    picture = drawing(36, channels)[:20]
    assert agree(coder.encode(picture, chosen), picture.shape, chosen)


def noise_that_ends(shape: tuple[int, int, int], rich: bool, seed: int, blocks: Blocks | None) -> bytes:
    """Random bytes, just as many as a decoder takes of them."""
    data = bytearray(random(12000, seed=seed).tobytes())
    data[0] = data[0] & 127 | (0 if rich else 128)
    height, width, channels = shape
    decoder = reference_pixels.PixelDecoder(bytes(data), width, height, channels)
    assert decoder.rich == rich
    for _ in decoder.rows(width, height, None if blocks is None else blocks.astype(int).tolist()):
        pass
    assert 8 <= decoder.fetched < len(data)
    return bytes(data[: decoder.fetched])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("chosen", [False, True])
@pytest.mark.parametrize("rich", [False, True])
def test_noise_is_decoded_alike(rich: bool, chosen: bool, seed: int) -> None:
    """Residuals that no encoder writes, and photographs in blocks, which none writes either."""
    shape = 17, 18, 1 + 2 * seed
    blocks = np.array([[1, 0], [0, 1]], np.bool_) if chosen else None
    stream = noise_that_ends(shape, rich, 7 * seed + rich, blocks)
    assert agree(stream, shape, blocks)
    assert not agree(stream + b"x", shape, blocks)


@pytest.mark.parametrize("rich", [False, True])
def test_tables_of_large_pictures(rich: bool) -> None:
    """Of more pixels than any table has entries, nearly all of which are not coded."""
    shape, blocks = (512, 528, 1), np.zeros((32, 33), np.bool_)
    blocks[3, 4] = blocks[20, 9] = True
    assert agree(noise_that_ends(shape, rich, 3, blocks), shape, blocks)


@pytest.mark.parametrize("channels", [1, 3])
def test_damaged_streams_are_told_alike(channels: int) -> None:
    picture = drawing(12, channels)
    stream = coder.encode(picture)
    assert not agree(stream[:-9], picture.shape)
    assert not agree(stream + bytes(9), picture.shape)
    for at in range(0, len(stream), len(stream) // 3):
        agree(stream[:at] + bytes([stream[at] ^ 16]) + stream[at + 1 :], picture.shape)
    agree(b"", picture.shape)
    agree(b"\xff" * 30, picture.shape)


@pytest.mark.parametrize("chosen", [False, True])
@pytest.mark.parametrize("kind", ["photograph", "drawing", "noise"])
def test_the_rows_of_cut_streams(kind: str, chosen: bool) -> None:
    """Both decoders stop at the same one."""
    picture = {"photograph": photo(18, 20, 3), "drawing": drawing(24, 3), "noise": random(20, 17, 1)}[kind]
    blocks = np.array([[1, 0], [0, 1]], np.bool_) if chosen else None
    stream, (height, width, channels) = coder.encode(picture, blocks), picture.shape
    for size in [*range(0, len(stream), len(stream) // 6), len(stream) - 1]:
        for start in (stream[:size], b"\xff" * (size % 11) + stream[size % 11 : size]):
            made = np.zeros_like(picture)
            rows = coder.decode_start(start, made, blocks)
            given = None if blocks is None else blocks.astype(int).tolist()
            told = reference_pixels.settled_rows(start, width, height, channels, given)
            assert len(told) == rows
            found = np.array([[(0,) * channels if p is None else p for p in row] for row in told], np.uint8)
            assert np.array_equal(found.reshape(rows, width, channels), made[:rows])


# 8.2 and 8.3


def test_tables_are_about_logarithms() -> None:
    for i, cost in enumerate(reference_mixing.COST):
        assert 0 <= cost + 256 * math.log2((i + 0.5) / 4096) <= 1.1, i
    stretch = reference_mixing.STRETCH
    assert stretch == sorted(stretch) and (stretch[0], stretch[-1]) == (-2047, 2047)
    for i in range(1, 4095):
        p = (i + 0.5) / 4096
        assert abs(stretch[i] - 256 * math.log(p / (1 - p))) < 12, i


def test_a_slot_by_hand() -> None:
    slot = reference_mixing.Slot()
    assert slot.learned(1, 255) == (2**21 + ((2**21 - 1) * 32768 >> 16), 1)
    assert slot.learned(0, 255) == (2**21 + (-(2**21) * 32768 >> 16), 1)
    slot.uses = 200  # by a place of another limit
    assert slot.learned(1, 127)[1] == 200


# Whole files


def test_payloads() -> None:
    """Bands, one colour, and what is damaged."""
    picture = np.ascontiguousarray(drawing(40, 3)[:, :9])
    bands = [Band(coder.encode(part), pixels.crc(part)) for part in (picture[:16], picture[16:32], picture[32:])]
    rows = reference.decode_payload(pixels.write(16, bands), 9, 40, 3)
    assert np.array_equal(np.array(rows, np.uint8), picture)
    assert reference.decode_payload(b"\0\1\2\3", 2, 1, 3) == [[(1, 2, 3), (1, 2, 3)]]
    good = pixels.write(16, bands)
    wrong = [bands[0], bands[1]._replace(crc=5), bands[2]]
    for payload, message in (
        (b"", "cut short"),
        (b"\1\0", "method 1"),
        (b"\0\1", "cut short"),
        (b"\0\1\2\3\4", "left over"),
        (b"\3\2\1", "method 3"),
        (b"\2\0", "bands of 0 rows"),
        (b"\2\4", "bands of 64 rows"),
        (good[:9], "cut short"),
        (good[:-1], "cut short"),
        (good + b"x", "left over"),
        (pixels.write(16, wrong), "band at row 16: CRC differs"),
    ):
        with pytest.raises(reference.DamagedError, match=message):
            reference.decode_payload(payload, 9, 40, 3)
        with pytest.raises((ContainerError, EntropyError)):
            exact.decode(payload, np.empty((40, 9, 3), np.uint8), "PIXL")


@pytest.mark.parametrize(
    ("name", "flat"),
    [("RGB-33x20-q50-grey", False), ("LA-33x64-q30", False), ("RGB-65x64-q60-tiles", False), ("RGB-16x16-q90", True)],
)
def test_exact_blocks_lie_over_what_was_synthesised(name: str, flat: bool) -> None:
    """Grey or in colour, with and without alpha; a block here and there, all of one colour or not."""
    parsed = container.read_file((GOLDEN / f"golden1-{name}.cwic").read_bytes())
    header = parsed.header
    across, down = -(-header.width // 16), -(-header.height // 16)
    blocks = random(down, across) % 3 == 0
    blocks[-1, -1] = True
    planes = np.ascontiguousarray(drawing(70, header.channels)[: header.height, : header.width])
    payload = exact.with_mask(blocks, exact.encode(np.full_like(planes, 200) if flat else planes, blocks))
    data = container.write_file(header, parsed.layers, [], parsed.alpha, payload)
    samples, fields = reference.decode(data, reference.read_weights(GOLDEN / "golden1.safetensors"))
    assert fields["pixels"] == payload and not fields["lossless"]
    with pillow_cwic.options(models=[GOLDEN]):
        assert np.array_equal(samples, pillow_cwic.decode(data).reshape(samples.shape))


def test_blocks_that_are_none_raise() -> None:
    for values, message in ((np.zeros((2, 3, 1), np.uint8), "blocks: "), (np.full((2, 3, 1), 2, np.uint8), "blocks: ")):
        payload = pixels.write_blocks(coder.encode(values), b"\0\7")
        with pytest.raises(reference.DamagedError, match=message):
            reference.decode_exact(payload, 40, 30, 1)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "grey"])
def test_lossless_files(mode: str) -> None:
    channels = 3 if mode == "grey" else ("L", "LA", "RGB", "RGBA").index(mode) + 1
    picture = drawing(24, channels)
    if mode == "grey":
        picture = picture[..., :1].repeat(3, axis=2)
    data = codec.encode(picture.squeeze(), Options(lossless=True))
    samples, header = reference.decode(data, {})
    assert np.array_equal(samples, picture) and header["lossless"] and header["grey"] == (mode in ("L", "LA", "grey"))
    assert np.array_equal(samples, codec.decode(data).reshape(samples.shape))
    with pytest.raises(reference.DamagedError, match="lossless"):
        reference.decode_symbols(data, {})


def test_chunks_of_pixels() -> None:
    """PIXL stands behind CODE, or alone; a lossless header names no model."""
    parsed = container.read_file((GOLDEN / "golden1-RGB-16x16-q90.cwic").read_bytes())
    lossless = container.Header.without_model(16, 16, "RGB", False)
    alone = container.write_file(lossless, [], [], None, b"\0\1\2\3")
    assert reference.decode(alone, {})[0].tolist() == [[[1, 2, 3]] * 16] * 16
    both = container.write_file(parsed.header, parsed.layers, [], None, b"")
    assert reference.read_file(both)[0]["pixels"] == b""
    chunks = {kind: container._chunk(kind, payload) for kind, payload in read_chunks(io.BytesIO(both[16:]))}
    order: list[tuple[bytes, list[bytes]]] = [
        (b"cwc1", [b"HEAD", b"PIXL", b"CODE", b"TAIL"]),
        (b"cwc1", [b"HEAD", b"PIXL", b"TAIL"]),
        (b"pixl", [b"HEAD", b"CODE", b"PIXL", b"TAIL"]),
        (b"pixl", [b"HEAD", b"PIXL", b"TAIL"]),  # whose HEAD names a model
    ]
    for family, kinds in order:
        data = both[:10] + family + both[14:16] + b"".join(chunks[kind] for kind in kinds)
        with pytest.raises(reference.DamagedError, match=r"chunks: |HEAD: "):
            reference.read_file(data)
        with pytest.raises(ContainerError):
            container.read_file(data)


def test_the_command_takes_lossless_files_without_weights(capsys: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.cwic"
    path.write_bytes(codec.encode(drawing(12, 3), Options(lossless=True)))
    reference.main(str(path))
    assert capsys.readouterr().out.startswith(f"12 x 12 RGB, T = 0, {path.stat().st_size} bytes\nSHA-256")
