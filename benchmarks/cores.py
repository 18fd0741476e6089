"""Decoding and analysis with each instruction set on one core, and decoding beside other work. Writes ``cores.md``.

python -m benchmarks.cores [--picture FILE] [--rate BPP] [--repeats N] [--out docs/results]

Decoding is context model, range decoder and synthesis, from a file's layers to its samples. The other work is a process
for each core that never rests; beside it, threads that wait for each other by spinning would take many times as long
as one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median

import numpy as np
from PIL import Image

from benchmarks.reliability.pixels import NAMES
from benchmarks.tables import table
from benchmarks.timing import command, machine, rounds
from pillow_cwic import codec, models, settings
from pillow_cwic.codec.picture import post_of
from pillow_cwic.coding import EntropyModel
from pillow_cwic.coding.coder import BEST_SIMD
from pillow_cwic.coding.symbols import decode_symbols, grid, join
from pillow_cwic.file import container
from pillow_cwic.models.config import Config
from pillow_cwic.models.weights import read
from pillow_cwic.saving import Options
from pillow_cwic.transforms.native import Transforms

BUSY = "while True: sum(range(10000))"
LIMITS = {1: 160.0, 3: 85.0}  # ms of a decode of 768x512 at 0.5 bpp on one core, by instruction set
BUSY_LIMIT = 1.2  # two threads against one


class Level:
    """The default model with one instruction set."""

    def __init__(self, simd: int) -> None:
        weights = read(models.by_name("cwic1").read())
        facts = (weights.config[name] for name in EntropyModel.facts)
        self.entropy = EntropyModel(*weights.context(), *facts, simd=simd)
        self.transforms = Transforms(Config.from_dict(weights.config), weights.arrays, simd)
        self.simd = self.transforms.simd

    def decode(self, data: bytes, threads: int) -> None:
        parsed = container.read_file(data)
        header = parsed.header
        with settings.options(threads=threads):
            place = grid(self.entropy, header.height, header.width)
            codes = join(decode_symbols(self.entropy, parsed, *place)[1:])
            self.transforms.synthesise(codes, header.rate, header.height, header.width, post_of(parsed))

    def analyse(self, pixels: np.ndarray, rate: int) -> None:
        with settings.options(threads=1):
            self.transforms.analyse(pixels, rate)


def levels() -> list[Level]:
    """Those that this machine has, the best first."""
    made = [Level(simd) for simd in range(BEST_SIMD, -1, -1)]
    return list({level.simd: level for level in made}.values())


@contextmanager
def busy() -> Iterator[None]:
    """All cores at work on something else."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def cpu(call: Callable[[], object], repeats: int) -> float:
    """The least milliseconds of CPU that a call takes: what others do meanwhile hardly shows."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return 1000 * min(taken)


def clock(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The median milliseconds of each call by the clock."""
    return {name: 1000 * median(taken) for name, taken in rounds(calls, repeats).items()}


def report(im: Image.Image, title: str, rate: float, repeats: int) -> str:
    """The measurement as markdown."""
    pixels = np.asarray(im)
    data = codec.encode(pixels, Options(rate=rate))
    t = container.read_header(data).rate
    found = levels()
    body = []
    for level in found:
        few = repeats if level.simd else 1
        decode, analyse = cpu(partial(level.decode, data, 1), few), cpu(partial(level.analyse, pixels, t), few)
        limit = f"{LIMITS[level.simd]:.0f}" if level.simd in LIMITS else "–"
        body.append([NAMES[level.simd], f"{decode:.1f}", limit, f"{analyse:.1f}"])
    best = found[0]
    calls = {str(threads): partial(best.decode, data, threads) for threads in (1, 2)}
    alone = clock(calls, repeats)
    with busy():
        beside = clock(calls, repeats)
    rows = [
        [name, f"{t['1']:.1f}", f"{t['2']:.1f}", f"{t['2'] / t['1']:.2f}"]
        for name, t in (("nothing else", alone), ("all cores busy", beside))
    ]
    return "\n".join([
        "# Cores",
        "",
        f"{title}, {im.width}x{im.height}, {rate:g} bpp; {machine()}; warm.",
        "",
        f"On one core, in ms of CPU, the least of {repeats}:",
        "",
        table(["instruction set", "decode", "may be", "analysis transform"], body),
        f"Decoding with one and with two threads, {NAMES[best.simd]}, in ms by the clock, medians of {repeats} rounds; "
        f"beside other work two threads may take {BUSY_LIMIT} times as long as one:",
        "",
        table(["beside", "one thread", "two threads", "two / one"], rows),
    ])  # fmt: skip


def main() -> None:
    """Command line."""
    command(__doc__, "cores", report, repeats=31)


if __name__ == "__main__":
    main()
