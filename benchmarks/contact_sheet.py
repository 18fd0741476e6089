"""Crops of a few pictures as every codec shows them when the whole picture has the same bytes, on one sheet.

python -m benchmarks.contact_sheet [--pictures DIR] [--every N] [--rate BPP] [--side PIXELS] [--out FILE]

Nothing is chosen for its looks: the pictures are every Nth of the folder, and of each the window with the most
contrast (``benchmarks.demo.busiest``) is shown, pixel by pixel. The bytes are an upper bound for every codec.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.progress import track

from benchmarks import metrics
from benchmarks.codecs import ALL, CWIC_AT_RATE, PEERS, TUNINGS, Codec, SizeError, available
from benchmarks.demo import busiest

# A sheet in colours of full resolution, as good as its bytes allow.
SHEET = replace(ALL["JPEG"], options=lambda quality: {"quality": quality, "subsampling": 0, "optimize": True})
SHEET_BYTES = 600_000
GAP, LINE = 8, 17  # pixels between panels, and of a line of text


@dataclass(frozen=True)
class Panel:
    """A crop with the lines below it; no crop where the codec has no file so small."""

    crop: Image.Image | None
    lines: tuple[str, ...]


def codecs() -> list[Codec]:
    """The installed codecs that meet a size, the released tunings of CWIC first."""
    ours = [replace(CWIC_AT_RATE, name=name, fixed=codec.fixed) for name, codec in TUNINGS.items()]
    found = available()
    return [codec for codec in (*ours, *PEERS) if codec.name in found]


def panel(codec: Codec, im: Image.Image, size: int, box: tuple[int, int, int, int]) -> Panel:
    """The crop as a codec shows it with at most ``size`` bytes for the whole picture."""
    try:
        data = codec.encode_to_size(im, size)
    except SizeError:
        return Panel(None, (codec.name, f"no file of {size:,} bytes"))
    decoded = codec.decode(data).convert("RGB")
    original, pixels = np.asarray(im), np.asarray(decoded)
    similarity = metrics.ms_ssim(original, pixels)
    quality = f"{metrics.psnr(original, pixels):.2f} dB" + ("" if similarity is None else f", {similarity:.4f}")
    return Panel(decoded.crop(box), (codec.name, f"{len(data):,} bytes", quality))


def panels(path: Path, rate: float, side: int) -> Iterator[Panel]:
    """The panels of a picture, the original first."""
    with Image.open(path) as file:
        im = file.convert("RGB")
    side = min(side, *im.size)
    left, top = busiest(im, side)
    box = left, top, left + side, top + side
    yield Panel(im.crop(box), (path.stem, f"{im.width}x{im.height}", f"{side}x{side} at {left}, {top}"))
    for codec in codecs():
        yield panel(codec, im, int(rate * im.width * im.height / 8), box)


def sheet(pictures: list[list[Panel]], side: int, columns: int, title: str) -> Image.Image:
    """All panels, ``columns`` in a row; each picture begins a row."""
    rows = [found[start : start + columns] for found in pictures for start in range(0, len(found), columns)]
    width, height = side + GAP, side + GAP + 3 * LINE
    result = Image.new("RGB", (GAP + columns * width, GAP + 2 * LINE + len(rows) * height), "white")
    draw, font = ImageDraw.Draw(result), ImageFont.load_default(13)
    draw.text((GAP, GAP), title, fill="black", font=font)
    for row, found in enumerate(rows):
        for column, shown in enumerate(found):
            x, y = GAP + column * width, GAP + 2 * LINE + row * height
            if shown.crop is not None:
                result.paste(shown.crop, (x, y))
            for number, line in enumerate(shown.lines):
                ink = "#555555" if number else "black"
                draw.text((x, y + side + 1 + number * (LINE - 2)), line, fill=ink, font=font)
    return result


def main() -> None:
    """Command line."""
    kodak = Path("../shared/data/kodak")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, default=kodak if kodak.is_dir() else Path("tests/data"))
    parser.add_argument("--every", type=int, default=6, help="take every Nth picture")
    parser.add_argument("--rate", type=float, default=0.25, help="bits per pixel of the whole picture")
    parser.add_argument("--side", type=int, default=192, help="of the crops, in pixels")
    parser.add_argument("--columns", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/images/contact_sheet.jpg"))
    args = parser.parse_args()
    paths = sorted(args.pictures.glob("*.png"))[:: args.every]
    if not paths:
        parser.error(f"no PNG pictures in {args.pictures}")
    pictures = [list(panels(path, args.rate, args.side)) for path in track(paths, description="encoding")]
    title = (
        f"At most {args.rate:g} bits per pixel for the whole picture; bytes, PSNR and MS-SSIM are the whole picture's."
    )
    data = SHEET.encode_to_size(sheet(pictures, args.side, args.columns, title), SHEET_BYTES)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_bytes(data)
    print(f"{len(paths)} pictures on {args.out}, {len(data):,} bytes")


if __name__ == "__main__":
    main()
