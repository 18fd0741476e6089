"""Fine-tunes integer transforms with their rounding in the forward pass.

python -m training.rounding --start FILE --tuning mse --data DIR --minutes 30 --out FILE [--run RUN]

Straight-through: what the format rounds is rounded, and its gradient passes as if it were not. Weights and biases are
learned, the scales of activations stay as they were calibrated. The analysis learns to give the latents and importance
logits of the float network that it was made of, in units of code steps; the synthesis learns what its tuning was
trained for, on the codes that the integer analysis makes, so that it sees what it will meet. Steps take turns.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pillow_cwic.models.config import CODE_LIMIT, Config
from pillow_cwic.models.weights import read
from pillow_cwic.transforms import layout
from pillow_cwic.transforms.layout import PIXEL, Parts
from pillow_cwic.transforms.torch import integer
from pillow_cwic.transforms.torch.distortion import distortion
from pillow_cwic.transforms.torch.twin import SynthesisTwin, Twin, last
from training.data import Crops, find_pictures, load_pictures
from training.networks.model import Cwic1
from training.networks.quantisers import channel_masks, useful_levels
from training.networks.transforms import to_blocks
from training.quantise import weights_file
from training.released import load_released
from training.weights import facts_of, load_average

BATCH, CROP = 2, 192
ANALYSIS_EVERY = 4
RENDERED = 0.15  # share of crops with text and shapes
LEARNS = ("weight", "bias")  # the last names of parts that do
RATES = (-1.0, 1.25)


def fit(weight: np.ndarray, bias: np.ndarray) -> None:
    """Brings the 3x3 weights (3, 3, C) to where their sums fit 16 bits, by as little as that takes."""
    taps = weight.reshape(9, -1)
    while len(too_large := np.flatnonzero(layout.OPERAND * np.abs(taps).sum(0) + np.abs(bias) >= 2**15)):
        largest = np.abs(taps[:, too_large]).argmax(0)
        taps[largest, too_large] -= np.sign(taps[largest, too_large])


class Rounded(nn.Module):
    """Mixed into a twin: parts that learn, in units of their own size, and rounding straight through."""

    config: Config
    parts: dict[str, Tensor]

    def learn(self, kind: layout.Kind) -> None:
        """Makes parameters of the weights and biases; ``kind`` as in ``layout``."""
        self.scales, self.limits, thetas = {}, {}, {}
        for (array, shapes), dtype in zip(layout.parts(self.config, kind).items(), layout.TYPES.values(), strict=True):
            for name in shapes:
                if name.rsplit(".", 1)[-1] in LEARNS and not name.startswith(("head", "out")):
                    value = self.parts[name]
                    self.scales[name] = self.scale(name, value, array)
                    self.limits[name] = 127 if array == "bytes" else np.iinfo(dtype).max
                    thetas[name.replace(".", "_")] = nn.Parameter(value / self.scales[name])
        self.thetas = nn.ParameterDict(thetas)

    def scale(self, name: str, value: Tensor, array: str) -> Tensor:
        """What a step of one stands for: the size of a matrix, or about the effect of one on what a bias leads to."""
        if array != "words":
            return value.square().mean().sqrt().clamp(min=1.0)
        shift = self.parts.get(name.replace(".bias", ".shift"), torch.zeros(()))
        m = self.parts.get(name.replace(".bias", ".m"))
        return 10 * 2.0**shift * (1.0 if m is None else 32768 / m.clamp(min=1).mean())

    def part(self, name: str) -> Tensor:
        if name not in self.scales:
            return self.parts[name]
        limit = self.limits[name]
        return self.rounded(self.thetas[name.replace(".", "_")] * self.scales[name]).clamp(-limit, limit)

    def rounded(self, x: Tensor) -> Tensor:
        return x + (x.round() - x).detach()

    def integers(self, given: Parts) -> dict[str, np.ndarray]:
        """The parts with what was learned, as whole numbers."""
        with torch.no_grad():
            learned = {name: self.part(name).round().long().numpy() for name in self.scales}
        for name in learned:
            if name.endswith("space.weight"):
                fit(learned[name], learned[name.replace("weight", "bias")])
        return {name: learned.get(name, value) for name, value in given.items()}


class Synthesis(Rounded, SynthesisTwin):
    def __init__(self, config: Config, parts: Parts) -> None:
        SynthesisTwin.__init__(self, config, parts)
        self.learn("synthesis")


class Analysis(Rounded, Twin):
    def __init__(self, config: Config, parts: Parts) -> None:
        Twin.__init__(self, config, parts)
        self.learn("analysis")

    def forward(self, v: Tensor, rates: list[int]) -> Tensor:
        """Samples less 128, (N, h, w, 192), to latents before any normalisation, (N, h, w, C), in their units."""
        return self.exit(self.features(v, rates), v)


class Tuner:
    """Both transforms, the float network they stand for, and one optimiser each."""

    def __init__(self, model: Cwic1, parts: dict[str, Parts], tuning: str, lr: float) -> None:
        self.model, self.tuning, self.lr, self.given = model.requires_grad_(False), tuning, lr, parts
        self.synthesis = Synthesis(model.config, parts["synthesis"])
        self.analysis = Analysis(model.config, parts["analysis"])
        self.optimisers = [torch.optim.Adam(t.parameters(), lr=lr) for t in (self.synthesis, self.analysis)]
        self.last_analysis = 0.0
        self.refresh()

    def refresh(self) -> None:
        """The exact analysis with what was learned so far, which makes the codes that the synthesis learns from."""
        self.exact = integer.Analysis(self.model.config, self.parts("analysis"))

    def parts(self, kind: layout.Kind) -> dict[str, np.ndarray]:
        """What was learned, as the arrays hold it, within the bounds of FORMAT.md section 6.6."""
        learned = (self.synthesis if kind == "synthesis" else self.analysis).integers(self.given[kind])
        arrays = layout.join(self.model.config, kind, learned)
        made = layout.split(self.model.config, kind, *arrays.values())
        layout.check(self.model.config, kind, made)
        return made

    def units(self) -> Tensor:
        """Latents' units in the float network's, (C,): from the two gains at T = 0."""
        gain = layout.at(self.given["analysis"]["gain"], 0, layout.GAIN_FROM)
        floats = self.model.analysis.gain(torch.zeros(1))[0, :, 0, 0]
        return torch.from_numpy(gain.astype(np.float32)) / 2**24 / 32 / floats

    def step(self, pictures: Tensor, progress: float, index: int) -> tuple[float, float]:
        """One step of each transform on pictures (N, 3, H, W) in [-0.5, 0.5]: their losses."""
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.lr * 0.5 * (1 + math.cos(math.pi * progress)) * min(1.0, (index + 1) / 100)
        samples = (pictures * 255 + 127.5).round()
        slices = (torch.arange(len(samples)) + torch.rand(len(samples))) / len(samples)
        rates = [round(512 * (RATES[0] + (RATES[1] - RATES[0]) * float(s))) for s in slices]
        synthesis = self.step_synthesis(samples, rates)
        if index % ANALYSIS_EVERY == 0:  # it has less to learn
            self.last_analysis = self.step_analysis(samples, rates)
        return synthesis, self.last_analysis

    def step_synthesis(self, samples: Tensor, rates: list[int]) -> float:
        t = torch.tensor(rates) / 512
        with torch.no_grad():
            latents, levels = self.exact(samples.to(torch.uint8), rates)
            exact = self.exact.codes(latents, rates).float() / 32
            level = torch.maximum(levels[:, None].float(), useful_levels(exact, self.model.config.groups))
            codes = exact.round().clamp(-CODE_LIMIT, CODE_LIMIT) * channel_masks(level, self.model.config.groups)
        with torch.autocast("cpu", torch.bfloat16):
            made = self.synthesis(codes, rates).float()
        error, _ = distortion(self.tuning, samples, made)
        weight = self.model.config.lagrangian(t)
        return self.descend(0, (error * weight.sqrt()).mean())

    def step_analysis(self, samples: Tensor, rates: list[int]) -> float:
        t = torch.tensor(rates) / 512
        blocks = to_blocks(samples / 255 - 0.5)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            a = self.model.analysis
            features = a.features(blocks, t)
            wanted = last((a.leave(features) + a.linear(blocks)).float())
        with torch.autocast("cpu", torch.bfloat16):
            found = self.analysis(last(to_blocks(samples)) - PIXEL, rates).float()
        scale = self.units() if not self.model.config.normalised else self.raw_units()
        gain = last(self.model.analysis.gain(t))
        return self.descend(1, ((found * scale - wanted) * gain).square().mean() * 100)

    def raw_units(self) -> Tensor:
        """As ``units`` where a normalisation follows, which changes neither unit but for its last shift."""
        n = int(self.given["analysis"]["n"])
        return self.units() * 2.0 ** (15 - n)

    def descend(self, which: int, loss: Tensor) -> float:
        transform, optimiser = (self.synthesis, self.analysis)[which], self.optimisers[which]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(transform.parameters(), 1.0)
        optimiser.step()
        return float(loss.detach())


def tune(tuner: Tuner, crops: Crops, minutes: float, every: int = 100) -> None:
    """Steps for so many minutes of this process's time."""
    start, index, totals = time.process_time(), 0, [0.0, 0.0]
    while (progress := (time.process_time() - start) / (60 * minutes)) < 1:
        losses = tuner.step(crops.next(), progress, index)
        totals = [a + b for a, b in zip(totals, losses, strict=True)]
        index += 1
        if index % every == 0:
            tuner.refresh()
            means = " ".join(f"{total / every:.4f}" for total in totals)
            print(f"step {index} {progress:.1%} synthesis, analysis {means}", flush=True)
            totals = [0.0, 0.0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, required=True, help="weights file of integers, from training.quantise")
    parser.add_argument("--run", type=Path, help="the run they were made of; the released model if not given")
    parser.add_argument("--tuning", default="mse")
    parser.add_argument("--data", type=Path, required=True, help="folder of training pictures")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, facts = load_average(args.run) if args.run else (load_released(tuning=args.tuning), {"step": 0})
    weights = read(args.start.read_bytes())
    parts = {
        kind: layout.split(model.config, kind, *(weights.arrays[f"{kind}.{name}"] for name in layout.TYPES))
        for kind in ("synthesis", "analysis")
    }
    tuner = Tuner(model, parts, args.tuning, args.lr)
    tune(tuner, Crops(load_pictures(find_pictures(args.data)), CROP, BATCH, seed=7, rendered=RENDERED), args.minutes)
    made = {kind: tuner.parts(kind) for kind in ("synthesis", "analysis")}
    args.out.write_bytes(weights_file(model, made, facts_of("cwic1", args.tuning, facts)))


if __name__ == "__main__":
    main()
