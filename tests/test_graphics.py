"""Exact blocks: which pictures get them, that they are exact, and what every door says of them."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFile

import pillow_cwic
from pillow_cwic import CwicError, measures
from pillow_cwic.codec import exact, graphics
from pillow_cwic.coding import pixels as coder
from pillow_cwic.file import container, pixels

Pixels = NDArray[np.uint8]
PHOTO = Path(__file__).parent / "data" / "kodim23.png"


def photo(width: int, height: int) -> Image.Image:
    with Image.open(PHOTO) as im:
        return im.convert("RGB").crop((250, 120, 250 + width, 120 + height))


@cache
def window() -> Image.Image:
    """Text and lines on white, and a photograph: 231 x 190."""
    im = Image.new("RGB", (231, 190), "white")
    draw = ImageDraw.Draw(im)
    for row in range(12):
        draw.text((8, 6 + 15 * row), f"{row}: exact, not nearly", fill=(20, 30, 90))
    draw.rectangle((140, 0, 230, 12), fill=(60, 120, 200))
    im.paste(photo(80, 100), (146, 50))
    return im


def saved(im: Image.Image, **options: Any) -> bytes:
    data = io.BytesIO()
    im.save(data, "CWIC", **options)
    return data.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def blocks_of(data: bytes) -> Pixels:
    """For each pixel of a file with exact blocks, whether it is exact."""
    parsed = container.read_file(data)
    assert parsed.pixels is not None
    mask, _ = pixels.read_blocks(parsed.pixels)
    assert mask is not None
    header = parsed.header
    blocks = coder.decode_mask(mask, header.height, header.width)
    return exact.spread(blocks, header.height, header.width)


def all_but_exact(shown: Any, original: Any, where: Pixels) -> bool:
    """Whether pixels of exact blocks are the original's, but for few in blocks of many colours, which are near."""
    off = np.abs(np.subtract(shown, original, dtype=int)[where])
    return bool((off == 0).mean() > 0.75 and off.max() < 32)


@pytest.fixture(scope="module")
def mixed() -> bytes:
    return saved(window(), quality=50)


def test_a_window_is_partly_exact(mixed: bytes) -> None:
    original, shown, where = np.asarray(window()), np.asarray(opened(mixed)), blocks_of(mixed)
    assert all_but_exact(shown, original, where)
    assert where[:, :112].mean() > 0.75 and not where[80:128, 160:208].any()  # the text, and not the photograph
    assert measures.psnr(original[~where][None], shown[~where][None]) > 28
    opened(mixed).verify()


def test_it_is_smaller_and_better_than_the_transform_alone(mixed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    original = np.asarray(window())
    better = measures.psnr(original, np.asarray(opened(mixed)))
    monkeypatch.setattr(graphics, "is_graphics", lambda _: False)
    alone = saved(window(), quality=50)
    assert container.read_file(alone).pixels is None
    assert len(mixed) < 0.9 * len(alone)
    assert better > measures.psnr(original, np.asarray(opened(alone))) + 2


def test_photographs_have_no_exact_blocks() -> None:
    with Image.open(PHOTO) as im:
        assert not graphics.is_graphics(np.asarray(im.convert("RGB")))
    for options in ({"quality": 75}, {"rate": 0.5}):
        assert container.read_file(saved(photo(160, 128), **options)).pixels is None


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (13, 200, 90)])
@pytest.mark.parametrize("quality", [30, 50, 100])
def test_flat_pictures_are_exact_in_few_bytes(colour: tuple[int, int, int], quality: int) -> None:
    im = Image.new("RGB", (300, 200), colour)
    data = saved(im, quality=quality)
    assert len(data) <= 200
    assert np.array_equal(np.asarray(opened(data)), np.asarray(im))


def test_text_is_exact_from_its_first_letter_on() -> None:
    im = Image.new("RGB", (512, 384), "white")
    draw = ImageDraw.Draw(im)
    for line in range(16):
        draw.text((8 + 3 * line, 4 + 24 * line), "exact text " * 8, fill="black")
    im.paste(photo(240, 224), (96, 48))
    for quality in (25, 75):
        where = blocks_of(saved(im, quality=quality))
        assert where[16:48].all() and where[272:].mean() > 0.98 and not where[64:256, 112:320].any()


