"""Where the time of one picture goes, beside the least that the machine could take for the same work.

The floor of a stage is its multiply-accumulates over the highest rate that this machine reaches in a large product of
float32 matrices, times the numbers that fit where a float32 does, or its bytes over the rate at which it copies memory,
whichever takes longer. Units for matrices of integers, as AMX, may go below it.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.nn import Conv2d

from benchmarks.tables import table
from benchmarks.timing import rounds
from pillow_cwic import codec, models
from pillow_cwic.codec import session
from pillow_cwic.codec.fitting import ALLOWED, fitted
from pillow_cwic.codec.picture import post_of
from pillow_cwic.coding.symbols import decode_symbols, encode_symbols, join, rounded
from pillow_cwic.file import container
from pillow_cwic.saving import Options
from pillow_cwic.transforms.torch.context import CausalConv
from training.networks.model import Config, Cwic1, count_macs
from training.networks.quantisers import channel_masks

MATRIX, COPIED = 1536, 1 << 27  # side of the matrices, bytes of the array
LANES_16, LANES_8 = 2, 4  # numbers of 16 and 8 bits that fit into what a 32-bit one takes


class Peaks(NamedTuple):
    """What the machine can do: multiply-accumulates a second with all threads and with one, bytes copied a second."""

    macs: float
    macs_of_one: float
    copied: float


class Stage(NamedTuple):
    """One stage of the work: its seconds, its multiply-accumulates, at which peak, and the bytes it must move."""

    name: str
    seconds: float
    macs: float = 0.0
    peak: float = 1.0
    moved: float = 0.0

    def floor(self, peaks: Peaks) -> float:
        return max(self.macs / self.peak, self.moved / peaks.copied)


def _least(repeats: int, *calls: Callable[[], object]) -> list[float]:
    """The least seconds of each call in so many rounds."""
    return [min(taken) for taken in rounds(dict(enumerate(calls)), repeats).values()]


def peaks(repeats: int = 5) -> Peaks:
    """Measures the machine."""
    a, b = torch.randn(MATRIX, MATRIX), torch.randn(MATRIX, MATRIX)
    out, threads = torch.empty(MATRIX, MATRIX), torch.get_num_threads()
    macs = MATRIX**3 / _least(repeats, lambda: torch.mm(a, b, out=out))[0]
    torch.set_num_threads(1)
    try:
        one = MATRIX**3 / _least(repeats, lambda: torch.mm(a, b, out=out))[0]
    finally:
        torch.set_num_threads(threads)
    source = torch.zeros(COPIED, dtype=torch.uint8)
    target = torch.zeros_like(source)
    return Peaks(macs, one, COPIED / _least(repeats, lambda: target.copy_(source))[0])


def layer_macs(config: Config) -> list[int]:
    """Multiply-accumulates of the context model for one place of each layer: a map level, then each group's codes."""
    model = Cwic1(config).context
    found = []
    for network in (model.map, *model.layers):
        taps = [m.mask.mean() if isinstance(m, CausalConv) else 1 for m in network.modules() if isinstance(m, Conv2d)]
        weights = [m.weight.numel() for m in network.modules() if isinstance(m, Conv2d)]
        found.append(round(sum(float(share) * count for share, count in zip(taps, weights, strict=True))))
    return found


