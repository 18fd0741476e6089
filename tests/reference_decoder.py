"""A slow reference decoder of a CWIC file of family ``cwc1`` or ``pixl``, laid out in the order of ``docs/FORMAT.md``.

It takes a file down to its samples, checks every CRC on the way, and shares no code with the package: what both agree
on is the format. Exact integers; down to the codes it needs the standard library alone, then numpy. Section 1 is in
``reference_container.py``, 3 in ``reference_range.py``, 6 in ``reference_transform.py``, 8 in ``reference_pixels.py``.

    python tests/reference_decoder.py FILE [WEIGHTS]
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

from reference_container import DamagedError as DamagedError  # for whoever uses this
from reference_container import Fields, Plane, read, read_file, read_payload, read_varint, require, split_tiles
from reference_container import symbol_crc as symbol_crc
from reference_pixels import Blocks, Pixel, decode_pixels
from reference_range import TABLES as TABLES
from reference_range import RangeDecoder, Tables, clamp, read_tables

Grid = list[list[list[int]]]  # [y][x][channel]
Coder = Callable[[int, int, int, int], int]  # (mean in 1/16, scale index, channel, neighbourhood) -> next code


# 1.2 and 1.5 Pixels without loss


def decode_payload(
    payload: bytes, width: int, height: int, channels: int, blocks: Blocks | None = None
) -> list[list[Pixel | None]]:
    """Rows of pixels; None for those of blocks that are not exact, if ``blocks`` are given."""
    colour, step, bands = read_payload(payload, height, channels, blocks is not None)
    if colour is not None:
        return [
            [tuple(colour) if blocks is None or blocks[y // 16][x // 16] else None for x in range(width)]
            for y in range(height)
        ]
    rows: list[list[Pixel | None]] = []
    for count, stream, crc in bands:
        band = decode_pixels(stream, width, count, channels, blocks and blocks[len(rows) // 16 :])
        samples = bytes(value for row in band for pixel in row if pixel is not None for value in pixel)
        require(zlib.crc32(samples) == crc, f"band at row {len(rows)}: CRC differs")
        rows += [[pixel and tuple(min(255, value * step) for value in pixel) for pixel in row] for row in band]
    return rows


def decode_exact(payload: bytes, width: int, height: int, channels: int) -> list[list[Pixel | None]]:
    """Rows of the exact pixels of a file with codes, None elsewhere."""
    source = BytesIO(payload)
    stream = read(source, read_varint(source))
    pixels = decode_pixels(stream, (width + 15) // 16, (height + 15) // 16, 1)
    blocks = [[value for pixel in row if pixel is not None for value in pixel] for row in pixels]
    require(max(map(max, blocks)) == 1, "blocks: not 0 and 1, or all 0")
    return decode_payload(source.read(), width, height, channels, blocks)


# 2. Grids

Tile = tuple[slice, slice]  # its rows and columns in a grid


def tiles_of(rows: int, columns: int, side: int) -> list[Tile]:
    """Tiles of ``side`` x ``side`` in raster order; a grid's edge cuts slices that reach past it."""
    return [(slice(y, y + side), slice(x, x + side)) for y in range(0, rows, side) for x in range(0, columns, side)]


def cut(grid: list[Any], tile: Tile) -> list[Any]:
    return [row[tile[1]] for row in grid[tile[0]]]


def zeros(rows: int, columns: int, channels: int) -> Grid:
    return [[[0] * channels for _ in range(columns)] for _ in range(rows)]


# 4. Codes as decisions


