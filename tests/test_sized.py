"""The search for a size: what parts of a picture foresee of the whole, and how little is coded on the way."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pillow_cwic import models
from pillow_cwic.codec import sample, search, sized
from pillow_cwic.codec.effort import EFFORTS
from pillow_cwic.codec.encoder import LEAD, REACH, Encoder


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
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[:, None, None], 48, 1).repeat(3, 2)
    assert sample.activity(np.full((40, 40, 3), 200, np.uint8)) == 0
    assert sample.activity(ramp) == 32 * 48 and sample.activity(ramp.transpose(1, 0, 2)) == 24 * 63
    assert sample.activity(100 * ramp[:2]) == sample.BUSY * 48


@pytest.mark.parametrize("bpp", [0.12, 0.3, 0.6, 1.2])
@pytest.mark.parametrize("tuning", ["ssim", "mse"])
def test_a_photograph_is_analysed_once_and_coded_a_few_times(photo: Image.Image, bpp: float, tuning: str) -> None:
    pixels = np.asarray(photo)
    encoder = Counting(pixels, False, models.by_name("cwic1", tuning), EFFORTS[3])
    size = round(bpp * pixels.shape[0] * pixels.shape[1] / 8)
    made = sized.within(encoder, size)
    assert search.ENOUGH * size <= made.size <= size
    assert len(encoder.rates["analyse"]) <= 2 and len(encoder.rates["code"]) <= 5
    assert abs(made.rate - encoder.analysed_for) <= REACH + LEAD


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
