"""The reference decoder against encoders just as plain, written here, and the C one: decisions, codes, whole files."""

from __future__ import annotations

import hashlib
import json
import math
import random
import struct
from collections import Counter
from decimal import Decimal, getcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_decoder as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from pillow_cwic.coding import EntropyModel, TileCoder
from pillow_cwic.file.container import Header, Layer, write_file
from pillow_cwic.file.tiles import join_tiles

Plane = reference.Plane


class RangeEncoder:
    """The encoder of FORMAT.md section 3; ``low`` is one long number, so that carries need no care."""

    def __init__(self) -> None:
        self.low = 0
        self.range = 2**64 - 1
        self.fetched = 8  # bytes that ``low`` has, which are those that the decoder has fetched

    def encode(self, bit: int, p: int) -> None:
        bound = (self.range >> 16) * p
        self.low, self.range = (self.low, bound) if bit else (self.low + bound, self.range - bound)
        if self.range < 2**32:
            self.low <<= 32
            self.range <<= 32
            self.fetched += 4

    def finish(self) -> bytes:
        """The fewest bytes, of those that the decoder may miss, that lie in the interval when zeros follow."""
        for cut in range(8, -1, -1):
            number = -(-self.low >> 8 * cut)
            if number << 8 * cut < self.low + self.range:
                return number.to_bytes(self.fetched - cut, "big")
        raise AssertionError("the interval is empty")


def limited(x: int, limit: int) -> int:
    return min(max(x, -limit), limit)


