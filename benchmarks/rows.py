"""What the rate-distortion benchmarks measure: rows in a CSV file, and the curves that they make."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.metrics import Curve, decibel

BD_RATES = (0.1, 1.0)  # bits per pixel: BD-rates compare the curves inside this range

Key = tuple[str, str, float]  # codec, picture, setting


@dataclass(frozen=True)
class Row:
    """One picture through one codec at one setting. A picture too small for a measure has none."""

    codec: str
    picture: str
    setting: float
    version: str
    bytes: int
    bpp: float
    psnr: float
    ssim: float
    ms_ssim: float | None
    encode_s: float
    decode_s: float
    ssimulacra2: float | None = None  # last and optional, as it came last: older files lack it

    @property
    def key(self) -> Key:
        return self.codec, self.picture, self.setting


@dataclass(frozen=True)
class Measure:
    """A measure of quality: its heading, its attribute in Row, its name in the published curves, its scale."""

    title: str
    column: str
    published: str
    scale: Callable[[float], float]


MEASURES = (
    Measure("PSNR / dB", "psnr", "psnr_rgb", float),
    Measure("SSIM / dB", "ssim", "ssim_luma", decibel),
    Measure("MS-SSIM / dB", "ms_ssim", "ms_ssim", decibel),
    Measure("SSIMULACRA2 / points", "ssimulacra2", "ssimulacra2", float),
)

Curves = dict[str, dict[str, list[tuple[float, float]]]]  # name of the curve -> column of the measure -> points


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV file; none if there is no file."""
    if not path.exists():
        return []
    kinds = {"codec": str, "picture": str, "version": str, "bytes": int}

    def parse(record: dict[str, str]) -> Row:
        values: dict[str, Any] = {k: kinds.get(k, float)(v) if v else None for k, v in record.items()}
        return Row(**values)

    with path.open(newline="") as file:
        return [parse(record) for record in csv.DictReader(file)]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Writes the rows in a fixed order, so that two runs differ only where figures do."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in sorted(rows, key=lambda r: (r.codec, r.picture, r.setting)))


def mean_curves(rows: Iterable[Row]) -> Curves:
    """For each codec the points (mean bpp, quality), one a setting; SSIM and MS-SSIM averaged first, then in dB."""
    groups: dict[tuple[str, float], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.codec, row.setting].append(row)
    curves: Curves = defaultdict(lambda: defaultdict(list))
    for (codec, _), group in groups.items():
        for m in MEASURES:
            values = [getattr(row, m.column) for row in group]
            if None not in values:
                curves[codec][m.column].append((mean(row.bpp for row in group), m.scale(mean(values))))
    return curves


def picture_curves(rows: Iterable[Row]) -> dict[str, Curves]:
    """The curves of each picture alone, by its name."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.picture].append(row)
    return {picture: mean_curves(group) for picture, group in groups.items()}


def published_curves(path: Path | None) -> Curves:
    """Curves from a JSON file {name: {bpp: [...], psnr_rgb: [...], ms_ssim: [...] or null, ...}}."""
    if path is None or not path.exists():
        return {}
    return {
        name: {
            m.column: [(r, m.scale(q)) for r, q in zip(curve["bpp"], curve[m.published], strict=True)]
            for m in MEASURES
            if curve.get(m.published)
        }
        for name, curve in json.loads(path.read_text()).items()
    }


def curve(curves: Curves, name: str, column: str) -> Curve:
    """One curve of a set, empty if it is not there."""
    return Curve.of(curves.get(name, {}).get(column, []))
