"""The paper's own model, ``cwic2018``, measured: beside the authors' release, JPEG and JPEG 2000, in one run.

python -m benchmarks.paper [--pictures DIR] [--every N] [--out docs/results] [--anchors FILE] [--report]

On the middle 752x496 pixels of each Kodak picture, as the authors' release is measured. Writes ``paper.csv``,
``paper.md``, the curves ``paper.png`` and ``paper_maps.png``: importance maps drawn over pictures, with the bits that
each position takes beside them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.progress import track

from benchmarks import side_information
from benchmarks.codecs import PEERS, Codec, Ours, SizedCodec, available
from benchmarks.files import at_rate
from benchmarks.rate_distortion import measure
from benchmarks.rows import MEASURES, Curves, Row, curve, mean_curves, published_curves, read_rows, write_rows
from benchmarks.tables import number, table
from pillow_cwic import models
from pillow_cwic.codec import encoder, session
from pillow_cwic.coding.symbols import decode_symbols
from pillow_cwic.cwic2018 import networks as paper
from pillow_cwic.file import container
from pillow_cwic.models.weights import read
from training.networks import cuboid

NAME, TUNING = "cwic2018", "mse"
CROP = 752, 496
RATES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
LOW_RATE = 0.5  # up to here SSIM should be above JPEG's and JPEG 2000's
RELEASE = "CWIC CVPR 2018 model 5 (752x496 crops)"
AT_RATE = SizedCodec("cwic2018", "CWIC", RATES, lambda rate: {"rate": rate}, fixed={"model": NAME})
SHOWN = ("kodim04", "kodim15", "kodim23")


@dataclass(frozen=True)
class Point(Ours):
    """One operating point as it was trained, its map not shifted. The setting is the rate parameter."""

    model: models.Model | None = None

    def encode(self, im: Image.Image, setting: float) -> bytes:
        assert self.model is not None
        return at_rate(np.asarray(im), self.model, encoder.PLAIN, int(setting))


def trained() -> list[Point]:
    """The released operating points; none if there are none."""
    try:
        found = models.points(NAME, TUNING)
    except ValueError:
        return []
    return [Point(f"cwic2018 {m.point}", "CWIC", (0,), lambda t: {}, model=m) for m in found]


def middle(im: Image.Image) -> Image.Image:
    """The middle of a picture, upright or not; a smaller one as it is."""
    width, height = CROP if im.width >= im.height else CROP[::-1]
    left, top = max(0, (im.width - width) // 2), max(0, (im.height - height) // 2)
    return im.crop((left, top, min(im.width, left + width), min(im.height, top + height))).convert("RGB")


def run(paths: list[Path]) -> Iterator[Row]:
    """The rows of all codecs on all pictures."""
    available()
    codecs: list[Codec] = [*trained(), AT_RATE, *(p for p in PEERS if p.name in ("JPEG", "JPEG 2000"))]
    for path in track(paths, description="measuring"):
        with Image.open(path) as file:
            im = middle(file)
        for codec in codecs:
            yield from measure(codec, im, path.stem, codec.settings)


def point_table(rows: list[Row], published: Curves) -> str:
    """A line for each trained r and for the authors' release, with JPEG and JPEG 2000 at the same rate."""
    curves = mean_curves(rows)
    body = []
    for point in trained():
        own = [row for row in rows if row.codec == point.name]
        similar = [row.ms_ssim for row in own if row.ms_ssim is not None]
        rate, ssim = mean(r.bpp for r in own), mean(r.ssim for r in own)
        line = [point.name, number(rate, ".3f"), number(mean(r.psnr for r in own)), number(ssim, ".4f")]
        line.append(number(mean(similar) if similar else None, ".4f"))
        for peer in ("JPEG", "JPEG 2000"):
            decibel = curve(curves, peer, "ssim").quality_at(rate)
            line.append(number(None if decibel is None else 1 - 10 ** (-decibel / 10), ".4f"))
        body.append(line)
    if RELEASE in published:
        values = {column: points[0] for column, points in published[RELEASE].items()}
        line = ["authors' release", number(values["psnr"][0], ".3f"), number(values["psnr"][1])]
        line += [number(1 - 10 ** (-values[m][1] / 10), ".3f") if m in values else "–" for m in ("ssim", "ms_ssim")]
        body.append([*line, "–", "–"])
    return table(["", "bpp", "PSNR / dB", "SSIM", "MS-SSIM", "SSIM of JPEG", "SSIM of JPEG 2000"], body)


