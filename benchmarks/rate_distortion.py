"""Rate and distortion of CWIC and its peers on the same pictures, from real files: a table, a plot and BD-rates.

python -m benchmarks.rate_distortion [--pictures DIR] [--out docs/results] [--anchors FILE] [--every N]
                                     [--codecs NAME ...] [--reuse | --complete] [--report] [--jobs N]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from benchmarks import metrics
from benchmarks.codecs import ALL, CWIC_AT_RATE, PEERS, TUNINGS, Codec, available, bits_per_pixel
from benchmarks.rows import (
    BD_RATES,
    MEASURES,
    Curves,
    Key,
    Measure,
    Row,
    mean_curves,
    picture_curves,
    published_curves,
    read_rows,
    write_rows,
)
from benchmarks.tables import (
    bd_table,
    control_table,
    difference_table,
    picture_bd_table,
    point_lines,
    rate_table,
)
from pillow_cwic.tools.compare.ssimulacra2 import ssimulacra2

EMPTY: Mapping[Key, Row] = {}
CONTROL = CWIC_AT_RATE.name  # its rows show how well files meet a rate; they are no curve
KODAK = [f"kodim{number:02d}" for number in range(1, 25)]
COLOURS = {
    **dict(zip(TUNINGS, ("black", "crimson"), strict=True)),
    **{"AVIF": "tab:blue", "WebP": "tab:green", "JPEG XL": "tab:purple", "JPEG": "tab:orange"},
}


@cache
def warm(name: str) -> Codec:
    """A codec that has been used once in this process, so that no time holds what its first use takes."""
    codec = available()[name]
    codec.decode(codec.encode(Image.new("RGB", (64, 64)), codec.settings[-1]))
    return codec


def measure(
    codec: Codec, im: Image.Image, picture: str, settings: Iterable[float], known: Mapping[Key, Row] = EMPTY
) -> Iterator[Row]:
    """The rows of one codec on one RGB picture. A known row of the same file only gets the measure that it lacks."""
    original = np.asarray(im)
    for setting in settings:
        start = time.perf_counter()
        data = codec.encode(im, setting)
        encoded = time.perf_counter()
        decoded = codec.decode(data)
        end = time.perf_counter()
        pixels = np.asarray(decoded.convert("RGB"))
        model = [str(decoded.info[key]) for key in ("model", "tuning") if key in decoded.info]
        psnr, score = round(metrics.psnr(original, pixels), 4), ssimulacra2(original, pixels)
        score = None if score is None else round(score, 4)
        old = known.get((codec.name, picture, setting))
        if old is not None and old.bytes == len(data) and abs(old.psnr - psnr) < 0.001:  # JPEG XL decodes in floats
            yield replace(old, ssimulacra2=score)
            continue
        similarity = metrics.ms_ssim(original, pixels)
        yield Row(
            codec=codec.name,
            picture=picture,
            setting=setting,
            version=" ".join([codec.version, *model]),
            bytes=len(data),
            bpp=round(bits_per_pixel(data, im), 5),
            psnr=psnr,
            ssim=round(metrics.ssim(original, pixels), 6),
            ms_ssim=None if similarity is None else round(similarity, 6),
            encode_s=round(encoded - start, 4),
            decode_s=round(end - encoded, 4),
            ssimulacra2=score,
        )


def measure_file(name: str, path: Path, settings: Iterable[float], known: Mapping[Key, Row]) -> list[Row]:
    """The rows of one codec, by its name, on the picture in a file."""
    with Image.open(path) as file:
        return list(measure(warm(name), file.convert("RGB"), path.stem, settings, known))


def run(names: list[str], paths: list[Path], known: Mapping[Key, Row], jobs: int, step: int = 1) -> Iterator[list[Row]]:
    """The rows of the codecs on the pictures that are not known in full, a batch for each codec and picture.

    Of each codec's settings, every ``step``-th.
    """
    tasks = []
    for name in names:
        for path in paths:
            missing = [s for s in available()[name].settings[::step] if not complete(known.get((name, path.stem, s)))]
            if missing:
                mine = {key: row for key, row in known.items() if key[:2] == (name, path.stem)}
                tasks.append(partial(measure_file, name, path, missing, mine))
    if jobs == 1:
        for task in track(tasks, description="measuring"):
            yield task()
        return
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // jobs))  # threads beyond the cores wait in turns
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(task) for task in tasks]
        for future in track(as_completed(futures), description="measuring", total=len(futures)):
            yield future.result()


def reusable(rows: Iterable[Row], asked: list[str] | None) -> list[Row]:
    """The rows of an earlier run that are kept.

    With ``asked``, those of all other codecs; else those of the peers, as far as their packages are still the same.
    """
    codecs = available()
    if asked is not None:
        return [row for row in rows if row.codec not in asked]
    peers = {codec.name for codec in PEERS}
    return [r for r in rows if r.codec in peers and (r.codec not in codecs or r.version == codecs[r.codec].version)]


def complete(row: Row | None) -> bool:
    """Whether there is a row, with the measure that has been added last."""
    return row is not None and row.ssimulacra2 is not None


def comparable(rows: Iterable[Row]) -> list[Row]:
    """The rows of the pictures that every codec has been measured on, in the order of the codecs."""
    found = sorted((r for r in rows if r.codec in ALL), key=lambda row: list(ALL).index(row.codec))
    pictures = [{row.picture for row in found if row.codec == name} for name in {row.codec for row in found}]
    common = set.intersection(*pictures) if pictures else set()
    return [row for row in found if row.picture in common]


def bd_part(pictures: dict[str, Curves], measured: Curves, published: Curves, peers: list[str]) -> Iterator[str]:
    """The section on BD-rates."""
    ours = [name for name in measured if name in TUNINGS]
    yield "## BD-rate\n"
    yield "Bits that CWIC needs beyond another codec for the same quality: below zero is better. PCHIP of the"
    yield f"log rate, over the quality range that both curves reach from {BD_RATES[0]:g} to {BD_RATES[1]:g} bpp.\n"
    for name in ours:
        yield f"### {name}\n"
        yield "Mean curves, against the peers of this run:\n"
        yield bd_table({peer: measured[peer] for peer in peers}, measured, name)
        yield "A point of JPEG 2000's mean curve has one rate on every picture, a point of CWIC's and the others' one"
        yield "quality setting. The mean of each picture's BD-rate does without that difference:\n"
        yield picture_bd_table(pictures, peers, name)
        if published:
            yield "Mean curves, against published ones:\n"
            yield bd_table({n: c for n, c in published.items() if len(c["psnr"]) > 1}, measured, name)
    yield from point_lines(published, measured, ours)


def report(rows: list[Row], published: Curves) -> str:
    """The whole report in markdown."""
    curves = [row for row in rows if row.codec != CONTROL]
    measured, pictures = mean_curves(curves), picture_curves(curves)
    ours, peers = ([n for n in measured if (n in TUNINGS) == own] for own in (True, False))
    versions = sorted({row.version for row in rows})
    parts = [
        "# Rate and distortion\n",
        f"{len(pictures)} pictures, real files, headers included. Measured with {', '.join(versions)}.",
        "PSNR over all RGB samples, SSIM of the luma, MS-SSIM of RGB, the latter two as -10 log10(1 - x) of the mean;",
        "SSIMULACRA2 is version 2.1, the mean of the pictures' scores.",
        "Every figure is in `rate_distortion.csv`.\n",
        "![Curves](rate_distortion.png)\n",
        "Published curves are means over all 24 Kodak pictures; with fewer pictures they are left out.\n",
    ]
    if ours:
        parts += bd_part(pictures, measured, published, peers)
    parts += ["## Quality at equal rate\n", "Interpolated on the mean curves; published ones in italics.\n"]
    parts += [rate_table({**measured, **{f"*{n}*": c for n, c in published.items()}}, m) for m in MEASURES]
    for name in ours:
        parts += [
            f"{name} less its peer with the same bytes on each picture: the mean over the pictures where both reach",
            f"the rate, and on how many of them {name} is better.\n",
            *(difference_table(pictures, peers, name, m) for m in MEASURES),
        ]
    if any(row.codec == CONTROL for row in rows):
        parts += ["## Rate control\n", "Real over wanted rate, the extremes over the pictures.\n", control_table(rows)]
    return "\n".join(parts)


def draw(
    rows: list[Row],
    published: Curves,
    target: Path,
    panels: Sequence[Measure] = MEASURES,
    columns: int = 2,
    size: tuple[float, float] = (7.0, 4.8),
) -> None:
    """The mean curves, a panel of ``size`` inches for each measure; published ones dashed where none was measured."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    measured = mean_curves(row for row in rows if row.codec != CONTROL)
    across, down = min(columns, len(panels)), -(-len(panels) // columns)
    figure = Figure(figsize=(size[0] * across, size[1] * down), layout="constrained")
    lines = {}
    for axes, m in zip(figure.subplots(down, across, squeeze=False).flat, panels, strict=False):
        for index, (name, curves) in enumerate({**published, **measured}.items()):
            points = sorted(curves.get(m.column, []))
            style = {"lw": 1, "ls": "--"} if len(points) > 1 else {"ls": "", "marker": "*", "ms": 10}
            if name in measured:
                style = {"lw": 3, "marker": "o", "zorder": 3} if name in TUNINGS else {"lw": 1.8, "marker": "."}
            if points:
                colour = COLOURS.get(name, colormaps["tab20"](index % 20))
                (lines[name],) = axes.plot(*zip(*points, strict=True), **style, color=colour, label=name)
        shown = [q for c in measured.values() for r, q in c.get(m.column, []) if 0.08 <= r <= 1.5]
        axes.set(
            xlim=(0, 1.5),
            ylim=(min(shown, default=0) - 0.5, max(shown, default=1) + 0.5),
            xlabel="bits per pixel",
            title=m.title,
        )
        axes.grid(alpha=0.3)
    order = sorted(lines, key=lambda n: (n not in TUNINGS, n not in measured))
    figure.legend([lines[n] for n in order], order, loc="outside lower center", ncols=6, frameon=False)
    figure.savefig(target, dpi=110)


def main() -> None:
    """Command line."""
    kodak = Path("../shared/data/kodak")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, default=kodak if kodak.is_dir() else Path("tests/data"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--anchors", type=Path, default=Path("../shared/anchors/kodak_published.json"))
    parser.add_argument("--every", type=int, default=1, help="take every Nth picture")
    parser.add_argument("--codecs", nargs="+", choices=list(available()), help="all that are installed, if not given")
    keep = parser.add_mutually_exclusive_group()
    keep.add_argument(
        "--reuse",
        action="store_true",
        help="keep what an earlier run has found: of all but --codecs, or without these of all but CWIC",
    )
    keep.add_argument(
        "--complete",
        action="store_true",
        help="keep all, measure what is missing: rows, or a measure that they lack; goes on where a run ended",
    )
    keep.add_argument("--report", action="store_true", help="measure nothing, report what the CSV file holds")
    parser.add_argument("--jobs", type=int, default=1, help="processes; times are fair with one alone")
    args = parser.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    table_path = args.out / "rate_distortion.csv"
    rows = read_rows(table_path)
    if args.report:
        rows = [row for row in rows if row.codec in (args.codecs or ALL)]
    else:
        paths = sorted(args.pictures.glob("*.png"))[:: args.every]
        if not paths:
            parser.error(f"no PNG pictures in {args.pictures}")
        kept = rows if args.complete else reusable(rows, args.codecs) if args.reuse else []
        known = {row.key: row for row in kept}
        for batch in run(args.codecs or list(available()), paths, dict(known), args.jobs):
            known |= {row.key: row for row in batch}
            write_rows(table_path, known.values())  # so that none is lost
        rows = [row for row in known.values() if row.picture in {path.stem for path in paths}]
    rows = comparable(rows)
    published = published_curves(args.anchors) if sorted({r.picture for r in rows}) == KODAK else {}  # means over these
    (args.out / "rate_distortion.md").write_text(report(rows, published))
    draw(rows, published, args.out / "rate_distortion.png")
    print((args.out / "rate_distortion.md").read_text())


if __name__ == "__main__":
    main()
