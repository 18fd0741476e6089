"""The alpha plane: round trips, hostile payloads, and the colour behind transparency."""

from __future__ import annotations

import io
import lzma
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from reference_alpha import decode_alpha

from pillow_cwic.errors import ContainerError, CwicError
from pillow_cwic.file import alpha

Plane = NDArray[np.uint8]
FILTERS = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 22, "lc": 3, "lp": 0, "pb": 0}]  # as FORMAT.md says
RNG = np.random.default_rng(5)


def packed(rows: bytes) -> bytes:
    return b"\1" + lzma.compress(rows, format=lzma.FORMAT_RAW, filters=FILTERS)


def disc(side: int, softness: float) -> Plane:
    y, x = np.mgrid[:side, :side] - side / 2
    return np.clip(128 + (side / 3 - np.hypot(x, y)) * softness, 0, 255).astype(np.uint8)


PLANES = {
    "one pixel": np.full((1, 1), 7, np.uint8),
    "row": np.arange(200, dtype=np.uint8)[None],
    "column": np.arange(200, dtype=np.uint8)[:, None],
    "noise": RNG.integers(0, 256, (50, 31), np.uint8),
    "mask": disc(90, 1e9),
    "soft": disc(90, 30),
    "gradient": disc(90, 2),
}


@pytest.mark.parametrize("name", PLANES)
def test_round_trip(name: str) -> None:
    plane = PLANES[name]
    payload = alpha.encode(plane)
    assert np.array_equal(alpha.decode(payload, *plane.shape), plane)
    assert decode_alpha(payload, plane.shape[1], plane.shape[0]) == plane.tolist()
    alpha.check(payload, *plane.shape)


def test_every_filter_of_the_format_decodes() -> None:
    """Written by hand, wrapping around 256: as is, differences to the left, above, and again to the left."""
    rows = bytes([0, 1, 2, 1]) + bytes([250, 0, 9]) + bytes([10, 250, 1]) + bytes([1, 1, 255]) + bytes([5, 0, 0])
    plane = alpha.decode(packed(rows), 4, 3)
    assert plane.tolist() == [[250, 0, 9], [10, 4, 5], [11, 5, 4], [5, 5, 5]]
    first = alpha.decode(packed(bytes([2, 2]) + bytes([3, 4, 5, 6])), 2, 2)
    assert first.tolist() == [[3, 4], [8, 10]]  # above the first row all is 0


def test_sizes() -> None:
    """A constant plane takes two bytes; masks and gradients take less than PNG needs."""
    assert alpha.encode(np.full((3000, 2000), 255, np.uint8)) == b"\0\xff"
    for name in ("mask", "soft", "gradient"):
        png = io.BytesIO()
        Image.fromarray(PLANES[name]).save(png, format="PNG", optimize=True)
        assert len(alpha.encode(PLANES[name])) < 0.9 * len(png.getvalue()), name


ROWS = bytes(4) + bytes(range(12))


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "method missing is none of 0 and 1"),
        (b"\2\0", "method 02 is none of 0 and 1"),
        (b"\0", "1 bytes instead of the 2"),
        (b"\0\1\2", "3 bytes instead of the 2"),
        (b"\1", "its 1 bytes end early"),
        (b"\1\xff", "ALPH: "),
        (packed(ROWS)[:-1], "end early"),
        (packed(ROWS) + b"\0", "1 bytes follow its data"),
        (packed(ROWS[:-1]), "15 bytes or more unpacked instead of 16"),
        (packed(ROWS + b"\0"), "17 bytes or more unpacked instead of 16"),
        (packed(b"\0\0\3" + ROWS[3:]), "row filter 3 is outside 0 to 2"),
    ],
)
def test_damage(payload: bytes, message: str) -> None:
    for read in (alpha.decode, alpha.check):
        with pytest.raises(ContainerError, match=message):
            read(payload, 4, 3)


@settings(deadline=None)
@given(st.binary(max_size=40), st.integers(0, 12), st.booleans())
def test_whatever_decode_makes_of_a_payload_check_does_too(noise: bytes, at: int, replace: bool) -> None:
    """Noise alone, and in the midst of a true payload."""
    true = packed(ROWS)
    for payload in (b"\1" + noise, true[:at] + noise + true[at + len(noise) * replace :]):
        try:
            plane = alpha.decode(payload, 4, 3)
        except ContainerError:
            with pytest.raises(ContainerError):
                alpha.check(payload, 4, 3)
        else:
            assert plane.shape == (4, 3)
            alpha.check(payload, 4, 3)


def test_a_python_without_lzma_is_told_when_it_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    payload = alpha.encode(PLANES["soft"])
    monkeypatch.setitem(sys.modules, "lzma", None)
    for use in (lambda: alpha.encode(PLANES["soft"]), lambda: alpha.decode(payload, 90, 90)):
        with pytest.raises(CwicError, match="alpha: needs the module lzma"):
            use()
    assert alpha.decode(b"\0\7", 2, 3).tolist() == [[7] * 3] * 2


def test_a_bomb_costs_no_memory() -> None:
    """100 MB packed in a few kB, where the picture has 12 pixels: nothing but the dictionary of 4 MiB."""
    payload = packed(bytes(100_000_000))
    tracemalloc.start()
    try:
        for read in (alpha.decode, alpha.check):
            with pytest.raises(ContainerError, match="unpacked instead of 16"):
                read(payload, 4, 3)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


def test_fill_keeps_what_is_seen_and_smooths_the_rest() -> None:
    colour = RNG.integers(0, 256, (61, 47, 3), np.uint8)
    colour[:, 20:] = (10, 200, 30)
    plane = np.full((61, 47), 255, np.uint8)
    plane[:, :20] = 0
    filled = alpha.fill(colour, plane)
    assert np.array_equal(filled[:, 20:], colour[:, 20:])
    assert np.array_equal(filled, np.broadcast_to(np.uint8([10, 200, 30]), filled.shape))


def test_fill_goes_from_one_colour_to_the_other() -> None:
    grey = np.zeros((1, 64, 1), np.uint8)
    plane = np.zeros((1, 64), np.uint8)
    grey[0, 0], grey[0, 63], plane[0, 0], plane[0, 63] = 40, 200, 1, 1
    row = alpha.fill(grey, plane)[0, :, 0].astype(int)
    assert row[0] == 40 and row[63] == 200
    assert (np.diff(row) >= 0).all() and np.diff(row).max() < 32


def test_fill_without_any_or_only_hidden_pixels() -> None:
    colour = RNG.integers(0, 256, (5, 6, 3), np.uint8)
    assert alpha.fill(colour, np.full((5, 6), 1, np.uint8)) is colour
    assert (alpha.fill(colour, np.zeros((5, 6), np.uint8)) == 128).all()
