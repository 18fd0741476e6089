"""Fine-tunes integer transforms with their rounding in the forward pass.

python -m training.rounding --start FILE --tuning mse --data DIR --minutes 30 --out FILE [--run RUN]

What learns and how it rounds is in ``training.rounded``. The analysis learns to give the latents of the float network
that it was made of, in units of code steps; the synthesis learns what its tuning was trained for, on the codes that the
integer analysis makes, so that it sees what it will meet. Steps take turns.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pillow_cwic.models.config import CODE_LIMIT, Config
from pillow_cwic.models.weights import read
from pillow_cwic.transforms import layout, native
from pillow_cwic.transforms.layout import PIXEL, Parts
from pillow_cwic.transforms.torch.twin import last
from training import seen
from training.data import Crops, find_pictures, load_pictures
from training.networks.model import Cwic1
from training.networks.quantisers import channel_masks
from training.networks.transforms import to_blocks
from training.quantise import first, weights_file
from training.released import load_released
from training.rounded import Analysis, Synthesis
from training.weights import facts_of, load_average

BATCH, CROP = 2, 192
ANALYSIS_EVERY = 3
RENDERED, VIVID = 0.12, 0.12  # shares of crops with text and shapes, and with stronger colours
RATES = (-1.0, 1.25)
LOGIT_EPS = 1e-3  # of the importance, so that its logits stay within what counts
SAMPLE_ERROR = 1 / 12  # mean squared error of samples that are rounded


class Tuner:
    """Both transforms, the float network they stand for, and one optimiser each."""

    def __init__(self, model: Cwic1, parts: dict[str, Parts], tuning: str, lr: float, share: float = 0.0) -> None:
        """``share`` is that of SSIMULACRA2 in what the model was trained for, ``seen`` of its schedule."""
        self.model, self.tuning, self.lr, self.given = model.requires_grad_(False), tuning, lr, parts
        self.share = share
        self.synthesis = Synthesis(model.config, parts["synthesis"])
        self.analysis = Analysis(model.config, parts["analysis"])
        self.optimisers = [
            torch.optim.Adam(t.parameters(), lr=lr, betas=(0.9, 0.99)) for t in (self.synthesis, self.analysis)
        ]
        self.last_analysis = 0.0
        # The thresholds are those of logits, in a unit of their own.
        thresholds = parts["analysis"]["thresholds"]
        self.logit_unit = float(thresholds[-1] - thresholds[0]) / (2 * math.log(model.config.levels - 1))
        self.refresh()

    def refresh(self) -> None:
        """The released code with what was learned so far; it makes the codes that the synthesis learns from."""
        arrays = {
            f"{kind}.{name}": array
            for kind in ("analysis", "synthesis")
            for name, array in layout.join(self.model.config, kind, self.parts(kind)).items()
        }
        self.exact = native.Transforms(self.model.config, arrays)

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
        units = torch.from_numpy(gain.astype(np.float32)) / 2**24 / 32 / floats
        # Where a normalisation follows it changes neither unit but for its last shift.
        return units * 2.0 ** (15 - int(self.given["analysis"]["n"])) if self.model.config.normalised else units

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

    def codes(self, samples: Tensor, rates: list[int]) -> Tensor:
        """What the encoder makes of samples (N, 3, H, W) in 0..255: masked codes, (N, C, H/8, W/8)."""
        codes, levels = [], []
        for picture, rate in zip(samples.to(torch.uint8).permute(0, 2, 3, 1).numpy(), rates, strict=True):
            latents, level = self.exact.analyse(np.ascontiguousarray(picture), rate)
            exact = self.exact.exact_codes(latents, rate)
            levels.append(torch.from_numpy(self.exact.useful_levels(exact, level)))
            codes.append(torch.from_numpy(exact).float() / 32)
        masks = channel_masks(torch.stack(levels).float(), self.model.config.groups)
        return torch.stack(codes).round().clamp(-CODE_LIMIT, CODE_LIMIT) * masks

    def step_synthesis(self, samples: Tensor, rates: list[int]) -> float:
        """In the logarithm of the distortion, so that a decibel counts the same in every picture and at every rate."""
        made = self.synthesis(self.codes(samples, rates), rates)
        error, _ = seen.distortion(self.tuning, self.share, samples, made)
        return self.descend(0, 10 * torch.log10(error + SAMPLE_ERROR).mean())

    def step_analysis(self, samples: Tensor, rates: list[int]) -> float:
        """In squared code steps, hundredths, and a little for the logits of the importance map."""
        t = torch.tensor(rates) / 512
        blocks, network = to_blocks(samples / 255 - 0.5), self.model.analysis
        with torch.inference_mode():
            features = network.features(blocks, t)
            logits = torch.logit(self.model.importance(features)[:, 0], LOGIT_EPS)
            wanted = network.latents(blocks, features, t) * network.gain(t)
        found, z = self.analysis(last(to_blocks(samples)) - PIXEL, rates)
        found = first(found * self.units())
        if network.normalisation is not None:
            found = network.normalisation(found, t)
        error = (found * network.gain(t) - wanted.clone()).square().mean()
        of_map = F.smooth_l1_loss(z / self.logit_unit, logits.clone())
        return self.descend(1, 100 * error + of_map)

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
    model.config = Config.from_dict(weights.config)  # with the fine blocks of the integers
    parts = {
        kind: layout.split(model.config, kind, *(weights.arrays[f"{kind}.{name}"] for name in layout.TYPES))
        for kind in ("synthesis", "analysis")
    }
    tuner = Tuner(model, parts, args.tuning, args.lr, facts.get("schedule", {}).get("seen", 0.0))
    pictures = load_pictures(find_pictures(args.data))
    tune(tuner, Crops(pictures, CROP, BATCH, seed=7, rendered=RENDERED, vivid=VIVID), args.minutes)
    made = {kind: tuner.parts(kind) for kind in ("synthesis", "analysis")}
    args.out.write_bytes(weights_file(model, made, facts_of("cwic1", args.tuning, facts)))


if __name__ == "__main__":
    main()
