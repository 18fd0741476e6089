"""Encode and decode whole pictures: the only module that sees container, entropy coder and networks together."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pillow_cwic import alpha, container, limits, models, settings
from pillow_cwic import rate as rate_control
from pillow_cwic.entropy import EntropyModel, TileCoder
from pillow_cwic.errors import ContainerError, EntropyError
from pillow_cwic.networks import draft
from pillow_cwic.networks.runtime import EXACT_UNIT, Analysed, Networks, code_side
from pillow_cwic.target import parse_target

CHANNELS = {2: "LA", 3: "RGB", 4: "RGBA"}
CODE_LIMIT = 511
TILE_EXPONENT = 10  # tiles of 1024 pixels: small enough to decode in parallel, large enough to lose little at edges
ANALYSIS_REACH = 64  # how far the rate may move, in 1/512, before the analysis transform runs again
MAX_ANALYSES = 3
# What a squared error of one code step costs, in bits, when the encoder weighs it against a cheaper code. At high rate
# a quantiser whose step suits its Lagrangian has 6 / ln 2 = 8.7; the analysis transform has learned to leave little to
# gain, so that on the validation split a higher one is best.
CODE_WEIGHT = 28.0

Symbols = list[NDArray[np.int16]]  # levels (1, H/16, W/16), then the codes of each group (channels, H/8, W/8)
Timings = dict[str, float]


class _Runtime(NamedTuple):
    networks: Networks
    entropy: EntropyModel


_lock = threading.Lock()


def _device() -> str:
    """The device that the networks run on: the one in ``settings``, else CUDA if there is one, else the CPU."""
    wanted = settings.device()
    if wanted is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError) as error:  # as builds without that kind of device raise it
        raise ValueError(f"device: {wanted!r} is not available here: {error}") from error
    return wanted


@contextmanager
def _limited_threads() -> Iterator[None]:
    """Gives torch as many threads as ``settings`` says."""
    before, wanted = torch.get_num_threads(), settings.threads()
    if wanted is None:
        yield
        return
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def _load(model: models.Model, device: str) -> _Runtime:
    networks = Networks(model.read(), device)
    c = networks.config
    arrays = networks.context_weights, networks.context_biases
    return _Runtime(networks, EntropyModel(*arrays, c.groups, c.context_hidden, c.map_hidden, c.levels))


def _runtime(model: models.Model) -> _Runtime:
    with _lock:  # so that two threads do not load the same weights
        return _load(model, _device())


@contextmanager
def _stage(timings: Timings | None, name: str) -> Iterator[None]:
    """Adds the seconds spent inside to ``timings[name]``."""
    start = time.perf_counter()
    try:
        yield
    finally:
        if timings is not None:
            timings[name] = timings.get(name, 0.0) + time.perf_counter() - start


class _Tile(NamedTuple):
    """One tile's place in the map, in levels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, plane: NDArray[np.int16], index: int) -> NDArray[np.int16]:
        """View of the tile's part of layer ``index``, (channels, rows, columns)."""
        unit = 1 if index == 0 else code_side(1)
        rows = slice(self.top * unit, (self.top + self.height) * unit)
        return plane[:, rows, self.left * unit : (self.left + self.width) * unit]


def _tiles(rows: int, columns: int, exponent: int) -> list[_Tile]:
    side = 2**exponent // 16
    return [
        _Tile(top, left, min(side, rows - top), min(side, columns - left))
        for top in range(0, rows, side)
        for left in range(0, columns, side)
    ]


def _each(work: Callable[[int], None], count: int) -> None:
    """``work(0) .. work(count - 1)``, in threads if there are several; the C coder runs without the GIL."""
    if count == 1:
        work(0)
        return
    with ThreadPoolExecutor(min(count, settings.threads() or os.cpu_count() or 1)) as pool:
        for done in [pool.submit(work, k) for k in range(count)]:
            done.result()


def _symbol_crc(symbols: NDArray[np.int16], index: int) -> int:
    return container.symbol_crc(symbols.astype(np.uint8 if index == 0 else "<i2", order="C").tobytes())


def _split(codes: NDArray[np.int16], groups: tuple[int, ...]) -> Symbols:
    return np.split(codes, np.cumsum(groups)[:-1])


