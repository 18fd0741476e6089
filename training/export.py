"""Freeze a run into a released model: ``python -m training.export --run runs/NAME --data DIR [--tuning mse]``.

Takes the moving average of the weights and makes integers of it (quantise.py), calibrated on the pictures in
``--data``; ``--integers`` takes a file that was fine-tuned instead. The file is named by its hash and entered into
``pillow_cwic/models/registry.json``, where it becomes the one that encoders use; a model card is written beside it, and
the float weights are kept in ``training/masters``.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import shutil
from pathlib import Path

from pillow_cwic import models
from pillow_cwic.models.config import Config
from pillow_cwic.models.weights import read
from training.networks.model import Cwic1, count_macs
from training.quantise import crops, freeze
from training.released import MASTERS
from training.validate import draw_curve
from training.weights import FAMILIES, facts_of, load_average, masters

LOGS = Path(__file__).parents[1] / "docs" / "results"
IMAGES = Path(__file__).parents[1] / "docs" / "images"


def release(data: bytes, name: str, tuning: str, point: str = "", **more: float) -> Path:
    """Writes a weights file and enters it first in the registry, in place of the model's former one.

    ``point`` names one operating point of several, and ``more`` holds further fields of ``models.Model``.
    """
    digest = hashlib.sha256(data).hexdigest()
    path = models.FOLDER / f"{name}-{tuning}-{digest[:12]}.safetensors"
    path.write_bytes(data)
    registry = models.FOLDER / "registry.json"
    entries = json.loads(registry.read_text()) if registry.exists() else []
    entry = {"name": name, "tuning": tuning, "family": FAMILIES[name], "sha256": digest, "file": path.name, **more}
    entry |= {"point": point} if point else {}
    former = [e for e in entries if (e["name"], e["tuning"], e.get("point", "")) == (name, tuning, point)]
    for old in former:
        if old["sha256"] != digest:
            (models.FOLDER / old["file"]).unlink(missing_ok=True)  # until 1.0.0 new weights replace the old ones
    entries = [entry, *(e for e in entries if e not in former)]
    registry.write_text(json.dumps(entries, indent=2) + "\n")
    return path


def drop_other_points(name: str, tuning: str, kept: set[str]) -> None:
    """Takes the operating points of a model that are not among those kept out of the registry, with their weights."""
    registry = models.FOLDER / "registry.json"
    entries = json.loads(registry.read_text())
    others = [e for e in entries if (e["name"], e["tuning"]) == (name, tuning) and e.get("point", "") not in kept]
    for old in others:
        (models.FOLDER / old["file"]).unlink(missing_ok=True)
    registry.write_text(json.dumps([e for e in entries if e not in others], indent=2) + "\n")


def licences(manifest: Path) -> list[str]:
    """Sentences for the model card: how many pictures, and where their licences were read."""
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    assumed = sum(row["licence"].startswith("ASSUMED") for row in rows)
    sources = len({row["source"] for row in rows})
    return [
        f"{len(rows)} photographs from {sources} public projects, longer side up to "
        f"{max(max(row['width'], row['height']) for row in rows)} pixels.",
        f"For {len(rows) - assumed} of them the licence (CC0, CC BY, CC BY-SA, public domain and the like) was read at "
        f"the source; for {assumed} it is assumed from the project that publishes them.",
    ]


def card(path: Path, name: str, tuning: str, model: Cwic1, facts: dict, log: list[dict], data: list[str]) -> str:
    """The model card, Markdown: what the model is, what it was trained on and for how long, how the run went."""
    macs = count_macs(model.config)
    schedule = facts["schedule"]
    parts = ", ".join(f"{part} {value / 1000:.2f}" for part, value in macs.items())
    last = [row for row in log if row["step"] == log[-1]["step"]]
    lines = [
        f"# {name}, tuning {tuning}",
        "",
        f"Weights: `{path.name}`, {path.stat().st_size / 1e6:.2f} MB of integers, made by `training/quantise.py` and "
        "`training/rounding.py` of the float weights in `training/masters`, which the rest of this page is about; what "
        "that gives away is in `docs/results/integers.md`.",
        "",
        "## Network",
        "",
        f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters. kMAC per pixel: {parts}; "
        f"to decode {(macs['context'] + macs['synthesis']) / 1000:.2f}.",
        "",
        f"Config: `{json.dumps(model.config.to_dict())}`",
        "",
        "## Training",
        "",
        *data,
        "",
        f"{facts['step']} steps of {schedule['batch']} crops of "
        f"{schedule['crop']} x {schedule['crop']} pixels, {facts['seconds'] / 60:.0f} minutes of machine time on "
        f"{facts['machine']}. Staged: without the importance map for the first "
        f"{schedule['map_from']:.0%} of the run, then with it; learning rate {schedule['lr']} falling to "
        f"{schedule['lr_end']} by a cosine.",
        "",
        "## Validation at the end",
        "",
        "Ideal code lengths, on part of the validation split; measurements on real files are in `docs/results`.",
        "",
        "| t | bits per pixel | PSNR-RGB / dB | share of the map |",
        "|---|---|---|---|",
        *(f"| {r['t']} | {float(r['bpp']):.3f} | {float(r['psnr']):.2f} | {float(r['map_share']):.1%} |" for r in last),
        "",
        f"![Curves during training](../../docs/images/{name}-{tuning}-training.png)",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    integers = parser.add_mutually_exclusive_group(required=True)
    integers.add_argument("--data", type=Path, help="folder of training pictures, to calibrate the integers on")
    integers.add_argument("--integers", type=Path, help="weights file of integers that were made of this run")
    parser.add_argument("--name", default="cwic1")
    parser.add_argument("--tuning", default="mse")
    parser.add_argument("--manifest", type=Path, help="MANIFEST.jsonl of the training pictures, for the model card")
    parser.add_argument("--note", help="a sentence for the model card, on what the run's own facts do not say")
    args = parser.parse_args()
    model, facts = load_average(args.run)
    said = facts_of(args.name, args.tuning, facts)
    if args.integers:
        data = args.integers.read_bytes()
        model.config = Config.from_dict(read(data).config)
    else:
        data = freeze(model, crops(args.data), said)
    path = release(data, args.name, args.tuning)
    (MASTERS / f"{args.name}-{args.tuning}.safetensors").write_bytes(masters(model, said))
    with (args.run / "log.csv").open(newline="") as f:
        log = list(csv.DictReader(f))
    data_lines = licences(args.manifest) if args.manifest else ["Training pictures: not stated."]
    data_lines += [args.note] if args.note else []
    text = card(path, args.name, args.tuning, model, facts, log, data_lines)
    (models.FOLDER / f"{args.name}-{args.tuning}.md").write_text(text)
    shutil.copyfile(args.run / "log.csv", LOGS / f"{args.name}-{args.tuning}-training.csv")
    draw_curve(args.run / "log.csv", IMAGES / f"{args.name}-{args.tuning}-training.png")
    print(f"{path.name}: {len(data) / 1e6:.2f} MB, step {facts['step']}, {facts['seconds'] / 60:.0f} minutes")


if __name__ == "__main__":
    main()
