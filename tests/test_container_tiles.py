"""The container's numbers of variable length, and the tiles that layers hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillow_cwic.errors import ContainerError
from pillow_cwic.file.tiles import get_varint, join_tiles, put_varint, split_tiles


@given(st.integers(0, 2**35 - 1), st.binary(max_size=3), st.binary(max_size=3))
def test_varint_round_trip(n: int, before: bytes, after: bytes) -> None:
    coded = put_varint(n)
    assert len(coded) == max(1, (n.bit_length() + 6) // 7)
    end = len(before) + len(coded)
    assert get_varint(before + coded + after, len(before), end, "n") == (n, end)
    with pytest.raises(ContainerError, match="n: number cut short"):
        get_varint(before + coded + after, len(before), end - 1, "n")


@pytest.mark.parametrize("coded", [b"\x80\0", b"\xff\0", b"\x80\x80\x80\x80\0", b"\x80\x80\x80\x80\x80\1", b"\xff" * 9])
def test_varint_in_a_longer_form_raises(coded: bytes) -> None:
    with pytest.raises(ContainerError, match=r"n: number .*(not the shortest form|longer than 5 bytes)"):
        get_varint(coded, 0, len(coded), "n")


@pytest.mark.parametrize("n", [-1, 2**35])
def test_varint_out_of_range_raises(n: int) -> None:
    with pytest.raises(ContainerError):
        put_varint(n)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=10))
def test_tiles_round_trip(streams: list[bytes]) -> None:
    layer = join_tiles(streams)
    assert split_tiles(layer, len(streams), "layer 3") == streams
    assert split_tiles(layer, 1, "layer 3") == [layer]
    if len(streams) > 1:
        assert len(layer) == sum(len(put_varint(len(stream))) + len(stream) for stream in streams)
        for wrong in (layer[:-1], layer + b"\0"):
            with pytest.raises(ContainerError, match="layer 3: "):
                split_tiles(wrong, len(streams), "layer 3")


@pytest.mark.parametrize(
    ("layer", "tiles", "message"),
    [
        (b"", 2, "layer 3: 2 tiles cannot lie in 0 bytes"),
        (b"\0\0", 0, "layer 3: 0 tiles"),
        (b"\0\0", 2**36, "layer 3: 68719476736 tiles cannot lie in 2 bytes"),
        (put_varint(2**32 - 1) + b"x" * 340, 2, "layer 3: tile 0: length 4294967295 exceeds the 340 bytes left"),
        (b"\1ab", 2, "layer 3: tile 1: length 98 exceeds the 0 bytes left"),
        (b"\1a", 2, "layer 3: tile 1: number cut short"),
        (b"\1a\1b\0", 2, "layer 3: its tiles end at byte 4 of 5"),
    ],
)
def test_wrong_tiles(layer: bytes, tiles: int, message: str) -> None:
    with pytest.raises(ContainerError, match=message):
        split_tiles(layer, tiles, "layer 3")


def test_join_of_no_tiles_raises() -> None:
    with pytest.raises(ContainerError):
        join_tiles([])