def _encode_symbols(
    entropy: EntropyModel, symbols: Symbols, exact: Sequence[NDArray[np.int16] | None], t: int, exponent: int
) -> list[container.Layer]:
    """Entropy-codes all layers. Changes ``symbols`` to what a decoder will see.

    ``exact`` holds each layer's unrounded symbols in 1/32, for rate-distortion optimised quantisation, or None.
    """
    _, rows, columns = symbols[0].shape
    tiles = _tiles(rows, columns, exponent)
    streams: list[list[bytes]] = [[b""] * len(tiles) for _ in symbols]

    def code(k: int) -> None:
        coder = TileCoder(entropy, t, tiles[k].height, tiles[k].width)
        for index, plane in enumerate(symbols):
            part = np.ascontiguousarray(tiles[k].cut(plane, index))
            values = exact[index]
            if values is not None:
                values = np.ascontiguousarray(tiles[k].cut(values, index))
            streams[index][k] = coder.encode(part, values, CODE_WEIGHT)
            tiles[k].cut(plane, index)[...] = part

    _each(code, len(tiles))
    return [
        container.Layer(container.join_tiles(streams[index]), _symbol_crc(plane, index))
        for index, plane in enumerate(symbols)
    ]


def _decode_symbols(
    entropy: EntropyModel, parsed: container.Parsed, rows: int, columns: int, groups: int | None = None
) -> Symbols:
    """The layers of a file that arrived, up to so many groups; others are zero.

    Raises EntropyError if a symbol CRC differs.
    """
    header = parsed.header
    if len(parsed.layers) > 1 + len(entropy.groups) or (parsed.complete and len(parsed.layers) <= len(entropy.groups)):
        raise ContainerError(f"layers: the file has {len(parsed.layers)}, its model {1 + len(entropy.groups)}")
    tiles = _tiles(rows, columns, header.tile_exponent)
    layers = parsed.layers if groups is None else parsed.layers[: 1 + groups]
    streams = [container.split_tiles(layer.data, len(tiles), f"layer {i}") for i, layer in enumerate(layers)]
    symbols: Symbols = [np.zeros((1, rows, columns), np.int16)]
    symbols += [np.zeros((c, code_side(rows), code_side(columns)), np.int16) for c in entropy.groups]

    def decode(k: int) -> None:
        coder = TileCoder(entropy, header.rate, tiles[k].height, tiles[k].width)
        for index in range(len(streams)):
            tiles[k].cut(symbols[index], index)[...] = coder.decode(streams[index][k])

    _each(decode, len(tiles))
    for index, layer in enumerate(layers):
        found = _symbol_crc(symbols[index], index)
        if found != layer.crc:
            raise EntropyError(f"layer {index}: symbol CRC is {found:08x}, the file says {layer.crc:08x}")
    return symbols