def test_a_quality_beyond_the_transform_is_reached_beside_exact_blocks() -> None:
    im = photo(160, 96)
    text = Image.new("RGB", (80, 96), "white")
    for row in range(8):
        ImageDraw.Draw(text).text((1, 12 * row), f"{row} small text", fill="black")
    im.paste(text, (80, 0))
    whole, data = saved(im, lossless=True), saved(im, psnr=46)
    assert measures.psnr(np.asarray(im), np.asarray(opened(data))) >= 46
    assert container.read_file(data).layers and len(data) < 0.5 * len(whole)


def dithered() -> Image.Image:
    """A dark window whose ground is one of two neighbouring colours, pixel by pixel, as after a change of profile."""
    generator = np.random.default_rng(8)
    ground = np.full((192, 256, 3), (23, 35, 46), np.uint8)
    ground[..., 0] -= generator.random((192, 256)) < 0.12
    im = Image.fromarray(ground)
    for row in range(6):
        ImageDraw.Draw(im).text((40, 20 + 24 * row), "In [1]: no photograph", fill=(230, 230, 230))
    return im


def test_dithered_grounds_are_graphics() -> None:
    original = np.asarray(dithered())
    assert graphics.is_graphics(original)
    data = saved(dithered(), quality=50)
    assert blocks_of(data).mean() > 0.9 if container.read_file(data).layers else True
    off = np.abs(np.asarray(opened(data)).astype(int) - original)
    assert off[:, :32].max() <= 1 and measures.ssim(original, np.asarray(opened(data))) > 0.98


def test_gradients_are_graphics() -> None:
    y, x = np.mgrid[:384, :512]
    shades = np.dstack([x * 255 / 511, y * 255 / 383, (x + y) * 255 / 895]).round().astype(np.uint8)
    assert graphics.is_graphics(shades)
    data = saved(Image.fromarray(shades), quality=40)
    assert np.array_equal(np.asarray(opened(data)), shades)
    assert data == saved(Image.fromarray(shades), lossless=True) and len(data) < 400
    assert not graphics.is_graphics(shades[:1])
    waves = [128 + 100 * np.sin(x / 90), 128 + 80 * np.cos(y / 70), 128 + 60 * np.sin((x + y) / 120)]
    curved = np.dstack(waves).astype(np.uint8)
    assert graphics.is_graphics(curved)
    data = saved(Image.fromarray(curved), quality=90)
    assert np.array_equal(np.asarray(opened(data)), curved) and len(data) < 1000


def test_what_is_even_or_dark_costs_more_than_its_squared_error() -> None:
    dark, busy = np.full((64, 64, 3), 2, np.uint8), np.array(photo(64, 64))
    for loss in graphics.LOSSES.values():
        of_dark, of_busy = (loss.of(p, p ^ 2)[1:3, 1:3].sum() for p in (dark, busy))
        assert of_dark > 2 * of_busy > 0
        assert not loss.of(busy, busy).any()
    assert graphics.Loss(1, 0).of(dark, dark ^ 2).sum() == 64 * 64 * 4


def test_grounds_go_on_under_exact_blocks() -> None:
    planes = np.full((160, 160, 3), 250, np.uint8)
    planes[:32, :32] = np.asarray(photo(32, 32))
    planes[100:108, 4:150] = 0
    blocks = np.ones((10, 10), bool)
    blocks[:2, :2] = False
    left = graphics.left_to_transform(planes, blocks)
    assert np.array_equal(left[:32, :32], planes[:32, :32])
    assert (left[:96, 48:] == 250).all() and (left >= 245)[96:112].all()  # text is gone, the ground is not
    blocks[:] = True
    blocks[0, 0] = False  # hardly anything: all follows from it
    assert np.ptp(graphics.left_to_transform(planes, blocks)[48:].astype(int), axis=(0, 1)).max() < 40


def test_chequers_of_single_pixels() -> None:
    squares = (np.indices((96, 96)).sum(axis=0) % 2 * 255).astype(np.uint8)
    data = saved(Image.fromarray(squares), quality=100)
    assert np.array_equal(np.asarray(opened(data)), squares)
    assert len(data) < 300


@pytest.mark.parametrize("quality", [75, 90])
def test_the_margin_of_a_page_is_white(quality: int) -> None:
    im = Image.new("L", (320, 240), 255)
    draw = ImageDraw.Draw(im)
    for row in range(8):
        draw.text((60, 50 + 18 * row), "black upon white, and nothing else", fill=0)
    shown = np.array(opened(saved(im.convert("RGB"), quality=quality)))
    shown[48:200, 56:270] = 255
    assert (shown == 255).all()


