"""What each part of the codec is worth: models trained alike without it, in one table.

python -m benchmarks.ablation [--list benchmarks/ablations.json] [--runs runs/proxy] [--results docs/results]

Trains nothing: ``python -m training.proxy`` does, and leaves ``log.csv`` in each run's folder. The list is JSON::

    {"baseline": RUN, "ablations": [{"what": TEXT, "runs": [RUN, ...], "rates": [t, ...]}, {"what": TEXT, "effort": E}]}

An ablation of several runs is one model a rate: of each run counts the point at its own rate parameter t alone, which
``rates`` gives, and of the baseline the points at the same t. An ablation with ``effort`` is not trained: it is the
encoder at that effort against the default one, as ``python -m benchmarks.effort`` has measured them.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.effort import change, default_effort
from benchmarks.rows import MEASURES, Row, read_rows
from benchmarks.tables import number, table
from training.proxy import rate_change

PSNR = next(m for m in MEASURES if m.column == "psnr")

Points = list[tuple[float, float]]  # bits per pixel and PSNR, rising


@dataclass(frozen=True)
class Trained:
    """The runs of an ablation: what they took, and the curve of their last validation."""

    steps: tuple[int, ...]
    minutes: tuple[float, ...]
    points: Points


def last_validation(log: Path) -> list[dict[str, str]]:
    """The rows of the last step in a log."""
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if row["step"] == rows[-1]["step"]]


def trained(folder: Path, runs: list[str], rates: list[float] | None) -> Trained | None:
    """What is in the logs of the runs; None if one is missing. With ``rates``, the point of run n at rates[n] alone."""
    logs = [folder / run / "log.csv" for run in runs]
    if not all(log.exists() for log in logs):
        return None
    found = [last_validation(log) for log in logs]
    rows = [row for group in found for row in group]
    if rates is not None:
        rows = [row for group, t in zip(found, rates, strict=True) for row in group if float(row["t"]) == t]
    return Trained(
        steps=tuple(int(group[0]["step"]) for group in found),
        minutes=tuple(float(group[0]["minutes"]) for group in found),
        points=sorted((float(row["bpp"]), float(row["psnr"])) for row in rows),
    )


def overlap(first: Points, second: Points) -> tuple[float, float] | None:
    """The PSNR range that both curves reach, or None."""
    low, high = max(first[0][1], second[0][1]), min(first[-1][1], second[-1][1])
    return (low, high) if low < high else None


def line(entry: dict[str, Any], folder: Path, baseline: str, efforts: list[Row], default: int) -> list[str]:
    """The row of one ablation."""
    if "effort" in entry:
        found = change(efforts, default, entry["effort"], PSNR) if efforts else None
        cell = "not run" if found is None else number(found, "+.1f")
        return [entry["what"], "–", "–", cell, "–"]
    names, rates = entry["runs"], entry.get("rates")
    runs, anchor = trained(folder, names, rates), trained(folder, [baseline] * len(names), rates)
    if runs is None:
        return [entry["what"], "–", "–", "not run", "–"]
    cells = [" + ".join(f"{n}" for n in runs.steps), " + ".join(f"{m:g}" for m in runs.minutes)]
    common = overlap(anchor.points, runs.points) if anchor else None
    if anchor is None or common is None:
        reached = sorted(quality for _, quality in runs.points)
        return [entry["what"], *cells, "–", f"none; it reaches {reached[0]:.1f}–{reached[-1]:.1f}"]
    saving = rate_change(anchor.points, runs.points)
    return [entry["what"], *cells, number(saving, "+.1f"), f"{common[0]:.1f}–{common[1]:.1f}"]


def report(listed: dict[str, Any], folder: Path, efforts: list[Row], default: int) -> str:
    """The report in markdown."""
    baseline = listed["baseline"]
    entries = [{"what": "**the whole codec**", "runs": [baseline]}, *listed["ablations"]]
    body = [line(entry, folder, baseline, efforts, default) for entry in entries]
    return "\n".join(
        [
            "# Ablations\n",
            "Trained alike: the same pictures, seed and machine time. Change: the rate that is needed beyond the whole",
            "codec's at equal PSNR, the mean over the PSNR range that both reach on the validation split; above zero,",
            "the part is worth its place. Bits of trained rows are ideal code lengths of rounded codes. The encoder",
            "search takes no training: effort 0 against the default one, in real files of the released weights. A",
            "model for one rate spends all its time on that rate; one for all has as much for all together.\n",
            table(["", "steps", "minutes", "change / %", "over dB"], body),
        ]
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", type=Path, default=Path(__file__).with_name("ablations.json"))
    parser.add_argument("--runs", type=Path, default=Path("runs/proxy"), help="folder of the training runs")
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    efforts = read_rows(args.results / "effort.csv")
    text = report(json.loads(args.list.read_text()), args.runs, efforts, default_effort() if efforts else 0)
    (args.results / "ablation.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