class _Encoder:
    """One picture on its way to a file: runs the analysis transform as seldom as the search allows."""

    def __init__(self, pixels: NDArray[np.uint8], mode: str, model: models.Model, timings: Timings | None) -> None:
        self.pixels, self.mode, self.model, self.timings = pixels, mode, model, timings
        with _stage(timings, "load"):
            self.runtime = _runtime(model)
        self.analysed: Analysed | None = None
        self.files: dict[int, bytes] = {}

    def analyse(self, t: int) -> None:
        """Runs the analysis transform for rate parameter t; files made before are forgotten."""
        with _stage(self.timings, "analysis"):
            self.analysed = self.runtime.networks.analyse(self.pixels, t)
        self.files.clear()

    def file(self, t: int) -> bytes | None:
        """The whole file at rate parameter t, from the last analysis; None if codes would pass the format's limit."""
        assert self.analysed is not None
        with _stage(self.timings, "analysis"):
            exact = self.runtime.networks.codes(self.analysed, t)
            codes = ((exact.astype(np.int32) + EXACT_UNIT // 2) // EXACT_UNIT).astype(np.int16)
        if max(int(codes.max()), -int(codes.min())) > CODE_LIMIT:
            return None
        groups = self.runtime.entropy.groups
        symbols = [self.analysed.levels.copy(), *_split(codes, groups)]
        with _stage(self.timings, "entropy"):
            layers = _encode_symbols(self.runtime.entropy, symbols, [None, *_split(exact, groups)], t, TILE_EXPONENT)
        with _stage(self.timings, "container"):
            height, width = self.pixels.shape[:2]
            header = container.Header(width, height, self.mode, TILE_EXPONENT, t, self.model.id, self.model.family)
            return container.write_file(header, layers)

    def measure(self, t: int) -> int | None:
        """Size of the file at t; the file is kept."""
        if t not in self.files:
            made = self.file(t)
            if made is None:
                return None
            self.files[t] = made
        return len(self.files[t])

    def within(self, size: int) -> bytes:
        """The best file of at most ``size`` bytes; if there is none, the smallest that the model can make.

        The analysis follows the rate first; then it stays, so that the search sees sizes that grow with the rate.
        """
        height, width = self.pixels.shape[:2]
        t = rate_control.guess_rate(size * 8 / (height * width))
        for _ in range(MAX_ANALYSES):
            self.analyse(t)
            better = rate_control.predict(t, self.measure(t), size)
            if abs(better - t) <= ANALYSIS_REACH:
                break
            t = better
        found = rate_control.search(self.measure, size, better)
        return self.files[found] if found is not None else min(self.files.values(), key=len)

    def at(self, t: int) -> bytes:
        """The file at rate parameter t, or at the highest below it at which all codes are within the limit."""
        self.analyse(t)
        while (made := self.file(t)) is None:
            t = max(rate_control.LOWEST, t - 32)
        return made


def encode(
    pixels: NDArray[np.uint8],
    *,
    rate: float | None = None,
    size: int | None = None,
    quality: int | None = None,
    model: str = "cwic1",
    tuning: str = "mse",
    extra: Sequence[tuple[bytes, bytes]] = (),
    timings: Timings | None = None,
) -> bytes:
    """A picture, uint8, (H, W) grey or (H, W, C) with C = 2 grey and alpha, 3 RGB, 4 RGBA, to a ``.cwic`` file.

    Alpha is kept without loss; where it is 0, colour is not kept.

    At most one of ``rate`` (bits per pixel of the whole file, an upper bound), ``size`` (bytes, an upper bound) and
    ``quality`` (1 to 100, default 50). If no file is small enough, the smallest that the model can make is returned.
    ``extra`` are ancillary chunks (type, payload), counted in the size. ``timings``, if given, is filled with the
    seconds of each stage. Raises ValueError for arguments out of range and LimitError for too large a picture.
    """
    target = parse_target(rate, size, quality)
    with _stage(timings, "total"), _limited_threads():
        mode = "L" if pixels.ndim == 2 else CHANNELS.get(pixels.shape[2]) if pixels.ndim == 3 else None
        if pixels.dtype != np.uint8 or mode is None:
            raise ValueError(f"pixels: {pixels.dtype} {pixels.shape}, wanted uint8 (H, W) or (H, W, 2 to 4)")
        height, width = pixels.shape[:2]
        if not height or not width:
            raise ValueError(f"pixels: a picture of {width} x {height} is empty")
        limits.check_pixels(width, height)
        planes = pixels.reshape(height, width, -1)
        payload = None
        if mode in container.ALPHA_MODES:
            with _stage(timings, "alpha"):
                payload = alpha.encode(planes[..., -1])
                planes = alpha.fill(planes[..., :-1], planes[..., -1])
        colour = np.repeat(planes, 3, axis=2) if planes.shape[2] == 1 else planes
        encoder = _Encoder(colour, mode.removesuffix("A"), models.by_name(model, tuning), timings)
        bound = target.bytes_for(width, height)
        if bound is None:
            assert target.quality is not None
            bare = encoder.at(rate_control.quality_to_rate(target.quality))
        else:
            bare = encoder.within(max(1, bound - len(container.between(extra, payload))))
        return _dressed(bare, mode, extra, payload)


def _dressed(bare: bytes, mode: str, extra: Sequence[tuple[bytes, bytes]], payload: bytes | None) -> bytes:
    """A file of colour alone, with its alpha and ancillary chunks."""
    parsed = container.read_file(bare)
    return container.write_file(replace(parsed.header, mode=mode), parsed.layers, extra, payload)


def decode(data: bytes, *, partial: bool = False, scale: int = 1, timings: Timings | None = None) -> NDArray[np.uint8]:
    """The bytes of a ``.cwic`` file to its picture, uint8, of the same shape as ``encode`` takes.

    ``partial`` accepts a file cut short and shows the layers that arrived. ``scale`` 4 or 8 makes a picture with sides
    divided by it and rounded up, from the first layers alone and many times faster, close to the mean over squares of
    the whole one. Raises a CwicError if the file is damaged, in the layers it needs.
    """
    if scale not in (1, *draft.SCALES):
        raise ValueError(f"scale: {scale} is none of 1, 4 and 8")
    with _stage(timings, "total"), _limited_threads():
        with _stage(timings, "container"):
            parsed = container.read_file(data, allow_truncated=partial)
        header = parsed.header
        limits.check_pixels(header.width, header.height)
        with _stage(timings, "load"):
            networks, entropy = _runtime(models.by_id(header.model_id))
        groups = None if scale == 1 else draft.groups_for(networks, scale)
        with _stage(timings, "entropy"):
            symbols = _decode_symbols(entropy, parsed, *networks.grid(header.height, header.width), groups)
        with _stage(timings, "synthesis"):
            codes = np.concatenate(symbols[1:][:groups])
            if scale == 1:
                pixels = networks.synthesise(codes, header.rate, header.height, header.width)
            else:
                pixels = draft.synthesise(networks, codes, header.rate, header.height, header.width, scale)
            if header.mode in ("L", "LA"):
                pixels = ((pixels.astype(np.uint16).sum(axis=2) * 2 + 3) // 6).astype(np.uint8)
        if parsed.alpha is not None:
            with _stage(timings, "alpha"):
                plane = alpha.decode(parsed.alpha, header.height, header.width)
                pixels = np.dstack([pixels, alpha.reduced(plane, scale)])
        return pixels
