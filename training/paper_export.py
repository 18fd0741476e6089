"""Freeze trained operating points of ``cwic2018``: ``python -m training.paper_export --data DIR --runs runs/A runs/B``.

Each run of ``training.paper`` with ``--r``, after ``training.paper_context``, becomes a weights file: networks with
weights of 8 bits, rounded on pictures of ``--data``, predictors as the integers of docs/FORMAT.md section 7. All are
entered into the registry under one name and tuning, in place of those before; ``bpp`` of each is the mean on the
validation split, by which encoders pick. One model card for all.

``--data DIR --valid DIR --convert FILE ..`` does so with weights files whose networks are float16, as they once were,
and puts what the pictures in ``--valid`` then take into the model card.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from pillow_cwic import measures, models
from pillow_cwic.cwic2018.networks import STRIDE, Paper, PaperConfig, count_macs
from pillow_cwic.cwic2018.runtime import PaperNetworks
from pillow_cwic.models.weights import read
from pillow_cwic.rate import decibel
from training.data import find_pictures, load_pictures
from training.export import drop_other_points, licences, release
from training.networks.cuboid import MACS, CuboidModel, from_integers, to_integers
from training.paper import load_average
from training.paper_context import compare, load_context, symbols
from training.paper_rounding import round_networks
from training.quantise import crops
from training.weights import FAMILIES, canonical

NAME, TUNING = "cwic2018", "mse"
CROPS = 32  # of training pictures, on which weights are rounded


def freeze(model: Paper, context: CuboidModel, facts: dict[str, str], pictures: Tensor) -> bytes:
    """The weights file of a model, rounded on pictures (B, 3, H, W); ``facts`` go into its metadata."""
    weights, biases = to_integers(context)
    tensors = {"context.weights": torch.from_numpy(weights), "context.biases": torch.from_numpy(biases)}
    tensors |= round_networks(model, pictures)
    of_model = {"config": json.dumps(model.config.to_dict()), "name": NAME, "tuning": TUNING, "family": FAMILIES[NAME]}
    return canonical(save(tensors, {**of_model, **facts}))


def row_line(row: dict[str, Any]) -> str:
    """The line of an operating point in the model card's table."""
    figures = [row["bpp"], row["map_real"], row["codes_real"], row["bits_kept"]]
    cells = [f"{row['r']:g}", *(f"{x:.4f}" for x in figures), f"{100 * row['excess']:+.3f}", f"`{row['file']}`"]
    return "| " + " | ".join(cells) + " |"


@torch.no_grad()
def quality(model: Paper | PaperNetworks, pictures: list[np.ndarray]) -> np.ndarray:
    """Means over pictures of PSNR and of SSIM in dB, at the rate that the model was trained for."""
    found = []
    for pixels in pictures:
        whole = pixels[: pixels.shape[0] // STRIDE * STRIDE, : pixels.shape[1] // STRIDE * STRIDE]
        codes = symbols(model, torch.from_numpy(whole.astype(np.float32)).permute(2, 0, 1)[None] / 255 - 0.5)[1]
        shown = (model.decoder(codes)[0] + 0.5).mul_(255).clamp_(0, 255).round_().to(torch.uint8)
        shown = shown.permute(1, 2, 0).contiguous().numpy()
        found.append((measures.psnr(whole, shown), decibel(measures.ssim(whole, shown))))
    return np.mean(found, axis=0)


def convert(file: Path, pictures: Tensor, valid: list[np.ndarray]) -> Path:
    """Releases an operating point whose networks are float16 in ``file``, and renews its line in the model card.

    Prints what that has changed.
    """
    weights = read(file.read_bytes())
    model = Paper(PaperConfig.from_dict(weights.config))
    context = CuboidModel(model.config.planes, model.config.channels)
    from_integers(context, *weights.context())
    model.load_state_dict({name: torch.from_numpy(value.astype(np.float32)) for name, value in weights.arrays.items()})
    facts = {key: weights.metadata[key] for key in ("r", "step")}
    data, r = freeze(model, context, facts, pictures), float(facts["r"])
    networks = PaperNetworks(read(data), "cpu")
    found = compare(networks, context, valid)
    before, after = quality(model, valid), quality(networks, valid)
    changes = [f"{name} {x:.3f} dB, {y - x:+.4f}" for name, x, y in zip(("PSNR", "SSIM"), before, after, strict=True)]
    print(f"r = {r:g}: {'; '.join(changes)}", flush=True)
    path = release(data, NAME, TUNING, f"r{r:g}", bpp=round(found["bpp"], 4))
    of_model = models.FOLDER / f"{NAME}-{TUNING}.md"
    line = row_line({**found, "r": r, "file": path.name})
    lines = [line if each.startswith(f"| {r:g} |") else each for each in of_model.read_text().splitlines()]
    of_model.write_text("\n".join(lines) + "\n")
    return path


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
    lines += map(row_line, rows)
    for row in rows:
        lines += ["", f"## r = {row['r']:g}", "", *(f"* {stage}" for stage in row["ended"])]
        lines += [f"* predictors: {row['steps']} steps in {row['minutes']:g} minutes"]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sources = parser.add_mutually_exclusive_group(required=True)
    sources.add_argument("--runs", type=Path, nargs="+")
    sources.add_argument("--convert", type=Path, nargs="+", help="weights files whose networks are float16")
    parser.add_argument("--data", type=Path, required=True, help="folder of training pictures, to round on")
    parser.add_argument("--valid", type=Path, help="folder of validation pictures, for --convert")
    parser.add_argument("--first", type=Path, help="run of the first stage, for the model card")
    parser.add_argument("--manifest", type=Path, help="MANIFEST.jsonl of the training pictures, for the model card")
    args = parser.parse_args()
    pictures = crops(args.data, CROPS)
    if args.convert:
        if not args.valid:
            parser.error("--convert wants --valid")
        valid = load_pictures(find_pictures(args.valid))
        for file in args.convert:
            print(convert(file, pictures, valid), flush=True)
        return
    rows: list[dict[str, Any]] = []
    for run in args.runs:
        model, facts = load_average(run)
        found = json.loads((run / "context.json").read_text())
        r = facts["schedule"]["r"]
        data = freeze(model, load_context(run, model.config), {"r": str(r), "step": str(facts["step"])}, pictures)
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
