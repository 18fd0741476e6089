"""Time to decode and to encode one picture in a warm process: CWIC, stage by stage, beside its peers.

python -m benchmarks.speed [--picture FILE] [--rate BPP] [--repeats N] [--out docs/results]
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from benchmarks import stages
from benchmarks.codecs import CWIC_AT_RATE, Codec, SizedCodec, available, bits_per_pixel

PEERS = ("JPEG", "JPEG 2000", "WebP", "AVIF", "HEIC", "JPEG XL")
LEARNED = (
    ("scale hyperprior, 128 channels", "ScaleHyperprior", (128, 192)),
    ("mean and scale hyperprior, 128 channels (mbt2018-mean)", "MeanScaleHyperprior", (128, 192)),
    ("autoregressive and hyperprior, 192 channels (mbt2018)", "JointAutoregressiveHierarchicalPriors", (192, 192)),
)  # of CompressAI, as its pretrained models of the lower qualities
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


def learned_times(im: Image.Image, repeats: int) -> dict[str, list[float]]:
    """Seconds to decode and to encode of learned codecs with random weights, which serve for times alone."""
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
        times = 1 if "autoregressive" in title else repeats
        with torch.inference_mode():
            made = model.compress(x)
            decode = seconds(lambda model=model, made=made: model.decompress(**made), times)
            found[title] = [decode, seconds(lambda model=model: model.compress(x), times)]
    return found


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
    learned = learned_times(im, repeats)
    if learned:
        lines += [
            "",
            "Models of CompressAI, random weights, on the same machine; files of whatever size these give.",
            "",
        ]
        lines += ["| model | decode | encode | CWIC / model: decode | encode |", "| --- | ---: | ---: | ---: | ---: |"]
        for name, times in learned.items():
            own = found[OURS][1:3]
            cells = [
                name,
                *(f"{1000 * t:.0f}" for t in times),
                *(f"{a / b:.3f}" for a, b in zip(own, times, strict=True)),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", f"{OURS} by stage.", "", stages.report(im, rate, repeats)]
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
