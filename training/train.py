"""Train a ``cwic1`` model: ``python -m training.train --data DIR --valid DIR --run runs/NAME``.

Staged as in the paper (section 3.3): first without the importance map, then with it, while the learning rate
falls. The run folder holds ``state.safetensors`` (weights, moving average, optimiser), ``state.json``, ``log.csv``,
``record.csv`` (a line for each validation, see ``RECORD``) and ``curve.png``; starting the same command again resumes
it. SIGTERM saves and ends it. ``make train`` keeps several runs going.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from pillow_cwic.transforms.torch.context_weights import LARGEST_WEIGHT
from training import seen
from training.data import Crops, find_pictures, load_pictures
from training.muon import Muon
from training.networks.model import Config, Cwic1, count_macs
from training.networks.transforms import to_blocks, to_picture
from training.parallel import average_gradients, join, leave, mean
from training.precision import mixed
from training.released import load_released
from training.soap import KEPT, Soap, suits
from training.validate import RATES, draw_curve, validate
from training.weights import load_average

# What the optimisers keep of each parameter.
MOMENTS = {torch.optim.AdamW: ("exp_avg", "exp_avg_sq"), Muon: ("exp_avg",), Soap: KEPT}
# Megapixels are those of all crops so far, train_loss the mean since the line before or since the last start.
RECORD = ("step", "minutes", "megapixels", "train_loss", *(f"loss_at_{t:g}" for t in RATES))
SAVE_EVERY = 500  # steps, besides at each validation and at the end: what a machine that is cut off loses at most


@dataclass(frozen=True)
class Schedule:
    """What fixes a run besides the model's own config. A file given with ``--config`` holds what differs from this."""

    steps: int = 20_000
    minutes: float = 0.0  # if set, the length of the run in machine time (on a CPU, all threads') instead of steps
    batch: int = 4
    crop: int = 128
    seed: int = 1
    lr: float = 2e-3
    lr_end: float = 1e-5
    map_from: float = 0.6  # share of the run trained without the importance map
    map_pull: tuple[float, float] = (0.2, 0.01)  # weight of the map's distance from useful levels, first and last
    hard_from: float = 0.03  # share of the run in which the context model is trained on noisy codes
    warmup: int = 200  # steps in which the learning rate rises
    muon: float = 0.0  # root mean square of Muon's updates over the learning rate; 0 trains all with AdamW
    soap: bool = False  # SOAP for the matrices that it suits
    clip: float = 1.0
    ema: float = 0.999
    valid_every: int = 1500
    tuning: str = "mse"
    seen: float = 0.0  # share of MS-SSIM in the distortion that SSIMULACRA2 takes the place of
    rates: tuple[float, float] = (-1.0, 1.0)  # range of the rate parameter t
    graphics: float = 0.0  # share of crops from ``--graphics``, if there are any
    only: str = ""  # the parameters whose names begin so learn, the others stay as they are

    def __post_init__(self) -> None:
        if type(self.soap) is not bool:
            raise ValueError(f"schedule: soap is {self.soap!r}, not true or false")
        if self.soap and self.muon:
            raise ValueError("schedule: soap and muon are for the same matrices, so that one of them must be off")
        if self.seen and self.tuning != "ssim":
            raise ValueError(f"schedule: seen is {self.seen!r}, which is for tuning ssim alone, not for {self.tuning}")
        if type(self.warmup) is not int or self.warmup < 0:
            raise ValueError(f"schedule: warmup is {self.warmup!r}, not a number of steps")

    def progress(self, step: int, seconds: float) -> float:
        done = seconds / (60 * self.minutes) if self.minutes else step / self.steps
        return min(done, 1.0)

    def learning_rate(self, progress: float, step: int) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        return (self.lr_end + (self.lr - self.lr_end) * cosine) * min(1.0, (step + 1) / max(self.warmup, 1))

    def pull(self, progress: float) -> float:
        """Left to itself the map stays flat: a level that differs from the rest costs bits before it saves any."""
        first, last = self.map_pull
        stage = (progress - self.map_from) / (1 - self.map_from) if self.map_from < 1 else 0.0
        return last + (first - last) * (1 - min(max(stage, 0.0), 1.0)) ** 2