def test_bounds_and_qualities_hold() -> None:
    original = np.asarray(window())
    count = original.shape[0] * original.shape[1]
    whole = len(saved(window(), lossless=True))
    for rate in (0.4, 0.8, 1.6):
        data = saved(window(), rate=rate)
        assert len(data) <= rate * count / 8
        assert len(data) >= 0.9 * rate * count / 8  # coarse samples may be better than all of it
    assert len(saved(window(), size=whole)) == whole  # nothing is better than that
    for psnr in (25, 32, 40):
        shown = np.asarray(opened(saved(window(), psnr=psnr)))
        assert psnr <= measures.psnr(original, shown)
    assert measures.ssim(original, np.asarray(opened(saved(window(), ssim=0.97)))) >= 0.97


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
def test_other_modes(mode: str) -> None:
    im = window().convert(mode)
    if mode != "L":
        im.putalpha(Image.linear_gradient("L").resize(im.size))
    data = saved(im, quality=60)
    where, shown = blocks_of(data), opened(data)
    assert shown.mode == mode
    visible = where & (np.asarray(im.getchannel(mode[-1]) if mode != "L" else im) >= (1 if mode != "L" else 0))
    assert visible.mean() > 0.3
    assert all_but_exact(np.asarray(shown), np.asarray(im), visible)


def test_grey_in_colour_stays_grey() -> None:
    im = window().convert("L").convert("RGB")
    data = saved(im, quality=60)
    where, shown = blocks_of(data), np.asarray(opened(data))
    assert np.array_equal(shown[where], np.asarray(im)[where])
    assert (shown == shown[..., :1]).all()


def test_importance_and_effort_work_beside_them() -> None:
    mask = Image.new("L", window().size, 128)
    mask.paste(255, (146, 50, 226, 150))
    for effort in (0, 4):
        data = saved(window(), rate=0.9, effort=effort, importance=mask)
        where = blocks_of(data)
        assert all_but_exact(np.asarray(opened(data)), np.asarray(window()), where)


def test_a_draft_shows_them(mixed: bytes) -> None:
    im = opened(mixed)
    im.draft("RGB", (57, 47))
    small = np.asarray(im)
    wanted = exact.reduced(np.asarray(opened(mixed)), 4)
    cells = blocks_of(mixed)[::4, ::4]
    assert small.shape == (48, 58, 3)
    assert np.array_equal(small[cells], wanted[cells])


def test_the_map_has_the_highest_level_there(mixed: bytes) -> None:
    im = opened(mixed)
    shown = np.asarray(im.importance_map(im.size))
    where = blocks_of(mixed)
    assert (shown[where] == 255).all() and (shown[~where] < 255).any()
    assert np.array_equal(shown[::16, ::16], np.asarray(im.importance_map()))


