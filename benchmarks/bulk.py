"""A million photographs on paper: images an hour, and what they cost as CWIC and as AVIF of equal SSIM.

python -m benchmarks.bulk [--pictures DIR] [--every N] [--quality Q] [--megapixels MP] [--photos N]
                          [--core-hour PRICE] [--gb-month PRICE] [--out docs/results]

Times are those of the processor with one thread, of the encoding alone: AVIF's search for the quality is not counted.
Bytes and times grow with the pixels, by which they are scaled to photographs of ``--megapixels``.
"""

from __future__ import annotations

import argparse
import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
from PIL import Image

import pillow_cwic
from benchmarks import metrics
from benchmarks.codecs import ALL, Ours
from benchmarks.tables import number, table
from benchmarks.timing import machine
from pillow_cwic.tools.compare.peers import Codec

SPEEDS = (4, 6)  # of AVIF's encoder


@dataclass(frozen=True)
class Cost:
    """What a pixel costs with one codec, a mean over the pictures."""

    name: str
    bytes: float
    encode: float  # seconds of one core
    decode: float
    ssim: float  # of the picture, a mean


def seconds(call: Callable[[], object]) -> float:
    """Seconds of the processor that a call takes."""
    start = time.process_time()
    call()
    return time.process_time() - start


def ours(quality: int) -> Codec:
    """CWIC, tuned for SSIM, at a quality."""
    return Ours("CWIC ssim", "CWIC", (quality,), lambda q: {"quality": int(q)}, fixed={"tuning": "ssim"})


def avif(speed: int) -> Codec:
    """AVIF at a speed of its encoder, with one thread."""
    return Codec(
        f"AVIF speed {speed}",
        "AVIF",
        ALL["AVIF"].settings,
        lambda q: {"quality": int(q), "subsampling": "4:4:4", "speed": speed, "max_threads": 1},
    )


def similarity(codec: Codec, im: Image.Image, data: bytes) -> float:
    """SSIM of the picture in a file."""
    return metrics.ssim(np.asarray(im), np.asarray(codec.decode(data).convert("RGB")))


def measure(codec: Codec, im: Image.Image, setting: float) -> Cost:
    """What a pixel of one picture costs."""
    data = codec.encode(im, setting)  # warm
    pixels = im.width * im.height
    encode = seconds(lambda: codec.encode(im, setting))
    decode = seconds(lambda: codec.decode(data))
    return Cost(codec.name, len(data) / pixels, encode / pixels, decode / pixels, similarity(codec, im, data))


def costs(pictures: list[Image.Image], quality: int) -> list[Cost]:
    """CWIC at a quality, and AVIF at the least quality that has its SSIM on each picture; its best where none has."""
    found: dict[str, list[Cost]] = {}
    with pillow_cwic.options(device="cpu", threads=1):
        for im in pictures:
            own = measure(ours(quality), im, quality)
            found.setdefault(own.name, []).append(own)
            for codec in map(avif, SPEEDS):
                index = bisect_left(
                    codec.grid, own.ssim, key=lambda q, c=codec, im=im: similarity(c, im, c.encode(im, q))
                )
                peer = measure(codec, im, codec.grid[min(index, len(codec.grid) - 1)])
                found.setdefault(peer.name, []).append(peer)
    return [
        Cost(name, *(mean(getattr(cost, field) for cost in each) for field in ("bytes", "encode", "decode", "ssim")))
        for name, each in found.items()
    ]


def report(found: list[Cost], title: str, megapixels: float, photos: int, core_hour: float, gb_month: float) -> str:
    """The measurement as markdown."""
    pixels, own = 1e6 * megapixels, found[0]
    gigabytes = {cost.name: cost.bytes * pixels * photos / 1e9 for cost in found}
    hours = {cost.name: cost.encode * pixels * photos / 3600 for cost in found}
    ratios, rates, totals = [], [], []
    for cost in found:
        ratios.append([cost.name, *(number(getattr(own, f) / getattr(cost, f)) for f in ("bytes", "encode", "decode"))])
        hourly = (f"{3600 / (seconds * pixels):,.0f}" for seconds in (cost.encode, cost.decode))
        rates.append([cost.name, f"{cost.ssim:.4f}", f"{8 * cost.bytes:.3f}", *hourly, "not measured"])
        saved = (gigabytes[cost.name] - gigabytes[own.name]) * gb_month
        more = (hours[own.name] - hours[cost.name]) * core_hour
        if cost is own:
            pays = "–"
        elif saved > 0:
            pays = f"{max(0.0, more / saved):,.1f}"
        else:
            pays = "never" if more > 0 else "at once, by encoding"
        totals.append([
            cost.name, f"{hours[cost.name]:,.0f}", f"{hours[cost.name] * core_hour:,.0f}",
            f"{gigabytes[cost.name]:,.0f}", f"{gigabytes[cost.name] * gb_month:,.2f}", f"{saved:,.2f}", pays,
        ])  # fmt: skip
    return "\n".join(
        [
            "# Bulk\n",
            f"{title}, scaled by pixels to photographs of {megapixels:g} MP; {machine()}; seconds of the processor,",
            "one thread. AVIF at the least quality whose SSIM is that of CWIC on each picture. No GPU was measured.\n",
            table(["CWIC ssim / codec", "bytes", "encode", "decode"], ratios),
            table(["codec", "SSIM", "bpp", "encoded an hour and core", "decoded an hour and core", "by a GPU"], rates),
            f"{photos:,} photographs, at {core_hour:g} a core hour and {gb_month:g} a gigabyte and month:\n",
            table(
                [
                    "codec",
                    "core hours",
                    "encoding",
                    "GB",
                    "storage a month",
                    "saved a month by CWIC",
                    "months until that pays",
                ],
                totals,
            ),
        ]
    )


def main() -> None:
    """Command line."""
    valid = Path("../shared/data/valid")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, default=valid if valid.is_dir() else Path("tests/data"))
    parser.add_argument("--every", type=int, default=6, help="take every Nth picture")
    parser.add_argument("--quality", type=int, default=50, help="of CWIC, tuning ssim")
    parser.add_argument("--megapixels", type=float, default=12, help="of a photograph")
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--core-hour", type=float, default=0.04, help="price of a core for an hour")
    parser.add_argument("--gb-month", type=float, default=0.023, help="price of a gigabyte (1e9 bytes) for a month")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    paths = sorted(p for p in args.pictures.iterdir() if p.suffix in {".png", ".webp"})[:: args.every]
    if not paths:
        parser.error(f"--pictures: no .png and no .webp in {args.pictures}")
    pictures = [Image.open(path).convert("RGB") for path in paths]
    title = f"{len(pictures)} pictures of `{args.pictures.name}`, {args.every} apart"
    text = report(costs(pictures, args.quality), title, args.megapixels, args.photos, args.core_hour, args.gb_month)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "bulk.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
