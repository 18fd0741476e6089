"""The post-filter, FORMAT.md sections 1.7 and 6.9: its payload, and its arithmetic everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from random_transforms import random_arrays
from reference_container import DamagedError, read_post
from reference_transform import Transform

from pillow_cwic.coding import coefficients
from pillow_cwic.errors import EntropyError, ModelError
from pillow_cwic.models.config import Config
from pillow_cwic.models.weights import read
from pillow_cwic.transforms import layout
from pillow_cwic.transforms.native import Transforms
from pillow_cwic.transforms.torch.engine import Engine

GOLDEN = Path(__file__).parent / "golden" / "v1"
Post = NDArray[np.int8]
Arrays = dict[str, NDArray[Any]]
Synthesis = Callable[..., NDArray[np.uint8]]
NONE = np.zeros((3, 13), np.int8)
LARGE = np.array([127, -127, -127] * 13, np.int8).reshape(13, 3).T.copy()


def filter_with(**values: int) -> Post:
    """``y``, ``u`` and ``v`` with the number of a feature behind them; all others are 0."""
    post = NONE.copy()
    for name, value in values.items():
        post["yuv".index(name[0]), int(name[1:])] = value
    return post


# The payload


@given(st.lists(st.integers(-127, 127), min_size=39, max_size=39))
@example([127] * 39)
@example([-127] * 39)
@example([0] * 39)
def test_coefficients_round_trip(values: list[int]) -> None:
    payload = coefficients.write(np.array(values, np.int8).reshape(3, 13))
    assert coefficients.read(payload).ravel().tolist() == values == read_post(payload)
    assert len(payload) == (sum(map(coefficients.bits, values)) + 7) // 8


def test_codes_by_hand() -> None:
    """0 is a bit, 1 to 3 are n = 2, 4 and 6, -1 is 3, and 64 to 127 have seven ones and no zero."""
    post = NONE.copy()
    post[0, :6] = 1, -1, 2, 3, 64, -127
    digits = "100" + "101" + "11000" + "11010" + "1111111" + "0000000" + "1111111" + "1111111" + 33 * "0"
    digits += "0" * (-len(digits) % 8)
    assert coefficients.write(post) == bytes(int(digits[n : n + 8], 2) for n in range(0, len(digits), 8))
    assert coefficients.write(NONE) == bytes(5)


@given(st.binary(max_size=80))
@example(b"")
@example(bytes(4))
@example(bytes(6))
@example(b"\xff" * 69)
def test_any_payload_is_refused_or_the_only_one_of_its_coefficients(payload: bytes) -> None:
    """And the reference agrees."""
    try:
        post = coefficients.read(payload)
    except EntropyError as error:
        assert "POST" in str(error)
        with pytest.raises(DamagedError, match="POST"):
            read_post(payload)
    else:
        assert coefficients.write(post) == payload and read_post(payload) == post.ravel().tolist()


@pytest.mark.parametrize("post", [NONE, LARGE, filter_with(y0=1), filter_with(v12=-64)])
def test_malformed_payloads(post: Post) -> None:
    payload = coefficients.write(post)
    spare = 8 * len(payload) - sum(map(coefficients.bits, post.ravel().tolist()))
    padded = [payload[:-1] + bytes([payload[-1] | 1 << bit]) for bit in range(spare)]
    cut = [payload[:size] for size in range(len(payload))]
    for damaged in [*cut, *padded, payload + b"\0", payload + b"\x80", payload + payload]:
        with pytest.raises(EntropyError, match="POST"):
            coefficients.read(damaged)


def test_payloads_that_are_too_short_and_too_long_are_told_apart() -> None:
    for payload, words in ((b"", "cut short|too short|ends"), (bytes(6), "left over")):
        with pytest.raises(EntropyError, match=words):
            coefficients.read(payload)


# The arithmetic


def golden_arrays(name: str) -> tuple[Config, Arrays]:
    weights = read((GOLDEN / f"{name}.safetensors").read_bytes())
    arrays = {
        f"{kind}.{name}": weights.take(f"{kind}.{name}", of.type)
        for kind in ("analysis", "synthesis")
        for name, of in layout.TYPES.items()
    }
    return Config.from_dict(weights.config), arrays


def everywhere(config: Config, arrays: Arrays) -> dict[str, Synthesis]:
    """The synthesis of every implementation."""
    reference = Transform(config.to_dict(), "synthesis", arrays)
    made: dict[str, Synthesis] = {f"C {simd}": Transforms(config, arrays, simd).synthesise for simd in (0, 1, 4)}

    def plainly(codes: NDArray[np.int16], rate: int, height: int, width: int, post: Post) -> NDArray[np.uint8]:
        return reference.synthesise(codes, rate, height, width, post.ravel().tolist())

    return {**made, "torch": Engine(config, arrays, "cpu").synthesise, "reference": plainly}


def codes_of(config: Config, height: int, width: int, seed: int) -> NDArray[np.int16]:
    rng = np.random.default_rng(seed)
    codes = rng.integers(-9, 10, (config.channels, 2 * -(-height // 16), 2 * -(-width // 16)))
    return np.where(rng.random(codes.shape) < 0.4, 0, codes).astype(np.int16)


def random_posts(rng: np.random.Generator) -> list[Post]:
    posts = [rng.integers(-reach, reach + 1, (3, 13)).astype(np.int8) for reach in (1, 6, 30, 127)]
    sparse = np.where(rng.random((3, 13)) < 0.8, 0, rng.integers(-127, 128, (3, 13))).astype(np.int8)
    return [*posts, sparse, rng.choice([-127, 127], (3, 13)).astype(np.int8), np.full((3, 13), 127, np.int8), LARGE]


@pytest.mark.parametrize("name", ["golden1", "goldenfine", "random"])
def test_every_implementation_makes_the_same(name: str) -> None:
    """Under weights that make pictures, and under those whose sums reach far."""
    config = Config(wide=32, blocks=1, groups=(2, 4), levels=3)
    config, arrays = (config, random_arrays(config, 4)) if name == "random" else golden_arrays(name)
    made, rng = everywhere(config, arrays), np.random.default_rng(1)
    different = 0
    for n, (height, width) in enumerate([(1, 1), (1, 30), (8, 8), (17, 9), (33, 70), (64, 48)]):
        codes = codes_of(config, height, width, n)
        plain = made["C 0"](codes, 77, height, width)
        for post in random_posts(rng):
            shown = {each: synthesise(codes, 77, height, width, post) for each, synthesise in made.items()}
            assert all(np.array_equal(picture, shown["reference"]) for picture in shown.values()), (height, width)
            different += not np.array_equal(shown["C 0"], plain)
    assert different > 30


def test_coefficients_of_zero_change_nothing() -> None:
    for name in ("golden1", "goldenfine"):
        config, arrays = golden_arrays(name)
        codes = codes_of(config, 50, 40, 3)
        for synthesise in everywhere(config, arrays).values():
            assert np.array_equal(
                synthesise(codes, 0, 50, 40, NONE), Transforms(config, arrays).synthesise(codes, 0, 50, 40)
            )


def test_each_picture_of_a_batch_has_its_own() -> None:
    config, arrays = golden_arrays("golden1")
    engine, native = Engine(config, arrays, "cpu"), Transforms(config, arrays)
    posts = [None, filter_with(y0=40, u3=9), None, LARGE]
    codes = [codes_of(config, 20, 35, n) for n in range(4)]
    shown = engine.shown(np.stack(codes), [0, 9, 300, -40], 20, 35, posts)
    for picture, each, rate, post in zip(shown, codes, [0, 9, 300, -40], posts, strict=True):
        assert np.array_equal(picture.permute(1, 2, 0).numpy(), native.synthesise(each, rate, 20, 35, post))


CONSTANT = Config(wide=32, blocks=0, groups=(2,), map_features=1, levels=1)


def constant_arrays(samples: NDArray[np.int64], shift: int = 8) -> Arrays:
    """Of a model that shows these, (8, 8, 3) in 1/16, at every position, whatever the codes are."""
    arrays = random_arrays(CONSTANT, 1)
    parts = {
        name: np.zeros(shape, np.int64)
        for shapes in layout.parts(CONSTANT, "synthesis").values()
        for name, shape in shapes.items()
    }
    parts["exit.shift"] = np.array(shift)
    parts["exit.bias"] = samples.transpose(2, 0, 1).ravel() << max(shift - 4, 0)
    return arrays | {f"synthesis.{name}": each for name, each in layout.join(CONSTANT, "synthesis", parts).items()}


def shown_everywhere(samples: NDArray[np.int64], post: Post, shift: int = 8) -> NDArray[np.uint8]:
    """What all make of these (8, 8, 3) or (3,) in 1/16, in 16 x 16 pixels."""
    arrays = constant_arrays(np.broadcast_to(samples, (8, 8, 3)), shift)
    codes = np.zeros((2, 2, 2), np.int16)
    pictures = [synthesise(codes, 0, 16, 16, post) for synthesise in everywhere(CONSTANT, arrays).values()]
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures)
    assert np.array_equal(pictures[0][:8, :8], pictures[0][8:, 8:])
    return pictures[0]


@pytest.mark.parametrize(
    ("colour", "post", "wanted"),
    [
        # A constant for all: d(0) = (128 + 512 c) >> 8 = 2 c sixteenths.
        ((100, 100, 100), {"y0": 8}, (101, 101, 101)),
        ((100, 100, 100), {"y0": -1}, (99, 99, 99)),
        ((10, 20, 30), {"y0": 127}, (25, 35, 45)),
        ((0, 0, 255), {"y0": 127}, (15, 15, 255)),
        ((0, 9, 255), {"y0": -127}, (0, 0, 239)),
        # For red: d(1) = 254, g = -((77 * 254 + 128) >> 8) = -76.
        ((100, 100, 100), {"u0": 127}, (111, 95, 95)),
        # Luma: Y = 16 * 200 - 2048 = 1152, d(0) = (128 + 127 * 1152) >> 8 = 572.
        ((200, 200, 200), {"y1": 127}, (235, 235, 235)),
        # Blue above green: V = 160, d(2) = (128 + 64 * 4 * 160) >> 8 = 160, g = -((29 * 160 + 128) >> 8) = -18.
        ((100, 100, 110), {"v3": 64}, (98, 98, 118)),
        # Y Y >> 11 = 648, d(0) = (128 + 127 * 2 * 648) >> 8 = 643.
        ((200, 200, 200), {"y4": 127}, (240, 240, 240)),
        # Y U >> 11: U = -160, Y = (77 * -608 + 150 * -448 + 29 * -448) >> 8 = -497, 38; d(1) = (128 + 8 * 60 * 38) >> 8
        # = 71, g = -((77 * 71 + 128) >> 8) = -21.
        ((90, 100, 100), {"u5": 60}, (93, 98, 98)),
        # What is beyond the range is 319 15/16: Y = 3071, Y Y >> 11 = 4605, d(0) = -4569, from 5119 leaves 550 >> 4.
        ((400, 400, 400), {"y4": -127}, (34, 34, 34)),
        ((4000, 4000, 4000), {"y4": -127}, (34, 34, 34)),
        # And -64: Y = -3072, d(0) = (128 - 127 * 3072) >> 8 = -1524, or 1524 with the other sign; -1024 + 1524 = 500.
        ((-64, -64, -64), {"y1": -127}, (31, 31, 31)),
        ((-900, -900, -900), {"y1": -127}, (31, 31, 31)),
        # One colour has no neighbours that are more.
        ((7, 80, 200), {"y10": 127, "u11": 127, "v12": -127}, (7, 80, 200)),
    ],
)
def test_colours_by_hand(colour: tuple[int, int, int], post: dict[str, int], wanted: tuple[int, int, int]) -> None:
    for shift in (4, 8, 13):
        shown = shown_everywhere(16 * np.array(colour), filter_with(**post), shift)
        assert (shown == np.array(wanted)).all(), shown[0, 0]


def test_differences_end_at_the_position() -> None:
    """A corner pixel that is 16 brighter: L(Y) = -512 there, and 256 at its two neighbours."""
    samples = np.full((8, 8, 3), 1600)
    samples[0, 7] = 1856
    wanted = np.full((8, 8), 100)
    wanted[0, 7] = (1856 - 256) >> 4  # (128 - 32 * 4 * 512) >> 8 = -256
    wanted[0, 6] = wanted[1, 7] = 108  # (128 + 32 * 4 * 256) >> 8 = 128
    shown = shown_everywhere(samples, filter_with(y10=32))
    assert np.array_equal(shown[:8, :8, 1], wanted) and (shown == np.tile(wanted, (2, 2))[..., None]).all()
    samples[3, 3, 0] = 1680  # L(U) = -320 there, d(1) = (128 - 16 * 9 * 320) >> 8 = -180, g = 54
    shown = shown_everywhere(samples, filter_with(u11=9))
    assert shown[3, 3].tolist() == [(1680 + 54 - 180) >> 4, (1600 + 54) >> 4, (1600 + 54) >> 4]


@pytest.mark.parametrize("shift", range(4))
def test_a_model_with_a_small_exit_shift_has_none(shift: int) -> None:
    arrays = constant_arrays(np.full((8, 8, 3), 90), shift)
    codes = np.zeros((2, 2, 2), np.int16)
    native, engine = Transforms(CONSTANT, arrays), Engine(CONSTANT, arrays, "cpu")
    assert np.array_equal(native.synthesise(codes, 0, 9, 9), engine.synthesise(codes, 0, 9, 9))
    for synthesise in (native.synthesise, engine.synthesise):
        with pytest.raises(ModelError):
            synthesise(codes, 0, 9, 9, NONE)
