"""Files that meet a quality, and files whose bits go where a mask says."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import structural_similarity

import pillow_cwic
from pillow_cwic import CwicError, codec, models
from pillow_cwic.codec import quality, search
from pillow_cwic.codec.effort import EFFORTS
from pillow_cwic.codec.encoder import Encoder
from pillow_cwic.saving import Options


def saved(im: Image.Image, **options: Any) -> tuple[int, Image.Image]:
    data = BytesIO()
    im.save(data, format="CWIC", **options)
    back = Image.open(data)
    back.load()
    return data.getbuffer().nbytes, back


def psnr(first: Image.Image, second: Image.Image, where: np.ndarray | None = None) -> float:
    difference = np.asarray(first).astype(float) - np.asarray(second)
    return float(10 * np.log10(255**2 / np.mean(np.square(difference if where is None else difference[where]))))


def ssim(first: Image.Image, second: Image.Image) -> float:
    x, y = (np.asarray(im.convert("RGB")) @ np.array([0.299, 0.587, 0.114]) for im in (first, second))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    return float(structural_similarity(x, y, **options))


@pytest.mark.parametrize(("mode", "wanted"), [("RGB", 27.0), ("RGB", 36.5), ("L", 33.0)])
def test_psnr_is_met_within_a_tenth(photo: Image.Image, mode: str, wanted: float) -> None:
    picture = photo.convert(mode)
    size, back = saved(picture, psnr=wanted)
    assert wanted <= psnr(picture, back) <= wanted + 0.1
    assert size < saved(picture, psnr=wanted + 1)[0]


@pytest.mark.parametrize("wanted", [0.8, 0.96, 0.985])
@pytest.mark.parametrize("tuning", ["mse", "ssim"])
def test_ssim_is_met_within_a_tenth_of_a_decibel(photo: Image.Image, wanted: float, tuning: str) -> None:
    _, back = saved(photo, ssim=wanted, tuning=tuning)
    found = ssim(photo, back)
    assert wanted <= found and 10 * np.log10((1 - wanted) / (1 - found)) <= 0.1


def test_more_effort_reaches_the_same_quality_with_fewer_bytes(small: Image.Image) -> None:
    usual, _ = saved(small, psnr=32)
    searched, back = saved(small, psnr=32, effort=6)
    assert searched < usual and psnr(small, back) >= 32


def test_alpha_does_not_count(small: Image.Image) -> None:
    size, _ = saved(small, psnr=30)
    picture = small.copy()
    picture.putalpha(Image.linear_gradient("L").resize(small.size))
    larger, back = saved(picture, psnr=30)
    assert larger > size and psnr(small, back.convert("RGB")) >= 29.9


def test_quality_out_of_reach_of_the_transform_is_met_without_loss() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 72, 3), np.uint8))
    encoder = Encoder(np.asarray(noise), False, models.by_name("cwic1", "mse"), EFFORTS[0])
    with pytest.raises(
        pillow_cwic.CwicError, match=r"psnr: 60 dB is not reached, the best that was found is [\d.]+ dB$"
    ):
        encoder.reaching("psnr", 60)
    _, back = saved(noise, psnr=60)
    assert np.array_equal(np.asarray(back), np.asarray(noise))
    thin = noise.crop((0, 0, 10, 20))
    encoder = Encoder(np.asarray(thin), False, models.by_name("cwic1", "mse"), EFFORTS[0])
    said = "ssim: a picture of 10 x 20 is smaller than the window of 11, and 0.9 is nothing that it can have"
    with pytest.raises(pillow_cwic.CwicError, match=said):
        encoder.reaching("ssim", 0.9)
    for ssim_wanted in (0.1, 0.9):  # exact, as nothing else can be said to have it
        assert np.array_equal(np.asarray(saved(thin, ssim=ssim_wanted)[1]), np.asarray(thin))


@pytest.mark.parametrize(("option", "wanted"), [("psnr", 46.0), ("psnr", 50.0), ("ssim", 0.994), ("ssim", 0.998)])
def test_quality_beyond_the_transform_takes_some_exact_blocks(photo: Image.Image, option: str, wanted: float) -> None:
    crop = photo.crop((40, 60, 232, 188))
    whole, _ = saved(crop, lossless=True)
    size, back = saved(crop, **{option: wanted})
    found = {"psnr": psnr, "ssim": ssim}[option](crop, back)
    assert wanted <= found < wanted + {"psnr": 0.3, "ssim": (1 - wanted) / 20}[option]
    assert size < 0.95 * whole


@pytest.mark.parametrize(("option", "wanted"), [("psnr", 26.0), ("ssim", 0.85)])
def test_a_model_that_is_best_at_some_rates_meets_a_quality(photo: Image.Image, option: str, wanted: float) -> None:
    """Of cwic2018 quality falls again where the rate is far from the one that a point was trained for."""
    crop = photo.crop((100, 60, 292, 204))
    size, back = saved(crop, model="cwic2018", **{option: wanted})
    assert wanted <= {"psnr": psnr, "ssim": ssim}[option](crop, back)
    assert size < 1.1 * saved(crop, model="cwic2018", **{option: wanted * 1.01})[0]


@pytest.mark.parametrize("quality", [20, 35, 50])
def test_the_best_of_all_points_within_a_bound_is_taken(photo: Image.Image, quality: int) -> None:
    """About as good as a quality of its bytes, whichever point is nearest to them; it was up to 11 dB worse."""
    for place in ((0, 0), (200, 100)):
        crop = photo.crop((*place, place[0] + 160, place[1] + 128))
        size, shown = saved(crop, model="cwic2018", quality=quality)
        assert psnr(crop, saved(crop, model="cwic2018", size=size)[1]) > psnr(crop, shown) - 2


def test_the_best_of_all_points_is_named(photo: Image.Image) -> None:
    """Rounded down, so that it never looks like what was wanted; a file of that quality can be had."""
    crop = photo.crop((100, 60, 228, 156))
    with pytest.raises(CwicError, match="psnr: 50 dB is not reached, the best that was found is ") as caught:
        saved(crop, model="cwic2018", psnr=50)
    best = float(str(caught.value).split()[-2])
    assert psnr(crop, saved(crop, model="cwic2018", psnr=best)[1]) >= best


def test_a_search_passes_a_peak() -> None:
    tried = []

    def measure(rate: int) -> float:
        tried.append(rate)
        return 30.0 - abs(rate - 100) / 50

    for start in (-700, 0, 100, 800):
        found = search.search_quality(measure, 29.0, start, 0.08)
        assert found is None or 50 <= found <= 150
    assert search.search_quality(measure, 29.0, 0, 0.08) is not None
    assert search.search_quality(measure, 31.0, 0, 0.08) is None and len(tried) < 5 * 16
    assert search.search_quality(lambda rate: 20 + rate / 50 + 0.2 * (rate % 2), 24.0, 0, 0.08) in range(185, 205)


def test_quality_is_that_of_what_is_seen(photo: Image.Image) -> None:
    """Most of the picture is hidden, which is smooth then, and says nothing of the rest."""
    crop = photo.crop((0, 0, 192, 192))
    seen = np.zeros((192, 192), bool)
    seen[48:112, 64:136] = True
    crop.putalpha(Image.fromarray(np.where(seen, 255, 0).astype(np.uint8)))
    colour = crop.convert("RGB")
    for wanted in (34.0, 42.0):
        _, back = saved(crop, psnr=wanted)
        assert wanted <= psnr(colour, back.convert("RGB"), seen) < wanted + 0.6
    _, back = saved(crop, ssim=0.96)
    inner = (64, 48, 136, 112)
    assert ssim(colour.crop(inner), back.convert("RGB").crop(inner)) > 0.955


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"psnr": 61}, "psnr: 61 is not a number of dB from 10 to 60"),
        ({"psnr": "high"}, "psnr: 'high' is not"),
        ({"ssim": 1}, "ssim: 1 is not a number between 0 and 1"),
        ({"ssim": 0.9, "rate": 1}, "options rate and ssim: only one of"),
        ({"importance": "face"}, "importance: 'face' is not a picture of mode L"),
        ({"importance": Image.new("RGB", (3, 4))}, "importance: mode RGB, 3 x 4 is not a picture of mode L"),
        ({"importance": Image.new("L", (0, 0))}, "importance: 0 x 0 pixels, wanted 1 x 1 and above"),
        ({"importance": Image.new("1", (0, 5))}, "importance: 0 x 5 pixels, wanted 1 x 1 and above"),
        ({"importance": np.zeros((75, 100))}, r"importance: array\(\[\[0., 0., .*\.\. \(ndarray\) is not a picture"),
        ({"importance": 10**5000}, "importance: int that cannot be shown is not a picture of mode L"),
        ({"progress": 10**5000}, "progress: int that cannot be shown is neither True, False nor a function"),
    ],
)
def test_wrong_options(small: Image.Image, option: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        saved(small, **option)


def test_own_measures_are_those_of_others(photo: Image.Image) -> None:
    _, back = saved(photo, rate=0.3)
    x, y = np.asarray(photo), np.asarray(back)
    assert quality.psnr(x, y) == pytest.approx(psnr(photo, back), abs=1e-9)
    assert quality.ssim(x, y) == pytest.approx(ssim(photo, back), abs=1e-4)
    assert quality.psnr(x, x) == np.inf and quality.ssim(x, x) == pytest.approx(1)
    tall = np.tile(x, (4, 1, 1))  # several strips
    other = np.tile(y, (4, 1, 1))
    assert quality.psnr(tall, other) == pytest.approx(psnr(photo, back), abs=1e-9)
    whole = structural_similarity(
        *(p @ np.array([0.299, 0.587, 0.114]) for p in (tall, other)),
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255,
    )  # fmt: skip
    assert quality.ssim(tall, other) == pytest.approx(whole, abs=1e-4)


@pytest.mark.parametrize(("tuning", "most"), [("mse", 1), ("ssim", 0.5)])
def test_bits_go_where_the_mask_is_bright(photo: Image.Image, tuning: str, most: float) -> None:
    """At 0.15 bpp the marked part gains half a decibel or one, the rest does not fall apart, the file is no larger."""
    width, height = photo.size
    box = (width // 4, height // 4, width // 2, 3 * height // 4)
    mask = Image.new("L", (width // 2, height // 2), 128)  # of another size than the picture
    mask.paste(255, tuple(side // 2 for side in box))
    inside = np.zeros((height, width), bool)
    inside[box[1] : box[3], box[0] : box[2]] = True
    _, plain = saved(photo, rate=0.15, tuning=tuning)
    size, steered = saved(photo, rate=0.15, tuning=tuning, importance=mask)
    assert size <= 0.15 * width * height / 8
    gain = psnr(photo, steered, inside) - psnr(photo, plain, inside)
    loss = psnr(photo, plain, ~inside) - psnr(photo, steered, ~inside)
    assert gain > most and 0 < loss < 3


def test_an_even_mask_changes_nothing(small: Image.Image) -> None:
    pixels = np.asarray(small)
    plain = codec.encode(pixels, Options(rate=0.5))
    for value in (0, 128, 255):
        assert codec.encode(pixels, Options(rate=0.5), importance=np.full(pixels.shape[:2], value, np.uint8)) == plain


@pytest.mark.parametrize("effort", [0, 1, 2])
def test_a_mask_moves_bits_at_any_effort(photo: Image.Image, effort: int) -> None:
    """Where nothing is weighed otherwise, too; a mask that says nothing changes nothing."""
    pixels = np.asarray(photo.crop((100, 100, 484, 356)))
    mask = np.full(pixels.shape[:2], 128, np.uint8)
    plain = codec.encode(pixels, Options(quality=50, effort=effort))
    assert codec.encode(pixels, Options(quality=50, effort=effort), importance=mask) == plain
    mask[:, 192:] = 255
    bound = pixels.shape[0] * pixels.shape[1] * 0.4 / 8
    plain, moved = (codec.encode(pixels, Options(rate=0.4, effort=effort), importance=m) for m in (None, mask))
    assert 0.98 * bound <= len(moved) <= bound
    for half, better in ((slice(0, 192), False), (slice(192, None), True)):
        before, after = (quality.psnr(pixels[:, half], codec.decode(data)[:, half]) for data in (plain, moved))
        assert (after > before) == better and abs(after - before) < 5


def test_masks_of_arrays_are_checked(small: Image.Image) -> None:
    with pytest.raises(ValueError, match=r"importance: float64 \(3, 4\), wanted uint8"):
        codec.encode(np.asarray(small), importance=np.ones((3, 4)))  # type: ignore[arg-type]


@pytest.mark.parametrize("colour", [0, 255])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_picture_that_is_met_exactly_reaches_any_quality(mode: str, colour: int) -> None:
    im = Image.new(mode, (64, 40), colour if mode == "L" else (colour,) * 3)
    for target in ({"psnr": 30}, {"ssim": 0.9}):
        im.save(out := BytesIO(), "CWIC", effort=0, **target)
        assert len(out.getvalue()) < 200


def test_what_can_be_made_is_made_down_to_the_smallest_file(photo: Image.Image) -> None:
    """Neither encoding nor shrinking gives more bytes than asked for where a smaller file is in reach."""
    part = np.asarray(photo.crop((100, 100, 132, 132)))
    data = pillow_cwic.encode(part, quality=75)
    for make in (lambda size: pillow_cwic.encode(part, size=size), lambda size: pillow_cwic.shrink(data, size=size)):
        with pytest.raises(CwicError, match="the smallest file found has") as caught:
            make(1)
        least = int(str(caught.value).split()[-1])
        for size in range(least, least + 14, 3):
            assert len(make(size)) <= size
