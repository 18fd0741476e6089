"""A comparison as one HTML page that needs nothing else: pictures, files, style and script lie within it."""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Callable, Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from string import Template
from typing import NamedTuple

from PIL import Image

from pillow_cwic.rate import decibel
from pillow_cwic.tools.compare.heat import RAMP, heat
from pillow_cwic.tools.compare.measure import Comparison, Entry, Point

WITH_PROFILE = ("RGB", "RGBA")  # modes whose ICC profile goes along with the pictures, which are RGB
SUFFIXES = {"CWIC": "cwic", "JPEG": "jpg", "JPEG 2000": "jp2", "JPEG XL": "jxl"}  # others are the name in small letters
WIDTH, HEIGHT = 340, 240  # of a plot
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 34  # its margins


class _Page(Template):
    delimiter = "%%"


class _Measure(NamedTuple):
    name: str
    of: Callable[[Point], float | None]
    digits: int
    axis: Callable[[Point], float | None]  # the same on a scale that a plot can show
    unit: str


def _decibel(value: float | None) -> float | None:
    return None if value is None else decibel(value)


MEASURES = (
    _Measure("PSNR", lambda p: p.psnr, 2, lambda p: p.psnr, "dB"),
    _Measure("SSIM", lambda p: p.ssim, 4, lambda p: _decibel(p.ssim), "dB, −10 log₁₀(1 − SSIM)"),
    _Measure("MS-SSIM", lambda p: p.ms_ssim, 4, lambda p: _decibel(p.ms_ssim), "dB, −10 log₁₀(1 − MS-SSIM)"),
    _Measure("SSIMULACRA2", lambda p: p.ssimulacra2, 1, lambda p: p.ssimulacra2, "points"),
)


def write(found: Comparison, name: str, profile: bytes | None = None) -> str:
    """The page. ``name`` is the picture's, ``profile`` the ICC profile of all the pictures."""
    ours, size = found.entries[0], found.original.size
    names = ["Original", *(each.name for each in found.entries)]
    shots = [{"name": "Original", "note": "", "src": _picture(found.original, profile)}]
    shots += [
        {"name": each.name, "note": f"{_number(each.point.psnr, 2)} dB", "src": _picture(each.picture, profile)}
        for each in found.entries
    ]
    tuning = "every pixel exact" if found.tuning is None else f"tuning {escape(found.tuning)}"
    map_side = [100 * 16 * count / side for count, side in zip(found.levels.size, size, strict=True)]
    missing = "; ".join(f"{peer} {reason}" for peer, reason in found.missing)
    return _Page(Path(__file__).with_name("page.html").read_text(encoding="utf-8")).substitute(
        name=escape(name),
        width=size[0],
        height=size[1],
        summary=f"{size[0]} × {size[1]} pixels. CWIC, {tuning}: {len(ours.data):,} bytes, "
        f"{ours.point.bpp:.3f} bits per pixel; no other file has more. Drag the divider to compare.",
        options_left=_options(names, 0),
        options_right=_options(names, 1),
        count=len(names),
        map=_uri("image/png", _png(heat(found.levels), None)),
        map_width=f"{map_side[0]:.4f}",
        map_height=f"{map_side[1]:.4f}",
        ramp=", ".join(f"rgb{colour}" for colour in RAMP),
        rows="\n".join(_row(each, n, found.entries, Path(name).stem) for n, each in enumerate(found.entries)),
        missing=f" Left out: {escape(missing)}." if missing else "",
        key="".join(f"<li>{_dot(n)}{escape(each.name)}</li>" for n, each in enumerate(found.entries)),
        plots="\n".join(_figure(measure, found.entries) for measure in MEASURES),
        shots=json.dumps(shots).replace("<", "\\u003c"),
    )


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{b64encode(data).decode()}"


def _png(im: Image.Image, profile: bytes | None) -> bytes:
    data = BytesIO()
    im.save(data, "PNG", icc_profile=profile)
    return data.getvalue()


def _picture(im: Image.Image, profile: bytes | None) -> str:
    return _uri("image/png", _png(im, profile))


def _options(names: Sequence[str], chosen: int) -> str:
    return "".join(
        f'<option value="{n}"{" selected" if n == chosen else ""}>{escape(name)}</option>'
        for n, name in enumerate(names)
    )


def _dot(n: int) -> str:
    return f'<span class="dot" style="background: var(--c{n % 7})"></span>'


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return "–"
    return "∞" if math.isinf(value) else f"{value:.{digits}f}"


def _row(entry: Entry, n: int, entries: Sequence[Entry], stem: str) -> str:
    """A row of the table; the format's name is a link that saves the file."""
    suffix = SUFFIXES.get(entry.name, entry.name.lower())
    link = f'<a download="{escape(stem)}.{suffix}" href="{_uri("application/octet-stream", entry.data)}">'
    cells = [f"<td>{len(entry.data):,}</td>"]
    for measure in MEASURES:
        value = measure.of(entry.point)
        values = [each for e in entries if (each := measure.of(e.point)) is not None]
        best = ' class="best"' if len(values) > 1 and value == max(values) else ""
        cells.append(f"<td{best}>{_number(value, measure.digits)}</td>")
    cells.append(f"<td>{entry.point.bpp:.3f}</td>")
    cells.append(f'<td class="soft">{escape(entry.setting)}</td>')
    return f'<tr><th scope="row">{_dot(n)}{link}{escape(entry.name)}</a></th>{"".join(cells)}</tr>'


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``, about ``count``."""
    rough = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= rough)
    return [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def _figure(measure: _Measure, entries: Sequence[Entry]) -> str:
    """One measure over the rate, drawn as SVG; nothing if the picture is too small for the measure."""
    curves = [
        [(p.bpp, value) for p in each.curve if (value := measure.axis(p)) is not None and math.isfinite(value)]
        for each in entries
    ]
    points = [point for curve in curves for point in curve]
    if not points:
        return ""
    (left, right), (low, high) = (_range([point[axis] for point in points]) for axis in (0, 1))
    left = max(left, 0.0)

    def x(value: float) -> float:
        return LEFT + (value - left) / (right - left) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    unit = measure.unit.partition(",")[0]
    parts = []
    for tick in _ticks(low, high):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in _ticks(left, right):
        parts.append(f'<text x="{x(tick):.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{tick:.3g}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 3}" text-anchor="end">bits per pixel</text>')
    for n, (entry, curve) in reversed(list(enumerate(zip(entries, curves, strict=True)))):  # CWIC on top
        colour = f"var(--c{n % 7})"
        line = " ".join(f"{x(rate):.1f},{y(value):.1f}" for rate, value in curve)
        parts.append(f'<polyline points="{line}" style="stroke: {colour}"/>')
        for rate, value in curve:
            own = ' class="at" r="6"' if rate == entry.point.bpp else ' r="2.5"'
            label = f"{escape(entry.name)}: {rate:.3f} bpp, {value:.2f} {unit}"
            parts.append(
                f'<circle{own} cx="{x(rate):.1f}" cy="{y(value):.1f}" style="fill: {colour}">'
                f"<title>{label}</title></circle>"
            )
    title = f"{measure.name} over bits per pixel"
    return (
        f"<figure><figcaption>{measure.name} <span class='soft' style='font-weight: 400'>/ {measure.unit}</span>"
        f'</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">{"".join(parts)}</svg>'
        "</figure>"
    )
