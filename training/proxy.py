"""The fast proxy that settles design questions: ``python -m training.proxy --data DIR --valid DIR NAME [NAME ..]``.

Each experiment of ``training/experiments.json`` is trained alike: same seed, same pictures, the same machine time,
one thread; and validated on the validation split. What is compared is the area between validation curves: the mean
saving in rate at equal PSNR (BD-rate) against the experiment called ``baseline``. Rows go into
``docs/experiments.md`` by hand, because hypothesis and prediction come before the measurement.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from training.data import Crops, find_pictures, load_pictures
from training.train import Run, configured, train
from training.variants import VARIANTS

EXPERIMENTS = Path(__file__).with_name("experiments.json")
BASELINE = "baseline"


def curve(run: Path) -> list[tuple[float, float]]:
    """Bits per pixel and PSNR of the last validation of a run, in rising order."""
    with (run / "log.csv").open(newline="") as f:
        rows = list(csv.DictReader(f))
    last = [r for r in rows if r["step"] == rows[-1]["step"]]
    return sorted((float(r["bpp"]), float(r["psnr"])) for r in last)


def rate_change(anchor: list[tuple[float, float]], test: list[tuple[float, float]]) -> float:
    """Mean change of log rate at equal PSNR, piecewise linear, over the PSNR range both reach; in percent."""
    low = max(anchor[0][1], test[0][1])
    high = min(anchor[-1][1], test[-1][1])
    quality = np.linspace(low, high, 200)

    def log_rate(points: list[tuple[float, float]]) -> np.ndarray:
        bpp, psnr = np.array(points).T
        return np.interp(quality, psnr, np.log(bpp))

    return float(100 * (np.exp(np.mean(log_rate(test) - log_rate(anchor))) - 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="experiments; all of them if none is named")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--valid", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/proxy"))
    parser.add_argument("--minutes", type=float, default=9.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    experiments = json.loads(EXPERIMENTS.read_text())
    pictures, valid = load_pictures(find_pictures(args.data)), load_pictures(find_pictures(args.valid))
    for name in args.names or experiments:
        folder = args.runs / name
        folder.mkdir(parents=True, exist_ok=True)
        config, schedule = configured(experiments[name])
        schedule = replace(schedule, minutes=args.minutes, valid_every=10**9)
        variant = VARIANTS[experiments[name].get("variant", "cwic1")]
        run = Run(folder, config, schedule, torch.device("cpu"), variant)
        if (folder / "state.json").exists():
            run.restore()
        if run.progress < 1:
            train(run, Crops(pictures, schedule.crop, schedule.batch, schedule.seed), valid)
        if (args.runs / BASELINE / "log.csv").exists():
            change = rate_change(curve(args.runs / BASELINE), curve(folder))
            print(f"== {name}: {run.step} steps, {change:+.2f} % rate at equal PSNR against {BASELINE}", flush=True)


if __name__ == "__main__":
    main()