def decoding(im: Image.Image, rate: float, repeats: int, at: Peaks) -> list[Stage]:
    """The stages of ``Image.open(..).load()``."""
    pixels = np.asarray(im)
    data = codec.encode(pixels, Options(rate=rate))
    parsed = container.read_file(data)
    model = session.loaded(parsed.header)
    networks, entropy, header, post = model.networks, model.entropy, parsed.header, post_of(parsed)
    place = networks.grid(header.height, header.width)
    symbols = decode_symbols(entropy, parsed, *place)
    codes = join(symbols[1:])
    config = networks.config
    kept = channel_masks(torch.from_numpy(symbols[0][None].astype(np.float32)), config.groups)[0]
    ends = np.cumsum((0, *config.groups))
    per_place = layer_macs(config)
    macs = 64 * codes[0].size * count_macs(config)["synthesis"]
    of_groups = sum(float(kept[first].sum()) * macs for first, macs in zip(ends[:-1], per_place[1:], strict=True))

    def opened() -> None:
        with Image.open(BytesIO(data)) as file:
            file.load()

    parse, levels, all_layers, transform, total = _least(
        repeats,
        lambda: container.read_file(data),
        lambda: decode_symbols(entropy, parsed, *place, groups=0),
        lambda: decode_symbols(entropy, parsed, *place),
        lambda: networks.synthesise(codes, header.rate, header.height, header.width, post),
        opened,
    )
    integer = at.macs_of_one * LANES_16
    size = 3 * header.height * header.width
    return [
        Stage("parse, check CRCs", parse, moved=len(data)),
        Stage("map: context model and coder", levels, symbols[0].size * per_place[0], integer),
        Stage("codes: context model and coder", all_layers - levels, of_groups, integer),
        Stage("synthesis transform, to samples", transform, macs, at.macs * LANES_8),
        Stage("hand-over to Pillow, the rest", total - parse - all_layers - transform, moved=size),
        Stage("all", total, 0, 1),
    ]


def encoding(im: Image.Image, rate: float, repeats: int, at: Peaks) -> list[Stage]:
    """The stages of ``img.save(.., rate=..)``: each once, then the whole with its search."""
    pixels = np.asarray(im)
    data = codec.encode(pixels, Options(rate=rate))
    header = container.read_file(data).header
    model = session.runtime(models.by_name("cwic1"))
    networks = model.networks
    analysed = networks.analyse(pixels, header.rate)
    exact = networks.codes(analysed, header.rate)
    ends = np.cumsum(networks.config.groups)[:-1]
    codes = rounded(exact)
    layers = [networks.levels(analysed, header.rate), *np.split(codes, ends)]
    integer, macs_of_layers = at.macs_of_one * LANES_16, layer_macs(networks.config)
    everywhere = np.ones(codes.shape[1:], np.bool_)
    analyse, quantise, plain, fit, total = _least(
        repeats,
        lambda: networks.analyse(pixels, header.rate),
        lambda: networks.codes(analysed, header.rate),
        lambda: encode_symbols(model.entropy, layers, [None] * len(layers), 0.0, header.rate, 10),
        lambda: fitted(networks, codes, header.rate, pixels, everywhere, everywhere, ALLOWED["ssim"]),
        lambda: codec.encode(pixels, Options(rate=rate)),
    )
    counted = count_macs(networks.config)
    macs = 64 * codes[0].size * (counted["analysis"] + counted["importance"])
    return [
        Stage("analysis transform and map, once", analyse, macs, at.macs * LANES_8),
        Stage("gain, codes to integers, once", quantise, moved=6.0 * codes.size),
        Stage("context model and coder, once", plain, codes[0].size * float(sum(macs_of_layers[1:])), integer),
        Stage("synthesis, and a post-filter fitted to it", fit),
        Stage("all, with the search for the rate and the choice of codes", total),
    ]


def report(im: Image.Image, rate: float, repeats: int) -> str:
    """Both tables as markdown."""
    at = peaks()
    parts = [
        f"Floors: in float32 {at.macs / 1e9:.0f} GMAC/s with all threads ({torch.get_num_threads()}) and "
        f"{at.macs_of_one / 1e9:.0f} with one, taken twice for 16-bit integers, four times for 8-bit ones; "
        f"{at.copied / 1e9:.1f} GB/s copied. "
        f"Times are the least of {repeats} rounds.\n"
    ]
    for title, found in (("decode", decoding(im, rate, repeats, at)), ("encode", encoding(im, rate, repeats, at))):
        body = []
        for stage in found:
            floor = stage.floor(at)
            ratio = f"{stage.seconds / floor:.1f}" if floor > 2e-5 else "–"
            cells = [f"{1000 * stage.seconds:.1f}", f"{1000 * floor:.1f}" if floor > 2e-5 else "–", ratio]
            body.append([stage.name, *cells, f"{stage.seconds / found[-1].seconds:.0%}"])
        parts.append(table([f"{title}: stage", "ms", "floor / ms", "times the floor", "share"], body))
    return "\n".join(parts)