def ssim_table(rows: list[Row]) -> str:
    """SSIM in dB at equal rates, and whether cwic2018 is above both."""
    curves = mean_curves(rows)
    body = []
    for rate in RATES:
        own, *peers = (curve(curves, name, "ssim").quality_at(rate) for name in (NAME, "JPEG", "JPEG 2000"))
        verdict = "–" if own is None else "yes" if all(p is None or own > p for p in peers) else "no"
        body.append([f"{rate:g}", *(number(q) for q in (own, *peers)), verdict])
    return table(["SSIM / dB at bpp", NAME, "JPEG", "JPEG 2000", "above both"], body)


def savings_table(paths: list[Path]) -> str:
    """What map and predictors take and save in the files of each operating point, over all pictures."""
    body = []
    for point in trained():
        found = []
        for path in paths:
            with Image.open(path) as file:
                data = point.encode(middle(file), 0)
            found.append((side_information.measure(data), kept_bits(data)))
        total = sum(b.file for b, _ in found)
        codes, static = (sum(b.codes[k] for b, _ in found) for k in (0, 1))
        plain, everything = (sum(k[i] for _, k in found) / 8 for i in (0, 1))
        body.append(
            [
                point.name,
                f"{sum(b.map[0] for b, _ in found) / total:.1%}",
                f"{1 - plain / everything:.1%}",
                f"{1 - codes / plain:.1%}",
                f"{1 - codes / static:.1%}",
            ]
        )
    head = ["", "map's share of the file", "bits that the map masks", "predictors save", "against fixed odds"]
    return table(head, body)


def opened(data: bytes) -> tuple[np.ndarray, np.ndarray, Any]:
    """Levels (h, w), codes (n, h, w) and networks of a file."""
    parsed = container.read_file(data)
    networks, entropy = session.runtime(models.by_id(parsed.header.model_id))
    levels, *groups = decode_symbols(entropy, parsed, *networks.grid(parsed.header.height, parsed.header.width))
    return levels[0], np.concatenate(groups), networks


