"""The long runs, one for each file of ``training/configs``: ``python -m training.campaign start --data DIR``.

``start`` resumes each run where it was, in the background, on a core of its own, with its output in ``out.log`` of the
run's folder; ``stop`` has them save and end, ``show`` changes nothing. All three tell in a line a run how far it is,
and gather the lines that the runs wrote at each validation in ``docs/results/training.csv``, over all restarts.
What ``training.graphics`` put into ``graphics`` beside the runs' folders is a share of their crops.
"""

from __future__ import annotations

import argparse
import csv
import ctypes.util
import fcntl
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from training.train import RECORD

CONFIGS = Path(__file__).parent / "configs"
COLUMNS = ("run", *RECORD)


def names() -> list[str]:
    return sorted(path.stem for path in CONFIGS.glob("*.json"))


def core_of(name: str, cores: set[int]) -> int:
    """The last core for the first run and so on, so that the first cores stay free where there are more than runs."""
    return sorted(cores, reverse=True)[names().index(name) % len(cores)]


def holder(folder: Path) -> int | None:
    """The process that trains a run now. It holds a lock on ``pid``, so that no number of an ended one misleads."""
    try:
        with (folder / "pid").open("r") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return int((folder / "pid").read_text() or 0)
    return None


def start(name: str, folder: Path, data: Path, weights: str) -> None:
    """Starts or resumes a run as a process of its own, which inherits the lock and keeps it until it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    config = CONFIGS / f"{name}.json"
    command = ["taskset", "-c", str(core_of(name, os.sched_getaffinity(0))), sys.executable, "-m", "training.train"]
    command += ["--data", str(data / "train"), "--valid", str(data / "valid"), "--run", str(folder)]
    command += ["--config", str(config), "--start", weights]
    if (graphics := folder.parent / "graphics").is_dir():
        command += ["--graphics", str(graphics)]
    allocator = ctypes.util.find_library("jemalloc")  # a tenth faster, docs/experiments.md, row 42
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **({"LD_PRELOAD": allocator} if allocator else {})}
    with (folder / "pid").open("a") as lock, (folder / "out.log").open("a") as log:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
            pass_fds=[lock.fileno()],
        )
        lock.truncate(0)
        lock.write(str(process.pid))


def shown(name: str, folder: Path) -> str:
    """One line: whether a run is at work, and how far it was when it last wrote."""
    log = folder / "out.log"
    lines = log.read_text().splitlines() if log.exists() else []
    last = [line for line in lines if line.startswith("step ")][-1:] or ["no step yet"]
    process = holder(folder)
    trouble = f"; {lines[-1]}" if process is None and lines and "Error" in lines[-1] else ""
    return f"{name}: {f'process {process}' if process else 'not running'}, {last[0]}{trouble}"


def gather(target: Path, runs: Path) -> None:
    """Brings the runs' records into ``target``, which keeps those of folders that are gone.

    What it holds of an earlier run of the same name is that of NAME-1, NAME-2, .. from then on.
    """
    kept = _lines(target, None)
    for name in names():
        found = _lines(runs / name / "record.csv", name)
        before = [row for row in kept if row["run"] == name]
        if found and any(row not in found for row in before):
            taken = {row["run"] for row in kept}
            free = next(each for k in itertools.count(1) if (each := f"{name}-{k}") not in taken)
            for row in before:
                row["run"] = free
        kept += [row for row in found if row not in kept]
    if kept:
        with target.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(sorted(kept, key=lambda row: (row["run"], int(row["step"]))))


def _lines(path: Path, name: str | None) -> list[dict[str, str]]:
    """What a file of records holds, of the run of this name, or of those that it names; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [{**row, "run": name or row["run"]} for row in csv.DictReader(file)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("start", "stop", "show"))
    parser.add_argument("names", nargs="*", metavar="RUN", help=f"{', '.join(names())}; all if none is named")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with train/ and valid/")
    weights_help = "what a new run starts from: a released tuning or a run's folder; its own tuning if not given"
    parser.add_argument("--start", action="append", default=[], metavar="RUN=WEIGHTS", help=weights_help)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    chosen = args.names or names()
    weights = dict(each.partition("=")[::2] for each in args.start)
    if unknown := {*chosen, *weights} - {*names()}:
        parser.error(f"{', '.join(sorted(unknown))}: no such file in {CONFIGS}; there are {', '.join(names())}")
    if args.action == "start" and not all((args.data / part).is_dir() for part in ("train", "valid")):
        parser.error(f"{args.data} has no train/ and valid/ with pictures: make train DATA=folder")
    for name in chosen:
        process = holder(args.runs / name)
        if args.action == "start" and process is None:
            start(name, args.runs / name, args.data, weights.get(name, name))
        elif args.action == "stop" and process:
            os.kill(process, signal.SIGTERM)
    while args.action == "stop" and any(holder(args.runs / name) for name in chosen):
        time.sleep(0.5)
    gather(args.results / "training.csv", args.runs)
    for name in chosen:
        print(shown(name, args.runs / name))


if __name__ == "__main__":
    main()
