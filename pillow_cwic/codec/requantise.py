"""A finished file made smaller from its own codes: coarser steps, chosen by what they cost. No networks, no torch.

The synthesis transform divides codes by a gain for each channel, which grows with the rate parameter. Codes of a
lower parameter are those of the file, times the quotient of the gains, rounded again; why so, and not by fewer
layers, says docs/decisions/0008-shrink-by-coarser-steps.md.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pillow_cwic import models
from pillow_cwic.codec.search import predict, search
from pillow_cwic.coding import EntropyModel
from pillow_cwic.coding.symbols import (
    Coded,
    Symbols,
    decode_symbols,
    encode_symbols,
    entropy_of,
    grid,
    rounded,
    split,
)
from pillow_cwic.errors import ModelError
from pillow_cwic.file import container, limits
from pillow_cwic.models.config import CODE_LIMIT, EXACT_UNIT, Config
from pillow_cwic.models.weights import read
from pillow_cwic.rate import LOWEST
from pillow_cwic.saving import Options
from pillow_cwic.transforms import layout

FAMILY = b"cwc1"  # whose codes have steps that can grow
# What a squared error of one step costs, in bits, to begin with. The rounded codes were exact once, but are no more:
# cheap ones count for more than when a picture is encoded.
USUAL_WEIGHT, HIGHEST_WEIGHT = 8.0, 250.0
WEIGHT_SLOPE = 5.2 / 512  # growth of the logarithm of the weight that changes a file as much as the rate parameter does
STEPS = 0.85  # the share of the way to the wanted size that coarser steps go; cheaper codes go the rest
REACH = 64  # how far cheaper codes may go, in units of the rate parameter, before the steps change again
MAX_STEPS = 4
LOWER = 256  # how much lower the rate parameter goes each time that no weight made a file small enough


def shrink(data: bytes, *, rate: float | None = None, size: int | None = None) -> bytes:
    """See ``pillow_cwic.shrink``."""
    if rate is None and size is None:
        raise ValueError("options: neither rate nor size is given, wanted one of them")
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ValueError(f"data: {type(data).__name__} is not bytes")
    target = Options(rate=rate, size=size)
    parsed = container.read_file(data)
    header = parsed.header
    limits.check_pixels(header.width, header.height)
    pixels, metadata = header.width * header.height, len(container.between(list(parsed.extra.items())))
    wanted = target.bytes_for(pixels, metadata)
    assert wanted is not None
    data = bytes(data)[: len(data) - parsed.trailing]
    if len(data) - metadata <= wanted:
        return data
    if header.lossless:
        return _anew(data, target, parsed)
    model = models.by_id(header.model_id)
    if model.family != FAMILY:
        raise ModelError(f"model {model.name}: family {model.family!r} has codes of fixed size, wanted {FAMILY!r}")
    made = _Coarser(parsed, _load(model)).within(wanted) or data
    if parsed.pixels is not None and len(made) - metadata > wanted:  # exact blocks alone are too many
        return _anew(data, target, parsed)
    target.check_size(pixels, metadata, len(made) - metadata)
    return made


def _anew(data: bytes, target: Options, parsed: container.Parsed) -> bytes:
    from pillow_cwic import codec

    return codec.encode(codec.decode(data), target, extra=list(parsed.extra.items()))


class _Model(NamedTuple):
    """What of a model is needed: no transform runs."""

    entropy: EntropyModel
    gains: NDArray[np.int32]  # of the analysis transform, (entries over T, channels)

    def logarithm(self, rate: int) -> NDArray[np.float64]:
        """Logarithm of what latents are multiplied by to get codes at rate parameter T, but for a constant."""
        gain: NDArray[np.float64] = np.log(np.maximum(layout.at(self.gains, rate, layout.GAIN_FROM), 1))
        return gain


@cache
def _load(model: models.Model) -> _Model:
    """Raises ModelError if the weights file is damaged."""
    weights = read(model.read())
    entropy = entropy_of(model.family, weights.config, weights.context())
    assert isinstance(entropy, EntropyModel)  # as its family says
    try:
        config = Config.from_dict(weights.config)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"weights: not those of cwic1: {error}") from error
    arrays = (weights.take(f"analysis.{name}", kind.type) for name, kind in layout.TYPES.items())
    return _Model(entropy, layout.split(config, "analysis", *arrays)["gain"])


class _Coarser:
    """The codes of one file, and layers made from them at lower rate parameters."""

    def __init__(self, parsed: container.Parsed, model: _Model) -> None:
        self.parsed, self.model = parsed, model
        header = parsed.header
        self.levels, *groups = decode_symbols(model.entropy, parsed, *grid(model.entropy, header.height, header.width))
        self.codes = np.concatenate(groups)
        self.extra = list(parsed.extra.items())
        self.inserted = len(container.between((), parsed.alpha)) + container.exact_size(parsed.pixels)
        self.sizes: dict[tuple[int, float], int] = {}  # by rate and weight, without what is inserted
        self.largest: Coded | None = None  # at the last rate: the largest within the bound

    def within(self, size: int) -> bytes | None:
        """The best file of at most ``size`` bytes; if there is none that at the lowest rate, None if that is larger.

        The steps grow first, until few trials show them to be about right. The size of a file hardly ever falls
        smoothly with them, as whole channels round to zero together; it does with the weight, which does the rest.
        """
        own, wanted = self.parsed.header.rate, max(1, size - self.inserted)
        before = container.file_size([len(layer.data) for layer in self.parsed.layers])
        t = own + round(STEPS * (predict(own, before, wanted) - own))
        above = own
        for _ in range(MAX_STEPS):
            better = predict(t, self.measure(t, USUAL_WEIGHT, wanted), wanted)
            if better < t:
                above = t
            better = min(better, (t + above) // 2)
            if abs(better - t) <= REACH:
                break
            t = better

        def weight(offset: int) -> float:
            return min(HIGHEST_WEIGHT, USUAL_WEIGHT * math.exp(WEIGHT_SLOPE * offset))

        def found(t: int, offset: int) -> bool:
            return search(lambda offset: self.measure(t, weight(offset), wanted), wanted, offset) is not None

        fits = found(t, better - t)
        while not fits and t > LOWEST:
            t = max(LOWEST, t - LOWER)
            fits = found(t, 0)
        best = self.largest if fits else self._make(LOWEST, weight(LOWEST))
        assert best is not None
        if best.size >= before:
            return None
        header = replace(self.parsed.header, rate=best.rate)
        return container.write_file(header, best.layers(), self.extra, self.parsed.alpha, self.parsed.pixels)

    def measure(self, t: int, weight: float, wanted: int) -> int:
        """Size of the file at t without alpha and metadata; the layers are kept if they are the best so far."""
        if (t, weight) not in self.sizes:
            made = self._make(t, weight)
            self.sizes[t, weight] = made.size
            kept = self.largest
            if made.size <= wanted and (kept is None or kept.rate != t or kept.size < made.size):
                self.largest = made
        return self.sizes[t, weight]

    def _make(self, t: int, weight: float) -> Coded:
        header, entropy = self.parsed.header, self.model.entropy
        change = self.model.logarithm(t) - self.model.logarithm(header.rate)
        factors = (EXACT_UNIT * np.exp(change)).astype(np.float32)[:, None, None]
        most = CODE_LIMIT * EXACT_UNIT
        exact = np.rint(self.codes * factors).clip(-most, most).astype(np.int16)
        groups = split(rounded(exact), entropy.groups)
        symbols = [_needed(self.levels, groups), *groups]
        choices = [None, *split(exact, entropy.groups)]
        return encode_symbols(entropy, symbols, choices, weight, t, header.tile_exponent)


def _needed(levels: NDArray[np.int16], groups: Symbols) -> NDArray[np.int16]:
    """The lowest levels, (1, rows, columns), at most those given, with which no code that is not zero is lost."""
    _, rows, columns = levels.shape
    needed = np.zeros_like(levels)
    for index, codes in enumerate(groups):
        side = EntropyModel.codes_per_level
        cells = codes.any(axis=0).reshape(rows, side, columns, side)
        needed[0, cells.any(axis=(1, 3))] = index
    return np.minimum(needed, levels)
