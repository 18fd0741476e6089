"""The colour behind transparency."""

from __future__ import annotations

import numpy as np

from pillow_cwic.codec.transparency import extend, fill

RNG = np.random.default_rng(5)


def test_fill_keeps_what_is_seen_and_smooths_the_rest() -> None:
    colour = RNG.integers(0, 256, (61, 47, 3), np.uint8)
    colour[:, 20:] = (10, 200, 30)
    plane = np.full((61, 47), 255, np.uint8)
    plane[:, :20] = 0
    filled = fill(colour, plane)
    assert np.array_equal(filled[:, 20:], colour[:, 20:])
    assert np.array_equal(filled, np.broadcast_to(np.uint8([10, 200, 30]), filled.shape))


def test_fill_goes_from_one_colour_to_the_other() -> None:
    grey = np.zeros((1, 64, 1), np.uint8)
    plane = np.zeros((1, 64), np.uint8)
    grey[0, 0], grey[0, 63], plane[0, 0], plane[0, 63] = 40, 200, 1, 1
    row = fill(grey, plane)[0, :, 0].astype(int)
    assert row[0] == 40 and row[63] == 200
    assert (np.diff(row) >= 0).all() and np.diff(row).max() < 32


def test_fill_without_any_or_only_hidden_pixels() -> None:
    colour = RNG.integers(0, 256, (5, 6, 3), np.uint8)
    assert fill(colour, np.full((5, 6), 1, np.uint8)) is colour
    assert (fill(colour, np.zeros((5, 6), np.uint8)) == 128).all()


def test_extend_goes_on_to_the_right_and_down() -> None:
    colour = RNG.integers(0, 256, (6, 5, 3), np.uint8)
    plane = np.zeros((6, 5), np.uint8)
    plane[2, [1, 3]] = plane[4, 2] = 9
    shown = extend(colour, plane)
    assert np.array_equal(shown[2], colour[2, [1, 1, 1, 3, 3]])
    assert (shown[:2] == shown[2]).all() and np.array_equal(shown[3], shown[2])
    assert (shown[4:] == colour[4, 2]).all()
    assert np.array_equal(extend(colour, np.ones_like(plane)), colour)
    assert (extend(colour, np.zeros_like(plane)) == 128).all()
