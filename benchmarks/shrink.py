"""How a file that ``pillow_cwic.shrink`` made smaller compares with one encoded for that rate from the picture.

python -m benchmarks.shrink [--pictures DIR] [--graphics DIR] [--every N] [--results DIR]
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import pillow_cwic
from benchmarks import metrics
from benchmarks.tables import table

STEPS = ((1.5, 0.4), (0.8, 0.4), (0.4, 0.2), (0.8, 0.05))  # rate of the file and of the smaller one, bits per pixel
SOURCES: dict[str, dict[str, Any]] = {
    "quality 60": {"quality": 60},
    "quality 90": {"quality": 90},
    "lossless": {"lossless": True},
}  # of graphics
SHARES = (0.2, 0.4, 0.6, 0.8, 0.95)  # of the file that the smaller one of graphics may have
SIDE = 256  # of graphics, at most: their middle
MOST_PSNR = 60.0  # what a picture without any error counts as


def measure(pixels: np.ndarray, high: float, low: float) -> tuple[float, float, float]:
    """Gain in dB over a file encoded for the low rate, seconds of the processor, share of the wanted size."""
    data = pillow_cwic.encode(pixels, rate=high)
    start = time.process_time()
    small = pillow_cwic.shrink(data, rate=low)
    seconds = time.process_time() - start
    fresh = pillow_cwic.encode(pixels, rate=low)
    gain = metrics.psnr(pixels, pillow_cwic.decode(small)) - metrics.psnr(pixels, pillow_cwic.decode(fresh))
    return gain, seconds, len(small) * 8 / (low * pixels.shape[0] * pixels.shape[1])


def middle(pixels: np.ndarray) -> np.ndarray:
    """The middle of a picture, at most ``SIDE`` pixels along a side."""
    top, left = (max(0, side - SIDE) // 2 for side in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + SIDE, left : left + SIDE])


def ladder(pixels: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    """For each of ``SHARES``: PSNR against the file's picture, the gain over a file encoded for the size from that
    picture, by how much a smaller size was better, seconds of the processor, share of the size; (shares, 5). Not
    numbers where no file is as small.
    """
    data = pillow_cwic.encode(pixels, **options)
    source = pillow_cwic.decode(data)
    rows: list[tuple[float, ...]] = []
    for share in SHARES:
        size = int(share * len(data))
        start = time.process_time()
        try:
            small = pillow_cwic.shrink(data, size=size)
            seconds = time.process_time() - start
            files = small, pillow_cwic.encode(source, size=size)
        except pillow_cwic.CwicError:
            rows.append((math.nan,) * 5)
            continue
        psnr, fresh = (min(MOST_PSNR, metrics.psnr(source, pillow_cwic.decode(each))) for each in files)
        fall = max([0.0, *(row[0] - psnr for row in rows if row[0] > psnr)])
        rows.append((psnr, psnr - fresh, fall, seconds, len(small) / size))
    return np.array(rows)


def graphics_part(pictures: list[np.ndarray], folder: Path) -> str:
    """Files of several kinds, each at all ``SHARES`` of its size."""
    name = "/".join(folder.parts[-2:])
    body = []
    for source, options in SOURCES.items():
        found = np.array([ladder(middle(pixels), options) for pixels in pictures])
        for share, rows in zip(SHARES, np.moveaxis(found, 1, 0), strict=True):
            met = rows[~np.isnan(rows[:, 0])]
            if not len(met):
                continue
            psnr, gain, fall, seconds, used = met.T
            body.append([source, f"{share:.0%}", f"{psnr.mean():.2f}", f"{gain.mean():+.2f}", f"{gain.min():+.2f}"])
            body[-1] += [f"{fall.max():.2f}", f"{seconds.mean():.2f}", f"{used.min():.3f}"]
    head = ["file", "size", "PSNR / dB", "gain / dB", "least / dB", "worst fall / dB", "CPU / s", "least share used"]
    return (
        f"## Graphics\n\nThe middle of {len(pictures)} pictures of `{name}`, at most {SIDE} pixels a side. PSNR is "
        f"against the picture that the file shows, and counts as {MOST_PSNR:g} dB without error; the gain is over that "
        "picture encoded anew for the size, and the fall is by how much a smaller size of the table was better. Sizes "
        "that no file meets are left out.\n\n"
        f"{table(head, body)}"
    )


def loaded(folder: Path, every: int) -> list[np.ndarray]:
    """Every so manieth picture of a folder, RGB."""
    pictures = []
    for path in sorted(p for p in folder.iterdir() if p.suffix in {".png", ".webp"})[::every]:
        with Image.open(path) as im:
            pictures.append(np.asarray(im.convert("RGB")))
    return pictures


def main() -> None:
    """Command line."""
    valid, screens, own = Path("../shared/data/valid"), Path("../shared/data/screens/valid"), Path("tests/data")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, default=valid if valid.is_dir() else own)
    parser.add_argument("--graphics", type=Path, default=screens if screens.is_dir() else own)
    parser.add_argument("--every", type=int, default=3, help="take every Nth picture")
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    pictures, drawn = (loaded(folder, args.every) for folder in (args.pictures, args.graphics))
    if not pictures or not drawn:
        parser.error(f"no PNG or WebP pictures in {args.pictures if not pictures else args.graphics}")
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
        f"{table(head, rows)}\n{graphics_part(drawn, args.graphics)}"
    )
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "shrink.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
