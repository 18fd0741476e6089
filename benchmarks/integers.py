"""What integers give away: released files beside those of the float networks they were made of, on real files.

python -m benchmarks.integers --pictures DIR [--tunings mse ssim] [--every N] [--out docs/results]

The float networks (training/masters) encode and decode each picture at five rate parameters; their codes go through
the same entropy coder and container, so that sizes are of real files. Both encode by rounding (effort 0), by the same
rule. Sizes differ a little, so that losses are read at equal rate: along the slope that the float files have from one
rate to the next. Writes ``integers.md``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.files import at_rate, written
from benchmarks.tables import table
from pillow_cwic import codec, measures, models
from pillow_cwic.codec.effort import EFFORTS
from pillow_cwic.codec.encoder import TILE_EXPONENT
from pillow_cwic.coding.symbols import encode_symbols, entropy_model, rounded, split
from pillow_cwic.models.config import EXACT_UNIT
from pillow_cwic.rate import decibel
from training.data import find_pictures, load_pictures
from training.networks.model import Cwic1
from training.networks.transforms import to_blocks, to_picture
from training.quantise import unrounded
from training.released import load_released

RATES = (-512, -256, 0, 256, 512)
ALLOWED = {-512: 0.02, -256: 0.02, 0: 0.02, 256: 0.05, 512: 0.05}  # dB, between t = 0 and 1 the looser one


class Point(NamedTuple):
    """One file: its bits per pixel, and its picture's quality in dB."""

    bpp: float
    psnr: float
    ssim: float
    ms_ssim: float


MEASURES = Point._fields[1:]


def point(original: NDArray[np.uint8], decoded: NDArray[np.uint8], size: int) -> Point:
    pair = original, decoded
    similar = decibel(measures.ssim(*pair)), decibel(measures.ms_ssim(*pair))
    return Point(8 * size / (original.shape[0] * original.shape[1]), measures.psnr(*pair), *similar)


@torch.inference_mode()
def of_floats(network: Cwic1, model: models.Model, pixels: NDArray[np.uint8], rate: int) -> Point:
    """The file and picture of the float networks."""
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % 16), (0, -width % 16), (0, 0)), mode="edge")
    blocks = to_blocks(torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 255 - 0.5)
    t, entropy = torch.tensor([rate / 512]), entropy_model(model)
    latents, level = unrounded(network, blocks, t)
    codes = rounded((EXACT_UNIT * latents[0]).round().clamp(-32000, 32000).numpy().astype(np.int16))
    symbols = [level[0].numpy().astype(np.int16), *split(codes, entropy.groups)]
    coded = encode_symbols(entropy, symbols, [None] * len(symbols), 0.0, rate, TILE_EXPONENT)
    made = torch.from_numpy(np.concatenate(symbols[1:]).astype(np.float32))[None]
    shown = (to_picture(network.synthesis(made, t)) * 255 + 127.5).round().clamp(0, 255).to(torch.uint8)
    picture = shown[0].permute(1, 2, 0)[:height, :width].contiguous().numpy()
    return point(pixels, picture, len(written(coded, model, height, width)))


def of_integers(model: models.Model, pixels: NDArray[np.uint8], rate: int) -> Point:
    """The file and picture of the released model."""
    data = at_rate(pixels, model, EFFORTS[0], rate)
    return point(pixels, codec.decode(data), len(data))


def losses(floats: list[Point], integers: list[Point]) -> Iterator[dict[str, float]]:
    """For each rate what the integers lose, in dB of each measure, at the size of the float file."""
    for k, (a, b) in enumerate(zip(floats, integers, strict=True)):
        low, high = floats[max(0, k - 1)], floats[min(len(floats) - 1, k + 1)]
        steps = math.log(high.bpp / low.bpp)
        slopes = {name: (getattr(high, name) - getattr(low, name)) / steps for name in MEASURES}
        more = math.log(b.bpp / a.bpp)
        yield {name: getattr(a, name) - getattr(b, name) + slopes[name] * more for name in MEASURES}


def report(tuning: str, pictures: list[NDArray[np.uint8]]) -> str:
    """One tuning's table as markdown."""
    network, model = load_released(tuning=tuning), models.by_name("cwic1", tuning)
    points = [
        ([of_floats(network, model, p, rate) for rate in RATES], [of_integers(model, p, rate) for rate in RATES])
        for p in pictures
    ]
    lost = [list(losses(*pair)) for pair in points]
    body = []
    for k, rate in enumerate(RATES):
        floats, integers = ([pair[kind][k] for pair in points] for kind in (0, 1))
        cells = [f"{mean(p.bpp for p in floats):.3f}", f"{mean(p.psnr for p in floats):.2f}"]
        cells += [f"{100 * (sum(p.bpp for p in integers) / sum(p.bpp for p in floats) - 1):+.2f}"]
        cells += [f"{mean(each[k][name] for each in lost):+.3f}" for name in MEASURES]
        worst = max(each[k]["psnr"] for each in lost)
        body.append([f"{rate / 512:g}", *cells, f"{worst:+.3f}", f"{ALLOWED[rate]:.2f}"])
        print(tuning, *body[-1], flush=True)
    head = ["t", "bpp of floats", "PSNR / dB", "bytes of integers / %", "PSNR lost / dB", "SSIM lost / dB"]
    return f"## {tuning}\n\n" + table([*head, "MS-SSIM lost / dB", "PSNR, worst picture", "may be"], body)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--tunings", nargs="+", default=["mse", "ssim"])
    parser.add_argument("--every", type=int, default=1, help="of the pictures, every so many is taken")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    pictures = load_pictures(find_pictures(args.pictures))[:: args.every]
    parts = [report(tuning, pictures) for tuning in args.tunings]
    text = (
        f"# What integers give away\n\n{len(pictures)} pictures, real files, default weights; losses at equal rate, "
        "means over the pictures. `python -m benchmarks.integers`\n\n" + "\n".join(parts)
    )
    (args.out / "integers.md").write_text(text)


if __name__ == "__main__":
    main()