class CodeEncoder(RangeEncoder):
    """Codes of section 4 with the corrections of 4.1, which are named by what they hold for."""

    def __init__(self, tables: reference.Tables) -> None:
        super().__init__()
        self.tables = tables
        self.learned: Counter[tuple[str, int, str]] = Counter()

    def decide(self, bit: bool, w: int, kind: str, j: int, h: int) -> bool:
        """Writes the decision unless it is certain; returns what the decoder will see."""
        if abs(w) > 2129:
            return w > 0
        slope, *biases = ("slope", j, kind), ("channel", j, kind), ("neighbourhood", h, kind)
        z = (2**16 + self.learned[slope]) * w // 2**16 + sum(self.learned[b] for b in biases) // 2**8
        p = self.tables[2][(limited(z, 2815) + 2816) // 2]
        self.encode(bit, p)
        e = 2**16 * bit - p
        self.learned[slope] = limited(self.learned[slope] + (e * w + 2**14) // 2**15, 2**15)
        for b in biases:
            self.learned[b] = limited(self.learned[b] + (5 * e + 2**7) // 2**8, 2**19)
        return bit

    def rest(self, r: int) -> None:
        digits = f"{r + 1:b}"
        for bit in "1" * (len(digits) - 1) + "0" + digits[1:]:
            self.encode(int(bit), 32768)

    def code(self, c: int, m: int, i: int, j: int = 0, h: int = 0) -> int:
        """Writes code c; returns the code that the decoder will see, another one where decisions are certain."""
        first, step, k0, f = self.tables[0][i], self.tables[1][i], m >> 4, m & 15
        if self.decide(c > k0, first[f], "first", j, h):
            for n in range(1, 17):
                if not self.decide(c > k0 + n, step[16 * n - f], "up", j, h):
                    return k0 + n
            self.rest(c - k0 - 17)
        else:
            for n in range(1, 17):
                if self.decide(c > k0 - n, -step[16 * n - 16 + f], "down", j, h):
                    return k0 - n + 1
            self.rest(k0 - 16 - c)
        return c


@cache
def formula() -> reference.Tables:
    """The tables from the formulas in section 4, in 40-digit arithmetic."""
    getcontext().prec = 40
    first, step = [], []
    for i in range(64):
        unit = (Decimal(26 - i) / 8).exp() / 16  # a sixteenth, in scales
        width = ((16 * unit).exp() - 1).ln()
        first.append([limited(round(256 * (f - 8) * unit), 2815) for f in range(16)])
        step.append([limited(round(256 * ((1 + ((8 - j) * unit).exp()).ln() - width)), 2815) for j in range(257)])
    return first, step, [round(65536 / (1 + ((Decimal("1407.75") - j) / 128).exp())) for j in range(2816)]


def test_tables_are_those_of_the_formula() -> None:
    tables = reference.read_tables(reference.TABLES)
    assert tables == formula()
    assert all(row[8] == 0 for row in tables[0])
    assert max(map(max, tables[1])) <= 2129, "a certain step away from the mean would never end"
    assert (tables[2][0], tables[2][-1]) == (1, 65535)


# Decisions


decisions = st.tuples(st.booleans(), st.one_of(st.integers(1, 65535), st.sampled_from([1, 32768, 65535])))


def encode(bits: list[tuple[bool, int]]) -> bytes:
    encoder = RangeEncoder()
    for bit, p in bits:
        encoder.encode(bit, p)
    return encoder.finish()


def check_round_trip(bits: list[tuple[bool, int]]) -> None:
    data = encode(bits)
    decoder = reference.RangeDecoder(data)
    assert [bool(decoder.decode(p)) for _, p in bits] == [bit for bit, _ in bits]
    decoder.finish()
    assert 4 <= decoder.fetched - len(data) <= 8, "so many of the bytes fetched lie past the end"
    decoder.data += bytes(9)
    with pytest.raises(reference.DamagedError, match="too long"):
        decoder.finish()


@given(st.lists(decisions, max_size=400))
def test_decisions_round_trip(bits: list[tuple[bool, int]]) -> None:
    check_round_trip(bits)


@pytest.mark.parametrize("bit", [False, True])
@pytest.mark.parametrize("p", [1, 3, 32768, 65535])
def test_runs_of_equal_decisions(bit: bool, p: int) -> None:
    """They hold the interval at one end, where long carries and zero bytes at the end are."""
    check_round_trip([(bit, p)] * 500)


@pytest.mark.parametrize(
    ("bits", "data"),
    [
        ("", ""),
        ("1", ""),
        ("0", "80"),
        ("01", "80"),
        ("00101101", "d2"),
        ("1" * 96, "00000000" * 3),
        ("0" * 96, "fffffffffffffffeffffffff"),
    ],
)
def test_bytes_of_even_decisions(bits: str, data: str) -> None:
    """With p = 1/2 the stream is the bits inverted, but for the range being 1 short of 2^64. No zeros are cut off."""
    assert encode([(bit == "1", 32768) for bit in bits]).hex() == data


def test_stream_cut_short_raises() -> None:
    bits = [(bool(n % 3), 20000) for n in range(300)]
    decoder = reference.RangeDecoder(encode(bits)[:-9])
    for _, p in bits:
        decoder.decode(p)
    with pytest.raises(reference.DamagedError, match="too short"):
        decoder.finish()


# Codes


means, scales, codes = st.integers(-8176, 8176), st.integers(0, 63), st.integers(-511, 511)


@given(st.lists(st.tuples(codes, means, scales, st.integers(0, 1), st.integers(0, 8)), max_size=60))
def test_codes_round_trip(symbols: list[tuple[int, int, int, int, int]]) -> None:
    encoder = CodeEncoder(formula())
    want = [encoder.code(*symbol) for symbol in symbols]
    decoder = reference.CodeDecoder(encoder.finish(), formula(), 2)
    assert [decoder.code(*where) for _, *where in symbols] == want
    decoder.finish()
    for (c, m, i, _, _), fitted in zip(symbols, want, strict=True):
        assert -511 <= fitted <= 511
        assert abs(fitted - m / 16) <= max(1, abs(c - m / 16)), "a fitted code lies no farther from the mean"
        assert i < 40 or fitted == c, "no decision is certain at a wide scale"


@given(st.binary(max_size=40), means, scales)
def test_noise_decodes_to_a_bounded_code(data: bytes, m: int, i: int) -> None:
    assert abs(reference.CodeDecoder(data, formula(), 1).code(m, i, 0, 0)) <= 511 + 17 + 2**11


def test_corrections_by_hand() -> None:
    """A stream of zeros is all ones."""
    decoder = reference.CodeDecoder(b"", formula(), 2)
    assert decoder.decide(0, 2, 1, 4)  # p = 32800: e = 32736
    assert (decoder.slope[1][2], decoder.bias[1][2], decoder.around[4][2]) == (0, 639, 639)
    assert decoder.decide(-256, 2, 1, 4)  # z = -256 + 4, p = 17853: e = 47683
    assert (decoder.slope[1][2], decoder.bias[1][2], decoder.around[4][2]) == (-373, 639 + 931, 639 + 931)
    decoder.bias[0][0], decoder.around[0][0], decoder.slope[0][0] = 2**19, -(2**19), -(2**15)
    decoder.slope[0][1] = 2**15
    assert decoder.decide(-2129, 0, 0, 0) and decoder.decide(2129, 1, 0, 0), "z is limited"
    assert (decoder.slope[0][0], decoder.bias[0][0]) == (-(2**15), 2**19), "they stay in their range"
    before = str(vars(decoder))
    assert decoder.decide(2130, 1, 0, 0) == 1 and decoder.decide(-2130, 1, 0, 0) == 0
    assert str(vars(decoder)) == before, "a certain decision changes nothing"


@pytest.mark.parametrize(("scale", "share"), [(1.0, 1.0), (0.5, 0.86), (1.5, 0.95)])
def test_bits_of_codes_of_another_scale(scale: float, share: float) -> None:
    """2000 codes at scale index 26 (s = 1): at most a hundredth over their ideal length, under it if s is wrong."""
    generator, encoder, ideal = random.Random(5), CodeEncoder(formula()), 0.0
    for _ in range(2000):
        u = generator.uniform(1e-9, 1 - 1e-9)
        c = encoder.code(round(scale * math.log(u / (1 - u))), 0, 26)
        ideal -= math.log2(1 / (1 + math.exp(-c - 0.5)) - 1 / (1 + math.exp(-c + 0.5)))
    assert 8 * len(encoder.finish()) == pytest.approx(share * ideal, rel=0.01)


# Whole files


CONFIG: dict[str, Any] = {"groups": [2, 1, 2], "context_hidden": 3, "map_hidden": 2, "levels": 3}


def write_weights(path: Path, last: int = 0, config: dict[str, Any] = CONFIG) -> dict[str, Any]:
    """Random weights, as a weights file; returns them as the reference reads them."""
    generator, groups, hidden = random.Random(1), config["groups"], config["context_hidden"]
    shapes = [(0, 1, config["map_hidden"])] + [(1 + sum(groups[:g]), c, hidden) for g, c in enumerate(groups)]
    weights: list[int] = []
    biases: list[int] = []
    for inputs, c, n in shapes:
        count = 2 * n + 9 * inputs * n + (9 if inputs else 1) * n * n + 12 * c * n + n * n + 2 * c * n
        weights += [generator.randint(-3000, 3000) for _ in range(count)]
        biases += [generator.randint(-20000, 2000000) for _ in range(3 * n + 2 * c)]
    weights[-1] += last
    arrays = struct.pack(f"<{len(weights)}h", *weights), struct.pack(f"<{len(biases)}i", *biases)
    middle, end = len(arrays[0]), len(arrays[0]) + len(arrays[1])
    index = {
        "__metadata__": {"config": json.dumps(config)},
        "context.weights": {"dtype": "I16", "shape": [len(weights)], "data_offsets": [0, middle]},
        "context.biases": {"dtype": "I32", "shape": [len(biases)], "data_offsets": [middle, end]},
    }
    text = json.dumps(index).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(arrays))
    return reference.read_weights(path)


def make_file(weights: dict[str, Any], header: Header, seed: int) -> tuple[bytes, Plane, list[Plane]]:
    """A file of random symbols near their means, written over the reference's own walk, and the symbols."""
    generator = random.Random(seed)
    rows, columns = -(-header.height // 16), -(-header.width // 16)
    top = weights["config"]["levels"] - 1

    def layer(number: int, inputs: reference.Grid, coded: Plane) -> tuple[Layer, list[Plane]]:
        network, scale = weights["layers"][number], 1 if number == 0 else 2
        grid = reference.zeros(len(coded), len(coded[0]), network.channels)
        streams = []
        for tile in reference.tiles_of(len(coded), len(coded[0]), 2**header.tile_exponent * scale // 16):
            encoder = CodeEncoder(formula())

            def code(m: int, i: int, j: int, h: int, encoder: CodeEncoder = encoder) -> int:
                low, high = (0, top) if number == 0 else (-511, 511)
                c = (m >> 4) + generator.choice([-20, -2, -1, 0, 0, 0, 1, 1, 2, 3, 30])
                return encoder.code(min(max(c, low), high), m, i, j, h)

            piece = network.run(reference.cut(inputs, tile), reference.cut(coded, tile), header.rate, top, code)
            streams.append(encoder.finish())
            for row, values in zip(grid[tile[0]], piece, strict=True):
                row[tile[1]] = values
        channels = [[[codes[c] for codes in row] for row in grid] for c in range(network.channels)]
        return Layer(join_tiles(streams), reference.symbol_crc(channels, number)), channels

    first, (levels,) = layer(0, reference.zeros(rows, columns, 0), [[1] * columns for _ in range(rows)])
    side = [[levels[y // 2][x // 2] for x in range(2 * columns)] for y in range(2 * rows)]
    layers = [first]
    planes: list[Plane] = []
    for g in range(len(CONFIG["groups"])):
        inputs = [
            [[64 * (level - top)] + [16 * max(-127, min(127, p[y][x])) for p in planes] for x, level in enumerate(row)]
            for y, row in enumerate(side)
        ]
        coded, channels = layer(1 + g, inputs, [[level >= g for level in row] for row in side])
        layers.append(coded)
        planes += channels
    return write_file(header, layers, [(b"eXIf", b"anything")]), levels, planes


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return write_weights(tmp_path_factory.mktemp("weights") / "model.safetensors")


def header_of(weights: dict[str, Any], width: int, height: int, rate: int = 0) -> Header:
    return Header(width, height, "RGB", tile_exponent=6, rate=rate, model_id=weights["model_id"])


@settings(max_examples=15)
@given(width=st.integers(1, 150), height=st.integers(1, 90), rate=st.integers(-2048, 2048), seed=st.integers(0, 99))
def test_files_decode(weights: dict[str, Any], width: int, height: int, rate: int, seed: int) -> None:
    header = header_of(weights, width, height, rate)
    data, levels, planes = make_file(weights, header, seed)
    found_levels, found_planes, fields = reference.decode_symbols(data, weights, formula())
    assert found_levels == levels
    assert found_planes == planes
    names = "width", "height", "mode", "rate", "tile_exponent"
    assert [fields[name] for name in names] == [width, height, "RGB", rate, 6]


@pytest.mark.parametrize("seed", range(3))
def test_streams_of_the_c_coder_decode(tmp_path: Path, seed: int) -> None:
    """Codes of any size under random weights: every kind of decision, neighbourhood and correction."""
    config = {"groups": [2, 4], "context_hidden": 16, "map_hidden": 16, "levels": 7}
    weights = write_weights(tmp_path / "model", config=config)
    arrays = load_file(tmp_path / "model")
    model = EntropyModel(arrays["context.weights"], arrays["context.biases"], [2, 4], 16, 16, 7)
    coder, rng = TileCoder(model, 99 * seed, 3, 4), np.random.default_rng(seed)
    wild = [rng.integers(0, 7, (1, 3, 4)), *(rng.standard_cauchy((n, 6, 8)).clip(-511, 511) for n in (2, 4))]
    symbols = [layer.round().astype(np.int16) for layer in wild]
    streams = [coder.encode(layer) for layer in symbols]  # which changes some symbols
    crcs = [reference.symbol_crc(layer.tolist(), n) for n, layer in enumerate(symbols)]
    data = write_file(header_of(weights, 64, 48, 99 * seed), list(map(Layer, streams, crcs)))
    levels, planes, _ = reference.decode_symbols(data, weights)
    assert [levels, *planes] == [plane.tolist() for layer in symbols for plane in layer]


@pytest.mark.parametrize(("mode", "alpha"), [("RGB", b"\0\7"), ("LA", None), ("RGBA", None), ("RGBA", b"\0\7")])
def test_alpha_is_there_where_the_mode_has_it(mode: str, alpha: bytes | None) -> None:
    header = Header(9, 9, mode, tile_exponent=6, rate=0, model_id=b"abcdef")
    data = write_file(header, [Layer(b"", 0)], [(b"eXIf", b"x")], alpha)
    if ("A" in mode) == (alpha is not None):
        assert reference.read_file(data)[0]["mode"] == mode
    else:
        with pytest.raises(reference.DamagedError, match="chunks: "):
            reference.read_file(data)


def test_positions_below_a_groups_level_have_no_codes(weights: dict[str, Any]) -> None:
    _, levels, planes = make_file(weights, header_of(weights, 150, 90), 3)
    assert {level for row in levels for level in row} == {0, 1, 2}, "the case needs every level"
    group_of = [g for g, channels in enumerate(CONFIG["groups"]) for _ in range(channels)]
    for g, plane in zip(group_of, planes, strict=True):
        assert any(c != 0 for row in plane for c in row)
        for y, row in enumerate(plane):
            assert all(c == 0 for x, c in enumerate(row) if levels[y // 2][x // 2] < g)


def test_another_symbol_crc_raises(weights: dict[str, Any]) -> None:
    header = header_of(weights, 40, 20)
    _, layers = reference.read_file(make_file(weights, header, 1)[0])
    for n in range(len(layers)):
        changed = [Layer(stream, crc ^ (k == n)) for k, (stream, crc) in enumerate(layers)]
        with pytest.raises(reference.DamagedError, match=f"layer {n}: symbol CRC differs"):
            reference.decode_symbols(write_file(header, changed), weights, formula())


def test_another_model_raises(weights: dict[str, Any], tmp_path: Path) -> None:
    data, _, _ = make_file(weights, header_of(weights, 40, 20), 1)
    other = write_weights(tmp_path / "other.safetensors", last=1)
    assert other["model_id"] == hashlib.sha256((tmp_path / "other.safetensors").read_bytes()).digest()[:6]
    with pytest.raises(reference.DamagedError, match="model id"):
        reference.decode_symbols(data, other, formula())


def test_every_bit_flip_of_a_file_raises(weights: dict[str, Any]) -> None:
    data, _, _ = make_file(weights, header_of(weights, 17, 1), 2)
    number = int.from_bytes(data, "big")
    flipped = [(number ^ 1 << bit).to_bytes(len(data), "big") for bit in range(8 * len(data))]
    for damaged in flipped + [data[:size] for size in range(len(data))]:
        with pytest.raises(reference.DamagedError):
            reference.read_file(damaged)
