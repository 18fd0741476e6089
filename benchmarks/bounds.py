"""Graphics within a bound of bytes: how much of it is used, and whether the picture is as good as by quality.

python -m benchmarks.bounds [--pictures DIR] [--out docs/results]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import numpy as np
from PIL import Image
from rich.progress import track

from benchmarks.tables import table
from pillow_cwic import codec, measures
from pillow_cwic.saving import Options

QUALITIES = (20, 50, 80)  # whose bytes are bounds
SHARES = (0.5, 0.7, 0.9)  # of the lossless bytes, which are bounds, too
CORNER = (160, 120)  # pixels from the middle of each picture: where one block is much of all
MOST_PSNR = 60.0
LEAST = 500  # bytes of a lossless file of which there is something to leave out


class Bounded(NamedTuple):
    """A file within a bound: the share that it uses, what it gains over that of the quality, and seconds of CPU."""

    kind: str
    used: float
    psnr: float | None
    ssim: float | None
    seconds: float


def psnr(original: np.ndarray, shown: np.ndarray) -> float:
    """In dB, no more than ``MOST_PSNR``."""
    return min(MOST_PSNR, measures.psnr(original, shown))


def bounded(original: np.ndarray) -> Iterator[Bounded]:
    """A picture within the bytes of each quality, and of each share of the lossless ones, unless those are fewer."""
    whole = len(codec.encode(original, Options(lossless=True)))
    if whole < LEAST:
        return

    def made(size: int) -> tuple[float, np.ndarray, float]:
        start = time.process_time()
        data = codec.encode(original, Options(size=size))
        seconds = time.process_time() - start
        assert len(data) <= size, f"{len(data)} bytes are more than {size}"
        return len(data) / size, codec.decode(data), seconds

    for quality in QUALITIES:
        data = codec.encode(original, Options(quality=quality))
        if len(data) < whole:
            by_quality = codec.decode(data)
            used, shown, seconds = made(len(data))
            gained = psnr(original, shown) - psnr(original, by_quality)
            similar = measures.ssim(original, shown) - measures.ssim(original, by_quality)
            yield Bounded("the bytes of a quality", used, gained, similar, seconds)
    for share in SHARES:
        used, _, seconds = made(int(share * whole))
        yield Bounded(f"{100 * share:.0f} % of the lossless bytes", used, None, None, seconds)


def report(found: dict[str, list[Bounded]]) -> str:
    """The report in markdown, by sets of pictures."""
    body = []
    for name, files in found.items():
        for kind in dict.fromkeys(each.kind for each in files):
            mine = [each for each in files if each.kind == kind]
            used = [each.used for each in mine]
            line = [name, kind, f"{len(mine)}", f"{100 * min(used):.1f}", f"{100 * mean(used):.1f}"]
            for values, form in (([m.psnr for m in mine], "+.2f"), ([m.ssim for m in mine], "+.4f")):
                known = [value for value in values if value is not None]
                line += [format(f(known), form) if known else "–" for f in (min, mean)]
            body.append([*line, f"{mean(each.seconds for each in mine):.2f}"])
    head = ["pictures", "bound", "files", "used, least / %", "mean / %"]
    head += ["PSNR gained, least / dB", "mean / dB", "SSIM gained, least", "mean", "CPU / s"]
    return "\n".join(
        [
            "# Graphics within a bound\n",
            "Files of `size=`, tuning `mse`: the share of the bound that they use, and what they gain over files of",
            f"`quality=` {', '.join(map(str, QUALITIES))} whose bytes were the bound. A picture without error counts",
            f"as {MOST_PSNR:g} dB. Small are {CORNER[0]}x{CORNER[1]} pixels from the middle of each, but for those",
            f"that take less than {LEAST} bytes without loss.\n",
            table(head, body),
        ]
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, default=Path("../shared/data/screens/valid"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    paths = sorted(args.pictures.glob("*.png"))
    if not paths:
        parser.error(f"no PNG pictures in {args.pictures}")
    found: dict[str, list[Bounded]] = {"whole": [], "small": []}
    for path in track(paths, description="bounds"):
        with Image.open(path) as im:
            whole = np.asarray(im.convert("RGB"))
        top, left = ((side - wanted) // 2 for side, wanted in zip(whole.shape[:2], CORNER[::-1], strict=True))
        found["whole"] += bounded(whole)
        found["small"] += bounded(np.ascontiguousarray(whole[top : top + CORNER[1], left : left + CORNER[0]]))
    text = report(found)
    (args.out / "bounds.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
