"""Picture by picture: CWIC's BD-rate against each peer, and the bytes that a fixed quality takes.

python -m benchmarks.per_image [--results docs/results] [--psnr DB] [--ms-ssim X]

Measures nothing: the figures come from the CSV file that benchmarks.rate_distortion has written.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import mean

from benchmarks.codecs import CWIC_AT_RATE, TUNINGS
from benchmarks.metrics import bd_rate, decibel
from benchmarks.rate_distortion import comparable
from benchmarks.rows import BD_RATES, MEASURES, Curves, Measure, Row, curve, picture_curves, read_rows
from benchmarks.tables import number, short, table


def with_mean(head: list[str], lines: dict[str, list[float | None]], form: str) -> str:
    """A table of figures with their means in the last row; a dash for the mean of a column with gaps."""
    columns = zip(*lines.values(), strict=True)
    means = [
        mean(found) if len(found := [v for v in column if v is not None]) == len(lines) else None for column in columns
    ]
    shown = {**lines, "**mean**": means}
    return table(head, ([name] + [number(value, form) for value in values] for name, values in shown.items()))


def bd_rates(pictures: dict[str, Curves], ours: str, peers: list[str], m: Measure) -> str:
    """A row a picture: the BD-rate of ``ours`` against each peer, in percent."""
    lines = {
        picture: [bd_rate(curve(c, peer, m.column), curve(c, ours, m.column), BD_RATES) for peer in peers]
        for picture, c in pictures.items()
    }
    return with_mean([f"{ours}, {short(m)} / %", *peers], lines, "+.1f")


def sizes(pictures: dict[str, Curves], pixels: dict[str, float], names: list[str], m: Measure, quality: float) -> str:
    """A row a picture: the kilobytes that each codec needs for a quality (in dB)."""
    lines = {}
    for picture, c in pictures.items():
        rates = [curve(c, name, m.column).rate_at(quality) for name in names]
        lines[picture] = [None if rate is None else rate * pixels[picture] / 8000 for rate in rates]
    return with_mean(["kB", *names], lines, ".1f")


def report(rows: Iterable[Row], psnr: float, ms_ssim: float) -> Iterator[str]:
    """The report in markdown, line by line."""
    found = [row for row in comparable(rows) if row.codec != CWIC_AT_RATE.name]
    pictures = dict(sorted(picture_curves(found).items()))
    pixels = {row.picture: row.bytes * 8 / row.bpp for row in found}
    names = list(dict.fromkeys(row.codec for row in found))
    ours, peers = ([n for n in names if (n in TUNINGS) == own] for own in (True, False))
    fixed = {"psnr": (psnr, f"a PSNR of {psnr:g} dB"), "ms_ssim": (decibel(ms_ssim), f"an MS-SSIM of {ms_ssim:g}")}
    measures = [m for m in MEASURES if m.column in fixed]
    yield "# Picture by picture\n"
    yield f"From `rate_distortion.csv`: {', '.join(sorted({row.version for row in found}))}.\n"
    yield "## BD-rate\n"
    yield f"Bits that CWIC needs beyond a peer on each picture, {BD_RATES[0]:g} to {BD_RATES[1]:g} bpp; negative is"
    yield "better, a dash where the two curves have no quality in common.\n"
    yield from (bd_rates(pictures, name, peers, m) for m in measures for name in ours)
    for m in measures:
        quality, words = fixed[m.column]
        yield f"## Size for {words}\n"
        yield "Kilobytes of 1000 bytes, interpolated on each picture's curve; a dash where that does not reach it.\n"
        yield sizes(pictures, pixels, [*ours, *peers], m, quality)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    parser.add_argument("--psnr", type=float, default=32.0, help="in dB, of the table of sizes")
    parser.add_argument("--ms-ssim", type=float, default=0.97, help="of the table of sizes")
    args = parser.parse_args()
    rows = read_rows(args.results / "rate_distortion.csv")
    if not rows:
        parser.error(f"no rate_distortion.csv in {args.results}: python -m benchmarks.rate_distortion writes it")
    text = "\n".join(report(rows, args.psnr, args.ms_ssim))
    (args.results / "per_image.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
