"""What time and memory grow to with the picture: ``python -m benchmarks.growth [--megapixels 1 6 24]``.

Encoding and decoding of each size in processes of their own, on a picture put together from copies of one photograph,
turned over so that it goes on smoothly. Memory is the peak of the process over what it holds once everything is loaded,
the picture or the file as well. Writes ``growth.md`` and ``growth.png``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
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


def child(work: str, path: Path, megapixels: float, rate: float, file: Path) -> dict[str, Any]:
    """Measures one work of one size in this process: its seconds, and bytes of memory at the peak over the start.

    ``file`` is written by the one and read by the other.
    """
    import pillow_cwic

    Image.MAX_IMAGE_PIXELS = None
    with Image.open(path) as im:
        small = np.asarray(im.convert("RGB"))[:64, :64]
    pillow_cwic.decode(pillow_cwic.encode(small, rate=rate))  # loads what is loaded once
    pixels = picture(path, megapixels) if work == "encode" else None
    data = b"" if work == "encode" else file.read_bytes()
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    start = time.perf_counter()
    if work == "encode":
        data = pillow_cwic.encode(pixels, rate=rate)
    else:
        pillow_cwic.decode(data)
    figures: dict[str, Any] = {work: time.perf_counter() - start, f"{work} memory": _memory("VmHWM") - before}
    if pixels is not None:
        file.write_bytes(data)
        figures["pixels"] = pixels.shape[0] * pixels.shape[1]
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
    """``child`` of both works, each in a process of its own."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.growth", "--megapixels", str(megapixels), "--rate", str(rate)]
        command += ["--picture", str(path), "--file", f"{folder}/picture.cwic"]
        for work in WORKS:
            run = subprocess.run([*command, "--child", work], capture_output=True, text=True, check=True)
            figures |= json.loads(run.stdout)
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
            cells[-1] += [f"{memory / 1e6:.0f}", f"{memory / pixels:.1f}"]
    head = ["megapixels"]
    for work in WORKS:
        head += [f"{work} / s", "s a megapixel", "memory / MB", "bytes a pixel"]
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
        f"{machine()}; {rate:g} bpp with rate search, default effort; each once, in a process of its own that has the "
        "model loaded. Memory is the peak over the start.\n\n"
        f"{table(head, cells)}\n{peer_table}![Time and memory](growth.png)\n"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megapixels", type=float, nargs="+", default=SIZES)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--picture", type=Path, default=Path("tests/data/kodim04.png"))
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    parser.add_argument("--child", choices=WORKS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(child(args.child, args.picture, args.megapixels[0], args.rate, args.file)))
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
