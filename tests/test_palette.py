"""Few colours for many: which ones, and that every processor finds the same."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

from pillow_cwic.codec.palette import Palettes


def test_palettes_are_the_same_on_every_processor() -> None:
    """Libraries add products in an order of their own, which must not matter."""
    script = (
        "import zlib, numpy as np; from pillow_cwic.codec.palette import Palettes;"
        "pixels = np.random.default_rng(1).integers(0, 256, (30000, 3), np.uint8) // 3; palettes = Palettes(pixels);"
        "print([zlib.crc32(palettes.apply(pixels[None], size).tobytes()) for size in palettes.sizes])"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, **core}, capture_output=True, text=True, check=True
        ).stdout
        for core in ({}, {"OPENBLAS_CORETYPE": "Prescott"})
    ]
    assert said[0] == said[1] and said[0].count(",") == 5


def test_rare_colours_stay_themselves() -> None:
    """A button's colour, of which there is little, is not spent on one more step of a gradient's."""
    height, width = 240, 320
    across, down = np.arange(width), np.arange(height)[:, None]
    page = np.repeat((200 - across * 0.5 + 20 * np.sin(across * down / 900))[..., None], 3, axis=2).astype(np.uint8)
    button = np.zeros((height, width), np.bool_)
    button[100:110, 150:162] = True
    page[button] = 0, 170, 80
    page[100:104, 20:24] = 220, 30, 40
    palettes = Palettes(page.reshape(-1, 3))
    for size in palettes.sizes:
        shown = palettes.apply(page, size)
        assert (shown[button] == (0, 170, 80)).all() and (shown[101, 21] == (220, 30, 40)).all()
        assert len(np.unique(shown.reshape(-1, 3), axis=0)) <= 2 * size
        assert (np.ptp(shown[~button & (across > 30)], axis=1) == 0).all()  # grey is not tinted
