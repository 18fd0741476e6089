"""Train ``cwic2018`` in the stages of the paper: ``python -m training.paper --data DIR --valid DIR --run runs/NAME``.

Without ``--r`` the first stage alone: no importance map, until the loss stops falling; every r can share it. With
``--r R --start runs/FIRST`` the others: the map at learning rates 1e-4, 1e-5 and 1e-6, each until the loss stops
falling. The loss falls no more if the best of the last ``patience`` validations is not better than the best before by
a share ``falls``. With ``--minutes`` a stage also ends with its share of them, and the log says which it was. Starting
the same command again resumes it. ``python -m training.paper_context`` then fits the entropy model.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pillow_cwic.cwic2018.networks import Paper, PaperConfig, Residual, count_macs
from training.data import Crops, find_pictures, load_pictures
from training.precision import mixed
from training.train import Run, flushed_denormals

BUDGET = "its share of the budget is spent"
LOG = ("step", "minutes", "stage", "train_loss", "loss", "mse", "psnr_of_mean_mse", "map", "dead")
SCALE = 100.0  # the loss is divided by it, so that gradients are about 1 when they are clipped


@dataclass(frozen=True)
class Stage:
    """One stage: its learning rate, whether the map is in use, and its share of the budget."""

    name: str
    lr: float
    use_map: bool
    share: float


@dataclass(frozen=True)
class PaperSchedule:
    """What fixes a run besides the model's config. The paper gives the last three learning rates and no more."""

    r: float | None = None  # wanted mean of the importance map; None trains the stage without the map
    gamma: float = 4000.0  # weight of the rate loss max(0, mean of P - r) against the MSE on 0..255
    lr: float = 1e-3  # of the first stage
    warm: float = 0.0  # learning rate of a stage with the map before those of the paper, for short runs; 0 for none
    minutes: float = math.inf  # budget of all stages of this run, in the process's own time
    batch: int = 8
    crop: int = 128
    seed: int = 1
    muon: float = 0.0
    soap: bool = False
    only: str = ""
    clip: float = 1.0
    ema: float = 0.999
    valid_every: int = 250
    patience: int = 6
    falls: float = 0.002

    def stages(self) -> list[Stage]:
        if self.r is None:
            return [Stage("codes", self.lr, False, 1.0)]
        rates = ((1e-4, 0.6), (1e-5, 0.25), (1e-6, 0.15))
        published = [Stage(f"map {lr:g}", lr, True, share) for lr, share in rates]
        if not self.warm:
            return published
        return [Stage("warm", self.warm, True, 0.6), *(replace(s, share=0.4 * s.share) for s in published)]


def initialise(model: Paper) -> None:
    """He's values, biases 0, the second convolutions of blocks 0. PyTorch's own let signals fade, and units die early.

    He, Zhang, Ren, Sun, 2015: Delving deep into rectifiers.
    """
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            rectified = not name.endswith(".out") and layer.out_channels != 3
            if not name.endswith(".second"):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu" if rectified else "linear")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


@contextmanager
def counted_dead(model: Paper) -> Iterator[Callable[[], float]]:
    """Gives the share of the residual blocks' hidden units that never fire in any forward pass within."""
    largest: dict[nn.Module, Tensor] = {}

    def seen(layer: nn.Module, _: object, result: Tensor) -> None:
        found = result.detach().amax((0, 2, 3))
        largest[layer] = torch.maximum(largest[layer], found) if layer in largest else found

    blocks = [module for module in model.modules() if isinstance(module, Residual)]
    hooks = [block.first.register_forward_hook(seen) for block in blocks]
    try:
        yield lambda: float((torch.cat([*largest.values()]) <= 0).float().mean())
    finally:
        for hook in hooks:
            hook.remove()


def logit(share: float) -> float:
    return math.log(share / (1 - share))


def fallen(losses: list[float], patience: int, falls: float) -> bool:
    """The plateau test: whether the last ``patience`` losses hold none below the best before by a share ``falls``."""
    if len(losses) <= patience:
        return False
    return min(losses[-patience:]) > (1 - falls) * min(losses[:-patience])


