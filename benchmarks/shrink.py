"""How a file that ``pillow_cwic.shrink`` made smaller compares with one encoded for that rate from the picture.

python -m benchmarks.shrink [--pictures DIR] [--every N] [--results DIR]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from PIL import Image

import pillow_cwic
from benchmarks import metrics
from benchmarks.tables import table

STEPS = ((1.5, 0.4), (0.8, 0.4), (0.4, 0.2), (0.8, 0.05))  # rate of the file and of the smaller one, bits per pixel


def measure(pixels: np.ndarray, high: float, low: float) -> tuple[float, float, float]:
    """Gain in dB over a file encoded for the low rate, seconds of the processor, share of the wanted size."""
    data = pillow_cwic.encode(pixels, rate=high)
    start = time.process_time()
    small = pillow_cwic.shrink(data, rate=low)
    seconds = time.process_time() - start
    fresh = pillow_cwic.encode(pixels, rate=low)
    gain = metrics.psnr(pixels, pillow_cwic.decode(small)) - metrics.psnr(pixels, pillow_cwic.decode(fresh))
    return gain, seconds, len(small) * 8 / (low * pixels.shape[0] * pixels.shape[1])


def main() -> None:
    """Command line."""
    valid = Path("../shared/data/valid")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, default=valid if valid.is_dir() else Path("tests/data"))
    parser.add_argument("--every", type=int, default=3, help="take every Nth picture")
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    paths = sorted(p for p in args.pictures.iterdir() if p.suffix in {".png", ".webp"})[:: args.every]
    if not paths:
        parser.error(f"no PNG or WebP pictures in {args.pictures}")
    pictures = []
    for path in paths:
        with Image.open(path) as im:
            pictures.append(np.asarray(im.convert("RGB")))
    pillow_cwic.shrink(pillow_cwic.encode(pictures[0][:64, :64], rate=1), rate=0.5)  # loads what is loaded once
    rows = []
    for high, low in STEPS:
        gains, seconds, shares = np.array([measure(pixels, high, low) for pixels in pictures]).T
        rows.append([f"{high:g}", f"{low:g}", f"{gains.mean():+.2f}", f"{gains.min():+.2f}"])
        rows[-1] += [f"{seconds.mean():.2f}", f"{shares.min():.3f}"]
    head = ["from / bpp", "to / bpp", "mean / dB", "worst / dB", "CPU / s", "least share of the size"]
    text = (
        "# Shrinking\n\n"
        f"`pillow_cwic.shrink` on {len(pictures)} pictures of `{args.pictures.name}`, {args.every} apart; PSNR "
        "against a file encoded for the lower rate from the picture, seconds of the processor for a picture.\n\n"
        f"{table(head, rows)}"
    )
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "shrink.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
