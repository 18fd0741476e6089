"""Freeze trained operating points of ``cwic2018``: ``python -m training.paper_export --runs runs/A runs/B runs/C``.

Each run of ``training.paper`` with ``--r``, after ``training.paper_context``, becomes a weights file: networks as
float16, predictors as the integers of docs/FORMAT.md section 7. All are entered into the registry under one name and
tuning, in place of those before; ``bpp`` of each is the mean on the validation split, by which encoders pick. One
model card for all.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from pillow_cwic import models
from pillow_cwic.cwic2018.networks import Paper, count_macs
from training.export import drop_other_points, licences, release
from training.networks.cuboid import MACS, CuboidModel, to_integers
from training.paper import load_average
from training.paper_context import load_context
from training.weights import FAMILIES, canonical

NAME, TUNING = "cwic2018", "mse"


def freeze(model: Paper, context: CuboidModel, facts: dict[str, str]) -> bytes:
    """The weights file of a model; ``facts`` go into its metadata."""
    weights, biases = to_integers(context)
    tensors = {"context.weights": torch.from_numpy(weights), "context.biases": torch.from_numpy(biases)}
    tensors |= {name: value.to(torch.float16).contiguous() for name, value in model.state_dict().items()}
    of_model = {"config": json.dumps(model.config.to_dict()), "name": NAME, "tuning": TUNING, "family": FAMILIES[NAME]}
    return canonical(save(tensors, {**of_model, **facts}))


def card(rows: list[dict[str, Any]], model: Paper, data: list[str]) -> str:
    """The model card, Markdown: what the model is, and of each operating point how it was trained and what it gives."""
    macs = ", ".join(f"{part} {value / 1000:.1f}" for part, value in count_macs(model.config).items())
    lines = [
        f"# {NAME}",
        "",
        "The model of Li et al., CVPR 2018; `docs/paper.md` says what is the paper's and what was chosen. Written by",
        "`training/paper_export.py`.",
        "",
        f"Width {model.config.width} (the paper's is 128), {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M",
        f"parameters; kMAC per pixel: {macs}; {MACS} MAC a coded bit. Config: `{json.dumps(model.config.to_dict())}`",
        "",
        "## Training",
        "",
        *data,
        "",
        "## Operating points",
        "",
        "Bits per pixel on the validation split; of the map, of the codes, and of the codes before entropy coding.",
        "",
        "| r | bpp | map | codes | bits kept | excess of integers / % | weights |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        figures = [row["bpp"], row["map_real"], row["codes_real"], row["bits_kept"]]
        cells = [f"{row['r']:g}", *(f"{x:.4f}" for x in figures), f"{100 * row['excess']:+.3f}", f"`{row['file']}`"]
        lines.append("| " + " | ".join(cells) + " |")
    for row in rows:
        lines += ["", f"## r = {row['r']:g}", "", *(f"* {stage}" for stage in row["ended"])]
        lines += [f"* predictors: {row['steps']} steps in {row['minutes']:g} minutes"]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="+", required=True)
    parser.add_argument("--first", type=Path, help="run of the first stage, for the model card")
    parser.add_argument("--manifest", type=Path, help="MANIFEST.jsonl of the training pictures, for the model card")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for run in args.runs:
        model, facts = load_average(run)
        found = json.loads((run / "context.json").read_text())
        r = facts["schedule"]["r"]
        data = freeze(model, load_context(run, model.config), {"r": str(r), "step": str(facts["step"])})
        path = release(data, NAME, TUNING, f"r{r:g}", bpp=round(found["bpp"], 4))
        rows.append({"r": r, "file": path.name, "ended": facts["ended"], **found})
        print(path)
    drop_other_points(NAME, TUNING, {f"r{row['r']:g}" for row in rows})
    lines = licences(args.manifest) if args.manifest else ["Training pictures: not stated."]
    if args.first:
        lines += [
            f"The first stage, which all share: {json.loads((args.first / 'state.json').read_text())['ended'][-1]}."
        ]
    (models.FOLDER / f"{NAME}-{TUNING}.md").write_text(card(sorted(rows, key=lambda x: x["r"]), model, lines))


if __name__ == "__main__":
    main()