def within(fresh: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """``values``, (outputs, inputs, ..), as the first outputs and inputs of ``fresh``, which may have more of both.

    The first outputs do not see the new inputs; the new outputs stay as they are in ``fresh``.
    """
    larger = fresh.clone()
    larger[: len(values)] = 0
    larger[tuple(slice(side) for side in values.shape)] = values
    return larger


class Run:
    """Model, optimiser, moving average and counters of one run, saved and restored as a whole."""

    def __init__(
        self,
        folder: Path,
        config: Config,
        schedule: Schedule,
        device: torch.device,
        model: type[Cwic1] = Cwic1,
    ) -> None:
        torch.manual_seed(schedule.seed)
        self.folder, self.config, self.schedule, self.device = folder, config, schedule, device
        self.model = model(config).to(device, memory_format=torch.channels_last)
        self.average = model(config).to(device, memory_format=torch.channels_last).requires_grad_(False)
        self.average.load_state_dict(self.model.state_dict())
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name.startswith(schedule.only))
        learning = [p for p in self.model.parameters() if p.requires_grad]
        if not learning:
            raise ValueError(f"schedule: only is {schedule.only!r}, with which no parameter's name begins")
        matrices = [p for p in learning if schedule.muon and p.ndim == 4 and min(p.shape[:2]) >= 16]
        matrices = [p for p in learning if suits(p)] if schedule.soap else matrices
        others = [p for p in learning if not any(p is m for m in matrices)]
        self.optimisers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, lr=schedule.lr, weight_decay=0.0, fused=True)
        ]
        if schedule.soap and not matrices:
            raise ValueError("schedule: soap is true, but no learning parameter suits it")
        if matrices:
            other = Soap(matrices, schedule.lr) if schedule.soap else Muon(matrices, schedule.lr, schedule.muon)
            self.optimisers.append(other)
        self.bounded = [p for n, p in self.model.named_parameters() if n.startswith("context.") and "weight" in n]
        self.step, self.seconds, self.pixels = 0, 0.0, 0
        self.lately: list[float] = []  # losses since the last validation or start
        # On a CPU the process's own time, so that other work on the machine does not shorten a run.
        self.clock = time.monotonic if device.type == "cuda" else time.process_time

    @property
    def progress(self) -> float:
        return self.schedule.progress(self.step, self.seconds)

    def start_from(self, model: Cwic1) -> None:
        """Takes over the weights of a model of the same config, or of one that lacks parts, which start afresh.

        Its context model may have fewer hidden channels: those that are new start unseen, so that it predicts the same.
        """
        given = model.state_dict()
        for name, values in self.model.state_dict().items():
            if name.startswith("context.") and name in given:
                given[name] = within(values, given[name])
        for taker in (self.model, self.average):
            unexpected = taker.load_state_dict(given, strict=False).unexpected_keys
            if unexpected:
                raise ValueError(f"start: the config has no place for {', '.join(unexpected)}")

    def save(self) -> None:
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            for optimiser in self.optimisers:
                state = optimiser.state.get(parameter, {})
                tensors |= {f"moment.{name}.{k}": state[k] for k in MOMENTS[type(optimiser)] if k in state}
        temporary = self.folder / "state.tmp"
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, temporary)
        temporary.replace(self.folder / "state.safetensors")
        temporary.write_text(json.dumps(self.facts(), indent=1))
        temporary.replace(self.folder / "state.json")

    def record(self, validation: list[float]) -> None:
        """Adds a line to ``record.csv``; ``validation`` holds the loss at each of ``RATES``."""
        mean_loss = sum(self.lately) / max(len(self.lately), 1)
        self.lately.clear()
        with (self.folder / "record.csv").open("a", newline="") as f:
            writer = csv.writer(f, lineterminator="\n")
            if f.tell() == 0:
                writer.writerow(RECORD)
            figures = (f"{self.seconds / 60:.1f}", f"{self.pixels / 1e6:.0f}", f"{mean_loss:.5f}")
            writer.writerow([self.step, *figures, *validation])

    def facts(self) -> dict[str, Any]:
        """What ``state.json`` holds."""
        cuda = self.device.type == "cuda"
        machine = torch.cuda.get_device_name() if cuda else f"{torch.get_num_threads()} CPU core(s)"
        facts = {"step": self.step, "seconds": self.seconds, "pixels": self.pixels, "machine": machine}
        return {**facts, "config": self.config.to_dict(), "schedule": asdict(self.schedule)}

    def restore(self) -> dict[str, Any]:
        """Goes on where the run was saved; returns the facts that were saved with it."""
        facts: dict[str, Any] = json.loads((self.folder / "state.json").read_text())
        self.step, self.seconds, self.pixels = facts["step"], facts["seconds"], facts.get("pixels", 0)
        tensors = load_file(self.folder / "state.safetensors")

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.model.load_state_dict(part("model."))
        self.average.load_state_dict(part("average."))

        def laid_out(values: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
            """In memory as the parameter is (channels_last): AdamW's fused step goes by memory, not by index."""
            like = parameter if values.shape == parameter.shape else values.to(self.device)
            return torch.empty_like(like, requires_grad=False).copy_(values)

        moments = part("moment.") or part("adam.")
        for optimiser in self.optimisers:
            held = {id(p) for group in optimiser.param_groups for p in group["params"]}
            for name, parameter in self.model.named_parameters():
                kept = MOMENTS[type(optimiser)]
                if id(parameter) in held and all(f"{name}.{k}" in moments for k in kept):
                    state = {k: laid_out(moments[f"{name}.{k}"], parameter) for k in kept}
                    optimiser.state[parameter] = {"step": torch.tensor(float(self.step)), **state}
        return facts

    def train_step(self, crops: Crops) -> tuple[float, float, float]:
        """One optimiser step; returns loss, bits per pixel and mean squared error on 0..255."""
        progress, schedule = self.progress, self.schedule
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = schedule.learning_rate(progress, self.step)
        pictures, exact = (each.to(self.device) for each in crops.draw())
        blocks = to_blocks(pictures)
        # One rate from each of `batch` equal slices of the range: less variance than independent draws.
        slices = torch.arange(schedule.batch, device=self.device) + torch.rand(schedule.batch, device=self.device)
        low, high = schedule.rates
        t = low + (high - low) * slices / schedule.batch
        with mixed(self.device):
            hard_rate = progress >= schedule.hard_from
            out = self.model(blocks, t, use_map=progress >= schedule.map_from, hard_rate=hard_rate, exact=exact)
        weight = self.config.lagrangian(t)
        shown = torch.where(exact.repeat_interleave(2, 2).repeat_interleave(2, 3), blocks, out.blocks)
        original, decoded = (255 * (p.float() + 0.5) for p in (blocks, shown))
        if schedule.tuning != "mse":  # the squared error does not ask where a pixel lies
            original, decoded = to_picture(original), to_picture(decoded)
        error, mse = seen.distortion(schedule.tuning, schedule.seen, original, decoded)
        bpp = (out.code_bits + out.map_bits) / (blocks[0].numel() / 3)
        loss = ((bpp + weight * error) / weight.sqrt()).mean()
        pull = schedule.pull(progress) * out.map_error.mean()
        self.descend(loss + pull)
        self.pixels += pictures.numel() // 3
        self.lately.append(loss.item())
        return loss.item(), bpp.mean().item(), mse.mean().item()

    def descend(self, loss: torch.Tensor) -> None:
        """One step of the optimisers down the gradient of ``loss``, and of the moving average."""
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(self.model.parameters())
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.clip)
        for optimiser in self.optimisers:
            optimiser.step()
        decay = min(self.schedule.ema, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for parameter in self.bounded:
                parameter.clamp_(-LARGEST_WEIGHT, LARGEST_WEIGHT)
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)
        self.step += 1


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Without them, gradients of certain codes, next to zero, take a tenth of the time on a CPU."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def until_terminated() -> Iterator[Callable[[], bool]]:
    """Tells whether SIGTERM has come, so that a run that is stopped saves all of its steps."""
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGTERM, before)