class CodeDecoder(RangeDecoder):
    """Codes from one tile's stream, and 4.1 the corrections learned from their decisions."""

    def __init__(self, data: bytes, tables: Tables, channels: int) -> None:
        super().__init__(data)
        self.first, self.step, self.probabilities = tables
        # In 2^-16, by kind of decision: each channel's slope and bias, each neighbourhood's bias.
        self.slope, self.bias, self.around = ([[0, 0, 0] for _ in range(count)] for count in (channels, channels, 9))

    def decide(self, w: int, k: int, j: int, h: int) -> int:
        """A decision of kind k and log odds w; a certain one is not in the stream and changes nothing."""
        if not -2129 <= w <= 2129:
            return int(w > 0)
        slope, bias, around = self.slope[j], self.bias[j], self.around[h]
        z = ((65536 + slope[k]) * w >> 16) + ((bias[k] + around[k]) >> 8)
        p = self.probabilities[(clamp(z, -2815, 2815) + 2816) >> 1]
        bit = self.decode(p)
        e = 65536 * bit - p
        s = (5 * e + 128) >> 8
        slope[k] = clamp(slope[k] + ((e * w + 16384) >> 15), -(2**15), 2**15)
        bias[k] = clamp(bias[k] + s, -(2**19), 2**19)
        around[k] = clamp(around[k] + s, -(2**19), 2**19)
        return bit

    def rest(self) -> int:
        """Exp-Golomb code of order 0; 10 ones need no zero behind them, as there are never more."""
        b = 0
        while b < 10 and self.decode(32768):
            b += 1
        number = 1
        for _ in range(b):
            number = 2 * number + self.decode(32768)
        return number - 1

    def code(self, m: int, i: int, j: int, h: int) -> int:
        """A code of channel j in neighbourhood h with mean m / 16 and scale index i, by a walk away from the mean."""
        first, step, k0, f = self.first[i], self.step[i], m >> 4, m & 15
        if self.decide(first[f], 0, j, h):  # c > k0
            for n in range(1, 17):
                if not self.decide(step[16 * n - f], 1, j, h):  # not c > k0 + n
                    return k0 + n
            return k0 + 17 + self.rest()
        for n in range(1, 17):
            if self.decide(-step[16 * n - 16 + f], 2, j, h):  # c > k0 - n
                return k0 - n + 1
        return k0 - 16 - self.rest()


# 5. Context model

CAUSAL = [(dy, dx) for dy in (-2, -1) for dx in range(-2, 3)] + [(0, -2), (0, -1)]
WINDOW = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
Numbers = Iterator[int]
Rows = list[list[int]]  # weights: a row for each input of each tap, holding those of all outputs


def act(sums: list[int]) -> list[int]:
    return [clamp((s + 2048) >> 12, 0, 2047) for s in sums]


def add(sums: list[int], rows: Rows, inputs: list[int], tap: int = 0) -> list[int]:
    """The sums with one tap's inputs times their weights added."""
    for n, value in enumerate(inputs):
        if value:
            row = rows[tap * len(inputs) + n]
            sums = [s + w * value for s, w in zip(sums, row, strict=True)]
    return sums


def add_taps(sums: list[int], rows: Rows, grid: Grid, y: int, x: int, taps: list[tuple[int, int]]) -> list[int]:
    """The same for the taps around (y, x) that lie inside the tile; those outside count as 0."""
    for tap, (dy, dx) in enumerate(taps):
        if 0 <= y + dy < len(grid) and 0 <= x + dx < len(grid[0]):
            sums = add(sums, rows, grid[y + dy][x + dx], tap)
    return sums


def take(source: Numbers, rows: int, columns: int) -> Rows:
    table = [list(islice(source, columns)) for _ in range(rows)]
    require(all(len(row) == columns for row in table), "weights: too few")
    return table


