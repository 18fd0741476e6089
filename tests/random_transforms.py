"""Weights of integer transforms made of random numbers, as extreme as the format allows, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pillow_cwic.models.config import Config
from pillow_cwic.transforms import layout


def random_parts(config: Config, kind: layout.Kind, seed: int) -> dict[str, NDArray[Any]]:
    """Parts whose sums reach far, and whose activations use their range; they pass ``layout.check``."""
    rng = np.random.default_rng(seed)
    parts: dict[str, NDArray[Any]] = {}
    for shapes in layout.parts(config, kind).values():
        for name, shape in shapes.items():
            parts[name] = _part(rng, name, shape)
    for block in (f"block{b}" for b in range(config.fine if kind == "synthesis" else 0)):  # whose sums are saturated
        parts[f"{block}.space.weight"] = rng.integers(-128, 128, (3, 3, config.wide))
        parts[f"{block}.space.bias"] = rng.integers(-32768, 32768, config.wide)
    if kind == "analysis":
        parts["floor"] = np.minimum(parts.get("floor", np.zeros(0, np.int64)), 2**24)
        parts["thresholds"] = np.sort(parts["thresholds"])
    layout.check(config, kind, parts)
    return parts


def _part(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    last = name.rsplit(".", 1)[-1]
    if name in ("r", "s", "n"):
        return np.array({"r": 7, "s": 16, "n": 13}[name])
    if name == "shift":
        return rng.integers(-3000, 3000, shape)
    if name == "multiplier":
        return rng.integers(-32767, 32768, shape)
    if last == "shift":
        return np.array({"enter": 10, "exit": 13, "head": 12}.get(name.split(".")[0], int(rng.integers(0, 9))))
    if name == "gain":
        return rng.integers(1, 2**24, shape)
    if name in ("rate", "floor"):
        return rng.integers(1, 2**24, shape)
    if name == "thresholds":
        return rng.integers(-(2**22), 2**22, shape)
    if name == "mixture":
        return rng.integers(0, 500, shape)
    if name.endswith("space.weight"):
        return rng.integers(-25, 26, shape)
    if last == "weight" and name.startswith("block"):
        weights = rng.integers(-128, 128, shape)
        return np.where(rng.random(shape) < 0.5, 0, weights)
    if last == "weight":
        return rng.integers(-300, 301, shape)
    if name.endswith("space.bias"):
        return rng.integers(-3000, 3001, shape)
    if last == "bias":
        return rng.integers(-20000, 20001, shape)
    return rng.integers(0, 32768, shape)  # operands and multipliers


def random_arrays(config: Config, seed: int) -> dict[str, NDArray[Any]]:
    """The six arrays of a weights file."""
    arrays = {}
    for kind in ("analysis", "synthesis"):
        joined = layout.join(config, kind, random_parts(config, kind, seed))  # type: ignore[arg-type]
        arrays |= {f"{kind}.{name}": values for name, values in joined.items()}
    return arrays