@flushed_denormals()
def train(
    run: Run,
    crops: Crops,
    valid: list,
    more_steps: int | None = None,
    rank: int = 0,
    terminated: Callable[[], bool] = lambda: False,
) -> None:
    """Train until the schedule ends, for ``more_steps`` or until ``terminated`` in any process; rank 0 saves."""
    log = run.folder / "log.csv"
    stop = run.step + more_steps if more_steps else None
    totals, count, since = [0.0, 0.0, 0.0], 0, time.monotonic()
    while run.progress < 1 and run.step != stop and not mean(terminated(), run.device):
        begin = run.clock()
        figures = run.train_step(crops)
        totals, count = [a + b for a, b in zip(totals, figures, strict=True)], count + 1
        run.seconds += mean(run.clock() - begin, run.device)
        if rank:
            continue
        if run.step % 100 == 0:
            loss, bpp, mse = (x / count for x in totals)
            pace = (time.monotonic() - since) / count
            shown = f"step {run.step} {run.progress:.1%} {run.seconds / 60:.1f} minutes loss {loss:.4f} bpp {bpp:.3f}"
            print(f"{shown} mse {mse:.1f} {pace:.3f} s/step", flush=True)
            totals, count, since = [0.0, 0.0, 0.0], 0, time.monotonic()
        if run.step % SAVE_EVERY == 0:
            run.save()
        if run.step % run.schedule.valid_every == 0 or run.progress >= 1:
            run.save()
            rows = validate(run.average, valid, use_map=run.progress >= run.schedule.map_from)
            with log.open("a", newline="") as f:
                writer = csv.writer(f)
                if f.tell() == 0:
                    writer.writerow(["step", "minutes", *rows[0]])
                writer.writerows([run.step, f"{run.seconds / 60:.1f}", *row.values()] for row in rows)
            run.record([row["loss"] for row in rows])
            draw_curve(log, run.folder / "curve.png")
            since = time.monotonic()
    if not rank:
        run.save()


