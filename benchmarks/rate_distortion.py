"""Rate and distortion of CWIC and its peers on the same pictures, from real files: a table, a plot and BD-rates.

python -m benchmarks.rate_distortion [--pictures DIR] [--out docs/results] [--anchors FILE] [--every N]
                                     [--codecs NAME ...] [--reuse] [--report] [--jobs N]
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from PIL import Image
from rich.progress import track

from benchmarks import metrics
from benchmarks.codecs import Codec, available, bits_per_pixel
from benchmarks.metrics import Curve, bd_rate, decibel

BD_RATES = (0.1, 1.0)  # bits per pixel: BD-rates compare the curves inside this range
TABLE_RATES = (0.2, 0.25, 0.5, 0.75, 1.0)
OURS = "CWIC"
CONTROL = "CWIC at a rate"  # its rows show how well files meet a rate; they are no curve
KODAK = [f"kodim{number:02d}" for number in range(1, 25)]

Key = tuple[str, str, float, str]  # codec, picture, setting, version


@dataclass(frozen=True)
class Row:
    """One picture through one codec at one setting. A picture too small for MS-SSIM has none."""

    codec: str
    picture: str
    setting: float
    version: str
    bytes: int
    bpp: float
    psnr: float
    ssim: float
    ms_ssim: float | None
    encode_s: float
    decode_s: float

    @property
    def key(self) -> Key:
        return self.codec, self.picture, self.setting, self.version


@dataclass(frozen=True)
class Measure:
    """A measure of quality: its heading, its attribute in Row, its name in the published curves, its scale in dB."""

    title: str
    column: str
    published: str
    scale: Callable[[float], float]


MEASURES = (
    Measure("PSNR / dB", "psnr", "psnr_rgb", float),
    Measure("SSIM / dB", "ssim", "ssim_luma", decibel),
    Measure("MS-SSIM / dB", "ms_ssim", "ms_ssim", decibel),
)

Curves = dict[str, dict[str, list[tuple[float, float]]]]  # name of the curve -> column of the measure -> points


@cache
def warm(name: str) -> Codec:
    """A codec that has been used once in this process, so that no time holds what its first use takes."""
    codec = available()[name]
    codec.decode(codec.encode(Image.new("RGB", (64, 64)), codec.settings[-1]))
    return codec


def measure(name: str, path: Path, settings: Iterable[float]) -> list[Row]:
    """The rows of one codec on one picture."""
    codec = warm(name)
    with Image.open(path) as file:
        im = file.convert("RGB")
    original = np.asarray(im)
    rows = []
    for setting in settings:
        start = time.perf_counter()
        data = codec.encode(im, setting)
        encoded = time.perf_counter()
        decoded = codec.decode(data)
        end = time.perf_counter()
        pixels = np.asarray(decoded.convert("RGB"))
        model = [str(decoded.info[key]) for key in ("model", "tuning") if key in decoded.info]
        similarity = metrics.ms_ssim(original, pixels)
        rows.append(
            Row(
                codec=name,
                picture=path.stem,
                setting=setting,
                version=" ".join([codec.version, *model]),
                bytes=len(data),
                bpp=round(bits_per_pixel(data, im), 5),
                psnr=round(metrics.psnr(original, pixels), 4),
                ssim=round(metrics.ssim(original, pixels), 6),
                ms_ssim=None if similarity is None else round(similarity, 6),
                encode_s=round(encoded - start, 4),
                decode_s=round(end - encoded, 4),
            )
        )
    return rows


def run(names: list[str], paths: list[Path], known: dict[Key, Row], jobs: int) -> Iterator[list[Row]]:
    """All rows of the codecs on the pictures: those already known, then the others as they are measured."""
    codecs = available()
    tasks = []
    for name in names:
        for path in paths:
            keys = {s: (name, path.stem, s, codecs[name].version) for s in codecs[name].settings}
            missing = [s for s, key in keys.items() if name in (OURS, CONTROL) or key not in known]
            yield [known[key] for s, key in keys.items() if s not in missing]
            if missing:
                tasks.append(partial(measure, name, path, missing))
    if jobs == 1:
        for task in track(tasks, description="measuring"):
            yield task()
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(task) for task in tasks]
        for future in track(as_completed(futures), description="measuring", total=len(futures)):
            yield future.result()


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV file; none if there is no file."""
    if not path.exists():
        return []
    kinds = {"codec": str, "picture": str, "version": str, "bytes": int}

    def parse(record: dict[str, str]) -> Row:
        values: dict[str, Any] = {k: kinds.get(k, float)(v) if v else None for k, v in record.items()}
        return Row(**values)

    with path.open(newline="") as file:
        return [parse(record) for record in csv.DictReader(file)]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Writes the rows in a fixed order, so that two runs differ only where figures do."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in sorted(rows, key=lambda r: (r.codec, r.picture, r.setting)))


