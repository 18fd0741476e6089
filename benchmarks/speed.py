"""Time to decode and to encode one picture in a warm process: CWIC, stage by stage, beside its peers.

python -m benchmarks.speed [--picture FILE] [--rate BPP] [--repeats N] [--out docs/results]
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from benchmarks.codecs import CWIC_AT_RATE, Codec, SizedCodec, available, bits_per_pixel

PEERS = ("JPEG", "JPEG 2000", "WebP", "AVIF")
OURS = "CWIC"


def machine() -> str:
    """CPU model and the number of cores this process may use."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.open() if line.startswith("model name")]
        model = names[0] if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{model or platform.machine()}, {cores} core{'s' if cores > 1 else ''}"


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Median time of a call, after one that does not count."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return median(times)


def stages(call: Callable[[dict[str, float]], object], repeats: int) -> dict[str, float]:
    """Median seconds of each stage that a call writes into the dict it is given, after one call that does not count."""
    found: dict[str, list[float]] = defaultdict(list)
    call({})
    for _ in range(repeats):
        timings: dict[str, float] = {}
        call(timings)
        for stage, value in timings.items():
            found[stage].append(value)
    return {stage: median(values) for stage, values in found.items()}


def codec_times(codec: Codec, im: Image.Image, size: int, repeats: int) -> tuple[bytes, float, float, float]:
    """The file at a size, and the medians of decoding it, of encoding it, and of finding it by its size."""
    if isinstance(codec, SizedCodec):
        data = codec.encode_to_size(im, size)
        encode = search = seconds(lambda: codec.encode_to_size(im, size), repeats)
    else:
        start = time.perf_counter()
        setting = codec.fit(im, size)
        data = codec.encode(im, setting)
        search = time.perf_counter() - start
        encode = seconds(lambda: codec.encode(im, setting), repeats)
    return data, seconds(lambda: codec.decode(data), repeats), encode, search


def ours_stages(im: Image.Image, rate: float, repeats: int) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of each stage of CWIC's encoder, rate search included, and of its decoder."""
    from pillow_cwic import codec

    pixels = np.asarray(im)
    data = codec.encode(pixels, rate=rate)
    encoding = stages(lambda timings: codec.encode(pixels, rate=rate, timings=timings), repeats)
    return encoding, stages(lambda timings: codec.decode(data, timings=timings), repeats)


def report(im: Image.Image, title: str, rate: float, repeats: int) -> str:
    """The measurement as markdown."""
    codecs = {**available(), OURS: replace(CWIC_AT_RATE, name=OURS)}
    size = int(rate * im.width * im.height / 8)
    found = {name: codec_times(codecs[name], im, size, repeats) for name in (OURS, *PEERS) if name in codecs}
    lines = [
        "# Speed",
        "",
        f"{title}, {im.width}x{im.height}, {rate:g} bpp; {machine()}; warm process, medians of {repeats}, in ms.",
        "Encode to size: with the search for the setting that meets the size, for the peers by bisection (timed once).",
        f"{OURS} searches in every encoding.",
        "",
        f"| codec | bpp | decode | encode | encode to size | {OURS} / codec: decode | encode | encode to size |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, (data, *times) in found.items():
        ratios = (
            [f"{ours / own:.2f}" for ours, own in zip(found[OURS][1:], times, strict=True)] if OURS in found else []
        )
        cells = [name, f"{bits_per_pixel(data, im):.3f}", *(f"{1000 * t:.1f}" for t in times), *(ratios or ["–"] * 3)]
        lines.append("| " + " | ".join(cells) + " |")
    if OURS in found:
        encoding, decoding = ours_stages(im, rate, repeats)
        lines += ["", f"{OURS} by stage:", "", "| stage | encode / ms | share | decode / ms | share |"]
        lines.append("| --- | ---: | ---: | ---: | ---: |")
        for stage in sorted({*encoding, *decoding}, key=lambda s: (s == "total", s)):
            cells = [
                cell
                for part in (encoding, decoding)
                for cell in (
                    (f"{1000 * part[stage]:.1f}", f"{part[stage] / part['total']:.0%}") if stage in part else ("–",) * 2
                )
            ]
            lines.append("| " + " | ".join([stage, *cells]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", type=Path, default=Path("tests/data/kodim23.png"))
    parser.add_argument("--rate", type=float, default=0.5, help="bits per pixel")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    with Image.open(args.picture) as file:
        text = report(file.convert("RGB"), args.picture.stem, args.rate, args.repeats)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "speed.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
