"""Pictures that are no photographs: lossless sizes, curves, flat colours, pages of text and alpha, beside the peers.

python -m benchmarks.graphics [--pictures DIR] [--photographs DIR] [--out docs/results] [--codecs NAME ...]
                              [--coarse] [--lossless] [--formats NAME ...] [--report]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from rich.progress import track

from benchmarks.codecs import TUNINGS, available
from benchmarks.rate_distortion import run
from benchmarks.rows import MEASURES, Curves, Row, mean_curves, read_rows, write_rows
from benchmarks.tables import bd_table, rate_table, table
from pillow_cwic.tools.compare.peers import writable

RATES = (0.1, 2.0)  # bits per pixel, between which the curves are compared
MOST_PSNR = 60.0  # what a picture without any error counts as in a mean
LOSSY = ("AVIF", "WebP", "JPEG XL", *TUNINGS)
QUALITIES = (30, 50, 75, 90, 100)
WORDS = "the quick brown fox jumps over a lazy dog while seven wizards pack five dozen liquor jugs"
FLAT = ((255, 255, 255), (0, 0, 0), (128, 128, 128), (250, 248, 240), (12, 90, 200), (255, 0, 0))
LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {"format": "PNG", "optimize": True},
    "WebP": {"format": "WEBP", "lossless": True, "exact": True, "quality": 100, "method": 6},
    "JPEG XL": {"format": "JXL", "lossless": True, "effort": 7},
    "CWIC": {"format": "CWIC", "lossless": True},
}
BEST_OF_BOTH = ("WebP", "JPEG XL")


@dataclass(frozen=True)
class Size:
    """A picture as a lossless file: its bytes, and the seconds of one process, with all its threads."""

    set: str
    picture: str
    codec: str
    pixels: int
    bytes: int
    encode_s: float
    decode_s: float

    @property
    def bpp(self) -> float:
        return 8 * self.bytes / self.pixels


def saved(im: Image.Image, **options: Any) -> bytes:
    """The file that Pillow writes."""
    data = BytesIO()
    im.save(data, **options)
    return data.getvalue()


def shown(data: bytes) -> np.ndarray:
    """The pixels of a file."""
    with Image.open(BytesIO(data)) as im:
        return np.asarray(im)


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """The faster of two calls, and what it gave."""
    best = float("inf")
    for _ in range(2):
        start = time.perf_counter()
        made = call()
        best = min(best, time.perf_counter() - start)
    return best, made


def sizes(name: str, paths: list[Path], wanted: Iterable[str]) -> Iterator[Size]:
    """Each picture by each format that is installed. Raises AssertionError unless it comes back whole."""
    formats = {codec: LOSSLESS[codec] for codec in LOSSLESS if codec in wanted}
    formats = {codec: options for codec, options in formats.items() if options["format"] in writable()}
    for path in track(paths, description=f"lossless, {name}"):
        with Image.open(path) as file:
            im = Image.fromarray(np.asarray(file.convert("RGB")))
        for codec, options in formats.items():
            encode_s, data = seconds(partial(saved, im, **options))
            decode_s, back = seconds(partial(shown, data))
            assert np.array_equal(back, np.asarray(im)), f"{codec}: {path.name} is not lossless"
            yield Size(name, path.stem, codec, im.width * im.height, len(data), round(encode_s, 4), round(decode_s, 4))


def read_sizes(path: Path) -> list[Size]:
    """What was measured of lossless files; nothing if the file is not there."""
    return [Size(**values) for values in json.loads(path.read_text())] if path.exists() else []


def size_part(found: list[Size]) -> Iterator[str]:
    """Mean bits per pixel and speed of each format, for each set of pictures."""
    yield "## Lossless\n"
    yield "The mean over the pictures of their bits per pixel, and megapixels a second in one process with as many"
    yield "threads as the format starts.\n"
    body = []
    for name in dict.fromkeys(size.set for size in found):
        of_set = [size for size in found if size.set == name]
        for codec in dict.fromkeys(size.codec for size in of_set):
            mine = [size for size in of_set if size.codec == codec]
            speeds = (
                sum(s.pixels for s in mine) / 1e6 / sum(getattr(s, f) for s in mine) for f in ("encode_s", "decode_s")
            )
            body.append([name, codec, f"{mean(s.bpp for s in mine):.3f}", *(f"{speed:.2f}" for speed in speeds)])
        pictures: dict[str, list[float]] = {}
        for size in of_set:
            if size.codec in BEST_OF_BOTH:
                pictures.setdefault(size.picture, []).append(size.bpp)
        if pictures and all(len(each) == 2 for each in pictures.values()):
            body.append([name, "the better of WebP and JPEG XL", f"{mean(map(min, pictures.values())):.3f}", "–", "–"])
    yield table(["pictures", "format", "bpp", "encode MP/s", "decode MP/s"], body)


def curves_of(rows: list[Row]) -> Curves:
    """Mean curves of constant quality, in which equal pictures have no infinite PSNR."""
    return mean_curves(replace(row, psnr=min(row.psnr, MOST_PSNR)) for row in rows)


def curve_part(rows: list[Row]) -> Iterator[str]:
    """BD-rates of both tunings against the peers, and the quality at equal rates."""
    curves = curves_of(rows)
    yield "## Lossy\n"
    yield f"Mean curves of constant quality over {len({row.picture for row in rows})} pictures; a picture without error"
    yield f"counts as {MOST_PSNR:g} dB. BD-rate between {RATES[0]:g} and {RATES[1]:g} bpp, below zero is better:\n"
    for name in (name for name in curves if name in TUNINGS):
        yield f"### {name}\n"
        yield bd_table({peer: c for peer, c in curves.items() if peer not in TUNINGS}, curves, name, RATES)
    yield from (rate_table(curves, m) for m in MEASURES)


def flat_part() -> Iterator[str]:
    """Bytes of flat pictures, and by how much the worst sample is off."""
    yield "## Flat pictures\n"
    yield "512x512 of one colour: bytes, and in brackets the largest error of a sample.\n"
    body = []
    for colour in FLAT:
        im = Image.new("RGB", (512, 512), colour)
        line = [str(colour)]
        for quality in QUALITIES:
            data = saved(im, format="CWIC", quality=quality)
            off = np.abs(shown(data).astype(int) - np.asarray(im)).max()
            line.append(f"{len(data)} ({off})")
        body.append(line)
    yield table(["colour", *(f"quality {q}" for q in QUALITIES)], body)


def page() -> Image.Image:
    """A page of text with white margins."""
    im = Image.new("RGB", (850, 1100), "white")
    draw, font = ImageDraw.Draw(im), ImageFont.load_default(18)
    rng = np.random.default_rng(3)
    for line in range(38):
        draw.text((100, 100 + 24 * line), " ".join(rng.choice(WORDS.split(), 11)), fill="black", font=font)
    return im


def page_part() -> Iterator[str]:
    """How white the margin of a page is."""
    im = page()
    pixels = np.asarray(im)
    margin = np.ones(pixels.shape[:2], bool)
    margin[96:-96, 96:-96] = False
    yield "## A page of text\n"
    yield f"{im.width}x{im.height}, black on white: bits per pixel, and how much of the white margin stays white.\n"
    body = []
    formats = {"CWIC": {"format": "CWIC"}, "JPEG": {"format": "JPEG"}, "WebP": {"format": "WEBP", "method": 6}}
    if "AVIF" in writable():
        formats["AVIF"] = {"format": "AVIF", "subsampling": "4:4:4", "speed": 4}
    for name, options in formats.items():
        line = [name]
        for quality in QUALITIES[2:]:
            data = saved(im, quality=quality, **options)
            white = (shown(data)[margin] == 255).all(axis=-1).mean()
            line.append(f"{8 * len(data) / im.width / im.height:.3f} bpp, {100 * white:.0f} %")
        body.append(line)
    yield table(["format", *(f"quality {q}" for q in QUALITIES[2:])], body)


def planes(photograph: Image.Image) -> dict[str, np.ndarray]:
    """Alpha as it is met: rendered text, feathered cut-outs, figures, hard masks, gradients."""
    found: dict[str, Image.Image] = {}
    text = Image.new("L", (600, 400), 0)
    for line in range(13):
        words = f"{line} Anti-aliased words upon nothing"
        ImageDraw.Draw(text).text((10, 10 + 30 * line), words, 255, ImageFont.load_default(22))
    found["text"] = text
    mask = Image.new("L", (600, 400), 0)
    ImageDraw.Draw(mask).ellipse((90, 40, 510, 360), fill=255)
    found["hard mask"], found["feathered cut-out"] = mask, mask.filter(ImageFilter.GaussianBlur(6))
    grey = photograph.convert("L").resize((600, 400))
    found["cut-out by brightness"] = grey.point(lambda v: max(0, min(255, 4 * (v - 110))))
    found["gradient"] = Image.linear_gradient("L").resize((600, 400))
    from matplotlib.figure import Figure

    figure, data = Figure(figsize=(6, 4)), BytesIO()
    axes = figure.subplots()
    axes.plot(np.sin(np.arange(100) / 5), label="sine")
    axes.legend()
    figure.savefig(data, transparent=True, dpi=100)
    found["figure"] = Image.open(data).getchannel("A")
    return {name: np.asarray(im) for name, im in found.items()}


def by_lzma(plane: np.ndarray) -> int:
    """Bytes of what there was before: LZMA2 over rows, each as it is or as differences, whichever is smaller."""
    import lzma

    padded = np.pad(plane, ((1, 0), (1, 0)))
    rows = np.stack([plane, plane - padded[1:, :-1], plane - padded[:-1, 1:]])
    costs = np.abs(rows.view(np.int8).astype(np.int16)).sum(axis=2)
    every = np.arange(len(plane))
    filters = [
        {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 22, "lc": 3, "lp": 0, "pb": 0, "nice_len": 273, "depth": 512}
    ]
    sizes = []
    for kinds in (np.zeros(len(plane), np.intp), costs.argmin(axis=0)):
        packed = lzma.compress(
            np.uint8(kinds).tobytes() + rows[kinds, every].tobytes(), lzma.FORMAT_RAW, filters=filters
        )
        sizes.append(1 + len(packed))
    return min(sizes)


def alpha_part(photograph: Image.Image) -> Iterator[str]:
    """Bytes of alpha planes."""
    from pillow_cwic.codec import exact

    yield "## Alpha\n"
    yield "Bytes of planes of 600x400, beside what LZMA over row differences took before, and lossless WebP.\n"
    body = []
    for name, plane in planes(photograph).items():
        ours, before = len(exact.encode(plane[..., None])), by_lzma(plane)
        webp = len(saved(Image.fromarray(plane).convert("RGB"), **LOSSLESS["WebP"]))
        body.append([name, f"{ours}", f"{before}", f"{100 * (ours / before - 1):+.0f} %", f"{webp}"])
    yield table(["plane", "CWIC", "LZMA", "change", "WebP"], body)


def report(found: list[Size], rows: list[Row], parts: Iterable[str]) -> str:
    """The whole report in markdown."""
    versions = sorted({row.version for row in rows})
    return "\n".join(
        [
            "# Graphics\n",
            f"Measured with {', '.join(versions)}.\n",
            *(size_part(found) if found else []),
            *(curve_part(rows) if rows else []),
            *parts,
        ]
    )


def main() -> None:
    """Command line."""
    shared = Path("../shared/data")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, default=shared / "screens" / "valid")
    parser.add_argument("--photographs", type=Path, default=shared / "kodak" if shared.is_dir() else Path("tests/data"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--codecs", nargs="+", choices=LOSSY, help="measure these curves anew, keep the others")
    parser.add_argument("--coarse", action="store_true", help="every second setting of each curve")
    parser.add_argument("--lossless", action="store_true", help="keep all curves")
    parser.add_argument("--formats", nargs="+", choices=LOSSLESS, help="measure these without loss, keep the others")
    parser.add_argument("--report", action="store_true", help="keep all that has been measured")
    args = parser.parse_args()
    paths, photographs = (sorted(folder.glob("*.png")) for folder in (args.pictures, args.photographs))
    if not paths or not photographs:
        parser.error(f"no PNG pictures in {args.pictures} or {args.photographs}")
    table_path, size_path = args.out / "graphics.csv", args.out / "graphics_lossless.json"
    rows = read_rows(table_path)
    if not (args.report or args.lossless):
        kept = [row for row in rows if args.codecs and row.codec not in args.codecs]
        known = {row.key: row for row in kept}
        names = [name for name in args.codecs or LOSSY if name in available()]
        for batch in run(names, paths, dict(known), 1, 2 if args.coarse else 1):
            known |= {row.key: row for row in batch}
            write_rows(table_path, known.values())
        rows = list(known.values())
    if not args.report:
        sets = {"screens": paths, "photographs": photographs}
        wanted = args.formats or list(LOSSLESS)
        found = [size for size in read_sizes(size_path) if size.codec not in wanted]
        found += [size for name, pictures in sets.items() for size in sizes(name, pictures, wanted)]
        found.sort(key=lambda size: (list(sets).index(size.set), size.picture, list(LOSSLESS).index(size.codec)))
        size_path.write_text(json.dumps([asdict(size) for size in found], indent=1) + "\n")
    found = read_sizes(size_path)
    with Image.open(photographs[-1]) as photograph:
        parts = [*flat_part(), *page_part(), *alpha_part(photograph)]
    (args.out / "graphics.md").write_text(report(found, rows, parts))
    print((args.out / "graphics.md").read_text())


if __name__ == "__main__":
    main()
