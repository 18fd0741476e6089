"""Writes the measured part of README.md, from the reports in docs/results: ``python -m benchmarks.readme``.

One picture, which it draws, and one table. Run after rate_distortion, graphics and speed. Nothing between the marks in
README.md is written by hand.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from statistics import mean

from benchmarks.codecs import CWIC_AT_RATE, TUNINGS
from benchmarks.graphics import RATES as GRAPHICS_RATES
from benchmarks.graphics import Size, curves_of, read_sizes
from benchmarks.metrics import bd_rate
from benchmarks.rate_distortion import draw
from benchmarks.rows import BD_RATES, MEASURES, Curves, curve, mean_curves, read_rows
from benchmarks.tables import number, short, table
from pillow_cwic.models import DEFAULT_TUNING

BEGIN = "<!-- results begin: written by python -m benchmarks.readme -->\n"
END = "<!-- results end -->\n"
PEERS = ("AVIF", "WebP", "JPEG XL")
OURS = sorted(TUNINGS, key=lambda name: DEFAULT_TUNING not in name)  # the default first
PLOTTED = (*TUNINGS, *PEERS, "JPEG")
PANELS = ("psnr", "ms_ssim", "ssimulacra2")  # columns of the measures in the picture


def times(report: str) -> dict[str, tuple[float, float]]:
    """Milliseconds to decode, and how many times as long CWIC takes, by codec, from the first table on speed."""
    rows = re.finditer(r"^\| (\w[\w ]*) \| [\d.]+ \| ([\d.]+) (?:\| [\d.]+ ){2}\| ([\d.]+) \|", report, re.MULTILINE)
    return {row[1]: (float(row[2]), float(row[3])) for row in rows}


def bd_cells(found: list[float | None]) -> list[str]:
    """BD-rates as cells: bold where CWIC needs more."""
    return [f"**{cell}**" if cell.startswith("+") else cell for cell in (number(bd, "+.1f") for bd in found)]


def bd_rows(
    curves: Curves, rates: tuple[float, float], decode: dict[str, tuple[float, float]], of: str = ""
) -> list[list[str]]:
    """A row for each tuning and peer: BD-rates by measure, and CWIC's time to decode over the peer's."""
    body = []
    for ours in (name for name in OURS if name in curves):
        for peer in (name for name in PEERS if name in curves):
            pairs = [(curve(curves, peer, m.column), curve(curves, ours, m.column)) for m in MEASURES]
            label = f"`{ours.removeprefix('CWIC ')}` against {peer}{of}"
            cells = bd_cells([bd_rate(*pair, rates) for pair in pairs])
            body.append([label, *cells, f"{decode[peer][1]:.1f} times" if peer in decode else "–"])
    return body


def lossless(sizes: list[Size]) -> str:
    """Mean bits per pixel of each format, for each set of pictures."""
    found = []
    for kind in dict.fromkeys(size.set for size in sizes):
        of_kind = [size for size in sizes if size.set == kind]
        codecs = dict.fromkeys(size.codec for size in of_kind)
        means = (f"{codec} {mean(size.bpp for size in of_kind if size.codec == codec):.2f}" for codec in codecs)
        found.append(f"{kind}: {', '.join(means)}")
    return "; ".join(found)


def results(folder: Path, images: Path, root: Path) -> str:
    """The measured part as markdown, with links from the folder ``root``; its picture goes into ``images``."""
    rows = [row for row in read_rows(folder / "rate_distortion.csv") if row.codec != CWIC_AT_RATE.name]
    speed = (folder / "speed.md").read_text()
    decode = times(speed)
    shown = [row for row in rows if row.codec in PLOTTED]
    curves = mean_curves(shown).values()
    panels = [m for m in MEASURES if m.column in PANELS and all(m.column in found for found in curves)]
    plot = images / "rate_distortion.png"
    images.mkdir(parents=True, exist_ok=True)
    draw(shown, {}, plot, panels, columns=3, size=(3.7, 4.4))
    paths = plot, folder / "rate_distortion.md", folder / "graphics.md"
    where = {path: Path(os.path.relpath(path, root)).as_posix() for path in paths}
    screens, sizes = read_rows(folder / "graphics.csv"), read_sizes(folder / "graphics_lossless.json")
    body = bd_rows(mean_curves(rows), BD_RATES, decode)
    body += bd_rows(curves_of(screens), GRAPHICS_RATES, {}, ", screenshots")
    pictures = len({row.picture for row in rows})
    milliseconds = ", ".join(f"{name} {decode[name][0]:.1f} ms" for name in ("CWIC", *PEERS) if name in decode)
    return "\n".join(
        [
            f"![Quality over bits per pixel: CWIC and its peers]({where[plot]})\n",
            f"How many percent more bits CWIC needs for the same quality (BD-rate, {BD_RATES[0]:g} to {BD_RATES[1]:g} "
            f"bpp, means over the {pictures} Kodak pictures, real files); negative is better, **bold** is worse:\n",
            f"`{DEFAULT_TUNING}` is the default tuning, trained for the last three measures, `mse` for PSNR.\n",
            table(["", *(short(m) for m in MEASURES), "decode time"], body),
            f"Screenshots are {len({row.picture for row in screens})} on which choices were made, "
            f"{GRAPHICS_RATES[0]:g} to {GRAPHICS_RATES[1]:g} bpp. Lossless, bits per pixel: {lossless(sizes)} "
            f"([the report on graphics]({where[folder / 'graphics.md']})).\n",
            f"Decoding {speed.splitlines()[2].split('; warm')[0]}: {milliseconds}. Picture by picture, against HEIC, "
            "JPEG, JPEG 2000 and published curves of BPG, VTM and learned codecs: "
            f"[the whole report]({where[folder / 'rate_distortion.md']}).\n",
        ]
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    args = parser.parse_args()
    text = args.readme.read_text()
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (mark and end):
        parser.error(f"{args.readme} lacks the marks {BEGIN.strip()} and {END.strip()}")
    measured = results(args.results, args.images, args.readme.parent)
    args.readme.write_text(before + BEGIN + "\n" + measured + "\n" + END + after)


if __name__ == "__main__":
    main()
