"""Files within a bound of bytes: how much of it is used, whether a picture is as good as by quality and as with less.

python -m benchmarks.bounds [--pictures DIR] [--photographs DIR] [--out docs/results]
"""

from __future__ import annotations

import argparse
import math
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
from pillow_cwic.codec import graphics
from pillow_cwic.models import DEFAULT_TUNING
from pillow_cwic.saving import Options

QUALITIES = (20, 50, 80)  # whose bytes are bounds
SHARES = (0.5, 0.7, 0.9)  # of the lossless bytes, which are bounds, too
CORNER = (160, 120)  # pixels from the middle of each picture: where one block is much of all
MOST_PSNR = 60.0
PATCH = (256, 192)  # pixels of photographs, and of graphics beside them
STEPS = (0.08, 0.12, 0.18, 0.25, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the lossless bytes, one after another
WANTED = {"psnr": (42.0, 46.0, 50.0), "ssim": (0.98, 0.99, 0.997)}  # lower bounds of quality
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


class Ladder(NamedTuple):
    """Files of rising bounds: the least share that is used, by how much less bytes were ever better, seconds of CPU."""

    used: float
    fall: float
    rise: float
    seconds: float


def ladder(original: np.ndarray) -> Ladder:
    """A picture within each of ``STEPS``: the most dB that more bytes cost, and of the loss as a share of the least."""
    whole = len(codec.encode(original, Options(lossless=True)))
    used, falls, rises, best, least = [], [0.0], [0.0], 0.0, math.inf
    start = time.process_time()
    for step in STEPS:
        data = codec.encode(original, Options(size=int(step * whole)))
        shown = codec.decode(data)
        used.append(len(data) / int(step * whole))
        loss, value = float(graphics.LOSSES[DEFAULT_TUNING].of(original, shown).sum()), psnr(original, shown)
        falls.append(best - value)
        rises.append(loss / max(least, 1e-9) - 1)
        best, least = max(best, value), min(least, loss)
    return Ladder(min(used), max(falls), max(rises), (time.process_time() - start) / len(STEPS))


def reached(original: np.ndarray, name: str, wanted: float) -> tuple[float, float]:
    """By how much a file is better than it is wanted to be, and its share of the lossless bytes."""
    data = codec.encode(original, Options(**{name: wanted}))
    found = {"psnr": psnr, "ssim": measures.ssim}[name](original, codec.decode(data))
    assert found >= wanted, f"{name}: {found} instead of {wanted}"
    return found - wanted, len(data) / len(codec.encode(original, Options(lossless=True)))


def ladders(pictures: dict[str, list[np.ndarray]]) -> str:
    """The second part of the report."""
    steps, goals = [], []
    for name, each in pictures.items():
        found = [ladder(original) for original in track(each, description=name)]
        used, fall, rise, seconds = zip(*found, strict=True)
        steps.append([name, f"{len(each)}", f"{100 * min(used):.1f}", f"{max(fall):.2f}", f"{100 * max(rise):.1f}",
                      f"{mean(seconds):.2f}"])  # fmt: skip
        for goal, values in WANTED.items():
            for wanted in values:
                over, share = zip(*(reached(original, goal, wanted) for original in each), strict=True)
                goals.append([name, f"`{goal}={wanted:g}`", f"{mean(over):.3g}", f"{max(over):.3g}",
                              f"{100 * mean(share):.0f}"])  # fmt: skip
    head = ["pictures", "number", "used, least / %", "dB lost by more bytes, most", "loss gained, most / %", "CPU / s"]
    wanted_head = ["pictures", "wanted", "above it, mean", "most", "lossless bytes / %"]
    return "\n".join(
        [
            "\n## Photographs, and graphics beside them\n",
            f"{PATCH[0]}x{PATCH[1]} pixels of each. Sizes of {', '.join(f'{100 * step:.0f}' for step in STEPS)} % of",
            "the lossless bytes, one after another: how much worse than with some smaller size a picture ever was, in",
            f"PSNR and in what `{DEFAULT_TUNING}` keeps low, which is squared error and a share of SSIM.\n",
            table(head, steps),
            "\nLower bounds of quality, most beyond what the transform reaches alone.\n",
            table(wanted_head, goals),
        ]
    )


def cut(pixels: np.ndarray, width: int) -> np.ndarray:
    """The middle of a picture, so wide and as high as ``PATCH``."""
    top, left = (max(0, (side - size) // 2) for side, size in zip(pixels.shape[:2], (PATCH[1], width), strict=True))
    return np.ascontiguousarray(pixels[top : top + PATCH[1], left : left + width])


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
            "# Files within a bound\n",
            "## Graphics\n",
            f"Files of `size=`, tuning `{DEFAULT_TUNING}`: the share of the bound that they use, and what they gain",
            f"over files of `quality=` {', '.join(map(str, QUALITIES))} whose bytes were the bound. A picture without",
            f"error counts as {MOST_PSNR:g} dB. Small are {CORNER[0]}x{CORNER[1]} pixels from the middle of each, but",
            f"for those that take less than {LEAST} bytes without loss.\n",
            table(head, body),
        ]
    )


def opened(path: Path) -> np.ndarray:
    """Pixels (H, W, 3)."""
    with Image.open(path) as im:
        return np.asarray(im.convert("RGB"))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, default=Path("../shared/data/screens/valid"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--photographs", type=Path, default=Path("../shared/data/valid"))
    args = parser.parse_args()
    paths = sorted(args.pictures.glob("*.png"))
    if not paths:
        parser.error(f"no PNG pictures in {args.pictures}")
    found: dict[str, list[Bounded]] = {"whole": [], "small": []}
    for path in track(paths, description="bounds"):
        whole = opened(path)
        top, left = ((side - wanted) // 2 for side, wanted in zip(whole.shape[:2], CORNER[::-1], strict=True))
        found["whole"] += bounded(whole)
        found["small"] += bounded(np.ascontiguousarray(whole[top : top + CORNER[1], left : left + CORNER[0]]))
    photographs = [opened(path) for path in sorted(args.photographs.iterdir())[::3]]
    screens = [opened(path) for path in paths]
    half = PATCH[0] // 2
    pictures = {
        "photographs": [cut(pixels, PATCH[0]) for pixels in photographs],
        "dark, a sixth as bright": [cut(pixels, PATCH[0]) // 6 for pixels in photographs[::2]],
        "half photograph, half screenshot": [
            np.hstack([cut(one, half), cut(other, half)]) for one, other in zip(photographs, screens, strict=False)
        ],
    }
    text = report(found) + "\n" + ladders(pictures)
    (args.out / "bounds.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
