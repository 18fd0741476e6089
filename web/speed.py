"""Seconds to decode a photograph of 768 x 512 in one thread: in Node, in Chromium, and natively by plain C, in the same
run; of CPU, but for Chromium, which has only a clock.

    python -m web.speed [FOLDER]       FOLDER holds the weights, web/dist by default

Of several runs the quickest counts, as other work only adds to it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from json import dumps, loads
from pathlib import Path
from typing import NamedTuple

from PIL import Image

import pillow_cwic
from pillow_cwic import models, settings
from pillow_cwic.codec.picture import post_of
from pillow_cwic.coding import EntropyModel
from pillow_cwic.coding.symbols import decode_symbols, grid, join
from pillow_cwic.file import container
from pillow_cwic.models.config import Config
from pillow_cwic.models.weights import read
from pillow_cwic.transforms import layout
from pillow_cwic.transforms.native import Transforms
from tests.web_browser import CHROMIUM, browser, site

ROOT = Path(__file__).resolve().parents[1]
PHOTO = ROOT / "tests" / "data" / "kodim23.png"
RATES = (0.3, 1.0)  # bits per pixel
RUNS = 5


def plain_decoder() -> Callable[[bytes], None]:
    """Decodes a file by the default model, in plain C and one thread."""
    weights = read(models.by_name("cwic1").read())
    config = Config.from_dict(weights.config)
    kinds = layout.TYPES.items()
    arrays = {f"{k}.{a}": weights.take(f"{k}.{a}", t.type) for k in ("analysis", "synthesis") for a, t in kinds}
    shape = config.groups, config.context_hidden, config.map_hidden, config.levels
    entropy = EntropyModel(*weights.context(), *shape, simd=0)
    transforms = Transforms(config, arrays, simd=0)

    def decode(data: bytes) -> None:
        parsed = container.read_file(data)
        header = parsed.header
        with settings.options(threads=1):
            symbols = decode_symbols(entropy, parsed, *grid(entropy, header.height, header.width))
            transforms.synthesise(join(symbols[1:]), header.rate, header.height, header.width, post_of(parsed))

    return decode


def native(decode: Callable[[bytes], None], data: bytes) -> float:
    seconds = []
    for _ in range(RUNS):
        start = time.process_time()
        decode(data)
        seconds.append(time.process_time() - start)
    return min(seconds)


def in_node(path: Path, weights: Path) -> float:
    """The same in one Node process, whose first picture pays for compiling and for the weights."""
    command = ["node", str(ROOT / "tests" / "web_decode.mjs"), str(weights)]
    lines = f"{dumps([str(path), {}])}\n" * (2 * RUNS)
    done = subprocess.run(command, input=lines, capture_output=True, encoding="utf-8", check=True)
    return min(float(loads(line)["seconds"]["cpu"]) for line in done.stdout.split("\n")[:-1])


def in_chromium(paths: list[Path], weights: Path) -> list[float | None]:
    """The same in pages of a headless Chromium; None where there is none."""
    if CHROMIUM is None:
        return [None] * len(paths)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "web").symlink_to(ROOT / "web")
        (folder / "weights").symlink_to(weights.resolve())
        for path in (ROOT / "tests" / "web_speed.html", ROOT / "tests" / "web_page.js", *paths):
            shutil.copy(path, folder)
        with site(folder) as server, browser() as chromium:
            query = "".join(f"&file={path.name}" for path in paths)
            found = chromium.shown(server, f"web_speed.html?runs={2 * RUNS}{query}")
    return [min(found[path.name]) for path in paths]


class Row(NamedTuple):
    """Seconds at a rate in bits per pixel."""

    rate: float
    node: float
    chromium: float | None
    plain: float


def measure(weights: Path) -> list[Row]:
    pillow_cwic.register()
    decode = plain_decoder()
    with Image.open(PHOTO) as im, tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{rate}.cwic" for rate in RATES]
        for rate, path in zip(RATES, paths, strict=True):
            im.convert("RGB").save(path, rate=rate)
        pages = in_chromium(paths, weights)
        return [
            Row(rate, in_node(path, weights), page, native(decode, path.read_bytes()))
            for rate, path, page in zip(RATES, paths, pages, strict=True)
        ]


if __name__ == "__main__":
    for rate, node, page, plain in measure(Path(*sys.argv[1:2] or [ROOT / "web" / "dist"])):
        browsers = "no Chromium" if page is None else f"Chromium {page:.3f} s"
        print(f"{rate} bpp: Node {node:.3f} s, {browsers}, plain C {plain:.3f} s; Node {node / plain:.2f} times")
