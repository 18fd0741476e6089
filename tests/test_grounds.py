"""What even colours become: those that fill much of a picture come out right, or as near as rates allow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pillow_cwic import models
from pillow_cwic.codec import grounds, sized
from pillow_cwic.codec.effort import EFFORTS
from pillow_cwic.codec.encoder import Encoder
from pillow_cwic.rate import HIGHEST, LOWEST

PHOTO = Path(__file__).parent / "data" / "kodim23.png"
TUNINGS = "mse", "ssim"
EXTREMES = (255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 0, 255)
GREY, BLUE = (240, 240, 240), (20, 60, 160)


def photo(width: int, height: int) -> Image.Image:
    with Image.open(PHOTO) as im:
        return im.convert("RGB").crop((200, 100, 200 + width, 100 + height))


def model(tuning: str) -> models.Model:
    return models.points("cwic1", tuning)[0]


def picture(colour: tuple[int, int, int]) -> np.ndarray:
    """A photograph on an even ground, (160, 192, 3)."""
    im = Image.new("RGB", (192, 160), colour)
    im.paste(photo(48, 48), (96, 64))
    return np.asarray(im)


def encoder(pixels: np.ndarray, tuning: str = "ssim", seen: np.ndarray | None = None) -> Encoder:
    return Encoder(pixels, False, model(tuning), EFFORTS[3], seen=seen)


def off(made: Encoder, t: int) -> float:
    """By how much the ground is off at the left, far from the photograph, at rate t: the mean of absolute errors."""
    made.analyse(t)
    coded = made.code(t, made.effort.usual)
    assert coded is not None
    return float(np.abs(made.shown(coded)[32:128, 16:64].astype(int) - made.pixels[32:128, 16:64]).mean())


@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize("colour", EXTREMES)
def test_what_decoders_clip_is_right_at_every_rate(colour: tuple[int, int, int], tuning: str) -> None:
    made, without = encoder(picture(colour), tuning), encoder(picture(colour), tuning)
    without.grounds = None
    rates = range(-448, 193, 64)
    errors, before = [off(made, t) for t in rates], [off(without, t) for t in rates]
    assert np.mean(errors) < 0.3 * np.mean(before)
    assert max(errors) < 0.1 or max(colour) > min(colour)


@pytest.mark.parametrize(("colour", "share"), [(GREY, 0.6), (BLUE, 0.85)])
def test_a_rate_nearby_shows_other_colours_better(colour: tuple[int, int, int], share: float) -> None:
    made = encoder(picture(colour))
    before, after = [], []
    for t in range(-448, 1, 64):
        found = made.grounded(t)
        assert abs(found - t) <= grounds.NEAR
        before.append(off(made, t))
        after.append(off(made, found))
    assert np.mean(after) < share * np.mean(before)


def test_a_bound_is_used_no_worse_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a post-filter, too, for which the rate moves once more."""
    sizes = 900, 2500, 5000
    found = [[(made := encoder(picture(c))).error(sized.within(made, n)) for n in sizes] for c in (GREY, BLUE)]
    monkeypatch.setattr(Encoder, "grounded", lambda self, t, *reach: t)
    before = [[(made := encoder(picture(c))).error(sized.within(made, n)) for n in sizes] for c in (GREY, BLUE)]
    assert (np.array(found) <= np.array(before)).all()
    assert np.mean(found) < 0.99 * np.mean(before)


def test_what_is_less_important_counts_for_less() -> None:
    pixels = picture(GREY)
    importance = np.where((pixels == 240).all(2), 0, 255).astype(np.uint8)
    made = Encoder(pixels, False, model("ssim"), EFFORTS[3], importance=importance)
    usual = encoder(pixels)
    assert made.grounds is not None and usual.grounds is not None
    assert made.grounds.places[0][1] < 0.1 * usual.grounds.places[0][1]


def test_only_grounds_move() -> None:
    made = encoder(picture((255, 255, 255)))
    assert made.grounds is not None
    exact = np.full((128, 20, 24), 32000, np.int16)
    made.grounds.shift(exact, -384, -400)
    where = made.grounds.places[0][2].repeat(2, axis=0).repeat(2, axis=1)
    assert (exact[:, ~where] == 32000).all() and (exact[0, where] < 32000).all()


def test_rates_stay_within_the_range() -> None:
    made = encoder(picture(GREY))
    for t in (LOWEST, LOWEST + 3, HIGHEST - 3, HIGHEST):
        assert LOWEST <= made.grounded(t) <= HIGHEST
        assert t - 2 * grounds.NEAR <= made.grounded(t, 2 * grounds.NEAR, 0) <= t


def test_photographs_have_no_grounds() -> None:
    made = encoder(np.asarray(photo(192, 160)))
    assert made.grounds is not None and not made.grounds.places
    assert made.grounded(100) == 100


def test_what_is_hidden_is_no_ground() -> None:
    pixels = picture(GREY)
    seen = np.zeros(pixels.shape[:2], np.bool_)
    seen[64:112, 96:144] = True
    hidden, shown = encoder(pixels, seen=seen).grounds, encoder(pixels).grounds
    assert shown is not None and [place[0] for place in shown.places] == [GREY]
    assert hidden is not None and not hidden.places


def test_grounds_are_the_largest_of_the_colours() -> None:
    pixels = np.zeros((160, 160, 3), np.uint8)
    for n in range(10):
        pixels[16 * n : 16 * n + 16] = 20 * n
    pixels[:80, :] = 255
    found = encoder(pixels).grounds
    assert found is not None and len(found.places) == grounds.MOST
    assert found.places[0][0] == (255, 255, 255)
    assert found.places[0][1] == 0.5
