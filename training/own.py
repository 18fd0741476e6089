"""A model of one's own.

``python -m training.own --data DIR --valid DIR --out mine.safetensors --name mine --minutes 60``

Goes on from a released tuning with the pictures in ``--data`` and writes one weights file, which is its own
description: name, tuning and family are in its metadata. Whoever has it on the model path can save with
``model="mine"`` and open the files made so; nobody else can (docs/MODELS.md). The same command started again goes on
where it was, in the folder ``--run``.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from pillow_cwic import models, settings
from pillow_cwic.codec import families
from pillow_cwic.file import atomic
from training.data import Crops, find_pictures, load_pictures
from training.quantise import crops, freeze
from training.released import load_released
from training.train import Run, Schedule, train
from training.weights import facts_of, load_average

# The model has learned all stages: the map is there from the start, and the learning rate is that of a run's last part.
SCHEDULE = Schedule(lr=2e-4, lr_end=1e-5, map_from=0.0, hard_from=0.0, map_pull=(0.01, 0.01))


def checked(data: bytes) -> bytes:
    """A weights file, after trying that an installation will take it. Raises ModelError if not."""
    families.make(b"cwc1", data, "cpu")
    return data


def check_name(name: str) -> str:
    """The name itself. Raises ValueError if no file could carry it, or if a released model has it."""
    if not models.NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not 1 to 64 letters, digits, dots, dashes and underscores")
    if name in {model.name for model in models.released()}:
        raise ValueError(f"{name!r} is the name of a released model")
    return name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of training pictures")
    parser.add_argument("--valid", type=Path, required=True, help="folder of other pictures, to see how it went")
    parser.add_argument("--out", type=Path, required=True, help="the weights file to write")
    parser.add_argument("--name", required=True, help="what model= will call it")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, help="length of the run in machine time")
    length.add_argument("--steps", type=int, help="length of the run in steps of 4 crops")
    parser.add_argument("--tuning", choices=models.TUNINGS, default=models.DEFAULT_TUNING,
                        help="what to start from, and train for")  # fmt: skip
    parser.add_argument("--run", type=Path, help="folder of the run; runs/NAME if not given")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    try:
        check_name(args.name)
        if args.out.suffix != models.SUFFIX:
            raise ValueError(f"{args.out}: does not end in {models.SUFFIX}, so that no model path would show it")
    except ValueError as error:
        parser.error(str(error))
    torch.set_num_threads(args.threads)
    started = load_released(tuning=args.tuning)
    schedule = replace(SCHEDULE, tuning=args.tuning, **{k: v for k in ("minutes", "steps") if (v := getattr(args, k))})
    folder = args.run or Path("runs") / args.name
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(folder, started.config, schedule, torch.device(args.device))
    if (state := folder / "state.json").exists():
        if (was := json.loads(state.read_text())["schedule"]["tuning"]) != args.tuning:
            parser.error(f"{folder}: is a run of tuning {was}, not {args.tuning}; --run names another")
        run.restore()
    else:
        run.start_from(started)
    pictures, valid = (load_pictures(find_pictures(each)) for each in (args.data, args.valid))
    print(f"{len(pictures)} pictures; from step {run.step}")
    if run.progress < 1:
        train(run, Crops(pictures, schedule.crop, schedule.batch, schedule.seed + run.step), valid)
    model, facts = load_average(folder)
    data = checked(freeze(model, crops(args.data), facts_of(args.name, args.tuning, facts)))
    atomic.write(args.out, data, overwrite=True)
    with settings.options(models=[args.out]):
        made = models.by_name(args.name, args.tuning)
    print(f"{args.out}: model {made.name}, tuning {made.tuning}, id {made.id.hex()}, {run.step} steps")


if __name__ == "__main__":
    main()
