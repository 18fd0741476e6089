"""Symbols of a picture to the layers of a file and back, tile by tile. Integers alone, and so without torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pillow_cwic import models, settings, threads
from pillow_cwic.coding import ENTROPIES, Entropy
from pillow_cwic.coding.pixels import BLOCK, decode_mask
from pillow_cwic.errors import ContainerError, EntropyError, ModelError
from pillow_cwic.file import container, limits, pixels
from pillow_cwic.file.tiles import join_tiles, split_tiles
from pillow_cwic.models.config import EXACT_BITS, EXACT_UNIT
from pillow_cwic.models.weights import Context, read

Symbols = list[NDArray[np.int16]]  # levels (1, rows, columns), then the codes of each group (channels, rows, columns)


class Coded(NamedTuple):
    """The layers of a picture at one rate parameter, entropy-coded, but not yet in a file."""

    rate: int  # T
    exponent: int  # of the tiles' sides
    streams: list[bytes]  # of each layer
    symbols: Symbols  # as a decoder will see them
    size: int  # bytes of the whole file
    spoilt: NDArray[np.bool_] | None = None  # blocks, of the map, that show something else; None without any
    post: bytes | None = None  # the payload of POST, if there is a post-filter

    def through(self, post: bytes) -> Coded:
        """The same with a post-filter, which it has none of."""
        return self._replace(post=post, size=self.size + container.chunk_size(post))

    def layers(self) -> list[container.Layer]:
        """What the file says of each layer."""
        pairs = zip(self.streams, self.symbols, strict=True)
        return [container.Layer(stream, _symbol_crc(plane, index)) for index, (stream, plane) in enumerate(pairs)]


class _Tile(NamedTuple):
    """One tile's place in the map, in levels."""

    top: int
    left: int
    height: int
    width: int
    codes: int  # codes per level, along a side

    def cut(self, plane: NDArray[Any], index: int) -> NDArray[Any]:
        """View of the tile's part of layer ``index``, (channels, rows, columns)."""
        unit = 1 if index == 0 else self.codes
        rows = slice(self.top * unit, (self.top + self.height) * unit)
        return plane[:, rows, self.left * unit : (self.left + self.width) * unit]


def _tiles(entropy: Entropy, rows: int, columns: int, exponent: int) -> list[_Tile]:
    side = 2**exponent // entropy.level_pixels
    return [
        _Tile(top, left, min(side, rows - top), min(side, columns - left), entropy.codes_per_level)
        for top in range(0, rows, side)
        for left in range(0, columns, side)
    ]


