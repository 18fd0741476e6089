"""What becomes of each of Pillow's modes, and of transparency."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, features
from test_plugin import psnr, saved

import pillow_cwic
from pillow_cwic import CwicError


def reopened(im: Image.Image, **options: object) -> Image.Image:
    back = Image.open(io.BytesIO(saved(im, **options)))
    back.load()
    return back


@pytest.fixture(scope="module")
def plane() -> Image.Image:
    """Alpha for ``small``: a third hidden, a third seen, and all values between."""
    return Image.fromarray(np.tile(np.clip(np.arange(-80, 320, 4), 0, 255).astype(np.uint8), (75, 1)))


@pytest.mark.parametrize(("colour", "mode"), [("RGB", "RGBA"), ("L", "LA")])
def test_alpha_is_kept_exactly(small: Image.Image, plane: Image.Image, colour: str, mode: str) -> None:
    im = small.convert(colour)
    im.putalpha(plane)
    assert im.mode == mode
    back = reopened(im, rate=1.5)
    assert back.mode == mode
    assert np.array_equal(np.asarray(back.getchannel("A")), np.asarray(plane))
    seen = np.asarray(plane) > 0
    error = np.asarray(back.convert(colour), float)[seen] - np.asarray(small.convert(colour), float)[seen]
    assert np.mean(error**2) < 120
    Image.open(io.BytesIO(saved(im, rate=1.5))).verify()


def test_size_counts_alpha(small: Image.Image, plane: Image.Image) -> None:
    im = small.copy()
    im.putalpha(plane)
    assert len(saved(im, size=900)) <= 900
    opaque = small.copy()
    opaque.putalpha(255)
    assert len(saved(opaque, quality=50)) == len(saved(small, quality=50)) + 14


def test_hidden_pixels_cost_few_bits(small: Image.Image) -> None:
    """Noise behind full transparency takes no more than what is seen; with the least alpha it costs a lot."""
    noise = np.random.default_rng(2).integers(0, 256, (75, 50, 3), np.uint8)
    pixels = np.asarray(small).copy()
    pixels[:, 50:] = noise
    alpha = np.full((75, 100), 255, np.uint8)
    alpha[:, 50:] = 0
    hidden = len(saved(Image.fromarray(np.dstack([pixels, alpha])), quality=60))
    assert hidden < 1.2 * len(saved(small.crop((0, 0, 50, 75)), quality=60))
    assert hidden < 0.3 * len(saved(Image.fromarray(np.dstack([pixels, np.maximum(alpha, 1)])), quality=60))


@pytest.mark.parametrize(
    ("mode", "written"),
    [
        ("1", "L"), ("P", "RGB"), ("PA", "RGBA"), ("La", "LA"), ("RGBa", "RGBA"), ("RGBX", "RGB"), ("CMYK", "RGB"),
        ("YCbCr", "RGB"), ("HSV", "RGB"),
    ],
)  # fmt: skip
def test_other_modes_are_converted(small: Image.Image, mode: str, written: str) -> None:
    source = {"La": "LA", "RGBa": "RGBA", "PA": "P"}.get(mode, "RGB")
    im = small.convert(source).convert(mode)
    back = reopened(im, quality=90)
    assert back.mode == written
    assert psnr(back, im.convert(written)) > (10 if mode == "1" else 25)
    assert im.mode == mode  # the caller's picture is left alone


@pytest.mark.skipif(not features.check("littlecms2"), reason="this Pillow has no LittleCMS")
def test_lab_is_converted(small: Image.Image) -> None:
    lab = ImageCms.profileToProfile(
        small, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None and lab.mode == "LAB"
    back = reopened(lab, quality=90)
    assert back.mode == "RGB" and psnr(back, small) > 25


def test_a_transparent_colour_of_a_palette_becomes_alpha(small: Image.Image) -> None:
    im = small.quantize(16)
    im.info["transparency"] = 5
    back = reopened(im, quality=20)
    assert back.mode == "RGBA"
    assert np.array_equal(np.asarray(back.getchannel("A")), np.asarray(im.convert("RGBA").getchannel("A")))
    assert np.asarray(back.getchannel("A")).min() == 0


@pytest.mark.parametrize("value", [0, (0, 0, 0), b"\0\xff", None, "x", 3.5, 10**30])
@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P"])
def test_a_stale_transparency_does_no_harm(small: Image.Image, mode: str, value: object) -> None:
    """02-rgb-from-gif-loses-ink.py and 09-stale-transparency-type-error.py: ``info`` copied from another picture."""
    im = small.convert(mode)
    wanted = np.asarray(reopened(im, quality=20))
    im.info["icc_profile"] = 5
    im.info["transparency"] = value
    back = reopened(im, quality=20)
    if mode == "P":
        assert np.array_equal(np.asarray(back.convert("RGB"))[:, :40], wanted[:, :40]) or back.mode == "RGBA"
    else:
        assert np.array_equal(np.asarray(back), wanted)


@pytest.mark.parametrize("quality", [1, 20, 90])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_grey_stays_grey(small: Image.Image, plane: Image.Image, mode: str, quality: int) -> None:
    """07-grey-as-rgb-tinted.py: equal channels come back equal, in small pictures, arrays and shrunk files too."""
    im = small.convert("L").convert("RGB")
    colour = small.copy()
    if mode == "RGBA":  # where it is transparent, colour does not count
        im.paste((255, 0, 0), mask=plane.point(lambda a: 255 * (a == 0)))
        im.putalpha(plane)
        colour.putalpha(plane)
    out = io.BytesIO()
    im.save(out, "CWIC", quality=quality)
    back = Image.open(out)
    assert back.mode == mode
    single = reopened(small.convert("L"), quality=quality)
    channels = [np.asarray(back.getchannel(c)) for c in "RGB"]
    assert np.array_equal(channels[0], channels[1]) and np.array_equal(channels[0], channels[2])
    if mode == "RGB":
        assert np.array_equal(channels[0], np.asarray(single))
    draft = Image.open(out)
    draft.draft(None, (12, 9))
    batch = pillow_cwic.decode([out.getvalue()] * 2)
    tensor = pillow_cwic.decode(out.getvalue(), as_tensor=True).numpy()
    shrunk = pillow_cwic.decode(pillow_cwic.shrink(out.getvalue(), size=len(out.getvalue()) - 1 - quality // 2))
    for pixels in (np.asarray(draft), batch[1], tensor.transpose(1, 2, 0), shrunk):
        assert pixels.shape[2] == len(mode) and (pixels[..., :1] == pixels[..., 1:3]).all()
    coloured = np.asarray(reopened(colour, quality=quality))
    assert (coloured[..., 0] != coloured[..., 1]).any()


@pytest.mark.parametrize("mode", ["I", "F", "I;16", "I;16B", "I;16L"])
def test_more_than_8_bits_are_refused(mode: str) -> None:
    with pytest.raises(OSError, match=f"cannot write mode {mode} as CWIC, which has 8 bits a sample"):
        saved(Image.new(mode, (20, 20)))


def test_imageio_keeps_alpha(small: Image.Image, plane: Image.Image) -> None:
    iio = pytest.importorskip("imageio.v3")
    im = small.copy()
    im.putalpha(plane)
    data = iio.imwrite("<bytes>", np.asarray(im), extension=".cwic", quality=30)
    back = iio.imread(data, extension=".cwic")
    assert back.shape == (75, 100, 4) and np.array_equal(back[..., 3], np.asarray(plane))


@pytest.mark.filterwarnings("ignore:.*needs a newer pillow_cwic")
def test_every_flipped_bit_of_alpha_is_told(small: Image.Image, plane: Image.Image) -> None:
    im = small.copy()
    im.putalpha(plane)
    data = saved(im, quality=1)
    size = data.index(b"CODE") - 4 - 46
    for bit in range(8 * 46, 8 * (46 + size)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        for use in ("load", "verify"):
            with pytest.raises(CwicError):
                getattr(Image.open(io.BytesIO(damaged)), use)()


def test_cut_files_show_what_arrived_with_their_alpha(
    small: Image.Image, plane: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every prefix that holds the header; opaque below the rows of alpha that arrived."""
    im = small.copy()
    im.putalpha(plane)
    data = saved(im, quality=30, xmp=b"<x/>")
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    arrived = rows = 0
    for length in range(46, len(data), 7):
        back = Image.open(io.BytesIO(data[:length]))
        found = np.asarray(back.getchannel("A"))
        if np.array_equal(found, np.asarray(plane)):
            arrived += 1
            assert back.info["xmp"] == b"<x/>" and back.mode == "RGBA"
        else:
            there = int((found == np.asarray(plane)).all(axis=1).argmin())
            assert arrived == 0 and there >= rows and (found[there:] == 255).all()
            rows = there
    assert rows > 0
    assert 10 < arrived < (len(data) - 46) / 7 - 10


def test_frames(small: Image.Image, small_file: bytes) -> None:
    im = Image.open(io.BytesIO(small_file))
    assert (im.n_frames, im.is_animated, im.tell()) == (1, False, 0)
    im.seek(0)
    with pytest.raises(EOFError):
        im.seek(1)
    assert saved(small, rate=0.6, save_all=True) == small_file
    assert saved(small, rate=0.6, save_all=True, append_images=None) == small_file
    with pytest.raises(ValueError, match="append_images: 3 is not a list of pictures"):
        saved(small, save_all=True, append_images=3)
    for options in ({"append_images": [small]}, {"save_all": True, "append_images": [small]}):
        with pytest.raises(OSError, match="cannot write 2 pictures with save_all: CWIC holds one"):
            saved(small, **options)
