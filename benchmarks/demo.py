"""A photograph at three rates, next to other formats of the same size, and a picture to compare them with.

python -m benchmarks.demo [PICTURE] [--out out/demo]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks import metrics
from benchmarks.codecs import CWIC_AT_RATE, Codec, SizeError, available, bits_per_pixel
from pillow_cwic.tools.compare.ssimulacra2 import ssimulacra2

CWIC = replace(CWIC_AT_RATE, name="CWIC")
RATES = (0.25, 0.5, 1.0)
PEERS = ("JPEG", "JPEG 2000", "WebP", "AVIF")
SLOW = ("AVIF",)  # takes seconds to encode, and many times to find the size: at the lowest rate alone
SHOWN = ("CWIC", "AVIF", "WebP", "JPEG")  # after the original, at the lowest rate
COLUMNS = 3  # panels in a row
DETAIL = 256  # side of the detail in the comparison picture, shown at twice its size
DETAILS = {"kodim23": (400, 70), "kodim15": (240, 60), "kodim04": (150, 230)}  # its left and top; else the busiest


@dataclass(frozen=True)
class Result:
    """A file, the picture in it, and what they took."""

    codec: str
    data: bytes
    im: Image.Image
    psnr: float
    ms_ssim: float | None
    ssimulacra2: float | None
    encode_s: float
    decode_s: float

    @property
    def caption(self) -> str:
        score = "" if self.ssimulacra2 is None else f", SSIMULACRA2 {self.ssimulacra2:.0f}"
        return f"{len(self.data):,} bytes, {self.psnr:.1f} dB{score}"


def compress(codec: Codec, im: Image.Image, *, rate: float = 0, size: int = 0) -> Result:
    """One file, by its rate or (the best of a bisection; the last encoding is what is timed) by its size."""
    setting = rate or codec.fit(im, size)
    start = time.perf_counter()
    data = codec.encode(im, setting)
    encoded = time.perf_counter()
    decoded = codec.decode(data).convert("RGB")
    end = time.perf_counter()
    pixels = np.asarray(im), np.asarray(decoded)
    quality = metrics.psnr(*pixels), metrics.ms_ssim(*pixels), ssimulacra2(*pixels)
    return Result(codec.name, data, decoded, *quality, encoded - start, end - encoded)


def at_rate(im: Image.Image, rate: float) -> dict[str, Result]:
    """CWIC at a rate, and the largest file not above CWIC's of each peer; one that cannot be so small is left out."""
    codecs = available()
    ours = compress(CWIC, im, rate=rate)
    results = {}
    for name in PEERS:
        if name in SLOW and rate != RATES[0]:
            continue
        try:
            results[name] = compress(codecs[name], im, size=len(ours.data))
        except SizeError:
            continue
    return {**results, CWIC.name: ours}


def levelled(im: Image.Image, results: dict[str, Result]) -> dict[str, Result]:
    """The results, CWIC's anew with no more bytes than any shown peer: none may look worse for its coarser settings."""
    size = min(len(results[name].data) for name in SHOWN if name in results)
    return {**results, CWIC.name: compress(CWIC, im, size=size)}


def print_table(title: str, im: Image.Image, results: dict[float, dict[str, Result]]) -> None:
    """The table on the terminal, a section for each rate."""
    table = Table(title=f"{title}, {im.width}x{im.height}", title_style="bold", box=SIMPLE, pad_edge=False)
    table.add_column("format", no_wrap=True)
    for heading in ("bytes", "bpp", "PSNR / dB", "MS-SSIM", "SSIMU-\nLACRA2", "encode / ms", "decode / ms"):
        table.add_column(heading, justify="right")
    for group in results.values():
        for result in group.values():
            table.add_row(
                result.codec,
                f"{len(result.data):,}",
                f"{bits_per_pixel(result.data, im):.3f}",
                f"{result.psnr:.2f}",
                "–" if result.ms_ssim is None else f"{result.ms_ssim:.4f}",
                "–" if result.ssimulacra2 is None else f"{result.ssimulacra2:.1f}",
                f"{1000 * result.encode_s:.0f}",
                f"{1000 * result.decode_s:.0f}",
                style="bold" if result.codec == CWIC.name else "",
            )
        table.add_section()
    Console().print(table)