def kept_bits(data: bytes) -> tuple[int, int]:
    """How many bits the map keeps in a file, and how many there are without it."""
    levels, codes, networks = opened(data)
    c = networks.config
    return int((c.channels // c.levels * (levels.astype(np.int64) + 1)).sum()), codes.size


@torch.no_grad()
def bits_per_position(data: bytes) -> np.ndarray:
    """Ideal code length of the codes of each position, (h, w), in bits."""
    levels, codes, networks = opened(data)
    c = networks.config
    model = cuboid.CuboidModel(c.planes, c.channels)
    arrays = read(models.by_id(container.read_file(data).header.model_id).read()).arrays
    cuboid.from_integers(model, arrays["context.weights"], arrays["context.biases"])
    level, own = (
        torch.from_numpy(levels.astype(np.float32))[None, None],
        torch.from_numpy(codes.astype(np.float32))[None],
    )
    bits = cuboid.code_bits(own, paper.first_channels(level, c.channels, c.levels))
    return cuboid.bits_of(model.codes(bits), bits).sum(1)[0].numpy()


def draw_maps(paths: list[Path], target: Path) -> None:
    """Pictures, their importance maps drawn over them, and the bits of each position, at the middle operating point."""
    from matplotlib.figure import Figure

    points = trained()
    shown = [path for path in paths if path.stem in SHOWN] or paths[:3]
    figure = Figure(figsize=(12, 2.9 * len(shown)), layout="constrained")
    for line, path in zip(figure.subplots(len(shown), 3, squeeze=False), shown, strict=True):
        with Image.open(path) as file:
            im = middle(file)
        data = points[len(points) // 2].encode(im, 0)
        levels, _, networks = opened(data)
        extent = (0, im.width, im.height, 0)
        line[0].imshow(im)
        line[1].imshow(im.convert("L"), cmap="gray")
        over = line[1].imshow(levels + 1, extent=extent, alpha=0.6, vmin=0, vmax=networks.config.levels, cmap="viridis")
        spent = line[2].imshow(bits_per_position(data), extent=extent, vmin=0, cmap="magma")
        for axes, title in zip(line, (path.stem, "importance, in levels kept", "bits a position"), strict=True):
            axes.set(title=title, xticks=[], yticks=[])
        figure.colorbar(over, ax=line[1])
        figure.colorbar(spent, ax=line[2])
    figure.savefig(target, dpi=80)


def draw_curves(rows: list[Row], target: Path) -> None:
    """Mean curves, one panel a measure; the trained points as stars."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.3 * len(MEASURES), 4.2), layout="constrained")
    for axes, m in zip(figure.subplots(1, len(MEASURES)), MEASURES, strict=True):
        for name, columns in mean_curves(rows).items():
            points = sorted(columns.get(m.column, []))
            style = {"ls": "", "marker": "*", "ms": 12} if len(points) == 1 else {"marker": "."}
            if points:
                axes.plot(*zip(*points, strict=True), **style, label=name)
        axes.set(xlim=(0, 1), xlabel="bits per pixel", title=m.title)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(target, dpi=90)


def report(rows: list[Row], published: Curves, savings: str) -> str:
    """The report in markdown."""
    pictures = {row.picture for row in rows}
    return "\n".join(
        [
            "# The paper's own model\n",
            f"{len(pictures)} pictures, the middle {CROP[0]}x{CROP[1]} pixels of each; real files, headers included.",
            f"{', '.join(sorted({row.version for row in rows}))}.\n",
            "## Operating points as trained\n",
            "Means over the pictures; the peers' SSIM at the same mean rate.\n",
            point_table(rows, published),
            f"## SSIM at low rates\n\nAt a rate, by shifting the map. To be above both up to {LOW_RATE:g} bpp.\n",
            ssim_table(rows),
            "![Curves](paper.png)\n",
            "## What map and predictors save\n",
            "Of the bits that the map keeps, one bit each; and of what they would take with one fixed probability for",
            "each channel of each picture. The authors' release: predictors 11 to 21 %, map 3 to 17 % of the file.\n",
            savings,
            "![Maps](paper_maps.png)\n",
        ]
    )


def main() -> None:
    """Command line."""
    kodak = Path("../shared/data/kodak")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, default=kodak if kodak.is_dir() else Path("tests/data"))
    parser.add_argument("--every", type=int, default=1, help="take every Nth picture")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--anchors", type=Path, default=Path("../shared/anchors/kodak_published.json"))
    parser.add_argument("--report", action="store_true", help="measure nothing, report what paper.csv holds")
    args = parser.parse_args()
    paths = sorted(args.pictures.glob("*.png"))[:: args.every]
    if not paths:
        parser.error(f"no PNG pictures in {args.pictures}")
    if not trained():
        parser.error(f"model {NAME} is not released: training/paper_export.py does that")
    args.out.mkdir(parents=True, exist_ok=True)
    rows = read_rows(args.out / "paper.csv") if args.report else list(run(paths))
    write_rows(args.out / "paper.csv", rows)
    text = report(rows, published_curves(args.anchors), savings_table(paths))
    (args.out / "paper.md").write_text(text)
    draw_curves(rows, args.out / "paper.png")
    draw_maps(paths, args.out / "paper_maps.png")
    print(text)


if __name__ == "__main__":
    main()
