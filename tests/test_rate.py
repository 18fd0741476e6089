"""The rate search, on made-up and on real pictures."""

from __future__ import annotations

import itertools
import math
from dataclasses import FrozenInstanceError
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from pillow_cwic import CwicError, codec, measures, models, rate
from pillow_cwic.codec import choice, search
from pillow_cwic.codec.effort import EFFORTS
from pillow_cwic.codec.encoder import Encoder
from pillow_cwic.codec.graphics import Exact
from pillow_cwic.codec.made import Made
from pillow_cwic.saving import DEFAULT_EFFORT, DEFAULT_QUALITY, TARGETS, Options

DATA = Path(__file__).parent / "data"


@given(
    st.floats(0.3, 4),
    st.floats(20, 2e6),
    st.integers(-2048, 2048),
    st.floats(0, 0.002),
    st.integers(100, 4_000_000),
    st.one_of(st.none(), st.integers(-500, 2048)),
)
def test_search_meets_the_size(
    slope: float, middle: float, start: int, ripple: float, wanted: int, ceiling: int | None
) -> None:
    """For sizes that grow with the rate, with ripples and a ceiling: never above, and close where it is possible."""
    trials = 0

    def measure(t: int) -> int | None:
        nonlocal trials
        trials += 1
        if ceiling is not None and t > ceiling:
            return None
        return int(130 + middle * math.exp(slope * t / 512) * (1 + ripple * math.sin(t * 12.9)))

    found = search.search(measure, wanted, start)
    assert trials <= search.MAX_TRIALS
    lowest, highest = measure(rate.LOWEST), measure(rate.HIGHEST if ceiling is None else ceiling)
    assert lowest is not None and highest is not None
    if found is None:
        assert lowest * 1.005 + 1 > wanted
    else:
        size = measure(found)
        assert size is not None and size <= wanted
        if ceiling is None and lowest * 1.01 < wanted < highest and wanted > 1000:
            assert size >= 0.97 * wanted


@given(st.integers(-10, 10), st.integers(-10, 12), st.integers(0, 3))
def test_climbing_ends_near_the_least(least: int, ceiling: int, level: int) -> None:
    """On costs that fall and rise, are level around the least, and infinite from somewhere on."""
    tried: list[int] = []

    def cost(power: int) -> float:
        tried.append(power)
        return math.inf if power >= ceiling else float(max(abs(power - least), level))

    found = search.climb(cost, 2, 10)
    assert min(tried) >= -10 and max(tried) <= 10
    best = min(cost(power) for power in range(-10, 11))
    assert cost(found) <= best + 1 or (ceiling <= 0 and cost(found) <= best + 2)