def configured(changes: dict, base: Config | None = None) -> tuple[Config, Schedule]:
    """Config and schedule with what differs from ``base`` and the defaults, ``{"model": {..}, "schedule": {..}}``."""
    config = Config.from_dict({**(base or Config()).to_dict(), **changes.get("model", {})})
    return config, replace(Schedule(), **changes.get("schedule", {}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of training pictures")
    parser.add_argument("--graphics", type=Path, help="folder that training.graphics has made")
    parser.add_argument("--valid", type=Path, required=True, help="folder of validation pictures")
    parser.add_argument("--run", type=Path, required=True, help="folder of the run; resumed if it exists")
    parser.add_argument("--config", type=Path, help="JSON with model and schedule values that differ from the defaults")
    parser.add_argument("--minutes", type=float, help="length of the run in machine time")
    parser.add_argument("--start", help="start a new run from the released model of this tuning, or from this run")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    state, started, base = args.run / "state.json", None, None
    if state.exists():
        base = Config.from_dict(json.loads(state.read_text())["config"])
    elif args.start:
        folder = Path(args.start)
        started = load_average(folder)[0] if folder.is_dir() else load_released(tuning=args.start)
        base = started.config
    changes = json.loads(args.config.read_text()) if args.config else {}
    config, schedule = configured(changes, base)
    if args.minutes:
        schedule = replace(schedule, minutes=args.minutes)
    args.run.mkdir(parents=True, exist_ok=True)
    device = torch.device(args.device)
    rank = join(device)
    run = Run(args.run, config, schedule, device)
    if state.exists():
        run.restore()
    elif started:
        run.start_from(started)
    macs = count_macs(config)
    print("kMAC per pixel:", {k: round(v / 1000, 2) for k, v in macs.items()})
    pictures = load_pictures(find_pictures(args.data))
    print(f"{len(pictures)} pictures, {sum(p.size for p in pictures) / 1e9:.2f} GB; from step {run.step}")
    graphics = load_pictures(find_pictures(args.graphics), mode="RGBA") if args.graphics and schedule.graphics else []
    valid = load_pictures(find_pictures(args.valid))
    with suppress(ImportError):  # as validation does; now, so that a long run does not meet code that has changed since
        importlib.import_module("training.agree")
    seed = schedule.seed + run.step + rank * 1_000_003
    torch.manual_seed(seed)
    with until_terminated() as terminated:
        crops = Crops(pictures, schedule.crop, schedule.batch, seed, graphics=graphics, drawn=schedule.graphics)
        train(run, crops, valid, rank=rank, terminated=terminated)
    leave()


if __name__ == "__main__":
    main()
