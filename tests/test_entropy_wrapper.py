"""The Python side of the coder, without networks: what it hands to C, what it refuses, and in which words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fuzz import files
from pillow_cwic.coding import EntropyModel, PlaneModel, coder, decode_bits, encode_bits
from pillow_cwic.errors import EntropyError, ModelError

GROUPS = {b"cwc1": (2, 4), b"cw18": (1, 3)}
LEVELS = {b"cwc1": 3, b"cw18": 4}
Model = EntropyModel | PlaneModel
both = pytest.mark.parametrize("family", [b"cwc1", b"cw18"])


def model_of(family: bytes) -> Model:
    return files.entropy_models()[family]


def arrays(family: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases of the right counts, all zero."""
    if family == b"cwc1":
        counts = (32 + 256 + 192 + 256 + 32) + sum(
            32 + 144 * (1 + earlier) + 2304 + 192 * c + 256 + 32 * c for earlier, c in ((0, 2), (2, 4))
        )
        return np.zeros(counts, np.int16), np.zeros(3 * 16 * 3 + 2 + 12, np.int32)
    return np.zeros(1664 * 6, np.int16), np.zeros(33 * 6, np.int32)


def built(family: bytes, weights: Any, biases: Any, **options: Any) -> Model:
    if family == b"cwc1":
        return EntropyModel(weights, biases, (2, 4), 16, 16, 3, **options)
    return PlaneModel(weights, biases, (1, 3), 4, **options)


def made_up(family: bytes, rows: int = 3, columns: int = 5) -> list[np.ndarray]:
    """A map of the highest level, so that nothing is masked, and codes."""
    rng, n = np.random.default_rng(8), 2 if family == b"cwc1" else 1
    layers = [np.full((1, rows, columns), LEVELS[family] - 1, np.int16)]
    for channels in GROUPS[family]:
        layers.append(rng.integers(0, 2, (channels, n * rows, n * columns)).astype(np.int16))
    return layers


def says(kind: type[Exception], words: str) -> Any:
    return pytest.raises(kind, match=f"^{re.escape(words)}$")


@both
def test_layers_come_back(family: bytes) -> None:
    model, layers = model_of(family), made_up(family)
    assert model.groups == GROUPS[family] and model.levels == LEVELS[family]
    writer, reader = model.tile(7, 3, 5), model.tile(7, 3, 5)
    for layer in layers:
        stream = writer.encode(layer)
        assert isinstance(stream, bytes)
        back = reader.decode(stream)
        assert back.dtype == np.int16 and np.array_equal(back, layer)
    with says(ValueError, "layer 3: the model has 3"):
        writer.encode(layers[-1])
    with says(ValueError, "layer 3: the model has 3"):
        reader.decode(b"")


def test_grids_of_the_families() -> None:
    assert (EntropyModel.level_pixels, EntropyModel.codes_per_level) == (16, 2)
    assert (PlaneModel.level_pixels, PlaneModel.codes_per_level) == (8, 1)


def test_the_rate_reaches_one_family_alone() -> None:
    """The predictions of ``cwc1`` depend on it, those of ``cw18`` do not."""
    rng = np.random.default_rng(3)
    weights, biases = arrays(b"cwc1")
    model = built(b"cwc1", rng.integers(-5000, 5000, weights.shape).astype(np.int16), biases)
    for each, kinds in ((model, 3), (model_of(b"cw18"), 1)):
        tiles = [each.tile(rate, 4, 6) for rate in (-512, 0, 512)]
        assert len({tile.encode(np.ones((1, 4, 6), np.int16)) for tile in tiles}) == kinds


@both
def test_what_is_not_the_layer_is_refused(family: bytes) -> None:
    right = made_up(family)[0]
    wanted = ", wanted int16 (1, 3, 5)"
    for wrong in (
        right.astype(np.int32),
        right[:, :2].copy(),
        np.asfortranarray(np.stack([right[0].T] * 2)[:1].swapaxes(1, 2)),
    ):
        with says(ValueError, f"layer 0: {wrong.dtype} {wrong.shape}{wanted}"):
            model_of(family).tile(0, 3, 5).encode(wrong)
    tile = model_of(family).tile(0, 3, 5)
    tile.encode(right)
    n = 2 if family == b"cwc1" else 1
    with says(ValueError, f"layer 1: int16 (1, 3, 6), wanted int16 {(GROUPS[family][0], 3 * n, 5 * n)}"):
        tile.encode(np.zeros((1, 3, 6), np.int16))
    for high in (LEVELS[family], -1):
        with says(ValueError, "layer 0: an argument is out of its range"):
            model_of(family).tile(0, 3, 5).encode(np.full((1, 3, 5), high, np.int16))


