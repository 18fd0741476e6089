"""The search for a size: what parts of a picture foresee of the whole, and how little is coded on the way."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pillow_cwic import models, rate
from pillow_cwic.codec import choice, sample, search, sized
from pillow_cwic.codec.effort import EFFORTS
from pillow_cwic.codec.encoder import Encoder
from pillow_cwic.codec.made import Made
from pillow_cwic.codec.source import Source
from pillow_cwic.saving import Options


class Counting(Encoder):
    """Notes the rates at which the whole picture is analysed and coded."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.rates: dict[str, list[int]] = {"analyse": [], "code": []}
        super().__init__(*arguments, **named)

    def analyse(self, t: int) -> None:
        if self.transformed.shape == self.pixels.shape:
            self.rates["analyse"].append(t)
        super().analyse(t)

    def code(self, t: int, *how: Any) -> Any:
        if self.transformed.shape == self.pixels.shape:
            self.rates["code"].append(t)
        return super().code(t, *how)


@pytest.mark.parametrize(("rows", "columns"), [(16, 16), (32, 48), (8, 100), (500, 300), (33, 17)])
def test_parts_are_whole_squares_spread_over_the_map(rows: int, columns: int) -> None:
    found = sample.parts(rows, columns)
    marks = np.zeros((rows, columns), int)
    for place in found:
        assert marks[place].shape == (sample.SIDE, sample.SIDE)
        marks[place] += 1
    assert marks.max() == 1
    whole = (rows // sample.SIDE) * (columns // sample.SIDE)
    assert len(found) == min(sample.MOST, whole // sample.SHARE)
    assert len(found) < 4 or (marks[: rows // 2].any() and marks[rows // 2 :].any())


@pytest.mark.parametrize("shape", [(15, 16), (7, 1000), (1, 1), (8, 31)])
def test_small_maps_have_no_parts(shape: tuple[int, int]) -> None:
    assert sample.parts(*shape) == []


def test_the_first_of_scattered_places_lie_far_apart() -> None:
    for count in (1, 2, 7, 24, 100, 1000, 6144, 6143):
        places = sample.scattered(count)
        assert sorted(places.tolist()) == list(range(count))
        for first in (count // 4, count // 2):
            gaps = [b - a for a, b in pairwise(sorted(places[:first].tolist()))]
            assert not gaps or max(gaps) <= 1 + 2 * count / first


def test_activity() -> None:
    """Whichever colour it is in; of a picture of any height."""
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[:, None, None], 48, 1).repeat(3, 2)
    assert sample.activity(np.full((40, 40, 3), 200, np.uint8)) == 0
    for same in (ramp, ramp.transpose(1, 0, 2), np.tile(ramp, (1, 99, 1))):
        assert sample.activity(same) == 1
    assert sample.activity(100 * ramp[:2]) == sample.BUSY
    for colour in np.eye(3, dtype=np.uint8):
        assert sample.activity(ramp * colour) == pytest.approx(1 / 3)
    noise = np.random.default_rng(1).integers(0, 6, (4000, 16, 3)).astype(np.uint8)
    assert sample.activity(noise) == pytest.approx(sample.activity(noise[:500]), rel=0.05)
    for height, width in ((1, 1), (1, 9), (9, 1)):
        assert sample.activity(np.zeros((height, width, 3), np.uint8)) == 0


@pytest.mark.parametrize("bpp", [0.12, 0.3, 0.6, 1.2])
@pytest.mark.parametrize("tuning", ["ssim", "mse"])
def test_a_photograph_is_analysed_once_and_coded_a_few_times(photo: Image.Image, bpp: float, tuning: str) -> None:
    pixels = np.asarray(photo)
    encoder = Counting(pixels, False, models.by_name("cwic1", tuning), EFFORTS[3])
    size = round(bpp * pixels.shape[0] * pixels.shape[1] / 8)
    made = sized.within(encoder, size)
    assert search.ENOUGH * size <= made.size <= size
    assert len(encoder.rates["analyse"]) <= 2 and len(encoder.rates["code"]) <= 5
    assert encoder.reaches(made.rate)


def test_parts_tell_a_busy_picture_from_a_calm_one(photo: Image.Image) -> None:
    """The rate that is foreseen is nearer to the one found than that of the usual photograph."""
    calm = np.asarray(photo.resize((192, 128)).resize((768, 512), Image.Resampling.BICUBIC))
    noise = np.random.default_rng(2).normal(0, 12, (512, 768, 1))
    busy = np.clip(np.asarray(photo) + noise, 0, 255).astype(np.uint8)
    foreseen = []
    for pixels in (calm, busy):
        encoder = Encoder(pixels, False, models.by_name("cwic1"), EFFORTS[3]._replace(filters=False))
        bound = sized._Bound(encoder, 15_000)
        foreseen.append(bound.foreseen())
        assert abs(foreseen[-1] - sized.within(encoder, 15_000).rate) < 200
    assert foreseen[0] > foreseen[1] + 300


def test_parts_of_one_colour_and_parts_unlike_the_rest(photo: Image.Image) -> None:
    """Blue alone is foreseen as well as grey is; parts that are even in a busy picture are not believed."""
    model, size = models.by_name("cwic1"), 10_000
    blue = np.asarray(photo) * np.array([0, 0, 1], np.uint8)
    encoder = Encoder(blue, False, model, EFFORTS[2])
    assert abs(sized._Bound(encoder, size).foreseen() - sized.within(encoder, size).rate) < 150
    uneven = np.asarray(photo).copy()
    for place in sample.parts(32, 48):
        uneven[tuple(slice(16 * side.start, 16 * side.stop) for side in place)] = 128
    usual = rate.guess_rate(8 * size / (512 * 768), sized.MIDDLE)
    assert sized._Bound(encoder, size).foreseen() != usual
    assert sized._Bound(Encoder(uneven, False, model, EFFORTS[2]), size).foreseen() == usual


@pytest.mark.parametrize("size", [650, 700, 800, 1000])
def test_within_a_small_bound_the_filter_suits_the_layers(photo: Image.Image, size: int) -> None:
    """It is fitted anew where the rate had to move for it: no worse than without, nor than layers without one."""
    noise = np.random.default_rng(3).normal((228, 222, 210), 1.2, (384, 512, 3))
    pixels = np.clip(noise, 0, 255).astype(np.uint8)
    pixels[100:220, 100:260] = np.asarray(photo)[200:320, 300:460]
    encoder = Encoder(pixels, False, models.by_name("cwic1", "mse"), EFFORTS[3])
    made = sized.within(encoder, size)
    assert made.size <= size
    alone = sized.within(
        Encoder(pixels, False, models.by_name("cwic1", "mse"), EFFORTS[3]._replace(filters=False)), size
    )
    assert encoder.error(made) <= min(encoder.error(alone), encoder.error(made._replace(post=None)))


def test_bytes_that_a_search_leaves_are_no_reason_for_exact_blocks(
    photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where sizes ripple a search may end far below the bound; a transform is at its end where no rate is higher."""

    def work(bpp: float) -> choice._Work:
        planes = np.ascontiguousarray(photo)
        return choice._Work(Source(planes, planes, "RGB", Options(rate=bpp), None, (), None, None), None, None)

    assert work(12.0).falls_short and not work(0.5).falls_short
    monkeypatch.setattr(sized, "within", lambda encoder, *_: encoder.at(-100))
    rippled = work(1.0)
    assert not rippled.falls_short
    assert isinstance(rippled._plain, Made) and rippled._plain.coded.size < 0.9 * 49152


def test_parts_follow_importance_and_exact_blocks(photo: Image.Image) -> None:
    """The levels of a part are those that the whole has there, whatever shifts them."""
    pixels = np.asarray(photo)
    importance = np.zeros(pixels.shape[:2], np.uint8)
    importance[:, 384:] = 255
    encoder = Encoder(pixels, False, models.by_name("cwic1"), EFFORTS[3], importance=importance)
    part = encoder.sample()
    assert part is not None and part.importance is not None and encoder.importance is not None
    rows, columns = part.importance.shape
    assert part.transformed.shape == (16 * rows, 16 * columns, 3)
    assert part.importance.mean() == pytest.approx(encoder.importance.mean(), abs=0.5)
    encoder.analyse(0), part.analyse(0)
    assert part.code(0, 1.0).size < encoder.code(0, 1.0).size  # type: ignore[union-attr]
    assert encoder.transformed.shape == pixels.shape  # as it was
