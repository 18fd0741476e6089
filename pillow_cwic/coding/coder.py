"""Typed wrapper over ``csrc``: context model and range coder. All arithmetic behind it is integer and exact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pillow_cwic.coding import wavefront
from pillow_cwic.coding._coder import ffi, lib
from pillow_cwic.errors import EntropyError, ModelError

# A symbol takes at most 17 decisions of 12 bits and an Exp-Golomb code of 21: 225 bits.
SYMBOL_BYTES = 29
BEST_SIMD = 4  # the best that is present; docs of cwic_model_new in csrc/cwic.h

uncleared = ffi.new_allocator(should_clear_after_alloc=False)

_MESSAGES = {
    lib.CWIC_ERROR_MEMORY: "out of memory",
    lib.CWIC_ERROR_ARGUMENT: "an argument is out of its range",
    lib.CWIC_ERROR_SPACE: "the output buffer is too small",
    lib.CWIC_ERROR_SHORT: "the stream ends before its last symbol",
    lib.CWIC_ERROR_LONG: "bytes are left over after the last symbol",
    lib.CWIC_ERROR_SYMBOL: "a symbol is out of its range",
    lib.CWIC_ERROR_WEIGHTS: "the weights do not fit the shape, or sums could overflow",
    lib.CWIC_CANCELLED: "the work was cancelled",
}


def check(result: int, what: str) -> None:
    if result == lib.CWIC_OK:
        return
    if result == lib.CWIC_ERROR_MEMORY:
        raise MemoryError(f"{what}: {_MESSAGES[result]}")
    if result == lib.CWIC_ERROR_ARGUMENT:
        raise ValueError(f"{what}: {_MESSAGES[result]}")
    raise (ModelError if result == lib.CWIC_ERROR_WEIGHTS else EntropyError)(f"{what}: {_MESSAGES[result]}")


class EntropyModel:
    """The integer context model (FORMAT.md section 5). Read-only; may be shared between threads.

    ``weights`` int16 and ``biases`` int32, one dimension each, as in FORMAT.md section 5.1; ``groups`` the channels
    of each group. Raises ModelError if they do not fit or if a sum could pass 32 bits.
    """

    facts = ("groups", "context_hidden", "map_hidden", "levels")  # of a model's config, that it is made with
    level_pixels = 16  # pixels per level
    codes_per_level = 2  # along a side

    def __init__(
        self,
        weights: NDArray[np.int16],
        biases: NDArray[np.int32],
        groups: Sequence[int],
        hidden: int,
        map_hidden: int,
        levels: int,
        simd: int = BEST_SIMD,
    ) -> None:
        for name, values, kind in (("weights", weights, np.int16), ("biases", biases, np.int32)):
            if values.dtype != kind or values.ndim != 1:
                raise ModelError(f"context model: {name} {values.dtype} {values.shape}, wanted {kind.__name__} (n,)")
        weights, biases = np.ascontiguousarray(weights), np.ascontiguousarray(biases)
        result = ffi.new("int32_t *")
        model = lib.cwic_model_new(
            ffi.from_buffer("int16_t[]", weights),
            weights.size,
            ffi.from_buffer("int32_t[]", biases),
            biases.size,
            list(groups),
            len(groups),
            hidden,
            map_hidden,
            levels,
            simd,
            result,
        )
        check(result[0], f"context model of context.weights {weights.shape} and context.biases {biases.shape}")
        self._model: Any = ffi.gc(model, lib.cwic_model_free)
        self.groups = tuple(groups)
        self.levels = levels
        self.simd: int = lib.cwic_model_simd(model)

    def tile(self, rate: int, height: int, width: int) -> TileCoder:
        """A coder for one tile of so many levels, at rate T."""
        return TileCoder(self, rate, height, width)


class LayerCoder:
    """One layer of a tile under way, see ``wavefront.Rows``: bytes if it was written, else symbols."""

    def __init__(
        self, tile: TileCoder, name: str, layer: Any, symbols: NDArray[np.int16], out: Any, *kept: object
    ) -> None:
        self._tile, self._name, self._layer = tile, name, ffi.gc(layer, lib.cwic_layer_free)
        self._symbols, self._out = symbols, out
        self._kept = kept  # the layer points into them, and into the tile

    def _check(self, result: int) -> None:
        try:
            check(result, self._name)
        except Exception:
            self._tile.failed = True
            raise

    def rows(self, end: int) -> None:
        """Codes on until ``end`` rows are done. Raises EntropyError if the stream is damaged."""
        self._check(lib.cwic_layer_rows(self._layer, end))

    def finish(self) -> Any:
        """After all rows: bytes (written), or symbols (channels, rows, columns) int16. Raises as ``rows``."""
        written = ffi.new("size_t *")
        self._check(lib.cwic_layer_finish(self._layer, written))
        return self._symbols if self._out is None else bytes(ffi.buffer(self._out, written[0]))

    def whole(self) -> Any:
        """All rows at once, then the result."""
        self.rows(self._symbols.shape[1])
        return self.finish()


class TileCoder:
    """Codes the layers of one tile in order, the map first. Not to be shared between threads.

    ``height`` and ``width`` count map levels; a channel has twice as many codes each way. ``rate`` is T of the file.
    """

    def __init__(self, model: EntropyModel, rate: int, height: int, width: int) -> None:
        result = ffi.new("int32_t *")
        tile = lib.cwic_tile_new(model._model, rate, height, width, result)
        check(result[0], f"tile of {width} x {height} levels")
        self._tile: Any = ffi.gc(tile, lib.cwic_tile_free)
        self._model = model  # the tile points into it
        self._layer = 0
        self._height, self._width = height, width
        self.failed = False  # whether a layer did; no other is coded then

    def _next(self) -> tuple[str, tuple[int, int, int]]:
        """Name and shape of the layer that begins."""
        if self.failed:
            raise ValueError(f"layer {self._layer}: another of its tile has failed")
        if self._layer > len(self._model.groups):
            raise ValueError(f"layer {self._layer}: the model has {len(self._model.groups) + 1}")
        if self._layer == 0:
            return "layer 0", (1, self._height, self._width)
        return f"layer {self._layer}", (self._model.groups[self._layer - 1], 2 * self._height, 2 * self._width)

    def _begun(self, name: str, layer: Any, result: Any, symbols: NDArray[np.int16], *kept: Any) -> LayerCoder:
        check(result[0], name)
        self._layer += 1
        return LayerCoder(self, name, layer, symbols, *kept)

    def encoder(
        self,
        symbols: NDArray[np.int16],
        exact: NDArray[np.int16] | None = None,
        weight: float | NDArray[np.floating] = 0,
    ) -> LayerCoder:
        """Begins to write the next layer.

        ``symbols`` (channels, rows, columns), C-contiguous, levels 0 .. L-1 or codes in [-511, 511]. Symbols that
        the format does not write (masked or certain ones) are changed in place to what a decoder will see.

        ``exact``, if given, holds the unrounded symbols in units of 1/32, same shape. Each symbol then moves towards
        its prediction as long as that lowers ``bits + weight * (exact / 32 - symbol) ** 2``; the weight, from 0 to
        below 256, may differ from place to place, (rows, columns).
        """
        name, shape = self._next()
        if symbols.shape != shape or symbols.dtype != np.int16 or not symbols.flags.c_contiguous:
            raise ValueError(f"{name}: {symbols.dtype} {symbols.shape}, wanted int16 {shape}")
        if exact is not None and (exact.shape != symbols.shape or exact.dtype != np.int16):
            raise ValueError(f"{name}: exact values {exact.dtype} {exact.shape}, symbols {symbols.shape}")
        values, weights = ffi.NULL, ffi.NULL
        if exact is not None:
            values = ffi.from_buffer("int16_t[]", np.ascontiguousarray(exact))
            weights = ffi.from_buffer("uint16_t[]", _weights(weight, symbols.shape[1:]))
        capacity = SYMBOL_BYTES * symbols.size + 16
        out = uncleared("uint8_t[]", capacity)
        result = ffi.new("int32_t *")
        given = ffi.from_buffer("int16_t[]", symbols)
        layer = lib.cwic_layer_encoder(self._tile, given, values, weights, out, capacity, result)
        return self._begun(name, layer, result, symbols, out, given, values, weights)

    def decoder(self, data: bytes) -> LayerCoder:
        """Begins to read the next layer: (channels, rows, columns) int16."""
        name, shape = self._next()
        symbols = np.empty(shape, np.int16)
        result = ffi.new("int32_t *")
        given, stream = ffi.from_buffer("int16_t[]", symbols), ffi.from_buffer(data)
        layer = lib.cwic_layer_decoder(self._tile, stream, len(data), given, result)
        return self._begun(name, layer, result, symbols, None, given, stream)

    def encode(
        self,
        symbols: NDArray[np.int16],
        exact: NDArray[np.int16] | None = None,
        weight: float | NDArray[np.floating] = 0,
    ) -> bytes:
        """Writes the next layer, as ``encoder``."""
        stream: bytes = self.encoder(symbols, exact, weight).whole()
        return stream

    def decode(self, data: bytes) -> NDArray[np.int16]:
        """Reads the next layer: (channels, rows, columns) int16. Raises EntropyError if the stream is damaged."""
        symbols: NDArray[np.int16] = self.decoder(data).whole()
        return symbols

    def encode_all(
        self,
        symbols: Sequence[NDArray[np.int16]],
        exact: Sequence[NDArray[np.int16] | None],
        weight: float | NDArray[np.floating],
        threads: int,
    ) -> list[bytes]:
        """All layers, each as ``encoder`` takes it, in up to so many threads."""
        first = self.encode(symbols[0], exact[0], weight)
        begin = [partial(self.encoder, *layer, weight) for layer in zip(symbols[1:], exact[1:], strict=True)]
        return [first, *wavefront.run(begin, 2 * self._height, lib.CWIC_ROWS_AHEAD, threads)]

    def decode_all(self, streams: Sequence[bytes], threads: int, step: Callable[[], None]) -> list[NDArray[np.int16]]:
        """As many layers as there are streams, in up to so many threads. ``step()`` follows each, in its thread."""
        first = [self.decode(stream) for stream in streams[:1]]
        for _ in first:
            step()
        begin = [partial(self.decoder, stream) for stream in streams[1:]]
        return [*first, *wavefront.run(begin, 2 * self._height, lib.CWIC_ROWS_AHEAD, threads, step)]


def _weights(weight: float | NDArray[np.floating], shape: tuple[int, ...]) -> NDArray[np.uint16]:
    wide = np.round(256 * np.asarray(weight, np.float64))
    if not np.all((wide >= 0) & (wide < 65536)) or wide.shape not in ((), shape):
        raise ValueError(f"weight: {weight!r} is not from 0 to below 256, one for all or of shape {shape}")
    return np.full(shape, wide, np.uint16) if wide.ndim == 0 else np.ascontiguousarray(wide.astype(np.uint16))


def encode_bits(bits: NDArray[np.uint8], probabilities: NDArray[np.uint16]) -> bytes:
    """Range coder alone: decisions (n,) 0 or 1 with their probabilities of 1 (n,), 1 to 65535 in units of 2**-16."""
    bits = np.ascontiguousarray(bits, np.uint8)
    probabilities = np.ascontiguousarray(probabilities, np.uint16)
    if bits.shape != probabilities.shape or bits.ndim != 1:
        raise ValueError(f"bits {bits.shape} and probabilities {probabilities.shape}: wanted equal lengths")
    out = bytearray(2 * bits.size + 16)  # a decision costs at most 16 bits
    written = ffi.new("size_t *")
    result = lib.cwic_encode_bits(
        ffi.from_buffer("uint8_t[]", bits),
        ffi.from_buffer("uint16_t[]", probabilities),
        bits.size,
        ffi.from_buffer(out),
        len(out),
        written,
    )
    check(result, "decisions")
    return bytes(memoryview(out)[: written[0]])


def decode_bits(data: bytes, probabilities: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Decisions (n,) 0 or 1, given the probabilities (n,) that they were written with."""
    probabilities = np.ascontiguousarray(probabilities, np.uint16)
    bits = np.empty(probabilities.shape, np.uint8)
    result = lib.cwic_decode_bits(
        ffi.from_buffer(data),
        len(data),
        ffi.from_buffer("uint16_t[]", probabilities),
        probabilities.size,
        ffi.from_buffer("uint8_t[]", bits),
    )
    check(result, "decisions")
    return bits
