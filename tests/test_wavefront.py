"""Layers coded at once: the same bytes and symbols as one after another, and the same error."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from fuzz import files
from pillow_cwic.coding import EntropyModel, wavefront
from pillow_cwic.errors import EntropyError

ROWS, COLUMNS = 23, 9  # in levels: bands that end within a layer, and more rows than a band


class Recorded:
    """A layer that takes its time, and looks at how far the one before has come."""

    def __init__(self, index: int, done: list[int], fails: dict[int, BaseException], rows: int, ahead: int) -> None:
        self.index, self.done, self.fails, self.all, self.ahead = index, done, fails, rows, ahead
        assert index == 0 or done[index - 1] > 0, "begun before the one that it follows"

    def rows(self, end: int) -> None:
        if self.index:
            assert self.done[self.index - 1] >= min(end + self.ahead, self.all)
        time.sleep(0.0005 * ((self.index * 7 + end) % 4))
        if end == self.all and self.index in self.fails:
            raise self.fails[self.index]
        self.done[self.index] = end

    def finish(self) -> int:
        assert self.done[self.index] == self.all
        return self.index


def run(layers: int, rows: int, ahead: int, threads: int, fails: dict[int, BaseException] | None = None) -> list[int]:
    done, steps = [0] * layers, []
    begin = [lambda k=k: Recorded(k, done, fails or {}, rows, ahead) for k in range(layers)]
    found = wavefront.run(begin, rows, ahead, threads, lambda: steps.append(1))
    assert len(steps) == layers
    return found


@pytest.mark.parametrize("threads", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("rows", [1, 8, 9, 40])
@pytest.mark.parametrize("ahead", [0, 2, 11])
def test_each_layer_stays_behind_the_one_before(threads: int, rows: int, ahead: int) -> None:
    assert run(5, rows, ahead, threads) == [0, 1, 2, 3, 4]


def test_nothing_to_do() -> None:
    assert run(0, 8, 2, 4) == []


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_the_first_layer_that_fails_says_why(threads: int) -> None:
    before = threading.active_count()
    with pytest.raises(EntropyError, match=r"^second$"):
        run(6, 30, 2, threads, {1: EntropyError("second"), 2: EntropyError("third"), 5: KeyboardInterrupt()})
    assert threading.active_count() == before


def test_an_interrupt_ends_all_threads() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(6, 30, 2, 3, {3: KeyboardInterrupt()})


def model() -> EntropyModel:
    found = files.entropy_models()[b"cwc1"]
    assert isinstance(found, EntropyModel)
    return found


def made_up(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    layers = [rng.integers(0, model().levels, (1, ROWS, COLUMNS)).astype(np.int16)]
    for channels in model().groups:
        values = np.round(rng.laplace(0, 3, (channels, 2 * ROWS, 2 * COLUMNS))).clip(-511, 511)
        layers.append(values.astype(np.int16))
    return layers


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_change_neither_bytes_nor_symbols(threads: int) -> None:
    rng = np.random.default_rng(threads)
    for seed in range(5):
        exact = [None, *(np.int16(32) * p + rng.integers(-16, 17, p.shape, np.int16) for p in made_up(seed)[1:])]
        one, many = made_up(seed), made_up(seed)
        streams = model().tile(3, ROWS, COLUMNS).encode_all(one, exact, 0.5, 1)
        assert model().tile(3, ROWS, COLUMNS).encode_all(many, exact, 0.5, threads) == streams
        back = model().tile(3, ROWS, COLUMNS).decode_all(streams, threads, lambda: None)
        for written, also, read in zip(one, many, back, strict=True):
            assert np.array_equal(written, also) and np.array_equal(written, read)


def test_a_damaged_layer_gives_the_same_error_with_threads() -> None:
    streams = model().tile(3, ROWS, COLUMNS).encode_all(made_up(1), [None] * 3, 0.0, 1)
    for damaged in ([0], [1], [2], [1, 2]):
        cut = [stream[: len(stream) // 2] if k in damaged else stream for k, stream in enumerate(streams)]
        said = set()
        for threads in (1, 2, 3):
            tile = model().tile(3, ROWS, COLUMNS)
            with pytest.raises(EntropyError) as caught:
                tile.decode_all(cut, threads, lambda: None)
            said.add(str(caught.value))
            with pytest.raises(ValueError, match=r"another of its tile has failed$"):
                tile.decode(streams[-1])
        assert len(said) == 1 and said.pop().startswith(f"layer {damaged[0]}: ")


def test_rows_out_of_order_are_refused() -> None:
    tile, (levels, first, _) = model().tile(3, ROWS, COLUMNS), made_up(2)
    under_way = tile.encoder(levels)
    under_way.rows(ROWS)
    with pytest.raises(ValueError, match=r"^layer 1: an argument is out of its range$"):
        tile.encoder(first)
    tile = model().tile(3, ROWS, COLUMNS)
    tile.encode(levels)
    layer = tile.encoder(first)
    layer.rows(10)
    for refused in (lambda: layer.rows(9), lambda: layer.rows(2 * ROWS + 1), lambda: layer.rows(-1), layer.finish):
        with pytest.raises(ValueError, match=r"^layer 1: an argument is out of its range$"):
            refused()
