"""What time and memory grow to with the picture: ``python -m benchmarks.growth [--megapixels 1 6 24]``.

Each size in a process of its own, on a picture put together from copies of one photograph, turned over so that it goes
on smoothly. Memory is the peak of the process over what it holds once everything is loaded. Writes ``growth.md`` and
``growth.png``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.codecs import available, bits_per_pixel
from benchmarks.tables import table
from benchmarks.timing import machine

SIZES = (0.1, 0.4, 1.0, 3.0, 6.0, 12.0, 24.0)  # megapixels
RATE = 0.5
ASPECT = 1.5
WORKS = "encode", "decode"
PEERS = "JPEG XL", "AVIF"  # at the two sizes of whole photographs, at a quality near that rate
LARGE = 12.0, 24.0


def picture(path: Path, megapixels: float) -> np.ndarray:
    """A picture (H, W, 3) of about that many pixels, made of turned copies of a photograph."""
    width = round((1e6 * megapixels * ASPECT) ** 0.5)
    height = round(width / ASPECT)
    with Image.open(path) as im:
        photo = np.asarray(im.convert("RGB"))
    pair = np.concatenate([photo, photo[:, ::-1]], axis=1)
    four = np.concatenate([pair, pair[::-1]], axis=0)
    copies = -(-height // four.shape[0]), -(-width // four.shape[1]), 1
    return np.ascontiguousarray(np.tile(four, copies)[:height, :width])


def _memory(name: str) -> int:
    """A figure of this process's memory, in bytes, from Linux."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{name}:")[1].split()[0])


def child(path: Path, megapixels: float, rate: float) -> dict[str, Any]:
    """Measures one size in this process: seconds of each work, and bytes of memory at the peak over the start."""
    import pillow_cwic

    Image.MAX_IMAGE_PIXELS = None
    pixels = picture(path, megapixels)
    pillow_cwic.decode(pillow_cwic.encode(pixels[:64, :64], rate=rate))  # loads what is loaded once
    figures: dict[str, Any] = {"pixels": pixels.shape[0] * pixels.shape[1]}
    data = b""
    for work in WORKS:
        before = _memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        start = time.perf_counter()
        if work == "encode":
            data = pillow_cwic.encode(pixels, rate=rate)
        else:
            pillow_cwic.decode(data)
        figures[work] = time.perf_counter() - start
        figures[f"{work} memory"] = _memory("VmHWM") - before
    if megapixels in LARGE:
        figures["peers"] = peers(Image.fromarray(pixels), rate)
    return figures


def peers(im: Image.Image, rate: float) -> dict[str, tuple[float, float]]:
    """Bits per pixel and seconds to decode of each peer that is here, for its setting nearest to a rate.

    The setting is found on a part of the picture, since their encoders take long; so is the file, quickly.
    """
    found = {}
    for name, codec in available().items():
        if name in PEERS:
            part = im.crop((0, 0, 768, 512))
            setting = codec.fit(part, int(rate * 768 * 512 / 8))
            data = codec.save(im, **{**codec.options(setting), **({"speed": 9} if name == "AVIF" else {})})
            start = time.perf_counter()
            codec.decode(data).load()
            found[name] = bits_per_pixel(data, im), time.perf_counter() - start
    return found


def measured(path: Path, megapixels: float, rate: float) -> dict[str, Any]:
    """``child`` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.growth", "--child", str(megapixels), "--rate", str(rate)]
    output = subprocess.run([*command, "--picture", str(path)], capture_output=True, text=True, check=True).stdout
    figures: dict[str, Any] = json.loads(output)
    return figures


def draw(rows: list[dict[str, Any]], target: Path) -> None:
    """Seconds and megabytes over megapixels, both on logarithmic scales, where what is proportional is straight."""
    figure = Figure(figsize=(9, 4))
    units = (("", "s", 1.0), (" memory", "MB", 1e6))
    for axes, (suffix, unit, divisor) in zip(figure.subplots(1, 2), units, strict=True):
        for work in WORKS:
            x, y = [row["pixels"] / 1e6 for row in rows], [row[work + suffix] / divisor for row in rows]
            axes.loglog(x, y, "o-", label=work)
        axes.set(xlabel="megapixels", ylabel=unit)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.tight_layout()
    figure.savefig(target, dpi=100)


def report(rows: list[dict[str, Any]], rate: float) -> str:
    """The table as markdown."""
    cells = []
    for row in rows:
        pixels = row["pixels"]
        cells.append([f"{pixels / 1e6:.2f}"])
        for work in WORKS:
            memory = row[f"{work} memory"]
            cells[-1] += [f"{row[work]:.2f}", f"{1e6 * row[work] / pixels:.2f}"]
            cells[-1] += [f"{memory / 1e6:.0f}", f"{max(0.0, memory - 3e8) / pixels:.1f}"]
    head = ["megapixels"]
    for work in WORKS:
        head += [f"{work} / s", "s a megapixel", "memory / MB", "bytes a pixel over 300 MB"]
    beside = []
    for row in rows:
        for name, (bpp, seconds) in row.get("peers", {}).items():
            cell = [
                f"{row['pixels'] / 1e6:.2f}",
                name,
                f"{bpp:.2f}",
                f"{seconds:.2f}",
                f"{row['decode'] / seconds:.1f}",
            ]
            beside.append(cell)
    peer_table = table(["megapixels", "peer", "bpp", "decode / s", "CWIC / peer"], beside) + "\n" if beside else ""
    return (
        "# Growth\n\n"
        f"{machine()}; {rate:g} bpp with rate search, default effort; each size once, in a process of its own that has "
        "the model loaded. Memory is the peak over the start.\n\n"
        f"{table(head, cells)}\n{peer_table}![Time and memory](growth.png)\n"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megapixels", type=float, nargs="+", default=SIZES)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--picture", type=Path, default=Path("tests/data/kodim04.png"))
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    parser.add_argument("--child", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(child(args.picture, args.child, args.rate)))
        return
    if not os.access("/proc/self/clear_refs", os.W_OK):
        parser.error("this machine does not tell the peak of a process's memory as Linux does")
    rows = []
    for megapixels in args.megapixels:
        rows.append(measured(args.picture, megapixels, args.rate))
        print(rows[-1], flush=True)
    args.results.mkdir(parents=True, exist_ok=True)
    draw(rows, args.results / "growth.png")
    (args.results / "growth.md").write_text(report(rows, args.rate))


if __name__ == "__main__":
    main()
