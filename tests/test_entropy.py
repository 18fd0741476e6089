"""The C library through its Python wrapper: range coder, symbols, context model, instruction sets."""

from __future__ import annotations

import math
import shutil
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pillow_cwic.coding import EntropyModel, TileCoder, decode_bits, encode_bits
from pillow_cwic.errors import EntropyError, ModelError
from pillow_cwic.transforms.torch.context import ContextModel, logistic_bits
from pillow_cwic.transforms.torch.context_weights import to_integers

GROUPS = (4, 4, 8)
CSRC = Path(__file__).parents[1] / "csrc"
PINNED_BITS = (36, 0x06522251)  # length and CRC-32


@pytest.fixture(scope="module")
def twin() -> ContextModel:
    """A float context model with random weights that make its predictions vary."""
    torch.manual_seed(3)
    model = ContextModel(list(GROUPS), hidden=32, map_hidden=16, levels=8)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("out.weight"):
                value.mul_(3)
    return model.eval()


def integer(twin: ContextModel, simd: int = 4) -> EntropyModel:
    return EntropyModel(*to_integers(twin), GROUPS, 32, 16, 8, simd=simd)


def made_up_layers(rows: int = 9, columns: int = 11, seed: int = 5) -> list[np.ndarray]:
    """A map and codes of three groups, small numbers with a few large ones, masked as the map says."""
    rng = np.random.default_rng(seed)
    layers = [rng.integers(0, 8, (1, rows, columns)).astype(np.int16)]
    fine = layers[0].repeat(2, axis=1).repeat(2, axis=2)
    for g, channels in enumerate(GROUPS):
        codes = np.round(rng.laplace(0, 1.5, (channels, 2 * rows, 2 * columns)))
        codes = np.where(rng.random(codes.shape) < 0.002, rng.integers(-255, 256, codes.shape), codes)
        layers.append((codes * (fine >= g)).astype(np.int16))
    return layers


def write(model: EntropyModel, layers: list[np.ndarray], rate: int) -> list[bytes]:
    coder = TileCoder(model, rate, *layers[0].shape[1:])
    return [coder.encode(layer) for layer in layers]


def test_loss_over_the_ideal_code_length() -> None:
    rng = np.random.default_rng(1)
    n = 1_000_000
    for probabilities in (
        rng.integers(1, 65536, n),  # random
        np.clip(65536 * 2.0 ** -rng.uniform(0, 16, n), 1, 65535),  # skewed
        np.full(n, 60),
    ):
        p = probabilities.astype(np.uint16)
        bits = (rng.integers(0, 65536, n) < p).astype(np.uint8)
        ideal = -np.log2(np.where(bits == 1, p, 65536 - p.astype(np.int64)) / 65536).sum() / 8
        data = encode_bits(bits, p)
        assert np.array_equal(decode_bits(data, p), bits)
        assert len(data) <= 1.001 * ideal + 4


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 65535)), max_size=300))
def test_decisions_come_back(decisions: list[tuple[bool, int]]) -> None:
    bits = np.array([b for b, _ in decisions], np.uint8)
    p = np.array([q for _, q in decisions], np.uint16)
    data = encode_bits(bits, p)
    assert np.array_equal(decode_bits(data, p), bits)
    ideal = sum(-math.log2((q if b else 65536 - q) / 65536) for b, q in decisions) / 8
    assert len(data) <= ideal + 2


def test_pinned_output_of_the_range_coder() -> None:
    """A change of these words is a change of the format."""
    p = ((np.arange(200, dtype=np.int64) * 40503) % 65535 + 1).astype(np.uint16)
    bits = ((np.arange(200) * 7) % 3 == 0).astype(np.uint8)
    data = encode_bits(bits, p)
    assert (len(data), zlib.crc32(data)) == PINNED_BITS


def test_damaged_streams_are_told() -> None:
    rng = np.random.default_rng(2)
    p = rng.integers(1000, 64000, 5000).astype(np.uint16)
    data = encode_bits(rng.integers(0, 2, 5000).astype(np.uint8), p)
    with pytest.raises(EntropyError, match="ends before"):
        decode_bits(data[:-20], p)
    with pytest.raises(EntropyError, match="left over"):
        decode_bits(data + bytes(20), p)
    with pytest.raises(ValueError, match="out of its range"):
        decode_bits(data, np.zeros(3, np.uint16))


def test_layers_come_back_exactly(twin: ContextModel) -> None:
    model = integer(twin)
    for rate in (-2048, -300, 0, 511, 2048):
        layers = made_up_layers()
        streams = write(model, layers, rate)
        coder = TileCoder(model, rate, 9, 11)
        for stream, layer in zip(streams, layers, strict=True):
            assert np.array_equal(coder.decode(stream), layer)