@both
def test_damaged_streams_are_named(family: bytes) -> None:
    layers, writer, reader = made_up(family, 12, 20), model_of(family).tile(0, 12, 20), model_of(family).tile(0, 12, 20)
    stream = writer.encode(layers[0])
    with says(EntropyError, "layer 0: bytes are left over after the last symbol"):
        model_of(family).tile(0, 12, 20).decode(stream + bytes(40))
    reader.decode(stream)
    with says(EntropyError, "layer 1: the stream ends before its last symbol"):
        reader.decode(writer.encode(layers[1])[:2])


@both
@pytest.mark.parametrize("size", [(0, 5), (5, 0), (4097, 1), (1, 4097)])
def test_tiles_out_of_range(family: bytes, size: tuple[int, int]) -> None:
    with says(ValueError, f"tile of {size[1]} x {size[0]} levels: an argument is out of its range"):
        model_of(family).tile(0, *size)


@both
def test_models_that_do_not_fit(family: bytes) -> None:
    weights, biases = arrays(family)
    name = "context model" if family == b"cwc1" else "plane predictors"
    words = "the weights do not fit the shape, or sums could overflow"
    assert built(family, weights, biases).groups == GROUPS[family]
    for wrong in ((weights[:-1], biases), (weights, biases[1:]), (weights, biases + np.int32(2**31 - 1))):
        shapes = f"context.weights ({wrong[0].size},) and context.biases ({wrong[1].size},)"
        with says(ModelError, f"{name} of {shapes}: {words}"):
            built(family, *wrong)
    assert built(family, np.repeat(weights, 2)[::2], np.repeat(biases, 2)[::2]).levels == LEVELS[family]


def test_arrays_of_another_kind() -> None:
    weights, biases = arrays(b"cwc1")
    n, m = weights.size, biases.size
    with says(ModelError, f"context model: weights int32 ({n},), wanted int16 (n,)"):
        built(b"cwc1", weights.astype(np.int32), biases)
    with says(ModelError, f"context model: weights int16 (1, {n}), wanted int16 (n,)"):
        built(b"cwc1", weights[None], biases)
    with says(ModelError, f"context model: biases int16 ({m},), wanted int32 (n,)"):
        built(b"cwc1", weights, biases.astype(np.int16))
    with says(ModelError, f"context model: biases int32 ({m}, 1), wanted int32 (n,)"):
        built(b"cwc1", weights, biases[:, None])


def test_instruction_sets() -> None:
    assert coder.BEST_SIMD == 4
    plain = built(b"cwc1", *arrays(b"cwc1"), simd=0)
    assert isinstance(plain, EntropyModel) and plain.simd == 0
    best = built(b"cwc1", *arrays(b"cwc1"))
    assert isinstance(best, EntropyModel)
    assert best.simd == max(built(b"cwc1", *arrays(b"cwc1"), simd=simd).simd for simd in range(5))  # type: ignore[union-attr]
    assert built(b"cw18", *arrays(b"cw18"), simd=0).tile(0, 1, 1).decode(b"").size == 1


def test_the_worst_symbols_fit_the_buffer() -> None:
    """Codes at the far end of their range where 0 is expected, and decisions against all odds."""
    tile = built(b"cwc1", *arrays(b"cwc1")).tile(0, 8, 8)
    tile.encode(np.full((1, 8, 8), 2, np.int16))
    codes = np.full((2, 16, 16), 511, np.int16)
    codes[:, ::2] = -511
    assert len(tile.encode(codes)) <= coder.SYMBOL_BYTES * codes.size + 16
    weights, biases = arrays(b"cw18")
    biases[32::33] = -(2**31 - 2**16)  # a one is next to impossible
    stack = built(b"cw18", weights, biases).tile(0, 16, 16)
    assert len(stack.encode(np.full((1, 16, 16), 3, np.int16))) == pytest.approx(2 * 2 * 256, rel=0.3)
    assert len(stack.encode(np.ones((1, 16, 16), np.int16))) == pytest.approx(2 * 256, rel=0.3)