@given(st.integers(1, 400), st.integers(0, 1000), st.floats(0.5, 2))
def test_the_largest_that_fits_is_found(count: int, wanted: int, bend: float) -> None:
    def measure(n: int) -> int:
        return round(1001 * (n / count) ** bend)

    found = search.largest(measure, (0, 0), (count, 1001), wanted, wanted + 1)
    assert measure(found) <= wanted < measure(found + 1)
    near = search.largest(measure, (0, 0), (count, 1001), wanted, wanted // 2)
    assert wanted // 2 <= measure(near) <= wanted or near == found


def test_real_files_meet_their_rate(photo: Image.Image) -> None:
    pixels = np.asarray(photo)
    for wanted in (0.15, 0.5):
        bpp = len(codec.encode(pixels, Options(rate=wanted))) * 8 / pixels[..., 0].size
        assert 0.98 * wanted <= bpp <= wanted


@pytest.mark.long
@pytest.mark.parametrize("name", ["kodim04", "kodim15", "kodim23"])
@pytest.mark.parametrize("wanted", [0.15, 0.25, 0.5, 0.75, 1.0])
def test_all_pictures_meet_all_rates(name: str, wanted: float) -> None:
    with Image.open(DATA / f"{name}.png") as im:
        pixels = np.asarray(im.convert("RGB"))
    bpp = len(codec.encode(pixels, Options(rate=wanted))) * 8 / pixels[..., 0].size
    assert 0.98 * wanted <= bpp <= wanted


def test_a_photograph_takes_all_that_it_is_given(photo: Image.Image) -> None:
    """Beyond the highest rate of the transform blocks become exact, and then all of them."""
    pixels = np.asarray(photo.crop((0, 0, 160, 128)))
    whole = len(codec.encode(pixels, Options(lossless=True)))
    shown = []
    for size in (whole // 2, whole * 3 // 4, whole):
        data = codec.encode(pixels, Options(size=size))
        assert 0.9 * size <= len(data) <= size  # samples that are a little coarse may be better than all of it
        shown.append(measures.psnr(pixels, codec.decode(data)))
    assert shown == sorted(shown) and shown[0] > 45 and shown[1] > 47 and math.isinf(shown[2])


@pytest.mark.parametrize("tuning", ["mse", "ssim"])
def test_a_higher_rate_is_not_worse_where_it_is_dark(photo: Image.Image, tuning: str) -> None:
    """Codes of dark places are large at high rates, where the context model may be sure that they are others."""
    dark = np.asarray(photo.crop((0, 0, 192, 128))) // 12
    encoder = Encoder(dark, False, models.by_name("cwic1", tuning), EFFORTS[DEFAULT_EFFORT], None, None, None, 0, None)
    made = [encoder.at(t) for t in (512, 640, 832)]
    qualities = [measures.psnr(dark, encoder.shown(coded)) for coded in made]
    assert all(more > less - 0.3 for less, more in itertools.pairwise(qualities)), qualities
    assert made[0].size < made[2].size and made[2].rate <= 832


def test_no_square_is_of_another_colour() -> None:
    """Where the context model does not let codes be what they are, blocks are exact."""
    with Image.open(DATA / "kodim15.png") as im:
        pixels = np.asarray(im.convert("RGB").crop((240, 64, 432, 256)))

    encoder = Encoder(pixels, False, models.by_name("cwic1", "mse"), EFFORTS[DEFAULT_EFFORT])
    alone = encoder.at(740)
    assert alone.spoilt is not None and alone.spoilt.sum() == 1
    block = np.kron(alone.spoilt, np.ones((16, 16), np.bool_))

    def worst(shown: np.ndarray) -> float:
        """The largest error of a mean colour of 8 x 8 pixels of that block, in levels."""
        errors = np.where(block[..., None], shown.astype(int) - pixels, 0)
        return float(abs(errors.reshape(24, 8, 24, 8, 3).mean(axis=(1, 3))).max())

    assert worst(encoder.shown(alone)) > 5
    for more in (1.0, 1.04, 1.1):
        data = codec.encode(pixels, Options(size=int(more * alone.size), tuning="mse"))
        assert worst(codec.decode(data)) < 5  # a code that is moved by less than SPOILT steps may stay
        assert measures.psnr(pixels, codec.decode(data)) > measures.psnr(pixels, encoder.shown(alone)) - 0.2


def chart() -> np.ndarray:
    """Discs and lines, smooth at their edges."""
    random = np.random.default_rng(2)
    drawn = Image.new("RGB", (640, 640), "white")
    draw = ImageDraw.Draw(drawn)
    for _ in range(20):
        x, y, to_x, to_y = (int(value) for value in random.integers(20, 620, 4))
        draw.ellipse((x - 30, y - 30, x + 30, y + 30), fill=tuple(int(v) for v in random.integers(0, 200, 3)))
        draw.line((x, y, to_x, to_y), fill=(90, 90, 90), width=3)
    return np.asarray(drawn.resize((320, 320), Image.Resampling.LANCZOS))


def test_a_picture_that_is_exact_as_a_whole_is_not_missed_by_a_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """In so many colours; layers that hold nothing have their least size not at the lowest rate."""
    pixels, sizes, whole = chart(), list[int](), list[float]()
    finest = choice._Work._finest

    def spied(work: choice._Work, blocks: Exact, rate: int) -> Made:
        made = finest(work, blocks, rate)
        if blocks.blocks.all():
            sizes.append(made.coded.size)
            whole.append(measures.psnr(pixels, blocks.shown))
        return made

    with monkeypatch.context() as patched:
        patched.setattr(choice._Work, "_finest", spied)
        codec.encode(pixels, Options(quality=40))
    data = codec.encode(pixels, Options(size=sizes[-1]))
    assert measures.psnr(pixels, codec.decode(data)) >= whole[-1] > 30


def test_a_bound_of_few_bytes_is_used_to_the_last() -> None:
    """Most of such a file is around its layers, so that 99 % of it may be half of what they can take."""
    tried: list[int] = []

    def measure(rate: int) -> int:
        tried.append(rate)
        return 118 + (rate + 2048) // 90

    assert search.search(measure, 136, -630) in range(-428, -338) and len(tried) < 16
    assert search.search(measure, 136, -380, fixed=0, enough=0.5) in range(-428, -338)


def test_predictions_move_towards_the_size() -> None:
    assert search.predict(0, 1000, 2000) > 0 > search.predict(0, 2000, 1000)
    assert search.predict(rate.LOWEST, 10**9, 1) == rate.LOWEST
    assert search.predict(rate.HIGHEST, 1, 10**9) == rate.HIGHEST
    assert search.predict(300, None, 1000) == 44


def test_quality_covers_the_trained_range() -> None:
    assert rate.quality_to_rate(50) == 0
    rates = [rate.quality_to_rate(q) for q in range(1, 101)]
    assert rates == sorted(rates) and rates[0] < -512 and rates[-1] > 512
    assert rates[0] >= rate.LOWEST and rates[-1] <= rate.HIGHEST


def test_targets_in_bytes() -> None:
    assert Options(rate=0.5).bytes_for(768 * 512, 0) == 24576
    assert Options(size=777).bytes_for(1, 100) == 677
    assert Options().bytes_for(100, 0) is None
    with pytest.raises(ValueError, match="rate and size: only one of rate, size, quality, psnr, ssim can be given"):
        Options(rate=1, size=1)


def test_options_are_checked_once_and_stay() -> None:
    assert Options() == Options.of({}) == Options.of({"rate": None, "effort": None, "dpi": 7})
    assert [getattr(Options(), name) for name in TARGETS] == [None, None, DEFAULT_QUALITY, None, None]
    assert Options(ssim=0.9).quality is None
    found = Options.of({"rate": np.float32(0.5), "effort": np.int64(2), "model": "mine", "unknown": 1})
    assert (type(found.rate), type(found.effort), found.model) == (float, int, "mine")
    with pytest.raises(FrozenInstanceError):
        found.rate = 2.0  # type: ignore[misc]
    huge = 10**5000
    for wrong in (
        {"model": 7}, {"tuning": b"mse"}, {"lossless": "no"}, {"lossless": 2}, {"lossless": np.ones(2)},
        {"lossless": huge}, {"rate": huge}, {"psnr": 10**400}, {"ssim": -huge}, {"ssim": Fraction(huge)},
        {"size": huge}, {"quality": huge}, {"model": huge},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=rf"^{next(iter(wrong))}: "):
            Options.of(wrong)


def test_effort_is_checked() -> None:
    assert [Options(effort=e).effort for e in (None, 0, 9, np.int64(5))] == [DEFAULT_EFFORT, 0, 9, 5]
    for wrong in (-1, 10, 2.0, True, "9"):
        with pytest.raises(ValueError, match=rf"effort: {wrong!r} is not a whole number from 0 to 9"):
            Options(effort=wrong)


def test_a_rate_that_was_divided_has_its_bytes() -> None:
    """8 * 123 / 4420, times 4420 / 8, is a little less than 123."""
    for size in range(100, 3000, 7):
        for pixels in (800, 4420, 7500, 393216):
            assert Options(rate=8 * size / pixels).bytes_for(pixels, 0) == size


def test_a_bound_that_no_rate_can_be_is_told() -> None:
    with pytest.raises(CwicError, match="the smallest file found has 119 beside its metadata, which no rate"):
        Options(rate=100).check_size(1, 0, 119)
    with pytest.raises(CwicError, match=r"beside its metadata, at rate 16\.81$"):
        Options(rate=1).check_size(800, 0, 1681)
    assert Options(rate=16.81).bytes_for(800, 0) == 1681


@pytest.mark.long
def test_blocks_are_mended_at_the_rate_that_they_had() -> None:
    """Where alpha hides most of a photograph, the bound allows a rate that is too high for some blocks alone."""
    with Image.open(DATA / "kodim15.png") as im:
        pixels = np.asarray(im.convert("RGBA")).copy()
    pixels[..., 3] = 0
    seen = np.s_[100:300, 200:500]
    pixels[(*seen, 3)] = 255
    shown = []
    for bpp in (0.8, 0.9):
        data = codec.encode(pixels, Options(rate=bpp, tuning="mse"))
        assert 0.97 < 8 * len(data) / (bpp * 768 * 512) <= 1
        shown.append(measures.psnr(pixels[seen][..., :3], codec.decode(data)[seen][..., :3]))
    assert shown[1] > shown[0] + 0.2
