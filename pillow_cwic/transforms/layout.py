"""The arrays of a ``cwic1`` transform in its weights file: docs/FORMAT.md sections 6.6 to 6.8, in numpy.

A transform is three arrays of one dimension, ``words`` (int32), ``halves`` (int16) and ``bytes`` (int8), each the parts
of ``parts(config, kind)`` in order. Matrices are (inputs, outputs). Parts of the layers are named after the layer,
``enter.weight`` or ``block3.before.shift``; the others are named as FORMAT.md names them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pillow_cwic.errors import ModelError
from pillow_cwic.models.config import MAX_CHANNELS, Config

Kind = Literal["synthesis", "analysis"]
Parts: TypeAlias = Mapping[str, NDArray[Any]]
Shapes: TypeAlias = dict[str, tuple[int, ...]]

PIXELS = MAX_CHANNELS  # values of an 8 x 8 block, 64 * colour + 8 * row + column
TYPES: dict[str, np.dtype[Any]] = {
    "words": np.dtype(np.int32),
    "halves": np.dtype(np.int16),
    "bytes": np.dtype(np.int8),
}
STEP = 32  # tables over T have an entry for every 32nd
GAIN_FROM, GAIN_ENTRIES = -2048, 129
TABLE_FROM, TABLE_ENTRIES = -512, 33
STEPS = ("before", "after", "widen", "narrow")  # the products of a block
STREAM, LATENT, PIXEL, OPERAND, EXIT = 32768, 8191, 128, 127, 4095  # the largest magnitudes
FINE_BITS = 5  # that 3x3 sums of a fine block have more than others


def is_fine(config: Config, kind: Kind, block: int) -> bool:
    """Whether the upper half of a block holds 13 bits, FORMAT.md section 6.4."""
    return kind == "synthesis" and block < config.fine


def shifts(config: Config, kind: Kind) -> list[str]:
    """Names of the shifts, all scalars, in order."""
    blocks = [f"block{b}.{step}.shift" for b in range(config.blocks) for step in STEPS]
    head = ["head.shift"] if kind == "analysis" else []
    normalisation = (["r", "s", "n"] if kind == "analysis" else ["r", "s"]) if config.normalised else []
    return ["enter.shift", *blocks, "exit.shift", *head, *normalisation]


def parts(config: Config, kind: Kind) -> dict[str, Shapes]:
    """Names and shapes of the parts of each array, in order. Raises ModelError for sizes that the format lacks."""
    n, c, k = config.wide, config.channels, config.map_features
    if n % 32 or not 32 <= n <= 512:
        raise ModelError(f"config: wide is {n}, wanted a multiple of 32 from 32 to 512")
    synthesis = kind == "synthesis"
    inputs, outputs = (c, PIXELS) if synthesis else (PIXELS, c)
    sides = {"before": (n, n), "after": (n, n), "widen": (n, 2 * n), "narrow": (2 * n, n)}
    words: Shapes = dict.fromkeys(shifts(config, kind), ())
    words |= {"gain": (GAIN_ENTRIES, c), "enter.bias": (n,)}
    halves: Shapes = {"enter.weight": (inputs, n), "multiplier": (TABLE_ENTRIES, n), "shift": (TABLE_ENTRIES, n)}
    octets: Shapes = {}
    for block in (f"block{b}" for b in range(config.blocks)):
        words |= {f"{block}.{step}.bias": sides[step][1:] for step in STEPS}
        halves |= {f"{block}.{name}": (n,) for name in ("operand1", "before.m", "space.bias", "space.m", "after.m")}
        halves |= {f"{block}.operand2": (n,), f"{block}.widen.m": (2 * n,), f"{block}.narrow.m": (n,)}
        octets |= {f"{block}.before.weight": (n, n), f"{block}.space.weight": (3, 3, n)}
        octets |= {f"{block}.{step}.weight": sides[step] for step in STEPS[1:]}
    words |= {"exit.bias": (outputs,)}
    halves |= {"operand": (n,), "leave.weight": (n, outputs), "linear.weight": (inputs, outputs)}
    if not synthesis:
        words |= {"head.bias": (k,), "out.bias": (1,), "thresholds": (config.levels - 1,)}
        halves |= {"head.weight": (4, 4, n, k), "out.weight": (k,)}
    if config.normalised:
        words |= {"floor": (c,), "rate": (TABLE_ENTRIES, c)}
        halves |= {"mixture": (c, c)}
    return {"words": words, "halves": halves, "bytes": octets}


def split(
    config: Config, kind: Kind, words: NDArray[np.int32], halves: NDArray[np.int16], octets: NDArray[np.int8]
) -> dict[str, NDArray[Any]]:
    """The parts of the three arrays as shaped views. Raises ModelError if an array's type or size is another."""
    views: dict[str, NDArray[Any]] = {}
    arrays: tuple[NDArray[Any], ...] = (words, halves, octets)
    for (array, shapes), values in zip(parts(config, kind).items(), arrays, strict=True):
        wanted = sum(math.prod(shape) for shape in shapes.values())
        if values.dtype != TYPES[array] or values.shape != (wanted,):
            raise ModelError(
                f"weights: {kind}.{array} is {values.dtype} {values.shape}, wanted {TYPES[array]} {(wanted,)}"
            )
        start = 0
        for name, shape in shapes.items():
            end = start + math.prod(shape)
            views[name] = values[start:end].reshape(shape)
            start = end
    return views


