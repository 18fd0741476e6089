"""Files cut within pixels without loss: the rows that arrived are shown, no others, and those as they are."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFile

import pillow_cwic
from pillow_cwic import codec
from pillow_cwic.codec import exact
from pillow_cwic.codec.picture import MISSING, OPAQUE
from pillow_cwic.coding import pixels as coder
from pillow_cwic.errors import CwicError, EntropyError
from pillow_cwic.file import container, pixels
from pillow_cwic.file.pixels import Band
from pillow_cwic.saving import Options

Pixels = NDArray[np.uint8]
Blocks = NDArray[np.bool_]
PHOTO = Path(__file__).parent / "data" / "kodim23.png"
GOLDEN = Path(__file__).parent / "golden" / "v1"
RNG = np.random.default_rng(8)


def photo(width: int, height: int) -> Pixels:
    with Image.open(PHOTO) as im:
        return np.asarray(im.convert("RGB").crop((200, 100, 200 + width, 100 + height)))


def text(width: int, height: int) -> Pixels:
    draw = ImageDraw.Draw(im := Image.new("RGB", (width, height), (250, 250, 240)))
    for y in range(0, height, 12):
        draw.text((3 + y % 7, y), f"row {y}: a line of text, {y * y}", fill=(y, 30, 90))
    return np.asarray(im)


PICTURES = {
    "noise": RNG.integers(0, 256, (100, 40, 3), np.uint8),
    "photograph": photo(120, 90),
    "text": text(140, 110),
    "grey": photo(60, 50)[..., :1],
    "four channels": np.dstack([photo(50, 45), text(50, 45)[..., :1]]),
    "two channels": np.dstack([photo(50, 45)[..., 1], text(50, 45)[..., 0]]),
    "flat": np.full((200, 30, 1), 9, np.uint8),
    "a row": photo(70, 1),
    "one pixel": photo(1, 1),
}


def rows_of(start: bytes, picture: Pixels, blocks: Blocks | None = None) -> int:
    """How many rows the start of a stream tells; that they are the picture's, and nothing else is written."""
    coded = np.ones(picture.shape[:2], np.bool_) if blocks is None else exact.spread(blocks, *picture.shape[:2])
    made = np.full_like(picture, 77)
    rows = coder.decode_start(start, made, blocks)
    told = coded & (np.arange(len(picture)) < rows)[:, None]
    assert np.array_equal(made, np.where(told[..., None], picture, 77))
    return rows


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", PICTURES)
def test_the_start_of_a_stream_tells_its_rows(name: str, masked: bool) -> None:
    """More of it as many or more, and never the last one, whose end is the stream's."""
    picture = np.ascontiguousarray(PICTURES[name])
    blocks = np.indices((-(-picture.shape[0] // 16), -(-picture.shape[1] // 16))).sum(axis=0) % 2 == 0
    chosen = blocks if masked else None
    stream = coder.encode(picture, chosen)
    sizes = sorted({*range(0, len(stream), max(1, len(stream) // 25)), *range(max(0, len(stream) - 12), len(stream))})
    found = [rows_of(stream[:size], picture, chosen) for size in sizes]
    assert all(before <= after for before, after in pairwise(found)) and found[0] == 0
    assert found[-1] < len(picture)


def test_nine_tenths_of_noise_are_nine_tenths_of_its_rows() -> None:
    picture = PICTURES["noise"]
    stream = coder.encode(picture)
    for tenths in range(1, 10):
        assert rows_of(stream[: len(stream) * tenths // 10], picture) in (10 * tenths - 1, 10 * tenths)
    assert rows_of(stream[:-1], picture) == len(picture) - 1


@pytest.mark.parametrize("name", ["noise", "photograph", "text"])
def test_the_first_row_that_is_not_shown_may_be_another(name: str) -> None:
    """Bytes that are all 0 and all 255 lead to other pixels there, and in no row before."""
    picture = PICTURES[name][:40]
    stream = coder.encode(picture)
    for size in range(len(stream) // 40, len(stream), len(stream) // 40):
        made = [np.zeros_like(picture) for _ in range(2)]
        for fill, each in zip((b"\0", b"\xff"), made, strict=True):
            with pytest.raises(EntropyError, match="bytes are left over"):
                coder.decode(stream[:size] + fill * 90_000, each)
        same = (made[0] == made[1]).all(axis=(1, 2))
        assert same.argmin() == rows_of(stream[:size], picture)


def shown(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as im:
        return np.asarray(im).reshape(im.height, im.width, -1)


def arrived(made: Pixels, picture: Pixels, missing: int | Pixels) -> int:
    """How many rows are the picture's; that all others are ``missing``."""
    rest = np.broadcast_to(np.uint8(missing) if isinstance(missing, int) else missing, picture.shape)
    same = (made == picture).all(axis=(1, 2))
    rows = len(same) if same.all() else int(same.argmin())
    assert np.array_equal(made[rows:], rest[rows:])
    return rows


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "grey"])
def test_lossless_files_cut_anywhere(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """First alpha arrives row by row, then colour."""
    colour = photo(50, 70)
    if mode == "grey":
        colour = colour[..., :1].repeat(3, axis=2)
    elif mode in ("L", "LA"):
        colour = colour[..., :1]
    plane = RNG.integers(0, 90, (70, 50, 1), np.uint8)[..., : mode.endswith("A")]
    data = codec.encode(np.dstack([colour, plane]).squeeze(), Options(lossless=True))
    before = (0, 0)
    for size in [*range(container.HEADER_BYTES, len(data), 97), *range(len(data) - 30, len(data))]:
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
        with pytest.raises(CwicError):
            shown(data[:size])
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        made = shown(data[:size])
        now = (
            arrived(made[..., colour.shape[2] :], plane, OPAQUE),
            arrived(made[..., : colour.shape[2]], colour, MISSING),
        )
        assert now >= before and (now[0] == 70 or now[1] == 0)
        before = now
    assert before == (70, 70)


def banded(picture: Pixels, bands: list[Band], rows: int) -> bytes:
    header = container.Header.without_model(picture.shape[1], picture.shape[0], "RGB", False)
    return container.write_file(header, [], (), None, pixels.write(rows, bands))


def test_bands_arrive_one_after_another() -> None:
    picture = photo(60, 80)
    bands = [Band(coder.encode(part), pixels.crc(part)) for part in (picture[:32], picture[32:64], picture[64:])]
    data = banded(picture, bands, 32)
    end = len(data) - 16
    counts = [arrived(codec.decode(data[:size], partial=True), picture, MISSING) for size in range(60, len(data), 29)]
    assert counts == sorted(counts) and len(set(counts)) > 50
    for left, rows in ((len(bands[2].data), 64), (len(bands[2].data) + 1, 63), (0, 80), (1, 79)):
        assert arrived(codec.decode(data[: end - left], partial=True), picture, MISSING) == rows
    wrong = banded(picture, [bands[0], bands[1]._replace(crc=5), bands[2]], 32)
    for size in (len(wrong), end - 9):  # a band that arrived whole
        with pytest.raises(EntropyError, match="PIXL: band 1: CRC"):
            codec.decode(wrong[:size], partial=True)


def test_a_band_of_which_all_rows_arrived_has_a_crc() -> None:
    """Where the stream goes on with bytes that decide nothing."""
    picture = photo(20, 16)
    band = Band(coder.encode(picture) + b"\0\0\0", pixels.crc(picture))
    cut = len(banded(picture, [band], 16)) - 16 - 1
    assert arrived(codec.decode(banded(picture, [band], 16)[:cut], partial=True), picture, MISSING) == 16
    with pytest.raises(EntropyError, match="PIXL: band 0: CRC"):
        codec.decode(banded(picture, [band._replace(crc=5)], 16)[:cut], partial=True)


@pytest.fixture(scope="module")
def with_blocks() -> tuple[bytes, int]:
    """A picture with exact blocks of noise beside layers, and where the payload of PIXL begins."""
    parsed = container.read_file((GOLDEN / "golden1-RGB-65x64-q60-tiles.cwic").read_bytes())
    planes, blocks = RNG.integers(0, 256, (64, 65, 3), np.uint8), RNG.random((4, 5)) < 0.6
    blocks[0, 0], blocks[3, 4] = True, False
    bands = []
    for part, chosen in ((planes[:32], blocks[:2]), (planes[32:], blocks[2:])):
        bands.append(Band(coder.encode(part, chosen), pixels.crc(part[exact.spread(chosen, 32, 65)])))
    payload = exact.with_mask(blocks, pixels.write(32, bands))
    data = container.write_file(parsed.header, parsed.layers, [], None, payload)
    return data, len(data) - 16 - len(payload)


@pytest.mark.parametrize("scale", [1, 4, 8])
def test_exact_blocks_arrive_row_by_row(scale: int, with_blocks: tuple[bytes, int]) -> None:
    """Over what the layers give, in drafts as well; nothing before the mask arrived whole."""
    data, start = with_blocks

    def decoded(size: int) -> Pixels:
        return codec.decode(data[:size], partial=True, scale=scale)

    with pillow_cwic.options(models=[GOLDEN]):
        whole, layers = decoded(len(data)), decoded(start)
        mask = start + 1 + data[start]
        for size in range(start - 9, mask + 1):
            assert np.array_equal(decoded(size), layers)
        counts = []
        for size in [*range(mask, len(data) - 16, 199), len(data) - 17]:
            made = decoded(size)
            same = (made == whole).all(axis=(1, 2))
            counts.append(len(same) if same.all() else int(same.argmin()))
            mixed = scale > 1  # the row of squares in which the rows end
            assert np.array_equal(made[counts[-1] + mixed :], layers[counts[-1] + mixed :])
    assert counts == sorted(counts) and counts[-1] in (64 // scale - 1, 64 // scale)
    assert counts[len(counts) // 2] > 64 // scale // 4 and len(set(counts)) > 20 / scale
