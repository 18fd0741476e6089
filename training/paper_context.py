"""Fit the entropy model of a trained ``cwic2018``: ``python -m training.paper_context --data DIR --valid DIR --run R``.

The networks of the run stay as they are; the predictors of map and codes learn to predict the bits that they make of
training pictures. In half of the pictures the map is shifted, as it is for other rates. At the end the float
predictors and the integer ones, which code real streams, are compared on the validation pictures: their rates must
agree within 1 %. Writes ``context.safetensors`` and ``context.json`` into the run folder.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pillow_cwic.coding import PlaneModel
from pillow_cwic.cwic2018.networks import STRIDE, Paper, PaperConfig, binarize, first_channels, quantise
from pillow_cwic.transforms.torch.context_weights import LARGEST_WEIGHT
from training.data import Crops, find_pictures, load_pictures
from training.networks.cuboid import CuboidModel, to_integers
from training.paper import load_average
from training.train import flushed_denormals


@torch.no_grad()
def symbols(model: Paper, picture: Tensor, shift: Tensor | float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Levels (B, 1, h, w), codes and mask (B, n, h, w) of pictures in [-0.5, 0.5]; ``shift`` moves the map, 0 to 1."""
    c = model.config
    features = model.encoder.features(picture)
    level = quantise((model.importance(features).float() + shift).clamp(0, 1), c.levels)
    mask = first_channels(level, c.channels, c.levels)
    return level, binarize(model.encoder(features).float()) * mask, mask


@flushed_denormals()
def fit(model: Paper, crops: Crops, minutes: float, lr: float = 3e-3) -> tuple[CuboidModel, int]:
    """Trains predictors for so many minutes of the process's own time; returns them and the number of steps."""
    c = model.config
    context = CuboidModel(c.planes, c.channels)
    optimiser = torch.optim.AdamW(context.parameters(), lr=lr, weight_decay=0.0)
    start, steps, total = time.process_time(), 0, 0.0
    while (progress := (time.process_time() - start) / (60 * minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = lr * min(1.0, (steps + 1) / 50) * 0.5 * (1 + math.cos(math.pi * progress)) + 1e-5
        picture = crops.next()
        shift = (torch.rand(len(picture), 1, 1, 1) - 0.5) * (torch.arange(len(picture))[:, None, None, None] % 2)
        level, codes, mask = symbols(model, picture.contiguous(memory_format=torch.channels_last), shift)
        map_bits, code_bits = context(level, codes, mask)
        loss = map_bits.sum() / level.numel() + code_bits.sum() / mask.sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            for parameter in context.parameters():
                parameter.clamp_(-LARGEST_WEIGHT, LARGEST_WEIGHT)
        steps, total = steps + 1, total + loss.item()
        if steps % 50 == 0:
            print(f"{steps:5d} {progress:6.1%} bits a level and bits a code together {total / 50:.4f}", flush=True)
            total = 0.0
    return context, steps


def integer_model(context: CuboidModel, config: PaperConfig) -> PlaneModel:
    """The integer predictors of float ones, as export writes them."""
    return PlaneModel(*to_integers(context), config.groups, config.levels)


def stream_bytes(entropy: PlaneModel, level: Tensor, codes: Tensor) -> tuple[int, int]:
    """Bytes of the streams of map and codes of one picture, coded as one tile."""
    coder = entropy.tile(0, *level.shape[2:])
    first = coder.encode(level[0].numpy().astype(np.int16))
    groups = np.split(codes[0].numpy().astype(np.int16), np.cumsum(entropy.groups)[:-1])
    return len(first), sum(len(coder.encode(np.ascontiguousarray(g))) for g in groups)


@torch.no_grad()
def compare(model: Paper, context: CuboidModel, pictures: list[np.ndarray]) -> dict[str, float]:
    """Means over pictures, in bits per pixel: the predictors' code length and the real streams, of map and codes.

    ``bits_kept`` are the unmasked bits, ``bits_all`` all of them: what the codes would take without entropy coding.
    """
    entropy = integer_model(context, model.config)
    rows = []
    for pixels in pictures:
        height, width = (side - side % STRIDE for side in pixels.shape[:2])
        picture = torch.from_numpy(pixels[:height, :width].astype(np.float32)).permute(2, 0, 1)[None] / 255 - 0.5
        level, codes, mask = symbols(model, picture)
        ideal = [x.item() for x in context(level, codes, mask)]
        real = [8 * x for x in stream_bytes(entropy, level, codes)]
        figures = [*ideal, *real, mask.sum().item(), mask.numel()]
        rows.append([x / (height * width) for x in figures])
    names = ("map_ideal", "codes_ideal", "map_real", "codes_real", "bits_kept", "bits_all")
    found = dict(zip(names, (float(x) for x in np.mean(rows, axis=0)), strict=True))
    real, ideal = (found[f"map_{kind}"] + found[f"codes_{kind}"] for kind in ("real", "ideal"))
    return {**found, "bpp": real, "excess": real / ideal - 1}


def load_context(run: Path, config: PaperConfig) -> CuboidModel:
    """The predictors that ``main`` has written into a run folder."""
    context = CuboidModel(config.planes, config.channels)
    context.load_state_dict(load_file(run / "context.safetensors"))
    return context


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of training pictures")
    parser.add_argument("--valid", type=Path, required=True, help="folder of validation pictures")
    parser.add_argument("--run", type=Path, required=True, help="folder of a run of training.paper with --r")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--every", type=int, default=2, help="use every n-th training picture")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    model = load_average(args.run)[0].eval().requires_grad_(False)
    crops = Crops(load_pictures(find_pictures(args.data)[:: args.every]), 256, 2, 1)
    context, steps = fit(model, crops, args.minutes)
    found = {
        "steps": steps,
        "minutes": args.minutes,
        **compare(model, context, load_pictures(find_pictures(args.valid))),
    }
    save_file(context.state_dict(), args.run / "context.safetensors")
    (args.run / "context.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    if abs(found["excess"]) > 0.01:
        raise SystemExit(f"float and integer rates differ by {found['excess']:.2%}, above 1 %")


if __name__ == "__main__":
    main()
