"""What files and failures may cost: memory, time, leaks. The scoreboard's rows, where they are small enough to run."""

from __future__ import annotations

import sys
import warnings
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.reliability import memory
from pillow_cwic import codec, models
from pillow_cwic.errors import CwicError, LimitError
from pillow_cwic.file import container, limits

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and GNU ld")


@LINUX
def test_every_failing_allocation_is_told(tmp_path: Path) -> None:
    done = memory.fail_in_turn(tmp_path)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("failures told") == 4


@LINUX
def test_small_files_take_little_memory() -> None:
    files = list(memory.hostile())
    assert len(files) > 10 and max(map(len, files)) <= 100
    assert memory.peak_of(files) <= 1e6


@pytest.mark.parametrize("exponent", [8, 10, 15])
def test_a_gigapixel_out_of_nothing(exponent: int) -> None:
    """All lengths and checksums right, and not a byte of any layer: told at once, not after a gigapixel of work."""
    model = models.by_name("cwic1")
    count = 9
    head = container.Header(32768, 32768, "RGB", exponent, 0, model.id)
    tiles = head.tiles
    stream = b"" if tiles == 1 else bytes(tiles)
    data = container.write_file(head, [container.Layer(stream, 0)] * count)
    with pytest.raises(CwicError, match=r"layer 0: (a symbol is out of its range|the stream ends before)"):
        codec.decode(data)


def test_crafted_files_cost_no_more_than_honest_ones(small_file: bytes) -> None:
    found = memory.crafted_files()
    assert found.met, found.figure


@LINUX
def test_valid_files_cost_no_more_per_pixel_than_is_said() -> None:
    """thin-pictures.py, and one of 174 bytes that took 85 MB and 5 s."""
    found = memory.valid_files()
    assert found.met, found.figure


def test_pillows_limit_holds_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = next(memory.hostile(200))
    monkeypatch.setattr(codec, "decode", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(Image.DecompressionBombError, match="1073741824 pixels"):
        Image.open(BytesIO(data))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2**29 + 1)
    with warnings.catch_warnings(), pytest.raises(Image.DecompressionBombWarning):
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        Image.open(BytesIO(data))


def test_pillows_limit_counts_what_thin_pictures_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """thin-pictures.py: sides are padded to 16 pixels, so that one of 1 x 1000 costs as much as one of 16 x 1000."""
    thin, wide = BytesIO(), BytesIO()
    Image.new("L", (1, 1000)).save(thin, "CWIC", effort=0)
    Image.new("L", (100, 90)).save(wide, "CWIC", effort=0)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9000)  # of whole squares the second has 10,752
    Image.open(wide).load()
    with pytest.warns(Image.DecompressionBombWarning, match="16128 pixels"):
        Image.open(thin)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    with pytest.raises(Image.DecompressionBombError, match="16128 pixels"):
        Image.open(thin)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    Image.open(thin).load()
    with pytest.raises(LimitError, match=r"1 x 16777215, 268435456 pixels with padding, exceed the limit of 100000000"):
        monkeypatch.setattr(limits, "MAX_PIXELS", 10**8)
        limits.check_pixels(1, 2**24 - 1)


@LINUX
def test_a_few_rounds_leave_nothing_behind() -> None:
    assert memory.growth(60) <= 2e6
