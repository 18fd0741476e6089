"""Files cut short: each prefix is a picture, and each layer makes it better."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile
from test_plugin import psnr, saved

from pillow_cwic.file import container

DATA = Path(__file__).parent / "data"
PICTURES = ["kodim04.png", "kodim15.png", "kodim23.png"]
TOLERANCE = 0.02  # dB that a layer may take: the last ones of a coarse file hold a few codes only


@pytest.fixture(autouse=True)
def _cut_files_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)


def photograph(name: str) -> Image.Image:
    with Image.open(DATA / name) as im:
        return im.convert("RGB").crop((100, 60, 484, 348))


def opened(data: bytes) -> Image.Image:
    im = Image.open(io.BytesIO(data))
    im.load()
    return im


def layer_ends(data: bytes) -> list[int]:
    """Where each layer of a file ends."""
    parsed = container.read_file(data)
    lengths = [len(layer.data) for layer in parsed.layers]
    behind = 16 + container.chunk_size(parsed.post)  # CRC of CODE and the chunks POST and TAIL
    return list(len(data) - behind - sum(lengths) + np.cumsum(lengths))


@pytest.mark.parametrize("rate", [0.1, 0.4, 1.2])
@pytest.mark.parametrize("name", PICTURES)
def test_each_layer_makes_it_better(name: str, rate: float) -> None:
    im = photograph(name)
    data = saved(im, rate=rate)
    qualities = [psnr(opened(data[:end]), im) for end in layer_ends(data)]
    assert len(qualities) == 9
    assert all(later >= earlier - TOLERANCE for earlier, later in pairwise(qualities)), qualities
    assert qualities[1] + 2 < qualities[2] < qualities[-1]
    assert qualities[-1] <= psnr(opened(data), im), "the post-filter comes last"


@pytest.mark.parametrize("rate", [0.4, 0.8, 1.2])
@pytest.mark.parametrize("name", PICTURES)
def test_half_the_bytes_show_the_whole_picture(name: str, rate: float) -> None:
    im = photograph(name)
    data = saved(im, rate=rate)
    shown = opened(data[: len(data) // 2])
    grey = opened(data[: container.HEADER_BYTES])
    for box in [(x, y, x + 96, y + 96) for x in range(0, im.width, 96) for y in range(0, im.height, 96)]:
        assert psnr(shown.crop(box), im.crop(box)) > psnr(grey.crop(box), im.crop(box)) + 3
    assert psnr(shown, im) > 20


def test_every_prefix_opens(small: Image.Image, small_file: bytes) -> None:
    """And shows no less than the shorter ones."""
    ends = [*layer_ends(small_file), len(small_file) - 12]  # the last is that of the post-filter
    before = opened(small_file[: container.HEADER_BYTES])
    assert np.ptp(np.asarray(before)) == 0 or np.asarray(before).std() < 2  # all codes are zero
    for length in range(container.HEADER_BYTES, len(small_file)):
        if length % 40 and length not in ends:
            continue
        shown = opened(small_file[:length])
        assert (shown.size, shown.mode) == (small.size, "RGB")
        if length not in ends:
            assert shown.tobytes() == before.tobytes()
        before = shown
    assert before.tobytes() == opened(small_file).tobytes()
