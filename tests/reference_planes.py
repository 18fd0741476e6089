"""A slow reference decoder of ``cwic2018``'s layers, laid out in the order of ``docs/FORMAT.md`` section 7.

Shares no code with the package; container and range coder are the ones of ``reference_decoder.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product

from reference_decoder import TABLES, RangeDecoder, clamp, cut, read_tables, require, split_tiles, symbol_crc, tiles_of

Plane = list[list[int]]
Predictor = dict[str, list[list[int]] | list[int]]

# 7.2: the 87 places (plane, row, column) of the cuboid, relative to the bit's own
CUBOID = list(product((-3, -2, -1, 0), range(-2, 3), range(-2, 3)))[:87]
PROBABILITIES = read_tables(TABLES)[2]


def act(sums: list[int]) -> list[int]:
    return [clamp((s + 2048) >> 12, 0, 2047) for s in sums]


def affine(start: list[int], rows: list[list[int]], inputs: list[int]) -> list[int]:
    """start(o) + sum over i of rows[i][o] * inputs[i]"""
    return [s + sum(row[o] * x for row, x in zip(rows, inputs, strict=True) if x) for o, s in enumerate(start)]


def read_predictors(weights: Iterator[int], biases: Iterator[int], planes: int) -> list[Predictor]:
    """7.3"""

    def rows(count: int, columns: int) -> list[list[int]]:
        return [list(islice(weights, columns)) for _ in range(count)]

    return [
        {"near": rows(87, 16), "mix": rows(16, 16), "out": rows(16, 1)}
        | {"near_bias": list(islice(biases, 16)), "mix_bias": list(islice(biases, 16)), "out_bias": [next(biases)]}
        for _ in range(planes)
    ]


def predict(p: Predictor, bits: list[Plane], k: int, y: int, x: int) -> int:
    """7.2: probability of a one; ``bits`` hold 1, -1, or 0 where there is none, and only planes so far."""
    inputs = []
    for dk, dy, dx in CUBOID:
        there = 0 <= k + dk < len(bits) and 0 <= y + dy < len(bits[0]) and 0 <= x + dx < len(bits[0][0])
        inputs.append(64 * bits[k + dk][y + dy][x + dx] if there else 0)
    a = act(affine(p["near_bias"], p["near"], inputs))
    b = act(affine(p["mix_bias"], p["mix"], a))
    (y0,) = affine(p["out_bias"], p["out"], b)
    return PROBABILITIES[(clamp((y0 + 512) >> 10, -2815, 2815) + 2816) >> 1]


def decode_plane(decoder: RangeDecoder, p: Predictor, bits: list[Plane], mask: Plane) -> None:
    """Appends the next plane to ``bits``."""
    k = len(bits)
    bits.append([[0] * len(mask[0]) for _ in mask])
    for y, row in enumerate(mask):
        for x, kept in enumerate(row):
            if kept:
                bits[k][y][x] = 1 if decoder.decode(predict(p, bits, k, y, x)) else -1


def decode_tile(streams: list[bytes], config: dict, predictors: list[Predictor], rows: int, columns: int) -> list:
    """Layers of one tile: [[levels], channels of group 0, ..]."""
    levels = config["levels"]
    count = levels.bit_length() - 1
    bits: list[Plane] = []
    decoder = RangeDecoder(streams[0])
    for k in range(count):
        decode_plane(decoder, predictors[k], bits, [[1] * columns for _ in range(rows)])
    decoder.finish()
    level = [
        [sum((bits[k][y][x] > 0) << (count - 1 - k) for k in range(count)) for x in range(columns)] for y in range(rows)
    ]
    layers: list[list[Plane]] = [[level]]
    codes: list[Plane] = []
    per_level = sum(config["groups"]) // levels
    for stream, group in zip(streams[1:], config["groups"], strict=True):
        decoder = RangeDecoder(stream)
        for _ in range(group):
            k = len(codes)
            mask = [[int(k < per_level * (q + 1)) for q in row] for row in level]
            decode_plane(decoder, predictors[count + k], codes, mask)
        decoder.finish()
        layers.append([[[int(b > 0) for b in row] for row in plane] for plane in codes[-group:]])
    return layers


def decode_layers(header: dict, layers: list[tuple[bytes, int]], config: dict, predictors: list[Predictor]) -> list:
    """7.1: the layers of a file, each a list of channels [y][x], their CRCs checked."""
    rows, columns = (header["height"] + 7) // 8, (header["width"] + 7) // 8
    tiles = tiles_of(rows, columns, 2 ** header["tile_exponent"] // 8)
    streams = [split_tiles(data, len(tiles)) for data, _ in layers]
    whole = [[[[0] * columns for _ in range(rows)] for _ in range(n)] for n in (1, *config["groups"])]
    for index, tile in enumerate(tiles):
        size = len(cut(whole[0][0], tile)), len(cut(whole[0][0], tile)[0])
        for made, kept in zip(decode_tile([s[index] for s in streams], config, predictors, *size), whole, strict=True):
            for plane, target in zip(made, kept, strict=True):
                for row, values in zip(target[tile[0]], plane, strict=True):
                    row[tile[1]] = values
    for number, (planes, (_, crc)) in enumerate(zip(whole, layers, strict=True)):
        require(symbol_crc(planes, number) == crc, f"layer {number}: symbol CRC differs")
    return whole