def _each(work: Callable[[int, int], None], count: int) -> None:
    """``work(k, within)`` for tiles 0 to count - 1, at once in threads, which few tiles share: so many within each.

    The C coder runs without the GIL.
    """
    lanes = settings.threads() or os.cpu_count() or 1
    within = max(1, lanes // count)
    threads.each(lambda k: work(k, within), count, lanes)


def _symbol_crc(symbols: NDArray[np.int16], index: int) -> int:
    return container.symbol_crc(symbols.astype(np.uint8 if index == 0 else "<i2", order="C").tobytes())


def grid(entropy: Entropy, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the map for a picture of this size in pixels."""
    return -(-height // entropy.level_pixels), -(-width // entropy.level_pixels)


def split(codes: NDArray[np.int16], groups: tuple[int, ...]) -> Symbols:
    """Codes (channels, rows, columns) as views of so many channels each."""
    return np.split(codes, np.cumsum(groups)[:-1])


def join(groups: Symbols) -> NDArray[np.int16]:
    """The inverse of ``split``; without a copy for what ``split`` gave, of which the last groups may be missing."""
    whole = groups[0].base
    if whole is None or any(group.base is not whole for group in groups):
        return np.concatenate(groups)
    return whole[: sum(map(len, groups))]


def rounded(exact: NDArray[np.int16]) -> NDArray[np.int16]:
    """Codes of unrounded ones in 1 / ``EXACT_UNIT``: the nearest, and of two the smaller, which takes fewer bits."""
    codes: NDArray[np.int16] = exact + np.int16(EXACT_UNIT // 2 - 1)
    codes += exact < 0
    codes >>= EXACT_BITS  # in place, as a large picture has large arrays
    return codes


def encode_symbols(
    entropy: Entropy,
    symbols: Symbols,
    exact: Sequence[NDArray[np.int16] | None],
    weight: float | NDArray[np.float64],
    t: int,
    exponent: int,
    inserted: int = 0,
) -> Coded:
    """Entropy-codes all layers, for a file in which ``inserted`` bytes of other chunks stand.

    Changes ``symbols`` to what a decoder will see.

    ``exact`` holds each layer's unrounded symbols in 1/32, for rate-distortion optimised quantisation with ``weight``
    bits for a squared step, one for all or a plane of the codes' rows and columns; or None.
    """
    _, rows, columns = symbols[0].shape
    tiles = _tiles(entropy, rows, columns, exponent)
    streams: list[list[bytes]] = [[b""] * len(tiles) for _ in symbols]

    def code(k: int, within: int) -> None:
        def part(plane: NDArray[Any], index: int) -> NDArray[Any]:
            return np.ascontiguousarray(tiles[k].cut(plane, index))

        coder = entropy.tile(t, tiles[k].height, tiles[k].width)
        parts = [part(plane, index) for index, plane in enumerate(symbols)]
        values = [None if each is None else part(each, index) for index, each in enumerate(exact)]
        bits = weight if isinstance(weight, float) else tiles[k].cut(weight[None], 1)[0]
        for index, stream in enumerate(coder.encode_all(parts, values, bits, within)):
            streams[index][k] = stream
            tiles[k].cut(symbols[index], index)[...] = parts[index]

    _each(code, len(tiles))
    joined = [join_tiles(of_layer) for of_layer in streams]
    return Coded(t, exponent, joined, symbols, container.file_size([len(stream) for stream in joined], inserted))


def decode_steps(parsed: container.Parsed, groups: int | None = None) -> int:
    """How often ``decode_symbols`` calls its ``step``: for each layer of each tile."""
    layers = len(parsed.layers)
    return parsed.header.tiles * (layers if groups is None else min(layers, 1 + groups))


def decode_symbols(
    entropy: Entropy,
    parsed: container.Parsed,
    rows: int,
    columns: int,
    groups: int | None = None,
    step: Callable[[], None] | None = None,
) -> Symbols:
    """The layers of a file that arrived, up to so many groups; others are zero. ``step()`` follows each tile's layer.

    Raises EntropyError if a symbol CRC differs.
    """
    header = parsed.header
    if len(parsed.layers) > 1 + len(entropy.groups) or (parsed.complete and len(parsed.layers) <= len(entropy.groups)):
        raise ContainerError(f"layers: the file has {len(parsed.layers)}, its model {1 + len(entropy.groups)}")
    tiles = _tiles(entropy, rows, columns, header.tile_exponent)
    layers = parsed.layers if groups is None else parsed.layers[: 1 + groups]
    streams = [split_tiles(layer.data, len(tiles), f"layer {i}") for i, layer in enumerate(layers)]
    n = entropy.codes_per_level
    codes = np.zeros((sum(entropy.groups), n * rows, n * columns), np.int16)
    symbols = [np.zeros((1, rows, columns), np.int16), *split(codes, entropy.groups)]

    def decode(k: int, within: int) -> None:
        coder = entropy.tile(header.rate, tiles[k].height, tiles[k].width)
        found = coder.decode_all([layer[k] for layer in streams], within, step or (lambda: None))
        for index, layer in enumerate(found):
            tiles[k].cut(symbols[index], index)[...] = layer

    _each(decode, len(tiles))
    for index, layer in enumerate(layers):
        found = _symbol_crc(symbols[index], index)
        if found != layer.crc:
            raise EntropyError(f"layer {index}: symbol CRC is {found:08x}, the file says {layer.crc:08x}")
    return symbols


class Map(NamedTuple):
    """A file's importance map: one of ``different`` levels, from 0, for each ``side`` x ``side`` pixels.

    Where pixels are exact, and all is kept, it is the highest, whatever the layers say there.
    """

    levels: NDArray[np.uint8]
    different: int
    side: int


def read_map(data: bytes, *, partial: bool = False) -> Map:
    """The importance map of a ``.cwic`` file; that of a lossless file has one level, the highest.

    No other layer is decoded, and no pixels. ``partial`` accepts a file cut short behind the map, and knows exact
    blocks then if all that says which they are arrived. Raises a CwicError if the map, or by its checksum any chunk, is
    damaged, or if the model is not installed.
    """
    parsed = container.read_file(data, allow_truncated=partial)
    header = parsed.header
    limits.check_pixels(header.width, header.height)
    if header.lossless:
        return Map(np.ones((-(-header.height // BLOCK), -(-header.width // BLOCK)), np.uint8), 2, BLOCK)
    if not parsed.layers:
        raise ContainerError("layers: 0 arrived whole, the importance map is the first of them")
    entropy = entropy_model(models.by_id(header.model_id))
    rows, columns = grid(entropy, header.height, header.width)
    levels = decode_symbols(entropy, parsed, rows, columns, groups=0)[0][0].astype(np.uint8)
    mask = None if parsed.pixels is None else pixels.read_blocks(parsed.pixels, partial)[0]
    if mask is not None:
        n = BLOCK // entropy.level_pixels  # levels along a block's side
        exact = decode_mask(mask, header.height, header.width).repeat(n, axis=0).repeat(n, axis=1)
        levels[exact[:rows, :columns]] = entropy.levels - 1
    return Map(levels, entropy.levels, entropy.level_pixels)


def entropy_of(family: bytes, config: dict[str, Any], arrays: Context) -> Entropy:
    """The entropy model of a weights file. Raises ModelError if its arrays do not fit its config."""
    kind = ENTROPIES[family]
    for name in kind.facts:
        if name not in config:
            raise ModelError(f"weights: config: {name} is missing")
    try:
        return kind(*arrays, *(config[name] for name in kind.facts))
    except (ArithmeticError, ValueError, TypeError) as error:
        raise ModelError(f"weights: the context model does not fit the config: {error!r}") from error


@cache
def entropy_model(model: models.Model) -> Entropy:
    """The entropy model of a weights file alone. Raises ModelError if the file is damaged."""
    weights = read(model.read())
    return entropy_of(model.family, weights.config, weights.context())