def second_layer(exact: Any = None, weight: Any = 0.0, start: int = 5) -> np.ndarray:
    """The codes that are written for ``start`` everywhere where 0 is expected."""
    tile = built(b"cwc1", *arrays(b"cwc1")).tile(0, 2, 3)
    tile.encode(np.full((1, 2, 3), 2, np.int16))
    codes = np.full((2, 4, 6), start, np.int16)
    tile.encode(codes, exact, weight)
    return codes


def test_choice_between_bits_and_error() -> None:
    exact = np.full((2, 4, 6), 5 * 32, np.int16)
    assert (second_layer() == 5).all() and (second_layer(exact, 255.0) == 5).all()
    assert (second_layer(exact, 0.0) == 0).all() and (second_layer(exact) == 0).all()
    assert (second_layer(np.asfortranarray(exact), 255.9) == 5).all()
    weights = np.zeros((4, 6))
    weights[1:3, 2:] = 200.0
    chosen = second_layer(exact, weights)
    assert (chosen[:, weights > 0] == 5).all() and (chosen[:, weights == 0] == 0).all()
    assert np.array_equal(second_layer(exact, np.asfortranarray(weights)), chosen)


def test_weights_in_their_units() -> None:
    assert coder._weights(1.5, (2, 3)).tolist() == [[384] * 3] * 2
    assert coder._weights(np.array([[0.0, 255.996]]), (1, 2)).tolist() == [[0, 65535]]
    for wrong in (-0.01, 256.0, float("nan"), np.zeros((3, 2)), np.zeros(6)):
        with pytest.raises(
            ValueError, match=r"(?s)^weight: .* is not from 0 to below 256, one for all or of shape \(2, 3\)$"
        ):
            coder._weights(wrong, (2, 3))
    assert coder._weights(np.array([[1, 255]], np.uint8), (1, 2)).tolist() == [[256, 65280]]
    assert coder._weights(0.0, (1, 1)).dtype == np.uint16 and coder._weights(np.ones((1, 1)), (1, 1)).flags.c_contiguous


def test_exact_values_of_another_shape() -> None:
    for exact in (np.zeros((2, 4, 5), np.int16), np.zeros((2, 4, 6), np.int32)):
        with says(ValueError, f"layer 1: exact values {exact.dtype} {exact.shape}, symbols (2, 4, 6)"):
            second_layer(exact)


def test_decisions() -> None:
    p = np.array([1, 65535, 30000, 1], np.uint16)
    bits = np.array([1, 0, 1, 0], np.uint8)
    data = encode_bits(bits, p)
    assert isinstance(data, bytes) and decode_bits(data, p).tolist() == [1, 0, 1, 0]
    assert decode_bits(encode_bits([1, 0, 1], [5, 6, 7]), [5, 6, 7]).tolist() == [1, 0, 1]  # type: ignore[arg-type]
    worst = np.ones(4000, np.uint16)
    assert len(encode_bits(np.ones(4000, np.uint8), worst)) == pytest.approx(8000, abs=4)
    for wrong in (bits[:3], bits.reshape(2, 2)):
        with says(ValueError, f"bits {wrong.shape} and probabilities (4,): wanted equal lengths"):
            encode_bits(wrong, p)
    with says(ValueError, "bits (2, 2) and probabilities (2, 2): wanted equal lengths"):
        encode_bits(bits.reshape(2, 2), p.reshape(2, 2))
    calls: list[Callable[[], Any]] = [lambda: encode_bits(bits, p * 0), lambda: decode_bits(data, p * 0)]
    for call in calls:
        with says(ValueError, "decisions: an argument is out of its range"):
            call()
    with says(EntropyError, "decisions: the stream ends before its last symbol"):
        decode_bits(b"", np.full(200, 9, np.uint16))


def test_every_result_has_its_error() -> None:
    lib = coder.lib
    coder.check(lib.CWIC_OK, "x")
    for result, kind, words in (
        (lib.CWIC_ERROR_MEMORY, MemoryError, "x: out of memory"),
        (lib.CWIC_ERROR_ARGUMENT, ValueError, "x: an argument is out of its range"),
        (lib.CWIC_ERROR_SPACE, EntropyError, "x: the output buffer is too small"),
        (lib.CWIC_ERROR_SYMBOL, EntropyError, "x: a symbol is out of its range"),
        (lib.CWIC_ERROR_WEIGHTS, ModelError, "x: the weights do not fit the shape, or sums could overflow"),
    ):
        with says(kind, words):
            coder.check(result, "x")