class PaperRun(Run):
    """A run through the stages of the paper. ``state.json`` also says which stage it is in and how each one ended."""

    model: Paper
    average: Paper
    schedule: PaperSchedule

    def __init__(self, folder: Path, config: PaperConfig, schedule: PaperSchedule, device: torch.device) -> None:
        super().__init__(folder, config, schedule, device, Paper)
        initialise(self.model)
        self.average.load_state_dict(self.model.state_dict())
        self.stage, self.losses = 0, [[]]  # of each stage so far the validation losses
        self.ended: list[str] = []
        self.stage_began = 0.0

    def facts(self) -> dict[str, Any]:
        stages = {"stage": self.stage, "losses": self.losses, "ended": self.ended, "stage_began": self.stage_began}
        facts = {**super().facts(), **stages}
        return {**facts, "schedule": {**asdict(self.schedule), "minutes": min(self.schedule.minutes, 1e9)}}

    def restore(self) -> dict[str, Any]:
        facts = super().restore()
        self.stage, self.losses, self.ended = facts["stage"], facts["losses"], facts["ended"]
        self.stage_began = facts["stage_began"]
        return facts

    def start_from_run(self, folder: Path) -> None:
        """The averaged weights of a run, to go on with it or behind it.

        Behind a first stage the map starts at r everywhere, behind another r as its map, shifted by what lies between
        the two on the scale of its logits.
        """
        model, facts = load_average(folder)
        self.start_from(model)
        if self.schedule.r is None:
            return
        before = facts["schedule"]["r"]
        with torch.no_grad():
            for taker in (self.model, self.average):
                out = taker.importance.out
                if before is None:
                    out.weight.mul_(0.1)
                    out.bias.fill_(logit(self.schedule.r))
                else:
                    out.bias.add_(logit(self.schedule.r) - logit(before))

    @property
    def current(self) -> Stage | None:
        """The stage, None once all have ended."""
        stages = self.schedule.stages()
        return stages[self.stage] if self.stage < len(stages) else None

    def loss(self, model: Paper, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss of the present stage, MSE on 0..255 and mean of the map, of pictures (B, 3, H, W) in [-0.5, 0.5].

        The rate loss counts the whole batch, as the authors' release does (its option GLOBAL), so that pictures may
        share the rate unevenly.
        """
        stage = self.current
        assert stage is not None
        with mixed(self.device):
            out = model(picture, use_map=stage.use_map)
        mse = 255**2 * (out.picture.float() - picture).square().mean()
        kept = out.importance.mean()
        if stage.use_map:
            return mse + self.schedule.gamma * torch.relu(kept - self.schedule.r), mse, kept
        return mse, mse, kept

    def train_step(self, crops: Crops) -> tuple[float, float, float]:
        """One optimiser step; returns loss, MSE and mean of the map."""
        stage = self.current
        assert stage is not None
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = stage.lr * min(1.0, (self.step + 1) / 100)
        picture = crops.next().to(self.device).contiguous(memory_format=torch.channels_last)
        loss, mse, kept = self.loss(self.model, picture)
        self.descend(loss / SCALE)
        return loss.item(), mse.item(), kept.item()

    @torch.no_grad()
    def validate(self, pictures: list[Tensor]) -> tuple[float, float, float]:
        """Loss, MSE and mean of the map over pictures, by the averaged weights, as in ``train_step``."""
        with mixed(self.device):
            parts = [[float(x) for x in self.loss(self.average, p)[1:]] for p in pictures]
        mse, kept = (float(x) for x in np.mean(parts, axis=0))
        assert self.current is not None
        over = max(0.0, kept - self.schedule.r) if self.current.use_map and self.schedule.r is not None else 0.0
        return mse + self.schedule.gamma * over, mse, kept

    def after_validation(self, loss: float) -> None:
        """Counts a validation and ends the stage if its loss falls no more or its share of the budget is spent."""
        stage = self.current
        assert stage is not None
        self.losses[-1].append(loss)
        spent = self.seconds - self.stage_began
        if fallen(self.losses[-1], self.schedule.patience, self.schedule.falls):
            self.end(f"{stage.name}: the loss falls no more after {spent / 60:.1f} minutes")
        elif spent >= 60 * stage.share * self.schedule.minutes:
            self.end(f"{stage.name}: {BUDGET} after {spent / 60:.1f} minutes")

    def end(self, reason: str) -> None:
        print(reason, flush=True)
        self.ended.append(reason)
        self.stage += 1
        if self.current is not None:
            self.losses.append([])
            self.stage_began = self.seconds
            for optimiser in self.optimisers:
                optimiser.state.clear()  # moments of another learning rate

    def reopen(self) -> None:
        """Goes on with the last stage, if it ended with the budget and there is more of that now."""
        left = 60 * self.schedule.stages()[-1].share * self.schedule.minutes - (self.seconds - self.stage_began)
        if self.current is None and BUDGET in self.ended[-1] and left > 0:
            self.stage -= 1
            self.ended.pop()


def load_average(run: Path) -> tuple[Paper, dict[str, Any]]:
    """The averaged model of a run and the facts in its ``state.json``."""
    facts = json.loads((run / "state.json").read_text())
    model = Paper(PaperConfig.from_dict(facts["config"]))
    tensors = load_file(run / "state.safetensors")
    model.load_state_dict({k.removeprefix("average."): v for k, v in tensors.items() if k.startswith("average.")})
    return model, facts


def centres(pictures: list[np.ndarray], side: int = 256) -> list[Tensor]:
    """The middles of pictures, (1, 3, side, side) in [-0.5, 0.5], for validation."""
    out = []
    for p in pictures:
        top, left = (p.shape[0] - side) // 2, (p.shape[1] - side) // 2
        part = torch.from_numpy(p[top : top + side, left : left + side].astype(np.float32)).permute(2, 0, 1)[None]
        out.append((part / 255 - 0.5).contiguous(memory_format=torch.channels_last))
    return out


@flushed_denormals()
def train(run: PaperRun, crops: Crops, valid: list[Tensor]) -> None:
    """Trains until every stage has ended."""
    log = run.folder / "log.csv"
    totals = []
    while (stage := run.current) is not None:
        begin = run.clock()
        totals.append(run.train_step(crops))
        run.seconds += run.clock() - begin
        budget = 60 * stage.share * run.schedule.minutes
        if run.step % run.schedule.valid_every and run.seconds - run.stage_began < budget:
            continue
        mean, totals = np.mean(totals, axis=0), []
        with counted_dead(run.average) as dead:
            loss, mse, kept = run.validate(valid)
        row = [run.step, f"{run.seconds / 60:.2f}", stage.name, f"{mean[0]:.2f}", f"{loss:.3f}", f"{mse:.3f}"]
        row += [f"{10 * math.log10(255**2 / mse):.3f}", f"{kept:.4f}", f"{dead():.3f}"]
        with log.open("a", newline="") as f:
            writer = csv.writer(f)
            if f.tell() == 0:
                writer.writerow(LOG)
            writer.writerow(row)
        print(*row, flush=True)
        run.after_validation(loss)
        run.save()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of training pictures")
    parser.add_argument("--valid", type=Path, required=True, help="folder of validation pictures")
    parser.add_argument("--run", type=Path, required=True, help="folder of the run; resumed if it exists")
    parser.add_argument("--width", type=int, default=128, help="128 is the paper's, 64 the half-width variant")
    parser.add_argument("--channels", type=int, default=64, help="n; 64, or 128 for the highest rate")
    parser.add_argument("--r", type=float, help="wanted mean of the map, 0 to 1; without it the first stage is trained")
    parser.add_argument("--start", type=Path, help="run that a new one starts from: a first stage, or another r")
    parser.add_argument("--gamma", type=float, default=PaperSchedule.gamma)
    parser.add_argument("--lr", type=float, default=PaperSchedule.lr, help="learning rate of the first stage")
    parser.add_argument("--warm", type=float, default=0.0, help="learning rate of a stage before the three with --r")
    parser.add_argument("--batch", type=int, default=PaperSchedule.batch)
    parser.add_argument("--muon", type=float, default=PaperSchedule.muon)
    parser.add_argument("--minutes", type=float, default=math.inf, help="budget of this run in machine time")
    parser.add_argument("--every", type=int, default=1, help="use every n-th training picture")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    if args.r is not None and args.start is None:
        parser.error("--r wants --start, a run of the first stage or of another r")
    torch.set_num_threads(1)
    groups = tuple(g * args.channels // 64 for g in PaperConfig.groups)
    config = PaperConfig(args.width, args.channels, args.channels // 4, groups)
    named = {k: getattr(args, k) for k in ("r", "gamma", "lr", "warm", "batch", "muon", "minutes")}
    args.run.mkdir(parents=True, exist_ok=True)
    if args.start:
        config = PaperConfig.from_dict(json.loads((args.start / "state.json").read_text())["config"])
    run = PaperRun(args.run, config, replace(PaperSchedule(), **named), torch.device(args.device))
    if (args.run / "state.json").exists():
        run.restore()
        run.reopen()
    elif args.start:
        run.start_from_run(args.start)
    print("kMAC per pixel:", {k: round(v / 1000, 1) for k, v in count_macs(config).items()}, flush=True)
    pictures = load_pictures(find_pictures(args.data)[:: args.every])
    crops = Crops(pictures, run.schedule.crop, run.schedule.batch, run.schedule.seed + run.step)
    train(run, crops, centres(load_pictures(find_pictures(args.valid))))


if __name__ == "__main__":
    main()
