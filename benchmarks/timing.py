"""Times of calls beside each other, and the machine that they were taken on."""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import TypeVar

from PIL import Image

K = TypeVar("K", bound=Hashable)


def machine() -> str:
    """CPU model and the number of cores this process may use."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.open() if line.startswith("model name")]
        model = names[0] if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{model or platform.machine()}, {cores} core{'s' if cores > 1 else ''}"


def seconds(call: Callable[[], object]) -> float:
    """The time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def rounds(calls: Mapping[K, Callable[[], object]], repeats: int) -> dict[K, list[float]]:
    """The seconds of each call in so many rounds.

    Every round makes every call, so that a slow moment of the machine is no codec's own and ratios stay fair; twice,
    of which the second counts, as the first finds the caches as the call before has left them.
    """
    taken: dict[K, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            call()
            taken[name].append(seconds(call))
    return taken


def command(description: str, name: str, report: Callable[[Image.Image, str, float, int], str], repeats: int) -> None:
    """The command line of a benchmark that times one picture at one rate and writes NAME.md.

    ``report`` gets the picture, its name, bits per pixel and the number of repeats.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--picture", type=Path, default=Path("tests/data/kodim23.png"))
    parser.add_argument("--rate", type=float, default=0.5, help="bits per pixel")
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    with Image.open(args.picture) as file:
        text = report(file.convert("RGB"), args.picture.stem, args.rate, args.repeats)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{name}.md").write_text(text)
    print(text)