def mean_curves(rows: Iterable[Row]) -> Curves:
    """For each codec the points (mean bpp, quality), one a setting; SSIM and MS-SSIM averaged first, then in dB."""
    groups: dict[tuple[str, float], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.codec, row.setting].append(row)
    curves: Curves = defaultdict(lambda: defaultdict(list))
    for (codec, _), group in groups.items():
        for m in MEASURES:
            values = [getattr(row, m.column) for row in group]
            if None not in values:
                curves[codec][m.column].append((mean(row.bpp for row in group), m.scale(mean(values))))
    return curves


def picture_curves(rows: Iterable[Row]) -> dict[str, Curves]:
    """The curves of each picture alone, by its name."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.picture].append(row)
    return {picture: mean_curves(group) for picture, group in groups.items()}


def published_curves(path: Path | None) -> Curves:
    """Curves from a JSON file {name: {bpp: [...], psnr_rgb: [...], ms_ssim: [...] or null, ...}}."""
    if path is None or not path.exists():
        return {}
    return {
        name: {
            m.column: [(r, m.scale(q)) for r, q in zip(curve["bpp"], curve[m.published], strict=True)]
            for m in MEASURES
            if curve.get(m.published)
        }
        for name, curve in json.loads(path.read_text()).items()
    }


def curve(curves: Curves, name: str, column: str) -> Curve:
    """One curve of a set, empty if it is not there."""
    return Curve.of(curves.get(name, {}).get(column, []))


def table(head: list[str], body: Iterable[list[str]]) -> str:
    """A markdown table, its first column to the left and the others to the right."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def number(value: float | None, form: str = ".2f") -> str:
    """A figure in a table; a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else format(value, form)


def bd_table(anchors: Curves, ours: Curves) -> str:
    """BD-rate of CWIC against each curve, and the quality ranges that the figures stand for."""
    body = []
    for name in anchors:
        line = [name]
        for m in MEASURES:
            pair = curve(anchors, name, m.column), curve(ours, OURS, m.column)
            common = metrics.common_range(*pair, BD_RATES)
            line += [number(bd_rate(*pair, BD_RATES), "+.1f"), f"{common[0]:.1f}–{common[1]:.1f}" if common else "–"]
        body.append(line)
    return table(["against"] + [h for m in MEASURES for h in (m.title.split(" /")[0] + " / %", "over dB")], body)


def picture_bd_table(pictures: dict[str, Curves], peers: list[str]) -> str:
    """Mean, over the pictures, of CWIC's BD-rate on each picture, and the number of pictures that it saves bits on."""
    body = []
    for name in peers:
        line = [name]
        for m in MEASURES:
            pairs = [(curve(c, name, m.column), curve(c, OURS, m.column)) for c in pictures.values()]
            found = [bd for pair in pairs if (bd := bd_rate(*pair, BD_RATES)) is not None]
            line += [number(mean(found or [math.nan]), "+.1f"), f"{sum(bd < 0 for bd in found)} of {len(found)}"]
        body.append(line)
    return table(["against"] + [h for m in MEASURES for h in (m.title.split(" /")[0] + " / %", "better on")], body)


