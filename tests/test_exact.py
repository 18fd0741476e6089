"""Pixels without loss: round trips, payloads, hostile ones, and what every door says of lossless files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import pillow_cwic
from pillow_cwic import codec, measures
from pillow_cwic.codec import exact
from pillow_cwic.codec.picture import MISSING
from pillow_cwic.coding import pixels as coder
from pillow_cwic.errors import ContainerError, CwicError, EntropyError
from pillow_cwic.file import container, pixels
from pillow_cwic.file.pixels import Band
from pillow_cwic.saving import Options

Pixels = NDArray[np.uint8]
PHOTO = Path(__file__).parent / "data" / "kodim23.png"
RNG = np.random.default_rng(5)


def disc(side: int, softness: float) -> Pixels:
    y, x = np.mgrid[:side, :side] - side / 2
    return np.clip(128 + (side / 3 - np.hypot(x, y)) * softness, 0, 255).astype(np.uint8)[..., None]


def photo(width: int, height: int, mode: str = "RGB") -> Pixels:
    with Image.open(PHOTO) as im:
        part = im.convert(mode).crop((200, 100, 200 + width, 100 + height))
    return np.asarray(part).reshape(height, width, -1)


PICTURES = {
    "one pixel": np.full((1, 1, 3), 7, np.uint8),
    "row": np.arange(200, dtype=np.uint8)[None, :, None],
    "column": np.arange(200, dtype=np.uint8)[:, None, None],
    "noise": RNG.integers(0, 256, (50, 31, 4), np.uint8),
    "mask": disc(90, 1e9),
    "soft": disc(90, 30),
    "gradient": disc(90, 2),
    "photograph": photo(160, 120),
    "grey and alpha": np.dstack([disc(64, 3), disc(64, 40)]),
    "chequers": (np.indices((40, 40)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, axis=2),
}


def decoded(payload: bytes, like: Pixels) -> Pixels:
    return exact.decode(payload, np.empty_like(like), "PIXL")


@pytest.mark.parametrize("name", PICTURES)
def test_round_trip(name: str) -> None:
    picture = PICTURES[name]
    payload = exact.encode(picture)
    assert np.array_equal(decoded(payload, picture), picture)
    pixels.read(payload, picture.shape[0], picture.shape[2], "PIXL")


@pytest.mark.parametrize("name", ["photograph", "noise", "soft"])
def test_views_with_other_strides_are_coded_like_copies(name: str) -> None:
    picture = PICTURES[name]
    wide = np.zeros((picture.shape[0] + 2, 3 * picture.shape[1], picture.shape[2]), np.uint8)
    wide[1:-1, 5 : 5 + picture.shape[1]] = picture
    assert coder.encode(wide[1:-1, 5 : 5 + picture.shape[1]]) == coder.encode(picture)
    made = np.zeros_like(wide)
    coder.decode(coder.encode(picture), made[1:-1, 5 : 5 + picture.shape[1]])
    assert np.array_equal(made, wide)
    for wrong in (picture.astype(np.int16), picture[:, ::2], picture[..., 0]):
        with pytest.raises(ValueError, match="wanted uint8"):
            coder.encode(wrong)


def test_the_bytes_do_not_depend_on_threads() -> None:
    with Image.open(PHOTO) as im:
        picture = np.asarray(im.convert("RGB"))
    made = set()
    for threads in (1, 2, 7):
        with pillow_cwic.options(threads=threads):
            made.add(exact.encode(picture))
    (payload,) = made
    assert len(pixels.read(payload, *picture.shape[::2], "PIXL").bands) == 2
    with pillow_cwic.options(threads=1):
        assert np.array_equal(decoded(payload, picture), picture)


def test_many_colours_make_bands_for_several_threads_and_few_colours_large_ones() -> None:
    few = np.zeros((1500, 900, 1), np.uint8)
    few[::7, ::5] = 200
    assert [len(pixels.read(exact.encode(each), *each.shape[::2], "PIXL").bands) for each in (few, few[:900])] == [2, 1]


def test_sizes() -> None:
    """One colour takes a byte a channel; masks, gradients and photographs take less than PNG and WebP need."""
    assert exact.encode(np.full((3000, 2000, 1), 255, np.uint8)) == b"\0\xff"
    for name, kind, share in (
        ("mask", "PNG", 0.9), ("soft", "PNG", 0.9), ("gradient", "PNG", 0.9), ("photograph", "WEBP", 0.95),
    ):  # fmt: skip
        other = io.BytesIO()
        Image.fromarray(PICTURES[name].squeeze()).save(other, kind, optimize=True, lossless=True, exact=True)
        assert len(exact.encode(PICTURES[name])) < share * len(other.getvalue()), name


TWO = [Band(b"abc", 1), Band(b"", 2)]


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "ALPH: method missing is none of 0, 2 and 3"),
        (b"\1\0", "ALPH: method 1 is none of 0, 2 and 3"),
        (b"\0", "1 bytes instead of the 2 of one colour"),
        (b"\0\1\2", "3 bytes instead of the 2 of one colour"),
        (b"\2", "rows of a band: number cut short"),
        (b"\2\0", "rows of a band, in units of 16: 0 is outside 1 to 2"),
        (b"\2\3", "rows of a band, in units of 16: 3 is outside 1 to 2"),
        (b"\2\x81\0", "rows of a band: number 1 takes 2 bytes"),
        (pixels.write(16, TWO)[:6], "band 0: CRC of 4 bytes exceeds the 3 bytes left"),
        (pixels.write(16, TWO)[:-1], "bands of 3 bytes in all do not fill the 2 bytes"),
        (pixels.write(16, TWO) + b"x", "bands of 3 bytes in all do not fill the 4 bytes"),
        (pixels.write(16, [Band(b"", 0)]), "band 1: length: number cut short"),
        (b"\3", "ALPH: step of its samples missing"),
        (b"\3\1", "ALPH: step of its samples: 1 is outside 2 to 255"),
    ],
)
def test_damaged_payloads(payload: bytes, message: str) -> None:
    made = np.empty((20, 5, 1), np.uint8)
    for read in (lambda: exact.decode(payload, made, "ALPH"), lambda: pixels.read(payload, 20, 1, "ALPH")):
        with pytest.raises(ContainerError, match=message):
            read()


def test_damaged_bands() -> None:
    """Of every shortened, lengthened and changed stream either the coder or the CRC says so."""
    picture = PICTURES["photograph"][:48]
    stream, crc = coder.encode(picture), pixels.crc(picture)
    for data, message in (
        (stream[: len(stream) // 2], "the stream ends before"),
        (stream + bytes(16), "bytes are left over"),
        (b"", ""),  # zeros for ever may well be a picture
    ):
        with pytest.raises(EntropyError, match=f"PIXL: band 0: .*{message}"):
            decoded(pixels.write(48, [Band(data, crc)]), picture)
    with pytest.raises(EntropyError, match=r"PIXL: band 0: CRC of its pixels is [0-9a-f]{8}, the file says 00000007"):
        decoded(pixels.write(48, [Band(stream, 7)]), picture)
    for at in range(0, len(stream) - 4, 97):  # of the last bytes not all bits matter
        changed = bytearray(stream)
        changed[at] ^= 4
        with pytest.raises(EntropyError, match="PIXL: band 0: "):
            decoded(pixels.write(48, [Band(bytes(changed), crc)]), picture)


@given(st.binary(max_size=60), st.integers(1, 40), st.integers(1, 40), st.integers(1, 4))
def test_a_stream_gives_pixels_or_an_error(data: bytes, height: int, width: int, channels: int) -> None:
    made = np.zeros((height, width, channels), np.uint8)
    try:
        coder.decode(data, made)
    except EntropyError:
        return
    again = coder.encode(made)
    coder.decode(again, back := np.zeros_like(made))
    assert np.array_equal(back, made)


def saved(picture: Pixels, **options: object) -> bytes:
    return codec.encode(picture[..., 0] if picture.shape[2] == 1 else picture, Options(lossless=True, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 70), (70, 1), (33, 47), (64, 64)])
def test_lossless_files_keep_every_pixel_of_every_mode(channels: int, size: tuple[int, int]) -> None:
    picture = np.dstack([photo(*size), photo(*size, "L")])[..., -channels:].copy()
    if channels in (2, 4):
        picture[: size[1] // 2, ..., -1] = 0  # colour that nobody sees is kept
    data = saved(picture)
    assert np.array_equal(codec.decode(data).reshape(picture.shape), picture)
    with Image.open(io.BytesIO(data)) as im:
        assert im.mode == ("L", "LA", "RGB", "RGBA")[channels - 1]
        assert im.info == {"lossless": True, "bpp": pytest.approx(8 * len(data) / size[0] / size[1])}
        im.verify()
    assert np.array_equal(pillow_cwic.decode([data, data])[1].reshape(picture.shape), picture)


@pytest.mark.parametrize("mode", ["1", "P", "PA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "La", "RGBa"])
def test_other_modes_are_kept_or_refused(mode: str) -> None:
    with Image.open(PHOTO) as im:
        small = im.convert("RGB").crop((0, 0, 40, 30))
    by_way_of = {"PA": "L", "La": "LA", "RGBa": "RGBA"}.get(mode, "RGB")
    im = Image.new(mode, (9, 9)) if mode == "LAB" else small.convert(by_way_of).convert(mode)
    data = io.BytesIO()
    if mode not in ("1", "P", "PA", "RGBX"):
        with pytest.raises(OSError, match=f"cannot write mode {mode} as lossless CWIC: convert it to .* first"):
            im.save(data, "CWIC", lossless=True)
        return
    im.save(data, "CWIC", lossless=True)
    with Image.open(data) as back:
        assert np.array_equal(np.asarray(back), np.asarray(im.convert(back.mode)))


def test_grey_in_colour_is_held_once() -> None:
    grey = photo(64, 64, "L")
    colour = saved(grey.repeat(3, axis=2))
    assert len(colour) == len(saved(grey))
    assert np.array_equal(codec.decode(colour), grey.repeat(3, axis=2))


def test_bounds_of_size_are_told_and_quality_is_met() -> None:
    picture = photo(64, 48)
    data = saved(picture)
    for options in (
        {"quality": 1}, {"psnr": 60.0}, {"ssim": 0.999}, {"size": len(data)}, {"effort": 9}, {"tuning": "ssim"},
    ):  # fmt: skip
        assert saved(picture, **options) == data
    with pytest.raises(CwicError, match=f"bytes are too few, the smallest file found has {len(data)}"):
        saved(picture, size=len(data) - 1)
    with pytest.raises(CwicError, match="rate: 1 bits per pixel are 384 bytes"):
        saved(picture, rate=1.0)


def test_the_map_of_a_lossless_file_is_full() -> None:
    data = saved(photo(64, 48))
    with Image.open(io.BytesIO(data)) as im:
        assert im.importance_map().tobytes() == b"\xff" * 12
    assert pillow_cwic.shrink(data, size=len(data)) == data


def test_a_lossless_file_is_shrunk_by_encoding_it_anew() -> None:
    picture, exif = photo(64, 48), b"II*\0\x08\0\0\0\0\0\0\0\0\0"
    data = pillow_cwic.encode(picture, lossless=True, exif=exif)
    small = pillow_cwic.shrink(data, size=900)
    assert len(small) <= 900 and measures.psnr(picture, codec.decode(small)) > 25
    assert container.read_file(small).extra == container.read_file(data).extra


def test_drafts_are_means() -> None:
    picture = photo(83, 45)
    with Image.open(io.BytesIO(saved(picture))) as im:
        im.draft("RGB", (10, 5))
        assert im.size == (11, 6)
        assert np.array_equal(np.asarray(im), exact.reduced(picture, 8))


def test_a_whole_file_without_pixels_is_damaged() -> None:
    """A payload of no bytes in a file that was not cut was shown as grey."""
    data = container.write_file(container.Header.without_model(5, 4, "RGB", False), [], pixels=b"")
    with pytest.raises(ContainerError, match="PIXL: method missing"):
        codec.decode(data)
    assert (codec.decode(data[:-12], partial=True) == MISSING).all()


def test_lossless_and_lossy_files_in_one_batch(small_file: bytes) -> None:
    with Image.open(io.BytesIO(small_file)) as im:
        lossy = np.asarray(im)
    data = saved(lossy)
    batch = pillow_cwic.decode([small_file, data, small_file])
    assert all(np.array_equal(each, lossy) for each in batch)


def test_a_header_of_a_lossless_file_names_no_model() -> None:
    for field, value in (("tile_exponent", 6), ("rate", 1), ("model_id", b"abcdef")):
        fields = {"tile_exponent": 0, "rate": 0, "model_id": bytes(6), field: value}
        with pytest.raises(ContainerError, match=field.replace("_", " ")):
            container.Header(4, 4, "RGB", family=container.LOSSLESS, **fields)  # type: ignore[arg-type]
    header = container.Header.without_model(4, 4, "RGB", False)
    with pytest.raises(ContainerError, match="pixels: missing for family b'pixl'"):
        container.write_file(header, [])
    with pytest.raises(ContainerError, match="layers: 1 is outside 0 to 0"):
        container.write_file(header, [container.Layer(b"", 0)], pixels=b"x")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", ["photograph", "text"])
def test_what_blocks_take_adds_up_to_the_payload(kind: str, masked: bool) -> None:
    planes = photo(150, 100)
    if kind == "text":
        ImageDraw.Draw(im := Image.new("RGB", (150, 100), "white")).text((50, 40), "not evenly spread", fill="black")
        planes = np.asarray(im)
    bits = np.zeros((7, 10), np.uint32)
    blocks = np.arange(70).reshape(7, 10) % 3 > 0 if masked else None
    payload = exact.encode(planes, blocks, bits)
    assert bits.sum() / 256 == pytest.approx(8 * len(payload), abs=8 * 16)
    if blocks is not None:
        assert not bits[~blocks].any()
    elif kind == "text":
        assert bits[2:4, 3:].sum() > 0.8 * bits[1:].sum()
    assert payload == exact.encode(planes, blocks)


@pytest.mark.parametrize("step", [2, 3, 5, 8, 100, 255])
def test_coarse_samples_are_the_nearest_that_there_are(step: int) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    shown = exact.coarse(values, step)
    there = np.minimum(np.arange(256) * step, 255)
    wanted = np.abs(there[:, None] - np.arange(256)).min(axis=0)
    assert np.array_equal(np.abs(shown.astype(int) - values).ravel(), wanted)
    assert shown.min() == 0 and shown.max() == 255
    assert np.array_equal(exact.coarse(shown, step), shown)


def test_a_photograph_beside_text_is_coded_as_what_takes_less(photo: Image.Image) -> None:
    """It repeats less than text does alone, so that a guess by the pixels takes it for a photograph."""
    im = Image.new("RGB", (256, 192), "white")
    for y in range(0, 192, 12):
        ImageDraw.Draw(im).text((2, y), f"The quick brown fox {y} jumps over", fill=(0, 0, 7 * y % 255))
    im.paste(photo.crop((300, 100, 428, 292)), (128, 0))
    pixels = np.asarray(im)
    guessed = coder.encode(pixels)
    data = codec.encode(pixels, Options(lossless=True))
    assert coder.is_rich(guessed) and len(data) < 0.95 * len(guessed)
    assert np.array_equal(codec.decode(data), pixels)


def test_coarse_samples_come_back_in_some_blocks(photo: Image.Image) -> None:
    planes = np.asarray(photo.crop((0, 0, 90, 70)))
    shown = exact.coarse(planes, 3)
    blocks = np.arange(5 * 6).reshape(5, 6) % 3 == 0
    payload = exact.with_mask(blocks, exact.encode(shown, blocks, step=3))
    with pytest.raises(ContainerError, match="ALPH: step 3 between samples that are to be exact, wanted 1"):
        exact.decode(exact.encode(shown, step=3), np.empty_like(planes), "ALPH")
    back = np.full_like(planes, 7)
    assert np.array_equal(exact.decode_blocks(payload, back), blocks)
    where = exact.spread(blocks, 70, 90)
    assert np.array_equal(back[where], shown[where]) and (back[~where] == 7).all()
    assert len(payload) < 0.75 * len(exact.with_mask(blocks, exact.encode(planes, blocks)))
    cut = np.full_like(planes, 7)
    exact.decode_blocks(payload[: len(payload) * 3 // 4], cut, partial=True)
    whole_rows = [y for y in range(70) if where[y].any() and np.array_equal(cut[y][where[y]], shown[y][where[y]])]
    assert whole_rows[-1] > 30 and all(row in whole_rows for row in range(whole_rows[-1]) if where[row].any())
    assert (cut[whole_rows[-1] + 1 :] == 7).all()


def test_what_is_exact_is_described(photo: Image.Image) -> None:
    planes = np.asarray(photo.crop((0, 0, 64, 64)))
    blocks = np.arange(16).reshape(4, 4) % 4 == 0
    for step in (1, 3):
        payload = exact.with_mask(blocks, exact.encode(exact.coarse(planes, step), blocks, step=step))
        assert exact.described(payload, 64, 64, 3) == (0.25, step)