def test_the_map_of_a_file_cut_short_has_it_if_the_mask_arrived(mixed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, exact_at, where = (
        np.asarray(opened(mixed).importance_map()),
        mixed.index(b"PIXL"),
        blocks_of(mixed)[::16, ::16],
    )
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    before, behind = (np.asarray(opened(mixed[: exact_at + n]).importance_map()) for n in (6, 400))
    assert np.array_equal(before, np.where(where, 0, whole)) and np.array_equal(behind, whole)


def test_batches_show_them(mixed: bytes) -> None:
    pytest.importorskip("torch")
    wanted = np.asarray(opened(mixed))
    assert np.array_equal(pillow_cwic.decode([mixed, mixed])[1], wanted)
    assert np.array_equal(pillow_cwic.decode(mixed, as_tensor=True).permute(1, 2, 0).numpy(), wanted)


def test_shrinking_keeps_them_nearly(mixed: bytes) -> None:
    small = pillow_cwic.shrink(mixed, size=len(mixed) * 9 // 10)
    assert len(small) <= len(mixed) * 9 // 10
    assert np.array_equal(blocks_of(small), blocks_of(mixed))  # in fewer colours
    assert all_but_exact(np.asarray(opened(small)), np.asarray(opened(mixed)), blocks_of(mixed))
    parsed = container.read_file(mixed)
    assert parsed.pixels is not None
    least = len(parsed.pixels)  # beyond which the picture is encoded anew
    assert len(pillow_cwic.shrink(mixed, size=least)) <= least
    with pytest.raises(CwicError, match="size: 100 bytes are too few"):
        pillow_cwic.shrink(mixed, size=100)


def test_text_upon_nothing_is_as_cheap_as_upon_white() -> None:
    im = Image.new("RGBA", (200, 96), (255, 255, 255, 0))
    for row in range(8):
        ImageDraw.Draw(im).text((4, 4 + 11 * row), "a logo, or a label", fill=(30, 60, 9 * row, 255))
    whole = saved(im, lossless=True)
    for options in ({"quality": 50}, {"psnr": 36}, {"size": len(whole)}):
        data = saved(im, **options)
        assert len(data) <= len(whole)
        shown, seen = np.asarray(opened(data)), np.asarray(im)[..., 3] > 0
        assert np.array_equal(shown[..., 3], np.asarray(im)[..., 3])
        assert measures.psnr(shown[seen][None, :, :3], np.asarray(im)[seen][None, :, :3]) >= 36


def test_a_cut_out_photograph_is_no_drawing() -> None:
    im = photo(160, 160).convert("RGBA")
    mask = Image.new("L", im.size)
    ImageDraw.Draw(mask).ellipse((30, 30, 120, 120), fill=255)
    im.putalpha(mask)
    assert not container.read_file(saved(im, quality=60)).pixels


def test_what_is_smaller_than_a_block_is_no_larger_than_without_loss() -> None:
    for size in ((1, 1), (16, 1), (3, 2), (9, 9)):
        im = Image.fromarray(np.random.default_rng(2).integers(0, 256, (*size, 3), np.uint8))
        whole = saved(im, lossless=True)
        assert len(saved(im, size=len(whole))) <= len(whole)
        for options in ({"quality": 10}, {"quality": 100}, {"psnr": 60}):
            assert len(saved(im, **options)) <= max(len(whole), 130)
        assert np.array_equal(np.asarray(opened(saved(im, psnr=60))), np.asarray(im))


def test_edges_are_exact_too() -> None:
    ground = (244, 232, 216)  # which the transform shows as something near it
    im = Image.new("RGB", (116, 100), ground)
    im.paste(photo(48, 48), (32, 32))
    shown = np.asarray(opened(saved(im, quality=90)))
    assert (shown[-4:] == ground).all() and (shown[:, -4:] == ground).all()


def test_cut_files_show_what_arrived(mixed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, where = np.asarray(opened(mixed)), blocks_of(mixed)
    payload = container.read_file(mixed).pixels
    assert payload is not None
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    start = len(mixed) - 16 - len(payload)  # of PIXL's payload: behind it its CRC, and TAIL
    assert mixed[start - 4 : start] == b"PIXL"
    for size in range(start - 8, len(mixed), 61):
        shown = np.asarray(opened(mixed[:size]))
        assert np.array_equal(shown[~where], whole[~where]), size  # the layers are all there
    assert not np.array_equal(np.asarray(opened(mixed[:start])), whole)
    assert np.array_equal(np.asarray(opened(mixed[:-8])), whole)


def test_damaged_blocks_are_told(mixed: bytes) -> None:
    parsed = container.read_file(mixed)
    assert parsed.pixels is not None
    mask, rest = pixels.read_blocks(parsed.pixels)
    assert mask is not None
    for payload, message in (
        (b"", "PIXL: blocks: length: number cut short"),
        (b"\x7f", "PIXL: blocks: length 127 exceeds the 0 bytes left"),
        (pixels.write_blocks(mask, b""), "PIXL: method missing is none of 0, 2 and 3"),
        (pixels.write_blocks(mask, rest[:-1]), "do not fill"),
        (pixels.write_blocks(mask + bytes(16), rest), "bytes are left over"),
        (pixels.write_blocks(coder.encode(np.full((12, 15, 1), 2, np.uint8)), rest), "values up to 2, wanted 0 and 1"),
        (pixels.write_blocks(coder.encode(np.zeros((12, 15, 1), np.uint8)), rest), "values up to 0, wanted 0 and 1"),
        (pixels.write_blocks(coder.encode_mask(np.ones((12, 15), np.bool_)), rest), "PIXL: band 0: "),
    ):
        data = container.write_file(parsed.header, parsed.layers, [], None, payload)
        with pytest.raises(CwicError, match=message):
            opened(data).load()