class ContextLayer:
    """The network of one layer; ``inputs`` is 1 + P, or 0 for the map's own, ``channels`` C_g, ``hidden`` N."""

    def __init__(self, weights: Numbers, biases: Numbers, inputs: int, channels: int, hidden: int) -> None:
        self.channels = channels
        self.is_map = is_map = inputs == 0
        self.mix_window = [(0, 0)] if is_map else WINDOW
        # In the order of section 5.1.
        self.rate = [list(column) for column in zip(*take(weights, hidden, 2), strict=True)]
        self.dense = take(weights, 9 * inputs, hidden)
        self.mix = take(weights, len(self.mix_window) * hidden, hidden)
        self.own = take(weights, len(CAUSAL) * channels, hidden)
        self.hidden = take(weights, hidden, hidden)
        self.out = take(weights, hidden, 2 * channels)
        self.rate_bias, self.mix_bias, self.hidden_bias = take(biases, 3, hidden)
        (self.out_bias,) = take(biases, 1, 2 * channels)
        sums = (self.rate_bias, self.rate + self.dense), (self.mix_bias, self.mix + self.own)
        for bias, rows in (*sums, (self.hidden_bias, self.hidden), (self.out_bias, self.out)):
            for o, b in enumerate(bias):  # 32 bits must hold each sum in each order, and the rounding that follows
                require(abs(b) + 2048 * sum(abs(row[o]) for row in rows) < 2**31 - 2**15, "weights: too large")

    def run(self, inputs: Grid, coded: Plane, rate: int, top: int, code: Coder) -> Grid:
        """The tile's codes, by calls of ``code`` in coding order. ``inputs``: side plane and earlier channels, as the
        network sees them (none for the map); ``coded``: where positions have codes; ``rate``: T; ``top``: L - 1."""
        rows, columns = len(coded), len(coded[0])
        u = (clamp(rate, -512, 512) + 4) >> 3
        v = (u * u + 32) >> 6
        base = add(self.rate_bias, self.rate, [u, v])
        a = [[act(add_taps(base, self.dense, inputs, y, x, WINDOW)) for x in range(columns)] for y in range(rows)]
        low, high = (0, top) if self.is_map else (-511, 511)
        codes = zeros(rows, columns, self.channels)
        own = zeros(rows, columns, self.channels)  # the codes as the network sees them
        for y, x in ((y, x) for y in range(rows) for x in range(columns) if coded[y][x]):
            sums = add_taps(self.mix_bias, self.mix, a, y, x, self.mix_window)
            sums = add_taps(sums, self.own, own, y, x, CAUSAL)
            outputs = add(self.out_bias, self.out, act(add(self.hidden_bias, self.hidden, act(sums))))
            left, above = codes[y][x - 1], codes[y - 1][x]  # at an edge those of the other end, which are still 0
            for j in range(self.channels):
                m = clamp((outputs[j] + 8192) >> 14, 16 * low, 16 * high)
                i = clamp(((outputs[self.channels + j] + 16384) >> 15) + 26, 0, 63)
                codes[y][x][j] = c = code(m, i, j, 3 * min(abs(left[j]), 2) + min(abs(above[j]), 2))
                require(low <= c <= high, f"symbol {c} is outside {low} to {high}")
            own[y][x] = as_inputs(codes[y][x])
        return codes


def as_inputs(codes: Iterable[int]) -> list[int]:
    return [16 * clamp(c, -127, 127) for c in codes]


# 5.1 Arrays in the weights file


