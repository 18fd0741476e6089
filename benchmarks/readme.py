"""Writes the measured tables into README.md, from the reports in docs/results: ``python -m benchmarks.readme``.

Run after rate_distortion, speed and coder. Nothing between the marks in README.md is written by hand.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.codecs import CWIC_AT_RATE, TUNINGS
from benchmarks.rows import MEASURES, Curves, mean_curves, picture_curves, published_curves, read_rows
from benchmarks.tables import bd_table, control_table, difference_table, target_table

BEGIN = "<!-- results begin: written by python -m benchmarks.readme -->\n"
MORE = {  # reports that are linked where they have been written, and what they are called
    "results/per_image.md": "picture by picture",
    "images/contact_sheet.jpg": "crops at equal bytes",
    "results/effort.md": "what each effort of the encoder gains",
    "results/side_information.md": "what the importance map costs and the context model saves",
    "results/region.md": "a region of interest",
    "results/growth.md": "time and memory against megapixels",
    "results/shrink.md": "files made smaller without the picture",
    "results/ablation.md": "ablations",
}
END = "<!-- results end -->\n"
SHOWN = ("PSNR / dB", "MS-SSIM / dB", "SSIM / dB")


def more(docs: Path) -> str:
    """Links to the further reports that there are."""
    links = [f"[{words}](docs/{name})" for name, words in MORE.items() if (docs / name).exists()]
    return f"More: {', '.join(links)}.\n" if links else ""


def results(folder: Path, anchors: Path | None) -> str:
    """The tables of the README as markdown."""
    rows = read_rows(folder / "rate_distortion.csv")
    curves = [row for row in rows if row.codec != CWIC_AT_RATE.name]
    measured, pictures = mean_curves(curves), picture_curves(curves)
    peers = [name for name in measured if name not in TUNINGS]
    published = published_curves(anchors)
    several: Curves = {n: c for n, c in published.items() if len(c["psnr"]) > 1}
    speed = (folder / "speed.md").read_text().split("\n", 2)[2]
    coder = (folder / "coder.md").read_text().split("\n", 2)[2]
    parts = [
        f"{len(pictures)} Kodak pictures, real files, header included. The whole report: "
        "[docs/results/rate_distortion.md](docs/results/rate_distortion.md).\n",
        "![Rate-distortion curves](docs/results/rate_distortion.png)\n",
        *filter(None, [more(folder.parent)]),
        "BD-rates that were set as targets, 0.1 to 1.0 bpp, on mean curves; negative is better:\n",
        target_table(measured, published),
    ]
    for name in (name for name in TUNINGS if name in measured):
        parts += [
            f"### {name}\n",
            f"{name} less its peer at equal bytes on each picture: the mean, and on how many pictures it is better.\n",
            *(difference_table(pictures, peers, name, m) for title in SHOWN for m in MEASURES if m.title == title),
            f"BD-rate, 0.1 to 1.0 bpp: bits that {name} needs beyond the other codec for the same quality, on mean "
            "curves; negative is better. Measured in the same run:\n",
            bd_table({peer: measured[peer] for peer in peers}, measured, name),
            "Against published curves:\n",
            bd_table(several, measured, name),
        ]
    parts += [
        "### Rate control\n",
        "Real over wanted rate, the extremes over the pictures:\n",
        control_table(rows),
        "### Time\n",
        speed,
        "### Arithmetic coder\n",
        coder,
    ]
    return "\n".join(parts)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    parser.add_argument("--anchors", type=Path, default=Path("../shared/anchors/kodak_published.json"))
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    args = parser.parse_args()
    text = args.readme.read_text()
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (mark and end):
        parser.error(f"{args.readme} lacks the marks {BEGIN.strip()} and {END.strip()}")
    anchors = args.anchors if args.anchors.exists() else None
    args.readme.write_text(before + BEGIN + "\n" + results(args.results, anchors) + "\n" + END + after)


if __name__ == "__main__":
    main()
