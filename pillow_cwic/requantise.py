"""A finished file made smaller from its own codes: coarser steps, chosen by what they cost. No networks, no torch.

The synthesis transform divides codes by a gain for each channel, which grows with the rate parameter. Codes of a
lower parameter are those of the file, times the quotient of the gains, rounded again (docs/results/shrink.md).
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pillow_cwic import container, limits, models
from pillow_cwic import rate as rate_control
from pillow_cwic.entropy import EntropyModel
from pillow_cwic.errors import ModelError
from pillow_cwic.symbols import Symbols, decode_symbols, encode_symbols, grid, split
from pillow_cwic.target import parse_target

FAMILY = b"cwc1"  # whose codes have steps that can grow
RATE_UNIT = 512  # the file's rate parameter T counts in 1/512 of t
UNIT = 32  # the coder weighs unrounded codes in steps of 1/32
CODE_LIMIT = 511
# What a squared error of one step costs, in bits: the rounded codes were exact once, but are no more, so that cheap
# ones count for more than when a picture is encoded.
CODE_WEIGHT = 8.0


def shrink(data: bytes, *, rate: float | None = None, size: int | None = None) -> bytes:
    """See ``pillow_cwic.shrink``."""
    target = parse_target(rate, size)
    if target.rate is None and target.size is None:
        raise ValueError("options: neither rate nor size is given, wanted one of them")
    parsed = container.read_file(data)
    header = parsed.header
    limits.check_pixels(header.width, header.height)
    wanted = target.bytes_for(header.width, header.height)
    assert wanted is not None
    if len(data) <= wanted:
        return bytes(data)
    model = models.by_id(header.model_id)
    if model.family != FAMILY:
        raise ModelError(f"model {model.name}: family {model.family!r} has codes of fixed size, wanted {FAMILY!r}")
    coarser = _Coarser(parsed, _load(model))
    start = rate_control.predict(header.rate, len(data), wanted)
    found = rate_control.search(coarser.measure, wanted, start)
    if found is not None:
        return coarser.file(found)
    return min([bytes(data), *coarser.files.values()], key=len)


class Gain(NamedTuple):
    """The analysis transform's gain, as ``networks.layers.Gain``: what latents are multiplied by to get codes."""

    offset: NDArray[Any]  # (channels,), as the rest but for the hidden layer
    slope: NDArray[Any]
    hidden: tuple[NDArray[Any], NDArray[Any]]  # weights (hidden, 2) and biases
    out: tuple[NDArray[Any], NDArray[Any]]  # weights (channels, hidden) and biases
    beyond: float

    def logarithm(self, rate: int) -> NDArray[np.float64]:
        """Logarithm of the gain at rate parameter T, (channels,)."""
        t = rate / RATE_UNIT
        inside = min(max(t, -1.0), 1.0)
        sums = self.hidden[0] @ np.array([inside, inside * inside]) + self.hidden[1]
        learned: NDArray[np.float64] = self.out[0] @ (sums / (1 + np.exp(-sums))) + self.out[1]
        return self.offset + self.slope * inside + learned + self.beyond * (t - inside)


class _Model(NamedTuple):
    entropy: EntropyModel
    gain: Gain


@cache
def _load(model: models.Model) -> _Model:
    """What of a model can be used without torch. Raises ModelError if its weights file is damaged."""
    from safetensors.numpy import load

    data = model.read()
    try:
        length = int.from_bytes(data[:8], "little")
        config = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["config"])
        tensors = load(data)
        part = {name: tensors[f"analysis.gain.{name}"].astype(np.float64) for name in _GAIN_ARRAYS}
        gain = Gain(
            part["offset"],
            part["slope"],
            (part["mlp.hidden.weight"], part["mlp.hidden.bias"]),
            (part["mlp.out.weight"], part["mlp.out.bias"]),
            config["lambda_slope"] / 2,
        )
        if gain.logarithm(0).shape != (sum(config["groups"]),):
            raise ValueError(f"gain of shape {gain.logarithm(0).shape} for groups {config['groups']}")
        arrays = tensors["context.weights"], tensors["context.biases"]
        shape = (config[name] for name in ("groups", "context_hidden", "map_hidden", "levels"))
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"model {model.name}/{model.tuning}: weights cannot be read: {error!r}") from error
    return _Model(EntropyModel(*arrays, *shape), gain)


_GAIN_ARRAYS = ("offset", "slope", "mlp.hidden.weight", "mlp.hidden.bias", "mlp.out.weight", "mlp.out.bias")


class _Coarser:
    """One file, and those made from it at lower rate parameters."""

    def __init__(self, parsed: container.Parsed, model: _Model) -> None:
        self.parsed, self.model = parsed, model
        rows, columns = grid(model.entropy, parsed.header.height, parsed.header.width)
        self.levels, *groups = decode_symbols(model.entropy, parsed, rows, columns)
        self.codes = np.concatenate(groups)
        self.files: dict[int, bytes] = {}

    def measure(self, rate: int) -> int:
        """Size of the file at T = ``rate``, or at the file's own if that is lower."""
        return len(self.file(rate))

    def file(self, rate: int) -> bytes:
        """The whole file at T = ``rate``, or at the file's own if that is lower."""
        rate = min(rate, self.parsed.header.rate)
        if rate not in self.files:
            self.files[rate] = self._make(rate)
        return self.files[rate]

    def _make(self, rate: int) -> bytes:
        header, entropy = self.parsed.header, self.model.entropy
        change = self.model.gain.logarithm(rate) - self.model.gain.logarithm(header.rate)
        factors = (UNIT * np.exp(change)).astype(np.float32)[:, None, None]
        exact = np.rint(self.codes * factors).clip(-CODE_LIMIT * UNIT, CODE_LIMIT * UNIT).astype(np.int16)
        rounded = (exact + (UNIT // 2 - 1) + (exact < 0)) // UNIT  # to the nearest, halves towards zero
        groups = split(rounded.astype(np.int16), entropy.groups)
        symbols = [_needed(self.levels, groups), *groups]
        choices = [None, *split(exact, entropy.groups)]
        layers = encode_symbols(entropy, symbols, choices, CODE_WEIGHT, rate, header.tile_exponent)
        extra = list(self.parsed.extra.items())
        return container.write_file(replace(header, rate=rate), layers, extra, self.parsed.alpha)


def _needed(levels: NDArray[np.int16], groups: Symbols) -> NDArray[np.int16]:
    """The lowest levels, (1, rows, columns), at most those given, with which no code that is not zero is lost."""
    _, rows, columns = levels.shape
    needed = np.zeros_like(levels)
    for index, codes in enumerate(groups):
        side = EntropyModel.codes_per_level
        cells = codes.any(axis=0).reshape(rows, side, columns, side)
        needed[0, cells.any(axis=(1, 3))] = index
    return np.minimum(needed, levels)
