"""The integer context model beside its float twin: ``python -m training.agree --run runs/NAME --data DIR``.

Both code the same symbols of the same pictures: the twin by ideal code length, the integer model as real bytes. Those
also gain from adaptation (docs/FORMAT.md section 4.1), which the twin lacks; that the predictions are the same is
what ``tests/test_training.py`` checks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from pillow_cwic.coding import EntropyModel, TileCoder
from pillow_cwic.models.config import MAP_STRIDE
from pillow_cwic.transforms.torch.context_weights import to_integers
from training.data import find_pictures, load_pictures
from training.networks.model import Cwic1, Output
from training.networks.transforms import to_blocks
from training.weights import load_average

RATES = (-512, -256, 0, 256, 512)


def stream_bytes(entropy: EntropyModel, out: Output, rate: int) -> int:
    """Bytes of the streams of map and codes of one picture, coded as one tile by the integer model at rate T."""
    level, codes = (x[0].cpu().numpy().astype(np.int16) for x in (out.level, out.codes))
    coder = TileCoder(entropy, rate, *level.shape[1:])
    layers = [level, *np.split(codes, np.cumsum(entropy.groups)[:-1])]
    return sum(len(coder.encode(np.ascontiguousarray(layer))) for layer in layers)


@torch.no_grad()
def compare(model: Cwic1, entropy: EntropyModel, pixels: np.ndarray, rate: int) -> tuple[float, float]:
    """Bytes of one picture's map and codes at rate T: ideal code length of the twin, and real streams."""
    height, width = (side - side % MAP_STRIDE for side in pixels.shape[:2])
    picture = torch.from_numpy(pixels[:height, :width].astype(np.float32)).permute(2, 0, 1)[None] / 255 - 0.5
    out = model(to_blocks(picture), torch.tensor([rate / 512]), use_map=True, hard_rate=True)
    return (out.hard_bits + out.map_bits).item() / 8, float(stream_bytes(entropy, out, rate))


def integer_model(model: Cwic1) -> EntropyModel:
    """The integer context model of a float one, as export would write it."""
    c = model.config
    return EntropyModel(*to_integers(model.context), c.groups, c.context_hidden, c.map_hidden, c.levels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--out", type=Path, default=Path("docs/results/agreement.md"))
    parser.add_argument("--every", type=int, default=6, help="use every n-th picture")
    args = parser.parse_args()
    model, _ = load_average(args.run)
    entropy = integer_model(model)
    pictures = load_pictures(find_pictures(args.data)[:: args.every])
    lines = [
        "# The integer context model beside its float twin",
        "",
        f"{len(pictures)} validation pictures: bytes of map and codes, ideal code length of the twin and real streams,",
        "which also gain from the adaptation of decisions.",
        "",
        "| T | twin / bytes | integer / bytes | excess / % |",
        "| ---: | ---: | ---: | ---: |",
    ]
    for rate in RATES:
        twin, real = np.sum([compare(model, entropy, p, rate) for p in pictures], axis=0)
        lines.append(f"| {rate} | {twin:.0f} | {real:.0f} | {100 * (real / twin - 1):+.3f} |")
    args.out.write_text("\n".join(lines) + "\n")
    print(args.out.read_text())


if __name__ == "__main__":
    main()
