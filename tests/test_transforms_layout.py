"""The arrays of the integer transforms: their parts, sizes and bounds, docs/FORMAT.md sections 6.6 to 6.8."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pillow_cwic.errors import ModelError
from pillow_cwic.models.config import Config
from pillow_cwic.transforms import layout
from pillow_cwic.transforms.layout import Kind
from tests.random_transforms import random_parts

KINDS: tuple[Kind, ...] = ("synthesis", "analysis")


def small(**changes: Any) -> Config:
    return Config(**{"wide": 32, "blocks": 2, "groups": (4, 6), "map_features": 16, "normalised": True, **changes})


def count(config: Config, kind: Kind) -> list[int]:
    """Values in each of the three arrays, as FORMAT.md lists them."""
    n, c, k, b = config.wide, config.channels, config.map_features, config.blocks
    norm = config.normalised
    inputs, outputs = (c, 192) if kind == "synthesis" else (192, c)
    words = 2 + 4 * b + 129 * c + n + b * 5 * n + outputs
    halves = inputs * n + 66 * n + b * 9 * n + n + n * outputs + inputs * outputs
    if kind == "analysis":
        words += 1 + k + 1 + config.levels - 1
        halves += 16 * n * k + k
    if norm:
        words += (2 if kind == "synthesis" else 3) + c + 33 * c
        halves += c * c
    return [words, halves, b * (6 * n * n + 9 * n)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("config", [Config(), small(), small(blocks=0), small(normalised=False, levels=1)])
def test_sizes_are_those_of_the_format(config: Config, kind: Kind) -> None:
    found = [sum(map(math.prod, shapes.values())) for shapes in layout.parts(config, kind).values()]
    assert found == count(config, kind)


def test_order_of_the_words() -> None:
    names = list(layout.parts(small(), "analysis")["words"])
    steps = [f"block{b}.{step}.shift" for b in range(2) for step in ("before", "after", "widen", "narrow")]
    assert names[:14] == ["enter.shift", *steps, "exit.shift", "head.shift", "r", "s", "n"]
    assert names[14:] == [
        "gain", "enter.bias", *(name.replace("shift", "bias") for name in steps),
        "exit.bias", "head.bias", "out.bias", "thresholds", "floor", "rate",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_split_is_the_inverse_of_join(kind: Kind) -> None:
    given = random_parts(small(), kind, seed=1)
    arrays = layout.join(small(), kind, given)
    assert {name: array.dtype for name, array in arrays.items()} == layout.TYPES
    found = layout.split(small(), kind, arrays["words"], arrays["halves"], arrays["bytes"])
    assert found.keys() == given.keys()
    for name, value in found.items():
        np.testing.assert_array_equal(value, given[name])
        assert np.shares_memory(value, arrays["words"]) or value.dtype != np.int32


@pytest.mark.parametrize("change", [-1, 1])
@pytest.mark.parametrize("array", ["words", "halves", "bytes"])
def test_an_array_of_another_size_is_refused(array: str, change: int) -> None:
    arrays = layout.join(small(), "synthesis", random_parts(small(), "synthesis", seed=1))
    size = len(arrays[array])
    arrays[array] = np.resize(arrays[array], size + change)
    with pytest.raises(ModelError, match=rf"synthesis.{array} is \w+ \({size + change},\), wanted \w+ \({size},\)"):
        layout.split(small(), "synthesis", arrays["words"], arrays["halves"], arrays["bytes"])


def test_a_value_that_does_not_fit_is_refused() -> None:
    parts = random_parts(small(), "synthesis", seed=1)
    parts["block0.before.weight"] = parts["block0.before.weight"] + 300
    with pytest.raises(ModelError, match=r"block0.before.weight holds .* beyond int8"):
        layout.join(small(), "synthesis", parts)


@pytest.mark.parametrize("wide", [16, 48, 544])
def test_a_width_that_the_format_lacks_is_refused(wide: int) -> None:
    with pytest.raises(ModelError, match=rf"wide is {wide}"):
        layout.parts(small(wide=wide), "synthesis")


# What each layer's sums may reach: its part, a bias there, and how far above the bound of the weights it may lie.
BOUNDS = [
    ("enter", "enter.bias", "enter.weight", 8191, 2**31),
    ("block1.before", "block1.before.bias", "block1.before.weight", 127, 2**24),
    ("block0.after", "block0.after.bias", "block0.after.weight", 127, 2**24),
    ("block0.widen", "block0.widen.bias", "block0.widen.weight", 127, 2**24),
    ("block1.narrow", "block1.narrow.bias", "block1.narrow.weight", 127, 2**24),
    ("block0.space", "block0.space.bias", "block0.space.weight", 127, 2**15),
]
# The same of a synthesis whose first block is fine.
FINE = [
    ("block0.before", "block0.before.bias", "block0.before.weight", 4095, 2**31),
    ("block0.after", "block0.after.bias", "block0.after.weight", 4095, 2**31),
    ("block1.before", "block1.before.bias", "block1.before.weight", 127, 2**24),
    ("block1.space", "block1.space.bias", "block1.space.weight", 127, 2**15),
]


@pytest.mark.parametrize(
    ("fine", "name", "bias", "weight", "reach", "limit"),
    [(0, *each) for each in BOUNDS] + [(1, *each) for each in FINE],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_sums_stop_below_their_limit(
    fine: int, name: str, bias: str, weight: str, reach: int, limit: int, sign: int
) -> None:
    config = small(fine=fine)
    parts = random_parts(config, "synthesis", seed=2)
    output = 3
    parts[bias] = parts[bias].astype(np.int64)
    rest = reach * int(np.abs(parts[weight].astype(np.int64)).reshape(-1, parts[bias].size).sum(0)[output])
    parts[bias][output] = sign * (limit - 1 - rest)
    layout.check(config, "synthesis", parts)
    parts[bias][output] += sign
    with pytest.raises(ModelError, match=rf"{name}, output {output}: sums reach {limit}, not below {limit}"):
        layout.check(config, "synthesis", parts)


def test_sums_of_3x3_in_a_fine_block_fit_whatever_they_are() -> None:
    parts = random_parts(small(fine=1), "synthesis", seed=2)
    parts["block0.space.weight"] = np.full((3, 3, 32), -128)
    parts["block0.space.bias"] = np.full(32, -32768)
    layout.check(small(fine=1), "synthesis", parts)
    with pytest.raises(ModelError, match=r"block0\.space, output 0"):
        layout.check(small(), "synthesis", parts)


@pytest.mark.parametrize(
    ("kind", "part", "value", "says"),
    [
        ("synthesis", "block0.before.shift", 25, "25 is not within 0 to 24"),
        ("synthesis", "enter.shift", -1, "-1 is not within 0 to 24"),
        ("synthesis", "block1.operand2", -1, "-1 is not within 0 to 32767"),
        ("analysis", "operand", -3, "-3 is not within 0 to 32767"),
        ("analysis", "multiplier", -32768, "-32768 is not within -32767 to 32767"),
        ("synthesis", "gain", -1, "-1 is not within 0 to 2147483647"),
        ("analysis", "floor", 0, "0 is not within 1 to 16777216"),
        ("analysis", "mixture", -1, "-1 is not within 0 to 32767"),
    ],
)
def test_a_value_out_of_range_is_refused(kind: Kind, part: str, value: int, says: str) -> None:
    parts = random_parts(small(), kind, seed=3)
    parts[part] = np.array(parts[part], np.int64)
    parts[part].flat[0] = value
    with pytest.raises(ModelError, match=rf"{kind} {part}, value 0: {says}"):
        layout.check(small(), kind, parts)


def test_tables_between_their_entries() -> None:
    table = np.array([[0], [320], [-640]])
    assert [int(layout.at(table, T, -64)[0]) for T in (-64, -63, -48, -32, -31, 0)] == [0, 10, 160, 320, 290, -640]
