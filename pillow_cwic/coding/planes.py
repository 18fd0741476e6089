"""Typed wrapper over ``csrc/planes.c``: the entropy model of ``cwic2018`` (FORMAT.md section 7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pillow_cwic.coding._coder import ffi, lib
from pillow_cwic.coding.coder import BEST_SIMD, check, uncleared

DECISION_BYTES = 2  # a decision costs at most 16 bits


class PlaneModel:
    """The integer predictors of map and codes. Read-only; may be shared between threads.

    ``weights`` int16 and ``biases`` int32, one dimension each, as in FORMAT.md section 7.3; ``groups`` the channels
    of each layer. Raises ModelError if they do not fit or if a sum could pass 32 bits.
    """

    facts = ("groups", "levels")  # of a model's config, that it is made with
    level_pixels = 8  # pixels per level
    codes_per_level = 1  # along a side

    def __init__(
        self,
        weights: NDArray[np.int16],
        biases: NDArray[np.int32],
        groups: Sequence[int],
        levels: int,
        simd: int = BEST_SIMD,
    ) -> None:
        weights = np.ascontiguousarray(weights, np.int16)
        biases = np.ascontiguousarray(biases, np.int32)
        result = ffi.new("int32_t *")
        model = lib.cwic_planes_new(
            ffi.from_buffer("int16_t[]", weights),
            weights.size,
            ffi.from_buffer("int32_t[]", biases),
            biases.size,
            list(groups),
            len(groups),
            levels,
            simd,
            result,
        )
        check(result[0], f"plane predictors of context.weights {weights.shape} and context.biases {biases.shape}")
        self._model: Any = ffi.gc(model, lib.cwic_planes_free)
        self.groups = tuple(groups)
        self.levels = levels

    def tile(self, rate: int, height: int, width: int) -> PlaneCoder:
        """A coder for one tile; the rate parameter means nothing to it."""
        return PlaneCoder(self, height, width)


class PlaneCoder:
    """Codes the layers of one tile in order: the map first, then each group of channels."""

    def __init__(self, model: PlaneModel, height: int, width: int) -> None:
        """A tile of ``height`` x ``width`` levels (1 to 4096)."""
        result = ffi.new("int32_t *")
        stack = lib.cwic_stack_new(model._model, height, width, result)
        check(result[0], f"tile of {width} x {height} levels")
        self._stack: Any = ffi.gc(stack, lib.cwic_stack_free)
        self._model, self._size, self._layer = model, (height, width), 0

    def _shape(self) -> tuple[int, int, int]:
        if self._layer > len(self._model.groups):
            raise ValueError(f"layer {self._layer}: the model has {1 + len(self._model.groups)}")
        return (1 if self._layer == 0 else self._model.groups[self._layer - 1], *self._size)

    def encode(self, symbols: NDArray[np.int16], exact: NDArray[np.int16] | None = None, weight: object = 0) -> bytes:
        """Writes the next layer: (channels, rows, columns), C-contiguous, levels 0 .. L - 1 or bits.

        Masked bits are made 0 in place. ``exact`` and ``weight``, which other models choose symbols by, change
        nothing: a bit has no cheaper neighbour.
        """
        if symbols.shape != self._shape() or symbols.dtype != np.int16 or not symbols.flags.c_contiguous:
            raise ValueError(f"layer {self._layer}: {symbols.dtype} {symbols.shape}, wanted int16 {self._shape()}")
        planes = self._model.levels.bit_length() - 1 if self._layer == 0 else 1
        capacity = DECISION_BYTES * planes * symbols.size + 16
        out = uncleared("uint8_t[]", capacity)
        written = ffi.new("size_t *")
        result = lib.cwic_stack_encode(self._stack, ffi.from_buffer("int16_t[]", symbols), out, capacity, written)
        check(result, f"layer {self._layer}")
        self._layer += 1
        return bytes(ffi.buffer(out, written[0]))

    def decode(self, data: bytes) -> NDArray[np.int16]:
        """Reads the next layer: (channels, rows, columns) int16. Raises EntropyError if the stream is damaged."""
        symbols = np.empty(self._shape(), np.int16)
        result = lib.cwic_stack_decode(
            self._stack, ffi.from_buffer(data), len(data), ffi.from_buffer("int16_t[]", symbols)
        )
        check(result, f"layer {self._layer}")
        self._layer += 1
        return symbols

    def encode_all(
        self, symbols: Sequence[NDArray[np.int16]], exact: Sequence[object], weight: object, threads: int
    ) -> list[bytes]:
        """All layers, each as ``encode`` takes it; in one thread, whatever ``threads`` says."""
        return [self.encode(layer) for layer in symbols]

    def decode_all(self, streams: Sequence[bytes], threads: int, step: Callable[[], None]) -> list[NDArray[np.int16]]:
        """As many layers as there are streams, in one thread. ``step()`` follows each."""
        layers = []
        for stream in streams:
            layers.append(self.decode(stream))
            step()
        return layers