def difference_table(pictures: dict[str, Curves], peers: list[str], m: Measure) -> str:
    """CWIC's quality less a peer's at the same bytes on each picture: mean and number of pictures it is better on."""
    body = []
    for name in peers:
        line = [name]
        for rate in TABLE_RATES:
            values = [[curve(c, n, m.column).quality_at(rate) for n in (OURS, name)] for c in pictures.values()]
            gains = [ours - peer for ours, peer in values if ours is not None and peer is not None]
            line.append(f"{mean(gains):+.2f} ({sum(g > 0 for g in gains)} of {len(gains)})" if gains else "–")
        body.append(line)
    return table([m.title] + [f"{rate:g} bpp" for rate in TABLE_RATES], body)


def rate_table(curves: Curves, m: Measure) -> str:
    """Quality of the curves at the rates of the table."""
    body = [
        [name] + [number(curve(curves, name, m.column).quality_at(rate)) for rate in TABLE_RATES]
        for name in curves
        if len(curves[name].get(m.column, [])) > 1
    ]
    return table([m.title] + [f"{rate:g} bpp" for rate in TABLE_RATES], body)


def point_lines(published: Curves, measured: Curves) -> Iterator[str]:
    """A line for each published operating point that is no curve, with CWIC at the same rate."""
    for name, points in published.items():
        if all(len(found) == 1 for found in points.values()):
            (rate, _), *_ = points["psnr"]
            figures = [
                f"{m.title} {points[m.column][0][1]:.2f} ({number(curve(measured, OURS, m.column).quality_at(rate))})"
                for m in MEASURES
                if m.column in points
            ]
            yield f"A single point, {name}, in brackets {OURS} at its {rate:.3f} bpp: {', '.join(figures)}.\n"


def control_table(rows: Iterable[Row]) -> str:
    """How well CWIC's files meet the wanted rate: real over wanted, its extremes over the pictures."""
    groups: dict[float, list[Row]] = defaultdict(list)
    for row in rows:
        if row.codec == CONTROL:
            groups[row.setting].append(row)
    body = []
    for rate, group in sorted(groups.items()):
        low, high = (pick(group, key=lambda r: r.bpp) for pick in (min, max))
        body.append([f"{rate:g}"] + [f"{r.bpp / rate:.4f} ({r.picture})" for r in (low, high)])
    return table(["wanted bpp", "smallest real / wanted", "largest"], body)


def report(rows: list[Row], published: Curves) -> str:
    """The whole report in markdown."""
    curves = [row for row in rows if row.codec != CONTROL]
    measured, pictures = mean_curves(curves), picture_curves(curves)
    peers, versions = [name for name in measured if name != OURS], sorted({row.version for row in rows})
    parts = [
        "# Rate and distortion\n",
        f"{len(pictures)} pictures, real files, headers included. Measured with {', '.join(versions)}.",
        "PSNR over all RGB samples, SSIM of the luma, MS-SSIM of RGB, the latter two as -10 log10(1 - x) of the mean.",
        "Every figure is in `rate_distortion.csv`.\n",
        "![Curves](rate_distortion.png)\n",
    ]
    if OURS in measured:
        parts += [
            "## BD-rate\n",
            f"Bits that {OURS} needs beyond another codec for the same quality: below zero is better. PCHIP of the",
            f"log rate, over the quality range that both curves reach from {BD_RATES[0]:g} to {BD_RATES[1]:g} bpp.\n",
            "Mean curves, against the peers of this run:\n",
            bd_table({name: measured[name] for name in peers}, measured),
            f"A point of JPEG 2000's mean curve has one rate on every picture, a point of {OURS}'s and the others' one",
            "quality setting. That makes no difference to the mean of each picture's BD-rate:\n",
            picture_bd_table(pictures, peers),
        ]
        if published:
            parts += [
                "Mean curves, against published ones:\n",
                bd_table({name: c for name, c in published.items() if len(c["psnr"]) > 1}, measured),
                *point_lines(published, measured),
            ]
    parts += ["## Quality at equal rate\n", "Interpolated on the mean curves; published ones in italics.\n"]
    parts += [rate_table({**measured, **{f"*{n}*": c for n, c in published.items()}}, m) for m in MEASURES]
    if OURS in measured:
        parts += [
            f"{OURS} less its peer with the same bytes on each picture: the mean over the pictures where both reach",
            f"the rate, and on how many of them {OURS} is better.\n",
            *(difference_table(pictures, peers, m) for m in MEASURES),
        ]
    if any(row.codec == CONTROL for row in rows):
        parts += ["## Rate control\n", "Real over wanted rate, the extremes over the pictures.\n", control_table(rows)]
    return "\n".join(parts)


