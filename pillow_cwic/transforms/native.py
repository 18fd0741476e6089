"""The transforms of ``cwic1`` in C: pixels to latents and codes to pixels, on any processor, without torch."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pillow_cwic import settings, threads
from pillow_cwic.coding._coder import ffi, lib
from pillow_cwic.coding.coder import BEST_SIMD, check
from pillow_cwic.models.config import Config
from pillow_cwic.transforms import layout, postfilter

ARRAYS = tuple(layout.TYPES)
STEP_BITS, ONE_BITS, ZERO_BITS = 12.0, 5.0, 0.03  # what a squared step is worth, and what codes cost
UNIT = 256  # of bits, in C
_COSTS = np.array(
    [round(UNIT * (ONE_BITS + 2 * math.log2(c) if c else ZERO_BITS)) for c in range(lib.CWIC_COSTS)], np.int32
)
_KINDS = {"analysis": lib.cwic_analysis_new, "synthesis": lib.cwic_synthesis_new}


def _check(name: str, values: NDArray[Any], kind: type, shape: tuple[int, ...]) -> None:
    """Before C reads them: it knows neither type nor size."""
    if values.dtype != kind or values.shape != shape:
        raise ValueError(f"{name}: {values.dtype} {values.shape}, wanted {kind.__name__} {shape}")


class _Transform:
    """One transform's weights in C. Raises ModelError if they do not fit the config or could overflow."""

    def __init__(self, config: Config, kind: layout.Kind, arrays: Mapping[str, NDArray[Any]], simd: int) -> None:
        parts = [np.ascontiguousarray(arrays[f"{kind}.{name}"]) for name in ARRAYS]
        layout.split(config, kind, *parts)  # the sizes, with a message that names them
        words, halves, octets = (
            ffi.from_buffer(f"{type_}[]", part)
            for type_, part in zip(("int32_t", "int16_t", "int8_t"), parts, strict=True)
        )
        shape = ffi.new(
            "cwic_shape *",
            [
                config.wide,
                config.blocks,
                config.channels,
                config.normalised,
                config.map_features,
                config.levels,
                config.fine if kind == "synthesis" else 0,
            ],
        )
        given = ffi.new("cwic_arrays *", [words, halves, octets, *(part.size for part in parts)])
        result = ffi.new("int32_t *")
        made = _KINDS[kind](shape, given, simd, result)
        if result[0] == lib.CWIC_ERROR_WEIGHTS:
            layout.check(config, kind, layout.split(config, kind, *parts))  # says what is wrong with them
        check(result[0], f"{kind} transform")
        self.pointer: Any = ffi.gc(made, lib.cwic_transform_free)
        self.simd: int = lib.cwic_transform_simd(made)


