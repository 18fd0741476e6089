"""One picture as CWIC and as its peers at equal bytes: real files, and the quality of what is decoded from them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from pillow_cwic import measures, plugin
from pillow_cwic.saving import TARGETS
from pillow_cwic.tools.compare.peers import Codec, SizeError, writable
from pillow_cwic.tools.compare.ssimulacra2 import ssimulacra2

MS_SSIM_SIDE = 161  # five scales of an 11x11 window need a shorter side above (11 - 1) * 2**4 pixels
CURVE = (-30, -15, 15, 30)  # of CWIC's curve: qualities beside that of the file
REACH = 3.0  # files up to so many times as large or small as those compared are points of a curve,
APART = 1.15  # each so many times as large as the next smaller one, and so many at most;
POINTS = 5  # measuring takes longer than most encoders


@dataclass(frozen=True)
class Point:
    """A file's rate in bits per pixel, and its quality; the similarities are None for pictures too small for them."""

    bpp: float
    psnr: float
    ssim: float | None
    ms_ssim: float | None
    ssimulacra2: float | None


@dataclass(frozen=True)
class Entry:
    """One format in a comparison: its file, the picture in it, what that is worth, and a curve through it."""

    name: str
    setting: str
    data: bytes
    picture: Image.Image
    point: Point
    curve: tuple[Point, ...]  # by rising rate


@dataclass(frozen=True)
class Comparison:
    """``entries`` begin with CWIC; ``missing`` names each peer left out, with the reason; ``levels`` is CWIC's map.

    ``tuning`` is that of CWIC's weights, None for a file that needs none.
    """

    original: Image.Image
    entries: tuple[Entry, ...]
    missing: tuple[tuple[str, str], ...]
    levels: Image.Image
    tuning: str | None


def measure(original: Image.Image, decoded: Image.Image, size: int) -> Point:
    """What a file of ``size`` bytes is worth that holds ``decoded``; RGB pictures of one size.

    SSIM is of the luma, MS-SSIM the mean over R, G and B (measures.py), SSIMULACRA2 of the colours as if of sRGB.
    """
    first, second = np.asarray(original), np.asarray(decoded)
    side = min(original.size)
    return Point(
        bpp=8 * size / (original.width * original.height),
        psnr=measures.psnr(first, second),
        ssim=measures.ssim(first, second) if side >= measures.WINDOW else None,
        ms_ssim=measures.ms_ssim(first, second) if side >= MS_SSIM_SIDE else None,
        ssimulacra2=ssimulacra2(first, second),
    )


def compare(im: Image.Image, peers: Sequence[Codec], **options: Any) -> Comparison:
    """A picture as CWIC, saved with ``options``, and as the best file of each peer that is not larger.

    Transparency is laid on white first. Raises OSError and ValueError as ``save`` does.
    """
    original = _opaque(im)
    data = _cwic(original, options)
    with Image.open(BytesIO(data), formats=["CWIC"]) as file:
        assert isinstance(file, plugin.CwicImageFile)
        levels, tuning = file.importance_map(), file.info.get("tuning")
        quality, picture = file.info.get("quality", 100), file.convert("RGB")
        said = "lossless" if "lossless" in file.info else f"quality {quality}"
    point = measure(original, picture, len(data))
    fixed = {name: value for name, value in options.items() if name not in TARGETS}
    fixed["tuning"] = tuning or fixed.get("tuning")
    others = [_cwic(original, {**fixed, "quality": near}) for step in CURVE if 1 <= (near := quality + step) <= 100]
    entries = [Entry("CWIC", said, data, picture, point, _curve(original, point, data, others, "CWIC"))]
    missing = []
    formats = writable()
    for peer in peers:
        if peer.format not in formats:
            missing.append((peer.name, "Pillow cannot write it here"))
            continue
        try:
            entries.append(_entry(original, peer, len(data)))
        except SizeError:
            missing.append((peer.name, f"has no file of at most {len(data):,} bytes"))
    return Comparison(original, tuple(entries), tuple(missing), levels, tuning)


def _opaque(im: Image.Image) -> Image.Image:
    if im.mode.startswith(("I", "F")):
        raise OSError(f"cannot compare mode {im.mode}, which has more than 8 bits a sample: convert it first")
    if not im.has_transparency_data:
        return im.convert("RGB")
    rgba = im.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", im.size, "white"), rgba).convert("RGB")


def _cwic(im: Image.Image, options: dict[str, Any]) -> bytes:
    data = BytesIO()
    im.save(data, "CWIC", **{"icc_profile": None, **options})
    return data.getvalue()


def _entry(original: Image.Image, peer: Codec, size: int) -> Entry:
    files: dict[float, bytes] = {}
    setting = peer.fit(original, size, files)
    data = files.get(setting) or peer.encode(original, setting)
    above = bisect_right(peer.settings, setting)
    for other in (*peer.settings[max(0, above - 3) : above][:1], *peer.settings[above + 1 : above + 2]):
        if other not in files:  # the search's own are often close to one another
            files[other] = peer.encode(original, other)
    picture = peer.decode(data).convert("RGB")
    point = measure(original, picture, len(data))
    return Entry(
        peer.name,
        peer.describe(setting),
        data,
        picture,
        point,
        _curve(original, point, data, list(files.values()), peer.format),
    )


def _curve(original: Image.Image, point: Point, data: bytes, others: list[bytes], format: str) -> tuple[Point, ...]:
    """The point of ``data`` with those of other files that are neither far from it nor close to one another."""
    kept, points = [len(data)], [point]
    for made in sorted(others, key=lambda each: abs(math.log(len(each) / len(data)))):
        ratios = [max(len(made) / size, size / len(made)) for size in kept]
        if len(kept) < POINTS and ratios[0] <= REACH and min(ratios) >= APART:
            with Image.open(BytesIO(made), formats=[format]) as file:
                points.append(measure(original, file.convert("RGB"), len(made)))
            kept.append(len(made))
    return tuple(sorted(points, key=lambda each: each.bpp))