def draw(rows: list[Row], published: Curves, target: Path) -> None:
    """The mean curves, one panel a measure; published ones dashed where the same codec was not measured."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    measured = mean_curves(row for row in rows if row.codec != CONTROL)
    figure = Figure(figsize=(16, 6.4), layout="constrained")
    lines = {}
    for axes, m in zip(figure.subplots(1, 3), MEASURES, strict=True):
        for index, (name, curves) in enumerate({**published, **measured}.items()):
            points = sorted(curves.get(m.column, []))
            style = {"lw": 1, "ls": "--"} if len(points) > 1 else {"ls": "", "marker": "*", "ms": 10}
            if name in measured:
                style = {"lw": 1.8, "marker": "."} if name != OURS else {"lw": 3, "marker": "o", "zorder": 3}
            if points:
                colour = "black" if name == OURS else colormaps["tab20"](index % 20)
                (lines[name],) = axes.plot(*zip(*points, strict=True), **style, color=colour, label=name)
        shown = [q for c in measured.values() for r, q in c.get(m.column, []) if 0.08 <= r <= 1.5]
        axes.set(
            xlim=(0, 1.5),
            ylim=(min(shown, default=0) - 0.5, max(shown, default=1) + 0.5),
            xlabel="bits per pixel",
            title=m.title,
        )
        axes.grid(alpha=0.3)
    order = sorted(lines, key=lambda n: (n != OURS, n not in measured))
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
    parser.add_argument("--codecs", nargs="+", default=list(available()), choices=list(available()))
    parser.add_argument("--reuse", action="store_true", help="keep the peers' figures of an earlier run")
    parser.add_argument("--report", action="store_true", help="measure nothing, report what the CSV file holds")
    parser.add_argument("--jobs", type=int, default=1, help="processes; times are fair with one alone")
    args = parser.parse_args()

    paths = sorted(args.pictures.glob("*.png"))[:: args.every]
    if not paths:
        parser.error(f"no PNG pictures in {args.pictures}")
    args.out.mkdir(parents=True, exist_ok=True)
    table_path = args.out / "rate_distortion.csv"
    stored = {row.key: row for row in read_rows(table_path)} if args.reuse else {}
    stored = {key: row for key, row in stored.items() if row.codec not in {OURS, CONTROL}.intersection(args.codecs)}

    rows = [row for row in read_rows(table_path) if row.codec in args.codecs] if args.report else []
    for batch in () if args.report else run(args.codecs, paths, stored, args.jobs):
        rows += batch
        write_rows(table_path, {**stored, **{row.key: row for row in rows}}.values())  # so that none is lost
    rows.sort(key=lambda row: args.codecs.index(row.codec))
    published = published_curves(args.anchors) if [p.stem for p in paths] == KODAK else {}  # means over these 24
    (args.out / "rate_distortion.md").write_text(report(rows, published))
    draw(rows, published, args.out / "rate_distortion.png")
    print((args.out / "rate_distortion.md").read_text())


if __name__ == "__main__":
    main()
