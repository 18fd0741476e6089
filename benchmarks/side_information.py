"""What the importance map costs in a file, and what the context model saves.

python -m benchmarks.side_information [--pictures DIR] [--every N] [--rates BPP ...] [--tuning T] [--out docs/results]

The symbols of real files are decoded, and the bytes that they take there are compared with what the same symbols would
take without a context:

- static: the ideal code length under the histogram of each channel of each picture. The histogram would have to be
  sent as well; that is not counted.
- adaptive: the ideal code length of an arithmetic coder that learns each channel as it goes. A symbol is written as
  binary decisions (zero or not, the sign, above 1 or not, above 2 or not ..), each estimated from its counts so far
  by the rule of Krichevsky and Trofimov. Nothing has to be sent besides.

Either knows the map, as the real coder does, and leaves out the codes that it masks.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track
from scipy.special import gammaln

from benchmarks.codecs import CWIC_AT_RATE, TUNINGS, SizedCodec, available
from benchmarks.tables import table
from pillow_cwic import models
from pillow_cwic.codec import session
from pillow_cwic.coding.symbols import decode_symbols
from pillow_cwic.file import container

TARGET = 0.25, 0.05  # at this rate in bits per pixel, the map's share should stay below this
RATES = (0.1, 0.15, 0.25, 0.5, 0.75, 1.0)

Symbols = NDArray[np.int16]


def static_bits(symbols: Symbols) -> float:
    """Ideal code length under the symbols' own histogram."""
    _, counts = np.unique(symbols, return_counts=True)
    return float(-(counts * np.log2(counts / max(symbols.size, 1))).sum())


def decision_bits(ones: int, zeros: int) -> float:
    """Ideal code length of so many binary decisions, in any order, by the estimator of Krichevsky and Trofimov."""
    half = gammaln(0.5)
    nats = gammaln(ones + zeros + 1) - (gammaln(ones + 0.5) - half) - (gammaln(zeros + 0.5) - half)
    return float(nats / np.log(2))


def adaptive_bits(symbols: Symbols) -> float:
    """Ideal code length with binary decisions that adapt: zero or not, sign, then above 1, 2 .. or not."""
    sizes = np.abs(symbols)
    above = np.cumsum(np.bincount(sizes.ravel(), minlength=1)[::-1])[::-1]  # above[n]: symbols of size n or more
    negative = int((symbols < 0).sum())
    bits = decision_bits(negative, int((symbols > 0).sum()))
    for more, all_of_them in zip([*above[1:].tolist(), 0], above.tolist(), strict=True):
        bits += decision_bits(more, all_of_them - more)
    return bits


def kept(codes: Symbols, levels: Symbols, layer: int) -> NDArray[np.bool_]:
    """Where the map keeps the codes of a layer, 1 for the first (FORMAT.md): in each channel (rows, columns) alike."""
    side = codes.shape[1] // levels.shape[1]
    return np.kron(levels[0], np.ones((side, side), np.int16)) >= layer - 1


@dataclass(frozen=True)
class Bytes:
    """Bytes of a file, and of what it holds: in the file and without a context."""

    file: int
    map: tuple[float, float, float]  # as in the file, static, adaptive
    codes: tuple[float, float, float]


def measure(data: bytes) -> Bytes:
    """What the symbols of a file take."""
    parsed = container.read_file(data)
    header = parsed.header
    networks, entropy = session.runtime(models.by_id(header.model_id))
    levels, *groups = decode_symbols(entropy, parsed, *networks.grid(header.height, header.width))
    map_layer, *code_layers = [len(layer.data) for layer in parsed.layers]
    channels = [channel[kept(codes, levels, layer)] for layer, codes in enumerate(groups, start=1) for channel in codes]
    return Bytes(
        file=len(data),
        map=(map_layer, static_bits(levels) / 8, adaptive_bits(levels) / 8),
        codes=(sum(code_layers), sum(map(static_bits, channels)) / 8, sum(map(adaptive_bits, channels)) / 8),
    )


def run(encoder: SizedCodec, paths: list[Path], rates: Iterable[float]) -> dict[float, list[Bytes]]:
    """The bytes of each picture at each rate."""
    found = defaultdict(list)
    for path in track(paths, description="encoding"):
        with Image.open(path) as file:
            im = file.convert("RGB")
        for rate in rates:
            found[rate].append(measure(encoder.encode(im, rate)))
    return dict(found)


def share(group: list[Bytes]) -> float:
    """The map's share of the files, of all their bytes together."""
    return sum(b.map[0] for b in group) / sum(b.file for b in group)


def report(found: dict[float, list[Bytes]], title: str) -> Iterator[str]:
    """The report in markdown, line by line."""
    yield "# Side information and context model\n"
    yield f"{title}. Bytes are means over the pictures.\n"
    yield "## The importance map's share of the file\n"
    body = []
    for rate, group in found.items():
        shares = [b.map[0] / b.file for b in group]
        total, own, codes = (
            mean(values) for values in zip(*((b.file, b.map[0], b.codes[0]) for b in group), strict=True)
        )
        extremes = f"{min(shares):.1%} to {max(shares):.1%}"
        body.append(
            [f"{rate:g}", f"{total:.0f}", f"{own:.0f}", f"{share(group):.1%}", extremes, f"{total - own - codes:.0f}"]
        )
    yield table(["bpp", "file", "map", "share", "over the pictures", "container"], body)
    if TARGET[0] in found:
        verdict = "met" if share(found[TARGET[0]]) < TARGET[1] else "not met"
        yield f"Target: below {TARGET[1]:.0%} at {TARGET[0]:g} bpp: {verdict}.\n"
    yield "## What the context model saves\n"
    yield "The same symbols without a context: under the histogram of each channel (static, the cost of the table left"
    yield "out), and with binary decisions that learn each channel as they go (adaptive); ideal code lengths. In"
    yield "brackets what the context model saves of them. Codes that the map masks count nowhere.\n"
    for part, words in (("codes", "Codes"), ("map", "Map")):
        body = []
        for rate, group in found.items():
            own, *others = (mean(getattr(b, part)[n] for b in group) for n in range(3))
            body.append([f"{rate:g}", f"{own:.0f}"] + [f"{o:.0f} ({1 - own / o:.1%})" if o else "0" for o in others])
        yield table([f"{words} at bpp", "context model", "static", "adaptive"], body)


def main() -> None:
    """Command line."""
    kodak = Path("../shared/data/kodak")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, default=kodak if kodak.is_dir() else Path("tests/data"))
    parser.add_argument("--every", type=int, default=1, help="take every Nth picture")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="bits per pixel")
    parser.add_argument("--tuning", default="mse", choices=[n.split()[1] for n in available() if n in TUNINGS])
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    paths = sorted(args.pictures.glob("*.png"))[:: args.every]
    if not paths:
        parser.error(f"no PNG pictures in {args.pictures}")
    encoder = replace(CWIC_AT_RATE, fixed={"tuning": args.tuning})
    found = run(encoder, paths, args.rates)
    text = "\n".join(
        report(found, f"{len(paths)} pictures, {encoder.version} cwic1 {args.tuning}, whole files by rate")
    )
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "side_information.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