def busiest(im: Image.Image, side: int) -> tuple[int, int]:
    """Left and top of the window with the most contrast inside it: the largest variance of the luma, in steps of 16."""
    gray = np.asarray(im.convert("L"), np.float32)
    corners = [(x, y) for y in range(0, im.height - side + 1, 16) for x in range(0, im.width - side + 1, 16)]
    return max(corners, key=lambda c: float(gray[c[1] : c[1] + side, c[0] : c[0] + side].std()))


def detail_box(im: Image.Image, name: str) -> tuple[int, int, int, int]:
    """The detail to show: the chosen one of a known picture, else the window with the most contrast inside it."""
    side = min(DETAIL, im.width, im.height)
    left, top = DETAILS.get(name) or busiest(im, side)
    return left, top, left + side, top + side


def comparison(im: Image.Image, name: str, results: dict[str, Result]) -> Image.Image:
    """The detail of the original and of each shown codec, captions below, and at the end where it is."""
    box = detail_box(im, name)
    side, gap, foot = 2 * (box[2] - box[0]), 12, 76
    details = {"Original": im, **{n: results[n].im for n in SHOWN if n in results}}
    panels = {n: each.crop(box).resize((side, side), Image.Resampling.NEAREST) for n, each in details.items()}
    panels["The whole picture"] = located(im, box, side)
    captions = {"Original": "24 bits per pixel", "The whole picture": f"{im.width}x{im.height}, {name}"}
    rows = -(-len(panels) // COLUMNS)
    sheet = Image.new("RGB", (gap + COLUMNS * (side + gap), gap + rows * (side + foot)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (heading, panel) in enumerate(panels.items()):
        x, y = gap + index % COLUMNS * (side + gap), gap + index // COLUMNS * (side + foot)
        sheet.paste(panel, (x, y))
        caption = captions.get(heading) or results[heading].caption
        draw.text((x + 2, y + side + 4), heading, fill="black", font=ImageFont.load_default(30))
        draw.text((x + 2, y + side + 38), caption, fill="#444444", font=ImageFont.load_default(23))
    return sheet


def located(im: Image.Image, box: tuple[int, int, int, int], side: int) -> Image.Image:
    """The whole picture in the middle of a white square, the box framed."""
    small = im.copy()
    draw = ImageDraw.Draw(small)
    width = max(2, round(3 * max(im.size) / side))
    draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline="white", width=width)
    small = small.resize([round(n * side / max(im.size)) for n in im.size], Image.Resampling.LANCZOS)
    square = Image.new("RGB", (side, side), "white")
    square.paste(small, ((side - small.width) // 2, (side - small.height) // 2))
    return square


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", nargs="?", type=Path, default=Path("tests/data/kodim23.png"))
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    args = parser.parse_args()
    if CWIC_AT_RATE.name not in available():
        parser.error("pillow_cwic is not installed")
    with Image.open(args.picture) as file:
        im = file.convert("RGB")
    CWIC.decode(CWIC.encode(im, RATES[0]))  # the first use of a process loads the networks; the times are without that

    args.out.mkdir(parents=True, exist_ok=True)
    results = {rate: at_rate(im, rate) for rate in RATES}
    for rate, group in results.items():
        (args.out / f"{args.picture.stem}_{rate:g}.cwic").write_bytes(group[CWIC.name].data)
    print_table(args.picture.name, im, results)
    target = args.out / "comparison.png"
    comparison(im, args.picture.stem, levelled(im, results[RATES[0]])).save(target, optimize=True)
    print(f"The files and the comparison at {RATES[0]:g} bpp ({target.name}) are in {args.out}")


if __name__ == "__main__":
    main()
