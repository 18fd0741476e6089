"""What training sees of graphics: ``python -m training.graphics SCREENSHOTS PHOTOGRAPHS OUT``.

Of each screenshot, of a smaller version as web pages have them, and of figures and pages that are drawn with the
photographs, the encoder chooses exact blocks at some qualities. What it leaves to the transform is kept as a picture
whose alpha is 0 where blocks are exact; ``--graphics`` of ``training.train`` takes the folder, and ``make train`` finds
it as ``graphics`` beside the runs. Pictures that are exact altogether have nothing to teach, and give none.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from io import BytesIO
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from pillow_cwic.codec import exact, graphics
from pillow_cwic.file import container
from training.data import BLOCK, LEARNT, find_pictures
from training.drawn import figure, fonts, page

QUALITIES = (25, 65)
SMALLER = (0.45, 0.95)
EFFORT = 2


def left(picture: Image.Image, quality: int) -> Image.Image | None:
    """What the transform is given of a picture that is saved with this quality; None if that is next to nothing."""
    file = BytesIO()
    picture.save(file, format="CWIC", quality=quality, effort=EFFORT)
    parsed = container.read_file(file.getvalue())
    if not parsed.layers:  # all is exact
        return None
    pixels = np.asarray(picture)
    height, width = pixels.shape[:2]
    blocks = np.zeros((-(-height // BLOCK), -(-width // BLOCK)), np.bool_)
    if parsed.pixels is not None:
        blocks = exact.decode_blocks(parsed.pixels, np.zeros((height, width, parsed.header.channels), np.uint8))
    if blocks.mean() > 1 - LEARNT / 4:
        return None
    seen = np.where(exact.spread(blocks, height, width), 0, 255).astype(np.uint8)
    return Image.fromarray(np.dstack([graphics.left_to_transform(pixels, blocks), seen]))


def versions(path: Path, rng: random.Random) -> Iterator[tuple[str, Image.Image]]:
    """A screenshot, and a smaller one."""
    with Image.open(path) as im:
        whole = Image.fromarray(np.asarray(im.convert("RGB")))
    yield path.stem, whole
    share = rng.uniform(*SMALLER)
    size = (round(share * whole.width), round(share * whole.height))
    yield f"{path.stem}-small", whole.resize(size, rng.choice((Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)))


def drawn(path: Path, number: int) -> Iterator[tuple[str, Image.Image]]:
    """A figure or a page with a photograph, as the number is even or odd."""
    rng = random.Random(number)
    with Image.open(path) as im:
        photograph = im.convert("RGB")
    made = page(photograph, rng, fonts()) if number % 2 else figure(photograph, rng)
    yield f"drawn-{number:03d}", made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("screenshots", type=Path)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--drawn", type=int, default=160, help="how many figures and pages")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    photographs = random.Random(1).sample(find_pictures(args.photographs), args.drawn)
    screens = ((*each, QUALITIES) for path in find_pictures(args.screenshots) for each in versions(path, rng))
    others = ((*each, QUALITIES[n // 2 % 2 :][:1]) for n, path in enumerate(photographs) for each in drawn(path, n))
    for name, picture, qualities in track(chain(others, screens), description="choosing blocks", total=None):
        for quality in qualities:
            target = args.out / f"{name}-{quality}.png"
            if not target.exists() and (made := left(picture, quality)):
                made.save(target)


if __name__ == "__main__":
    main()
