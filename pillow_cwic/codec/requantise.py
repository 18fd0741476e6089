"""A finished file made smaller from its own codes: coarser steps, chosen by what they cost. No networks, no torch.

The synthesis transform divides codes by a gain for each channel, which grows with the rate parameter. Codes of a
lower parameter are those of the file, times the quotient of the gains, rounded again; why so, and not by fewer
layers, says docs/decisions/0008-shrink-by-coarser-steps.md.

Of a file with exact blocks that is one way among three, as steps do nothing for them: they may also be shown in fewer
colours beside the same codes, or all that is shown be encoded anew. That which loses least is taken. A lossless file
has the last two ways, and the last alone if it is a photograph.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pillow_cwic import codec, models
from pillow_cwic.codec import exact, graphics
from pillow_cwic.codec.palette import Palettes
from pillow_cwic.codec.search import largest, predict, search
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
from pillow_cwic.errors import CwicError, ModelError
from pillow_cwic.file import container, limits
from pillow_cwic.file.pixels import UNIT
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
STALE = 384  # how much lower the rate parameter may be for the post-filter to be of use still: a third of the bytes
USED = 0.9  # the share of a size below which the steps are too coarse, whatever the weight
ENOUGH = 0.98  # the share of what fewer colours may take that ends their search


def shrink(data: bytes, *, rate: float | None = None, size: int | None = None) -> bytes:
    """See ``pillow_cwic.shrink``."""
    if rate is None and size is None:
        raise ValueError("options: neither rate nor size is given, wanted one of them")
    if rate is not None and size is not None:
        raise ValueError("options rate and size: only one of the two can be given")
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
        return _Mixed(data, parsed, None, models.by_name(target.model)).within(wanted, target)
    model = models.by_id(header.model_id)
    if model.family != FAMILY:
        raise ModelError(f"model {model.name}: family {model.family!r} has codes of fixed size, wanted {FAMILY!r}")
    coarser = _Coarser(parsed, _load(model))
    if parsed.pixels is not None:
        return _Mixed(data, parsed, coarser, model).within(wanted, target)
    made = coarser.within(wanted)
    target.check_size(pixels, metadata, len(made) - metadata)
    return made


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


class _Mixed:
    """A file with exact blocks, or all of it exact, which has no ``coarser`` codes; and the ways to make it smaller.

    ``model`` is the one that encodes anew.
    """

    def __init__(self, data: bytes, parsed: container.Parsed, coarser: _Coarser | None, model: models.Model) -> None:
        assert parsed.pixels is not None
        self.parsed, self.coarser, self.model = parsed, coarser, model
        self.extra = list(parsed.extra.items())
        self.metadata = len(container.between(self.extra))
        self.rest = len(data) - self.metadata - container.chunk_size(parsed.pixels)  # bytes, as they are
        self.loss = graphics.LOSSES[model.tuning]
        self.pixels = codec.decode(data)
        self.planes, self.seen = self._parted(self.pixels)
        self.blocks = None if coarser is None else exact.decode_blocks(parsed.pixels, self.planes)

    def within(self, size: int, target: Options) -> bytes:
        """The file of at most ``size`` bytes beside its metadata that loses least; ``target`` says the same size.

        Raises CwicError, which names the smallest file found, if there is none.
        """
        payloads = [] if self.coarser is None else [self.parsed.pixels]
        if size > self.rest and (self.coarser is not None or graphics.is_graphics(self.planes)):
            payloads += self._in_fewer_colours(size - self.rest)
        made = [self._with(payload, size) for payload in payloads]
        made = [each for each in made if len(each) - self.metadata <= size]
        try:
            options = replace(target, model=self.model.name, tuning=self.model.tuning)
            made.append(codec.encode(self.pixels, options, extra=self.extra))
        except CwicError:
            if not made:
                raise
        return made[0] if len(made) == 1 else min(made, key=self._lost)

    def _with(self, payload: bytes | None, size: int) -> bytes:
        """The file with this payload of PIXL, and codes as it leaves room for."""
        if self.coarser is not None:
            return self.coarser.within(size, payload)
        return container.write_file(self.parsed.header, [], self.extra, self.parsed.alpha, payload)

    def _parted(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """The colour of a picture, (H, W, 1) if it is grey, else (H, W, 3), and where it is seen, (H, W, 1)."""
        header = self.parsed.header
        pixels = pixels.reshape(header.height, header.width, -1)
        opaque = header.mode not in container.ALPHA_MODES
        seen = np.ones((*pixels.shape[:2], 1), np.bool_) if opaque else pixels[..., -1:] > 0
        return np.ascontiguousarray(pixels[..., : header.channels]), seen

    def _lost(self, data: bytes) -> float:
        """What a file loses where it is seen."""
        made, _ = self._parted(codec.decode(data))
        return float(self.loss.of(self.planes, np.where(self.seen, made, self.planes)).sum())

    def _coded(self, shown: NDArray[np.uint8]) -> bytes:
        """The payload of PIXL of what is exact, as a picture (H, W, 1 or 3) shows it."""
        payload = exact.encode(shown, self.blocks)
        return payload if self.blocks is None else exact.with_mask(self.blocks, payload)

    def _in_fewer_colours(self, room: int) -> list[bytes]:
        """The payload of PIXL in as many colours as so many bytes allow, some blocks in more; nothing if none fits."""
        height, width = self.planes.shape[:2]
        blocks = np.ones((-(-height // UNIT), -(-width // UNIT)), np.bool_) if self.blocks is None else self.blocks
        palettes = Palettes(self.planes[exact.spread(blocks, height, width)])
        sizes = palettes.sizes
        shown, payloads = {len(sizes): self.planes}, {len(sizes): self.parsed.pixels or b""}

        def coloured(n: int) -> int:
            shown[n] = palettes.apply(self.planes, sizes[n])
            payloads[n] = self._coded(shown[n])
            return container.chunk_size(payloads[n])

        if not sizes or (least := coloured(0)) > room:
            return []
        most = container.chunk_size(payloads[len(sizes)])
        n = largest(coloured, (0, least), (len(sizes), most), room, room + 1)
        coarse, finer = shown[n], shown[n + 1]
        gains = np.where(blocks, self.loss.of(self.planes, coarse) - self.loss.of(self.planes, finer), 0)
        order = np.argsort(-gains, axis=None, kind="stable")
        found = {0: payloads[n]}

        def mixed(count: int) -> int:
            chosen = np.zeros(gains.shape, np.bool_)
            chosen.ravel()[order[:count]] = True
            found[count] = self._coded(np.where(exact.spread(chosen, height, width)[..., None], finer, coarse))
            return container.chunk_size(found[count])

        low, high = (container.chunk_size(payloads[k]) for k in (n, n + 1))
        gaining = int((gains > 0).sum()), max(high, room + 1)
        return [found[largest(mixed, (0, low), gaining, room, int(ENOUGH * room))]]


class _Coarser:
    """The codes of one file, and layers made from them at lower rate parameters."""

    def __init__(self, parsed: container.Parsed, model: _Model) -> None:
        self.parsed, self.model = parsed, model
        header = parsed.header
        self.levels, *groups = decode_symbols(model.entropy, parsed, *grid(model.entropy, header.height, header.width))
        self.codes = np.concatenate(groups)
        self.extra = list(parsed.extra.items())
        self.inserted = len(container.between((), parsed.alpha)) + container.chunk_size(parsed.post)
        self.sizes: dict[tuple[int, float], int] = {}  # by rate and weight, without what is inserted
        self.largest: Coded | None = None  # at the last rate: the largest within the bound

    def within(self, size: int, pixels: bytes | None = None) -> bytes:
        """The best file of at most ``size`` bytes beside its metadata, with this payload of PIXL; or else the smallest.

        The steps grow first, until few trials show them to be about right. The size of a file hardly ever falls
        smoothly with them, as whole channels round to zero together; it does with the weight, which does the rest.
        """
        header, layers = self.parsed.header, self.parsed.layers
        before = container.file_size([len(layer.data) for layer in layers])
        wanted = max(1, size - self.inserted - container.chunk_size(pixels))
        self.sizes.clear()
        self.largest = None
        post = self.parsed.post
        if before > wanted and (best := self._found(before, wanted)).size < before:
            if post is not None and (header.rate - best.rate > STALE or best.size > wanted):
                post, wanted = None, wanted + container.chunk_size(post)
                self.sizes.clear()
                self.largest = None
                best = self._found(before, wanted)
            header, layers = replace(header, rate=best.rate), best.layers()
        return container.write_file(header, layers, self.extra, self.parsed.alpha, pixels, post)

    def _found(self, before: int, wanted: int) -> Coded:
        """Layers of at most ``wanted`` bytes in place of so many ``before``; if none are, those at the lowest rate."""
        own = self.parsed.header.rate
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
        if not fits:
            return self._make(LOWEST, weight(LOWEST))
        assert self.largest is not None
        while fits and self.largest.size < USED * wanted and above - t > 1:
            t = (t + above) // 2
            fits = found(t, 0)
        return self.largest

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
        unrounded = np.rint(self.codes * factors).clip(-most, most).astype(np.int16)
        groups = split(rounded(unrounded), entropy.groups)
        symbols = [_needed(self.levels, groups), *groups]
        choices = [None, *split(unrounded, entropy.groups)]
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