class Transforms:
    """Both transforms of one weights file. Read-only; may be shared between threads.

    ``arrays`` are those of FORMAT.md sections 6.7 and 6.8 by name. Raises ModelError if they do not fit the config or
    if a sum could pass 32 bits.
    """

    def __init__(self, config: Config, arrays: Mapping[str, NDArray[Any]], simd: int = BEST_SIMD) -> None:
        self.config = config
        self._analysis = _Transform(config, "analysis", arrays, simd)
        self._synthesis = _Transform(config, "synthesis", arrays, simd)
        self.simd = self._synthesis.simd

    def analyse(self, pixels: NDArray[np.uint8], rate: int) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        """(H, W, 3) at rate T to latents (channels, 2 h, 2 w) and what the map's head says, levels (1, h, w).

        h and w are H / 16 and W / 16, rounded up.
        """
        _check("pixels", pixels, np.uint8, (*pixels.shape[:2], 3))
        height, width = pixels.shape[:2]
        rows, columns = -(-height // 16), -(-width // 16)
        latents = np.empty((self.config.channels, 2 * rows, 2 * columns), np.int16)
        levels = np.empty((1, rows, columns), np.int16)
        source = ffi.from_buffer("uint8_t[]", np.ascontiguousarray(pixels))
        targets = ffi.from_buffer("int16_t[]", latents), ffi.from_buffer("int16_t[]", levels)
        self._run(self._analysis, lib.cwic_analysis_pass, rate, source, height, width, *targets)
        return latents, levels

    def synthesise(
        self, codes: NDArray[np.int16], rate: int, height: int, width: int, post: NDArray[np.int8] | None = None
    ) -> NDArray[np.uint8]:
        """Codes (channels, 2 h, 2 w) at rate T to the picture (height, width, 3), through a post-filter if given one.

        Raises ModelError if the model allows none.
        """
        wanted = self.config.channels, 2 * -(-height // 16), 2 * -(-width // 16)
        _check("codes", codes, np.int16, wanted)
        pixels = np.empty((height, width, 3), np.uint8)
        source = ffi.from_buffer("int16_t[]", np.ascontiguousarray(codes))
        target, by = ffi.from_buffer("uint8_t[]", pixels), ffi.NULL
        if post is not None:
            _check("post", post, np.int8, postfilter.SHAPE)
            by = ffi.from_buffer("int8_t[]", np.ascontiguousarray(post))
        self._run(self._synthesis, lib.cwic_synthesis_pass, rate, source, by, target, height, width)
        return pixels

    def _run(self, transform: _Transform, begin: Callable[..., Any], rate: int, *arguments: Any) -> None:
        workers = settings.threads() or os.cpu_count() or 1
        result = ffi.new("int32_t *")
        made = begin(transform.pointer, rate, *arguments, workers, result)
        check(result[0], "picture")
        work = ffi.gc(made, lib.cwic_pass_free)

        def step() -> bool:
            _ = arguments, transform  # the pass points into them, in whichever thread is last
            more = lib.cwic_pass_band(work)
            if more < 0 and more != lib.CWIC_CANCELLED:  # the error that cancelled is raised by its own thread
                check(more, "picture")
            return bool(more > 0)

        threads.run(step, lambda: lib.cwic_pass_cancel(work), min(workers, lib.cwic_pass_workers(work)))

    def exact_codes(self, latents: NDArray[np.int16], rate: int) -> NDArray[np.int16]:
        """Latents (channels, rows, columns) at rate T to codes before they are rounded, in 1/32."""
        _check("latents", latents, np.int16, (self.config.channels, *latents.shape[1:]))
        latents = np.ascontiguousarray(latents)
        exact = np.empty_like(latents)
        given = ffi.from_buffer("int16_t[]", latents), latents[0].size, ffi.from_buffer("int16_t[]", exact)
        lib.cwic_exact_codes(self._analysis.pointer, rate, *given)
        return exact

    def useful_levels(self, exact: NDArray[np.int16], levels: NDArray[np.int16]) -> NDArray[np.int16]:
        """Levels (1, h, w), raised to those up to which layers pay for their bits.

        A code c of an exact y lowers the squared error by y^2 - (y - c)^2 steps. A step is worth ``STEP_BITS`` bits,
        and the code costs about as much as the constants say. Levels end where the sum over a cell is highest.
        """
        _check("levels", levels, np.int16, (1, *levels.shape[1:]))
        _check("codes", exact, np.int16, (self.config.channels, *(2 * side for side in levels.shape[1:])))
        groups = list(self.config.groups[: self.config.levels])  # others cannot be coded
        raised = np.ascontiguousarray(levels).copy()
        lib.cwic_useful_levels(
            ffi.from_buffer("int16_t[]", np.ascontiguousarray(exact)),
            *exact.shape[1:],
            groups,
            len(groups),
            ffi.from_buffer("int32_t[]", _COSTS),
            round(UNIT * STEP_BITS),
            ffi.from_buffer("int16_t[]", raised),
        )
        return raised


def add_sums(
    shown: NDArray[np.uint8],
    original: NDArray[np.uint8],
    places: NDArray[np.intp],
    squares: NDArray[np.int64],
    wanted: NDArray[np.int64],
    simd: int = BEST_SIMD,
) -> None:
    """What a post-filter is fitted to, of some positions of two pictures (8 h, 8 w, 3), by their numbers.

    Adds products of features, as FORMAT.md section 6.9 names them, to ``squares`` (13, 13), and to ``wanted`` (13, 3)
    those with the errors of red, green and blue in 1/16.
    """
    rows, columns = (side // 8 for side in shown.shape[:2])
    for name, picture in (("shown", shown), ("original", original)):
        _check(name, picture, np.uint8, (8 * rows, 8 * columns, 3))
    if places.size and not 0 <= places.min() <= places.max() < rows * columns:
        raise ValueError(f"places: {places.min()} to {places.max()}, of {rows * columns} positions")
    sums = np.zeros(wanted.shape, np.int64), np.zeros(squares.shape, np.int64)
    of_wanted, of_squares = (ffi.from_buffer("int64_t[]", each) for each in sums)
    pictures = (ffi.from_buffer("uint8_t[]", np.ascontiguousarray(each)) for each in (shown, original))
    which = ffi.from_buffer("int32_t[]", places.astype(np.int32))
    lib.cwic_post_sums(*pictures, columns, which, places.size, simd, of_squares, of_wanted)
    wanted += sums[0]
    squares += sums[1] + np.tril(sums[1], -1).T