def read_weights(path: Path) -> Fields:
    """``config``, ``model_id``, ``layers`` (ContextLayer) and the synthesis transform's arrays, if there are any, of a
    weights file in Safetensors: a little-endian u64 length, so many bytes of JSON, then the arrays, little-endian, at
    the offsets that the JSON gives."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    index = json.loads(data[8 : 8 + length])

    def array(name: str, kind: str, letter: str) -> tuple[int, ...]:
        require(index[name]["dtype"] == kind, f"{name}: not {kind}")
        begin, end = (8 + length + offset for offset in index[name]["data_offsets"])
        return tuple(number for (number,) in struct.iter_unpack("<" + letter, data[begin:end]))

    config = json.loads(index["__metadata__"]["config"])
    weights = iter(array("context.weights", "I16", "h"))
    biases = iter(array("context.biases", "I32", "i"))
    layers = [ContextLayer(weights, biases, 0, 1, config["map_hidden"])]
    for g, channels in enumerate(config["groups"]):
        inputs = 1 + sum(config["groups"][:g])
        layers.append(ContextLayer(weights, biases, inputs, channels, config["context_hidden"]))
    require(next(weights, None) is None and next(biases, None) is None, "weights: numbers left over")
    kinds = {"synthesis.words": ("I32", "i"), "synthesis.halves": ("I16", "h"), "synthesis.bytes": ("I8", "b")}
    arrays = {name: array(name, *kind) for name, kind in kinds.items() if name in index}
    return {"config": config, "model_id": hashlib.sha256(data).digest()[:6], "layers": layers, **arrays}


def decode_symbols(data: bytes, weights: Fields, tables: Tables | None = None) -> tuple[Plane, list[Plane], Fields]:
    """Levels [y][x], codes [channel][y][x] and header fields of the file ``data``."""
    header, layers = read_file(data)
    require(not header["lossless"], "a lossless file: it has no symbols")
    networks: list[ContextLayer] = weights["layers"]
    require(header["model_id"] == weights["model_id"], "model id: another model's file")
    require(len(layers) == len(networks), f"{len(layers)} layers, the model has {len(networks)}")
    tables = tables or read_tables(TABLES)
    rows, columns = (header["height"] + 15) // 16, (header["width"] + 15) // 16
    top = weights["config"]["levels"] - 1

    def decode(number: int, inputs: Grid, coded: Plane) -> list[Plane]:
        """The channels of a layer."""
        network, (stored, crc), scale = networks[number], layers[number], 1 if number == 0 else 2
        grid = zeros(rows * scale, columns * scale, network.channels)
        tiles = tiles_of(rows * scale, columns * scale, 2 ** header["tile_exponent"] // 16 * scale)
        for tile, stream in zip(tiles, split_tiles(stored, len(tiles)), strict=True):
            decoder = CodeDecoder(stream, tables, network.channels)
            piece = network.run(cut(inputs, tile), cut(coded, tile), header["rate"], top, decoder.code)
            decoder.finish()
            for row, values in zip(grid[tile[0]], piece, strict=True):
                row[tile[1]] = values
        channels = [[[codes[c] for codes in row] for row in grid] for c in range(network.channels)]
        require(symbol_crc(channels, number) == crc, f"layer {number}: symbol CRC differs")
        return channels

    (levels,) = decode(0, zeros(rows, columns, 0), [[1] * columns for _ in range(rows)])
    side = [[levels[y >> 1][x >> 1] for x in range(2 * columns)] for y in range(2 * rows)]
    inputs = [[[64 * (level - top)] for level in row] for row in side]
    codes: list[Plane] = []
    for g in range(len(networks) - 1):
        group = decode(1 + g, inputs, [[int(level >= g) for level in row] for row in side])
        for y, row in enumerate(inputs):
            for x, seen in enumerate(row):
                seen += as_inputs(channel[y][x] for channel in group)
        codes += group
    return levels, codes, header


# 6. Picture


def picture(codes: list[Plane], header: Fields, weights: Fields) -> Any:
    """Samples (height, width, channels of the mode), a numpy array of 8 bits."""
    import numpy as np
    from reference_transform import Transform

    width, height, mode, channels = header["width"], header["height"], header["mode"], 1 if header["grey"] else 3
    if header["lossless"]:
        samples = np.array(decode_payload(header["pixels"], width, height, channels), np.uint8)
    else:
        arrays = {name: np.array(values) for name, values in weights.items() if name.startswith("synthesis.")}
        transform = Transform(weights["config"], "synthesis", arrays)
        samples = transform.synthesise(np.array(codes, np.int16), header["rate"], height, width, header["post"])
        if header["grey"]:
            samples = ((2 * samples.sum(2, dtype=np.int64, keepdims=True) + 3) // 6).astype(np.uint8)
        if header["pixels"] is not None:
            for y, row in enumerate(decode_exact(header["pixels"], width, height, channels)):
                for x, pixel in enumerate(row):
                    samples[y, x] = samples[y, x] if pixel is None else pixel
    if header["grey"] and mode in ("RGB", "RGBA"):
        samples = samples.repeat(3, axis=2)
    if header["alpha"] is not None:
        samples = np.dstack([samples, np.array(decode_payload(header["alpha"], width, height, 1), np.uint8)])
    return samples


def decode(data: bytes, weights: Fields, tables: Tables | None = None) -> tuple[Any, Fields]:
    """Samples and header fields of the file ``data``; one without loss needs no weights."""
    header, _ = read_file(data)
    codes = [] if header["lossless"] else decode_symbols(data, weights, tables)[1]
    return picture(codes, header, weights), header


def main(file: str, *weights: str) -> None:
    data = Path(file).read_bytes()
    samples, header = decode(data, read_weights(Path(*weights)) if weights else {})
    print(f"{header['width']} x {header['height']} {header['mode']}, T = {header['rate']}, {len(data)} bytes")
    for n, (stream, crc) in enumerate(read_file(data)[1]):
        print(f"layer {n}: {len(stream)} bytes, symbol CRC {crc:08x}")
    print(f"SHA-256 of the samples: {hashlib.sha256(samples.tobytes()).hexdigest()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
