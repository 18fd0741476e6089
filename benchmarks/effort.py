"""What thinking longer gains: BD-rate and encode time at each ``effort`` of CWIC's encoder.

python -m benchmarks.effort [--pictures DIR | --kodak] [--every N] [--crop SIDE] [--efforts E ...] [--tuning T]
                            [--cores N] [--out docs/results]

By default on centre crops of the validation split, where choices are made, with tuning mse: effort.csv, .md and .png.
``--kodak`` is for reporting; what is not the default stands in the names of the files, as in effort_ssim_kodak.md.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from statistics import mean, median

from PIL import Image
from rich.progress import track

from benchmarks.codecs import CWIC_AT_RATE, TUNINGS, Codec, available
from benchmarks.metrics import bd_rate
from benchmarks.rate_distortion import measure
from benchmarks.rows import MEASURES, Measure, Row, curve, picture_curves, write_rows
from benchmarks.tables import number, short, table
from benchmarks.timing import machine

RATES = (0.1, 0.25, 0.5, 1.0)
EFFORTS = range(10)
SUFFIXES = {".png", ".webp", ".jpg", ".avif"}


def default_effort() -> int:
    """The effort of an encoding that asks for none."""
    from pillow_cwic.saving import DEFAULT_EFFORT

    return DEFAULT_EFFORT


def name(effort: int) -> str:
    """What rows of this effort are called."""
    return f"effort {effort}"


def codec(effort: int, tuning: str) -> Codec:
    """CWIC by rate at an effort."""
    fixed = {"tuning": tuning, "effort": effort}
    return replace(CWIC_AT_RATE, name=name(effort), settings=RATES, fixed=fixed)


def load(path: Path, crop: int) -> Image.Image:
    """The picture in a file as RGB, of its centre at most ``crop`` pixels each way; 0 for all of it."""
    with Image.open(path) as file:
        im = file.convert("RGB")
    width, height = (min(side, crop or side) for side in im.size)
    left, top = (im.width - width) // 2, (im.height - height) // 2
    return im.crop((left, top, left + width, top + height))


def run(efforts: Iterable[int], tuning: str, paths: list[Path], crop: int) -> list[Row]:
    """The rows of each effort on each picture at each rate, in a process that has used the effort before."""
    rows: list[Row] = []
    for effort in efforts:
        encoder = codec(effort, tuning)
        encoder.encode(load(paths[0], 64), RATES[-1])
        for path in track(paths, description=name(effort)):
            rows += measure(encoder, load(path, crop), path.stem, RATES)
    return rows


def change(rows: list[Row], anchor: int, effort: int, m: Measure) -> float | None:
    """BD-rate of an effort against another in percent, the mean over the pictures; None if a picture has none."""
    found = []
    for curves in picture_curves(rows).values():
        found.append(bd_rate(curve(curves, name(anchor), m.column), curve(curves, name(effort), m.column)))
    known = [bd for bd in found if bd is not None]
    return mean(known) if known and len(known) == len(found) else None


def seconds(rows: list[Row], effort: int) -> float:
    """Median time to encode, over pictures and rates."""
    return median(row.encode_s for row in rows if row.codec == name(effort))


def measured(rows: Iterable[Row]) -> list[int]:
    """The efforts that the rows hold, rising."""
    return sorted({int(row.codec.split()[1]) for row in rows})


def report(rows: list[Row], default: int, title: str, stem: str) -> str:
    """The report in markdown; ``stem`` is the name of its files."""
    efforts, versions = measured(rows), sorted({row.version for row in rows})
    anchors = [effort for effort in (efforts[0], default) if effort in efforts]
    columns = [(m, anchor) for m in MEASURES for anchor in anchors]
    body = []
    for effort in efforts:
        changes = [number(change(rows, anchor, effort, m), "+.2f") for m, anchor in columns]
        label = f"**{effort}**" if effort == default else f"{effort}"
        body.append([label, f"{seconds(rows, effort):.2f}", *changes])
    return "\n".join(
        [
            "# Effort\n",
            f"{title}, at {', '.join(f'{rate:g}' for rate in RATES)} bpp; {', '.join(versions)}.",
            "Real files that meet the rate, headers and search included; the decoder is the same at every effort.",
            "Seconds: median over pictures and rates, warm process. BD-rate in percent, the mean over the pictures,",
            f"against effort {efforts[0]} and against the default, {default} (bold): below zero is better.",
            f"Every figure is in `{stem}.csv`.\n",
            table(["effort", "encode / s", *(f"{short(m)} against {anchor} / %" for m, anchor in columns)], body),
            f"![BD-rate over seconds]({stem}.png)\n",
        ]
    )


def draw(rows: list[Row], default: int, target: Path) -> None:
    """BD-rate against the lowest effort over the seconds of an encoding, a line for each measure."""
    from matplotlib.figure import Figure

    efforts = measured(rows)
    axes = (figure := Figure(figsize=(7, 4.5), layout="constrained")).add_subplot()
    for m in MEASURES:
        points = [(seconds(rows, e), bd, e) for e in efforts if (bd := change(rows, efforts[0], e, m)) is not None]
        if points:
            times, changes, _ = zip(*points, strict=True)
            axes.plot(times, changes, marker="o", label=short(m))
        for x, y, effort in points:
            weight = "bold" if effort == default else "normal"
            axes.annotate(f"{effort}", (x, y), (3, 4), textcoords="offset points", fontsize=8, weight=weight)
    axes.set(xscale="log", xlabel="seconds to encode", ylabel=f"BD-rate against effort {efforts[0]} / %")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(target, dpi=110)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, default=Path("../shared/data/valid"))
    parser.add_argument("--kodak", action="store_true", help="the whole Kodak pictures instead, beside --pictures")
    parser.add_argument("--every", type=int, default=6, help="take every Nth picture")
    parser.add_argument("--crop", type=int, default=512, help="side of the centre crop; 0 for whole pictures")
    parser.add_argument("--efforts", type=int, nargs="+", default=list(EFFORTS), choices=list(EFFORTS))
    parser.add_argument("--tuning", default="mse", choices=[n.split()[1] for n in available() if n in TUNINGS])
    parser.add_argument("--cores", type=int, default=2, help="processor cores to use, at most")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    default = default_effort()
    if hasattr(os, "sched_setaffinity"):  # before the encoder is loaded, which makes as many threads as it has cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
    folder, crop = (args.pictures.parent / "kodak", 0) if args.kodak else (args.pictures, args.crop)
    paths = sorted(path for path in folder.glob("*") if path.suffix in SUFFIXES)[:: args.every]
    if not paths:
        parser.error(f"no pictures in {folder}")
    args.out.mkdir(parents=True, exist_ok=True)
    stem = "effort" + (f"_{args.tuning}" if args.tuning != "mse" else "") + ("_kodak" if args.kodak else "")
    rows = run(args.efforts, args.tuning, paths, crop)
    write_rows(args.out / f"{stem}.csv", rows)
    title = f"{len(paths)} pictures of `{folder.name}`, every {args.every}th"
    title += f", centre crops of {crop}x{crop}" if crop else ", whole"
    text = report(rows, default, f"{title}; {machine()}", stem)
    (args.out / f"{stem}.md").write_text(text)
    draw(rows, default, args.out / f"{stem}.png")
    print(text)


if __name__ == "__main__":
    main()
