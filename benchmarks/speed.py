"""Time to decode and to encode one picture in a warm process: CWIC, stage by stage, beside its peers.

python -m benchmarks.speed [--picture FILE] [--rate BPP] [--repeats N] [--out docs/results]
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median
from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmarks import stages
from benchmarks.codecs import CWIC_AT_RATE, Codec, SizedCodec, available, bits_per_pixel
from benchmarks.tables import table
from benchmarks.timing import command, machine, rounds

PEERS = ("JPEG", "JPEG 2000", "WebP", "AVIF", "HEIC", "JPEG XL")
LEARNED = (
    ("scale hyperprior, 128 channels", "ScaleHyperprior", (128, 192)),
    ("mean and scale hyperprior, 128 channels (mbt2018-mean)", "MeanScaleHyperprior", (128, 192)),
    ("autoregressive and hyperprior, 192 channels (mbt2018)", "JointAutoregressiveHierarchicalPriors", (192, 192)),
)  # of CompressAI, as its pretrained models of the lower qualities
OURS = "CWIC"


class Timed(NamedTuple):
    """A codec at a size: the file, the seconds of finding it by its size, and what takes time in every round."""

    data: bytes
    search: float | None  # None if every encoding searches
    decode: Callable[[], object]
    encode: Callable[[], object]


def at_size(codec: Codec, im: Image.Image, size: int) -> Timed:
    """A codec's file of at most so many bytes, and how it is made and opened."""
    if isinstance(codec, SizedCodec):
        data = codec.encode_to_size(im, size)
        return Timed(data, None, lambda: codec.decode(data), lambda: codec.encode_to_size(im, size))
    start = time.perf_counter()
    setting = codec.fit(im, size)
    data = codec.encode(im, setting)
    search = time.perf_counter() - start
    return Timed(data, search, lambda: codec.decode(data), lambda: codec.encode(im, setting))


def learned(im: Image.Image) -> dict[str, Timed]:
    """Learned codecs with random weights, which serve for times alone; none without CompressAI."""
    try:
        google = importlib.import_module("compressai.models.google")
    except ImportError:
        return {}
    import torch

    x = torch.from_numpy(np.asarray(im).copy()).permute(2, 0, 1)[None].float() / 255
    found = {}
    for title, name, shape in LEARNED:
        torch.manual_seed(1)
        model = getattr(google, name)(*shape).eval()
        model.update(force=True)
        compress = torch.inference_mode()(partial(model.compress, x))
        decompress = torch.inference_mode()(partial(model.decompress, **compress()))
        found[title] = Timed(b"", None, decompress, compress)
    return found


def medians(timed: dict[str, Timed], repeats: int) -> dict[str, tuple[float, float]]:
    """Seconds to decode and to encode, of all in the same rounds."""
    calls = {(name, kind): getattr(each, kind) for name, each in timed.items() for kind in ("decode", "encode")}
    taken = rounds(calls, repeats)
    return {name: (median(taken[name, "decode"]), median(taken[name, "encode"])) for name in timed}


def report(im: Image.Image, title: str, rate: float, repeats: int) -> str:
    """The measurement as markdown."""
    codecs = {**available(), OURS: replace(CWIC_AT_RATE, name=OURS)}
    size = int(rate * im.width * im.height / 8)
    classic = {name: at_size(codecs[name], im, size) for name in (OURS, *PEERS) if name in codecs}
    peers = learned(im)
    slow = {name: each for name, each in peers.items() if "autoregressive" in name}
    found = medians({**classic, **{name: each for name, each in peers.items() if name not in slow}}, repeats)
    found |= medians(slow, 1)
    ours = found[OURS]
    lines = [
        "# Speed",
        "",
        f"{title}, {im.width}x{im.height}, {rate:g} bpp; {machine()}; warm process, in ms: medians of {repeats} rounds "
        "in which each decodes and encodes, each time just after it did the same once.",
        "Encode to size: with the search for the setting that meets the size, for the peers by bisection (timed once).",
        f"{OURS} searches in every encoding.",
        "",
    ]
    body = []
    for name, each in classic.items():
        times = (*found[name], each.search or found[name][1])
        ratios = [f"{a / b:.2f}" for a, b in zip((*ours, ours[1]), times, strict=True)]
        body.append([name, f"{bits_per_pixel(each.data, im):.3f}", *(f"{1000 * t:.1f}" for t in times), *ratios])
    head = ["codec", "bpp", "decode", "encode", "encode to size"]
    lines.append(table([*head, f"{OURS} / codec: decode", "encode", "encode to size"], body))
    if peers:
        lines.append("Models of CompressAI, random weights, on the same machine; files of whatever size these give.\n")
        body = []
        for name in peers:
            ratios = [f"{a / b:.3f}" for a, b in zip(ours, found[name], strict=True)]
            body.append([name, *(f"{1000 * t:.0f}" for t in found[name]), *ratios])
        lines.append(table(["model", "decode", "encode", f"{OURS} / model: decode", "encode"], body))
    lines += [f"{OURS} by stage.", "", stages.report(im, rate, repeats)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    command(__doc__, "speed", report, repeats=11)


if __name__ == "__main__":
    main()
