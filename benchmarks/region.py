"""A region of interest: what ``importance=`` does to the quality inside and outside of it at the same bytes.

python -m benchmarks.region [--picture FILE] [--region LEFT TOP RIGHT BOTTOM] [--rate BPP] [--results DIR]

Writes region.md and, beside the other images, region.jpg: crops from inside and from outside the region.
"""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

import pillow_cwic  # noqa: F401 (registers the format)
from benchmarks import metrics
from benchmarks.contact_sheet import SHEET, SHEET_BYTES, Panel, sheet
from benchmarks.tables import table
from pillow_cwic.models import DEFAULT_TUNING

SIDE = 224  # of the crops, in pixels


def saved(im: Image.Image, **options: Any) -> tuple[int, Image.Image]:
    """Bytes of the file, and the picture it shows."""
    data = BytesIO()
    im.save(data, format="CWIC", **options)
    back = Image.open(data)
    back.load()
    return data.getbuffer().nbytes, back


def psnr_where(original: Image.Image, decoded: Image.Image, where: np.ndarray) -> float:
    """PSNR over the samples of the pixels that a boolean mask (H, W) marks."""
    return metrics.psnr(np.asarray(original)[where][None], np.asarray(decoded)[where][None])


def farthest(region: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Left and top of the window of ``SIDE`` in a corner of the picture whose middle is farthest from the region's."""
    corners = [(x, y) for x in (0, size[0] - SIDE) for y in (0, size[1] - SIDE)]
    middle = (region[0] + region[2] - SIDE) / 2, (region[1] + region[3] - SIDE) / 2
    return max(corners, key=lambda corner: (corner[0] - middle[0]) ** 2 + (corner[1] - middle[1]) ** 2)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", type=Path, default=Path("tests/data/kodim15.png"))
    parser.add_argument("--region", type=int, nargs=4, default=(368, 16, 720, 416), help="what matters, in pixels")
    parser.add_argument("--rate", type=float, default=0.15, help="bits per pixel")
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    with Image.open(args.picture) as file:
        im = file.convert("RGB")
    region = tuple(args.region)
    mask = Image.new("L", im.size, 128)
    ImageDraw.Draw(mask).rectangle((region[0], region[1], region[2] - 1, region[3] - 1), fill=255)
    inside = np.asarray(mask) == 255

    left, top = ((a + b - SIDE) // 2 for a, b in ((region[0], region[2]), (region[1], region[3])))
    boxes = [(x, y, x + SIDE, y + SIDE) for x, y in ((left, top), farthest(region, im.size))]
    rows, panels = (
        [],
        [[Panel(im.crop(box), ("original", place))] for box, place in zip(boxes, ["inside", "outside"], strict=True)],
    )
    for name, options in (("without importance=", {}), ("with importance=", {"importance": mask})):
        size, shown = saved(im, rate=args.rate, **options)
        quality = [psnr_where(im, shown, where) for where in (inside, ~inside)]
        rows.append([name, f"{size:,}", *(f"{db:.2f}" for db in quality)])
        for row, box, db in zip(panels, boxes, quality, strict=True):
            row.append(Panel(shown.crop(box), (name, f"{size:,} bytes", f"{db:.2f} dB")))
    share = inside.mean()
    text = (
        "# Region of interest\n\n"
        f"{args.picture.name} at no more than {args.rate:g} bits per pixel, tuning {DEFAULT_TUNING}; the region is the "
        f"rectangle {region[0]}, {region[1]} to {region[2]}, {region[3]}, {share:.0%} of the pixels: 255 in the mask, "
        "the rest 128. PSNR in dB.\n\n"
    )
    text += table(["", "bytes", "inside", "outside"], rows) + "\n![Crops](../images/region.jpg)\n"
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "region.md").write_text(text)
    image = args.results.parent / "images" / "region.jpg"
    image.parent.mkdir(parents=True, exist_ok=True)
    title = f"{args.picture.name}, at most {args.rate:g} bits per pixel, the same for both."
    image.write_bytes(SHEET.encode_to_size(sheet(panels, SIDE, 3, title), SHEET_BYTES))
    print(text)


if __name__ == "__main__":
    main()