def test_every_instruction_set_gives_the_same_bytes(twin: ContextModel) -> None:
    plain = write(integer(twin, simd=0), made_up_layers(), 77)
    for simd in (1, 2, 3, 4):
        assert write(integer(twin, simd=simd), made_up_layers(), 77) == plain


def test_integer_model_costs_what_its_twin_says(twin: ContextModel) -> None:
    """Within 1 %, on symbols drawn from the twin's own predictions, as on real files."""
    torch.manual_seed(4)
    rows, columns, t = 12, 14, 0.25
    codes = torch.zeros(1, sum(GROUPS), 2 * rows, 2 * columns)
    level = torch.full((1, 1, rows, columns), 7.0)
    with torch.no_grad():
        for _ in range(3):  # towards symbols that fit the predictions made from them
            mean, log_scale = (torch.cat(p, 1) for p in zip(*twin(codes, level, torch.tensor([t])), strict=True))
            u = torch.rand_like(mean).clamp(1e-4, 1 - 1e-4)
            codes = (mean + log_scale.exp() * torch.log(u / (1 - u))).round().clamp(-255, 255)
        mean, log_scale = (torch.cat(p, 1) for p in zip(*twin(codes, level, torch.tensor([t])), strict=True))
        ideal = logistic_bits(codes, mean, log_scale).sum().item() / 8
    layers = [level[0].numpy().astype(np.int16)]
    layers += np.split(codes[0].numpy().astype(np.int16), np.cumsum(GROUPS)[:-1])
    real = sum(len(s) for s in write(integer(twin), [np.ascontiguousarray(x) for x in layers], round(512 * t))[1:])
    assert real == pytest.approx(ideal, rel=0.01)


def test_positions_outside_the_map_take_no_bits_and_read_as_zero(twin: ContextModel) -> None:
    layers = made_up_layers()
    layers[0][...] = 0  # only the first group is kept
    for layer in layers[1:]:
        layer[...] = 3
    streams = write(integer(twin), layers, 0)
    assert len(streams[1]) > 0 and streams[2:] == [b"", b""]
    assert np.all(layers[1] == 3) and not layers[2].any() and not layers[3].any()


def test_damaged_layers_never_crash(twin: ContextModel) -> None:
    model, layers = integer(twin), made_up_layers()
    streams = write(model, layers, 0)
    rng = np.random.default_rng(9)
    told = 0
    for _ in range(300):
        coder = TileCoder(model, 0, 9, 11)
        damaged = bytearray(streams[0])
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        try:
            for stream in (bytes(damaged), *streams[1:]):
                coder.decode(stream)
        except EntropyError:
            told += 1
    assert told > 200  # the others are caught by the symbol CRC


def test_symbols_out_of_range_are_refused(twin: ContextModel) -> None:
    model = integer(twin)
    with pytest.raises(ValueError, match="layer 0"):
        TileCoder(model, 0, 1, 1).encode(np.full((1, 1, 1), 8, np.int16))
    coder = TileCoder(model, 0, 1, 1)
    coder.encode(np.full((1, 1, 1), 7, np.int16))
    with pytest.raises(ValueError, match="layer 1"):
        coder.encode(np.full((4, 2, 2), 512, np.int16))
    with pytest.raises(ValueError, match="wanted int16"):
        TileCoder(model, 0, 1, 1).encode(np.zeros((1, 1, 2), np.int16))


def test_weights_that_do_not_fit_are_refused(twin: ContextModel) -> None:
    weights, biases = to_integers(twin)
    with pytest.raises(ModelError, match="do not fit"):
        EntropyModel(weights[:-1], biases, GROUPS, 32, 16, 8)
    with pytest.raises(ModelError, match="do not fit"):
        EntropyModel(np.full_like(weights, 32767), biases, GROUPS, 32, 16, 8)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("flags", ["-O0", "-O3", "-O2 -m32"])
def test_selftest_with_every_compiler(compiler: str, flags: str, tmp_path: Path) -> None:
    """The self-test pins a hash of symbols and streams, so a pass means the same bits under each of these."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    probe = tmp_path / "probe.c"
    probe.write_text("#include <stdio.h>\nint main(void) { return 0; }\n")
    if subprocess.run([compiler, *flags.split(), probe, "-o", tmp_path / "probe"], capture_output=True).returncode:
        pytest.skip(f"{compiler} {flags} does not work here")
    program = tmp_path / "selftest"
    sources = sorted(CSRC.glob("*.c"))
    subprocess.run([compiler, "-std=c99", *flags.split(), *sources, "-pthread", "-lm", "-o", program], check=True)
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "self-test passed" in done.stdout