def join(config: Config, kind: Kind, values: Parts) -> dict[str, NDArray[Any]]:
    """The inverse of ``split``: the arrays ``words``, ``halves`` and ``bytes``. Values of any type that holds integers.

    Raises ModelError if a part has another shape or does not fit the array's type.
    """
    arrays = {}
    for array, shapes in parts(config, kind).items():
        limits = np.iinfo(TYPES[array])
        joined = [np.empty(0, TYPES[array])]
        for name, shape in shapes.items():
            value = np.asarray(values[name])
            if value.shape != shape:
                raise ModelError(f"{kind}: {name} is {value.shape}, wanted {shape}")
            if value.size and not limits.min <= value.min() <= value.max() <= limits.max:
                raise ModelError(f"{kind}: {name} holds {value.min()} to {value.max()}, beyond {TYPES[array]}")
            joined.append(value.astype(TYPES[array]).ravel())
        arrays[array] = np.concatenate(joined)
    return arrays


def sums(values: NDArray[Any]) -> NDArray[np.int64]:
    """The sum of |weight| of each output: weights (.., outputs) -> (outputs,)."""
    magnitudes: NDArray[np.int64] = np.abs(values.astype(np.int64)).reshape(-1, values.shape[-1]).sum(0)
    return magnitudes


def _magnitudes(config: Config, kind: Kind, p: Parts) -> Iterator[tuple[str, NDArray[np.int64], int]]:
    """What each layer's sums may reach: the part, a bound for each output, and what that must stay below."""

    def bias(name: str) -> NDArray[np.int64]:
        return np.abs(p[name].astype(np.int64))

    entrance = LATENT if kind == "synthesis" else PIXEL
    yield "enter", entrance * sums(p["enter.weight"]) + bias("enter.bias"), 2**31
    for b in range(config.blocks):
        fine = is_fine(config, kind, b)
        for step in STEPS:
            name = f"block{b}.{step}"
            reach, limit = (EXIT, 2**31) if fine and step in STEPS[:2] else (OPERAND, 2**24)
            yield name, reach * sums(p[f"{name}.weight"]) + bias(f"{name}.bias"), limit
        if not fine:  # whose 3x3 sums fit whatever they are
            name = f"block{b}.space"
            yield name, OPERAND * sums(p[f"{name}.weight"]) + bias(f"{name}.bias"), 2**15
    exits = EXIT * sums(p["leave.weight"]) + entrance * sums(p["linear.weight"]) + bias("exit.bias")
    yield "exit", exits, 2**31
    if kind == "analysis":
        yield "head", EXIT * sums(p["head.weight"]) + bias("head.bias"), 2**31
        yield "out", EXIT * sums(p["out.weight"][:, None]) + bias("out.bias"), 2**31
    if config.normalised:
        yield "mixture", 32767 * sums(p["mixture"]), 2**31


def _ranges(config: Config, kind: Kind) -> Iterator[tuple[str, int, int]]:
    """The values that parts may hold, where their type allows more: part, least and largest."""
    for name in shifts(config, kind):
        yield name, 0, 24
    yield "gain", 0, 2**31 - 1
    yield "multiplier", -32767, 32767
    for block in (f"block{b}" for b in range(config.blocks)):
        for name in ("operand1", "before.m", "space.m", "after.m", "operand2", "widen.m", "narrow.m"):
            yield f"{block}.{name}", 0, 32767
    yield "operand", 0, 32767
    if config.normalised:
        yield "mixture", 0, 32767
        yield "rate", 0, 2**31 - 1
        yield "floor", *((0, 2**31 - 1) if kind == "synthesis" else (1, 2**24))


def check(config: Config, kind: Kind, p: Parts) -> None:
    """The proof that nothing overflows, FORMAT.md 6.6. Raises ModelError naming part, output and both values."""
    for name, least, largest in _ranges(config, kind):
        for worst in (p[name].min(), p[name].max()) if p[name].size else ():
            if not least <= worst <= largest:
                where = int(np.flatnonzero(p[name].ravel() == worst)[0])
                raise ModelError(f"weights: {kind} {name}, value {where}: {worst} is not within {least} to {largest}")
    for name, bounds, limit in _magnitudes(config, kind, p):
        output = int(bounds.argmax())
        if bounds[output] >= limit:
            raise ModelError(f"weights: {kind} {name}, output {output}: sums reach {bounds[output]}, not below {limit}")


def at(table: NDArray[Any], rate: int, first: int = TABLE_FROM) -> NDArray[np.int64]:
    """The table over T, (entries, ..), at T = ``rate``, which must lie within it; ``first`` is its first entry's T."""
    index, fraction = divmod(rate - first, STEP)
    value = table[index].astype(np.int64) * (STEP - fraction)
    if fraction:
        value += table[index + 1].astype(np.int64) * fraction
    result: NDArray[np.int64] = (value + STEP // 2) >> 5
    return result
