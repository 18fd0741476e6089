"""Bounds of bytes that are filled by exact blocks, quite or nearly: more bytes are used, and not worse."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw
from test_graphics import opened, photo, saved

from pillow_cwic import measures


def test_a_bound_is_used_as_well_as_a_quality() -> None:
    """Blocks are chosen for the rate that the bound leaves with them, not for that of the transform alone."""
    im = Image.new("RGB", (320, 240), "white")
    for row in range(12):
        ImageDraw.Draw(im).text((6, 4 + 19 * row), "Lorem ipsum dolor sit amet consectetur", fill=(0, 0, 20 * row))
    data = saved(im, quality=50)
    by_size = saved(im, size=len(data))
    psnr = [measures.psnr(np.asarray(im), np.asarray(opened(each))) for each in (data, by_size)]
    assert psnr[1] >= psnr[0] - 0.5


def test_a_bound_suits_a_photograph_beside_a_chart() -> None:
    """What is left beside exact blocks has a far higher rate than the transform alone: blocks are weighed at that."""
    im = photo(320, 240)
    draw = ImageDraw.Draw(im)
    draw.rectangle((0, 0, 159, 239), fill="white")
    for row in range(12):
        draw.text((10, 10 + 18 * row), f"The quick brown fox {37 * row} jumps"[:24], fill=(20 * row, 0, 255 - 20 * row))
    draw.line((0, 0, 159, 120), fill="green", width=2)
    data = saved(im, quality=75)
    psnr = [measures.psnr(np.asarray(im), np.asarray(opened(each))) for each in (data, saved(im, size=len(data)))]
    assert psnr[1] >= psnr[0] - 0.3, psnr


def test_a_bound_leaves_nothing_over_and_is_as_good_as_a_quality() -> None:
    """Dithered pictures, columns of small text, text: what one block costs is much of them."""
    shades = Image.linear_gradient("L").resize((100, 80)).convert("1").convert("RGB")
    column, page = Image.new("RGB", (10, 300), "white"), Image.new("RGB", (150, 90), "white")
    for im in (shades, column, page):
        for y in range(0, im.height, 12):
            ImageDraw.Draw(im).text((2, y), f"The quick brown fox {y} jumps", fill=(0, 0, 7 * y % 255))
        whole, data = len(saved(im, lossless=True)), saved(im, quality=50)
        reached = min(99, measures.psnr(np.asarray(im), np.asarray(opened(data))))
        by_size = opened(saved(im, size=len(data)))
        assert min(99, measures.psnr(np.asarray(im), np.asarray(by_size))) >= reached - 0.5
        for size in (whole * 5 // 8, whole * 7 // 8):
            assert 0.85 * size <= len(saved(im, size=size)) <= size  # a block is a twentieth


@pytest.mark.parametrize("tuning", ["mse", "ssim"])
def test_more_bytes_are_not_worse_near_those_without_loss(tuning: str) -> None:
    """A page of text: with one step for all samples it may be better than with any bytes in a mixture of looks."""
    im, found = Image.new("RGB", (150, 90), "white"), [0.0]
    for y in range(0, im.height, 12):
        ImageDraw.Draw(im).text((2, y), f"The quick brown fox {y} jumps", fill=(0, 0, 7 * y % 255))
    whole = len(saved(im, lossless=True))
    for share in (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98):
        data = saved(im, size=int(share * whole), tuning=tuning)
        found.append(measures.psnr(np.asarray(im), np.asarray(opened(data))))
        assert len(data) <= int(share * whole) and found[-1] > found[-2] - 0.05, share
