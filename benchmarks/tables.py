"""The markdown tables of the rate-distortion reports."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from statistics import mean

from benchmarks import metrics
from benchmarks.codecs import CWIC_AT_RATE
from benchmarks.metrics import bd_rate
from benchmarks.rows import BD_RATES, MEASURES, Curves, Measure, Row, curve

TABLE_RATES = (0.2, 0.25, 0.5, 0.75, 1.0)


def table(head: list[str], body: Iterable[list[str]]) -> str:
    """A markdown table, its first column to the left and the others to the right."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def number(value: float | None, form: str = ".2f") -> str:
    """A figure in a table; a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else format(value, form)


def short(m: Measure) -> str:
    """A measure's name without its unit."""
    return m.title.split(" / ")[0]


def unit(m: Measure) -> str:
    """The unit of a measure's figures."""
    return m.title.split(" / ")[1]


def bd_table(anchors: Curves, curves: Curves, ours: str, rates: tuple[float, float] = BD_RATES) -> str:
    """BD-rate of ``ours`` against each anchor, and the quality ranges that the figures stand for."""
    body = []
    for name in anchors:
        line = [name]
        for m in MEASURES:
            pair = curve(anchors, name, m.column), curve(curves, ours, m.column)
            common = metrics.common_range(*pair, rates)
            line += [number(bd_rate(*pair, rates), "+.1f"), f"{common[0]:.1f}–{common[1]:.1f}" if common else "–"]
        body.append(line)
    return table(["against"] + [h for m in MEASURES for h in (short(m) + " / %", f"over {unit(m)}")], body)


def picture_bd_table(pictures: dict[str, Curves], peers: list[str], ours: str) -> str:
    """Mean over the pictures of the BD-rate on each, and the number of pictures that ``ours`` saves bits on."""
    body = []
    for name in peers:
        line = [name]
        for m in MEASURES:
            pairs = [(curve(c, name, m.column), curve(c, ours, m.column)) for c in pictures.values()]
            found = [bd for pair in pairs if (bd := bd_rate(*pair, BD_RATES)) is not None]
            line += [number(mean(found or [math.nan]), "+.1f"), f"{sum(bd < 0 for bd in found)} of {len(found)}"]
        body.append(line)
    return table(["against"] + [h for m in MEASURES for h in (short(m) + " / %", "better on")], body)


def difference_table(pictures: dict[str, Curves], peers: list[str], ours: str, m: Measure) -> str:
    """Quality of ``ours`` less a peer's at the same bytes on each picture: mean, and on how many it is better."""
    body = []
    for name in peers:
        line = [name]
        for rate in TABLE_RATES:
            values = [[curve(c, n, m.column).quality_at(rate) for n in (ours, name)] for c in pictures.values()]
            gains = [own - peer for own, peer in values if own is not None and peer is not None]
            line.append(f"{mean(gains):+.2f} ({sum(g > 0 for g in gains)} of {len(gains)})" if gains else "–")
        body.append(line)
    return table([m.title] + [f"{rate:g} bpp" for rate in TABLE_RATES], body)


def rate_table(curves: Curves, m: Measure) -> str:
    """Quality of the curves at the rates of the table."""
    body = [
        [name] + [number(curve(curves, name, m.column).quality_at(rate)) for rate in TABLE_RATES]
        for name in curves
        if len(curves[name].get(m.column, [])) > 1
    ]
    return table([m.title] + [f"{rate:g} bpp" for rate in TABLE_RATES], body)


def point_lines(published: Curves, measured: Curves, ours: list[str]) -> Iterator[str]:
    """A line for each published operating point that is no curve, with CWIC's tunings at the same rate."""
    for name, points in published.items():
        if all(len(found) == 1 for found in points.values()):
            (rate, _), *_ = points["psnr"]
            figures = []
            for m in MEASURES:
                if m.column in points:
                    own = ", ".join(number(curve(measured, n, m.column).quality_at(rate)) for n in ours)
                    figures.append(f"{m.title} {points[m.column][0][1]:.2f} ({own})")
            names = ", ".join(ours)
            yield f"A single point, {name}, in brackets {names} at its {rate:.3f} bpp: {', '.join(figures)}.\n"


def control_table(rows: Iterable[Row]) -> str:
    """How well CWIC's files meet the wanted rate: real over wanted, its extremes over the pictures."""
    groups: dict[float, list[Row]] = defaultdict(list)
    for row in rows:
        if row.codec == CWIC_AT_RATE.name:
            groups[row.setting].append(row)
    body = []
    for rate, group in sorted(groups.items()):
        low, high = (pick(group, key=lambda r: r.bpp) for pick in (min, max))
        body.append([f"{rate:g}"] + [f"{r.bpp / rate:.4f} ({r.picture})" for r in (low, high)])
    return table(["wanted bpp", "smallest real / wanted", "largest"], body)
