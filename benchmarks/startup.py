"""What a process pays before its first picture: ``python -m benchmarks.startup``. Writes ``startup.md``.

How much later Python starts for the start-up hook; what registration adds to ``from PIL import Image``, at most 5 ms of
CPU and 1 MB; what it takes to open a file of 12 megapixels, which reads its header alone, beside the peers; what a
whole new process takes to open and load one picture, time and memory, beside the peers; and what ``cwic encode`` takes.
"""

from __future__ import annotations

import argparse
import os
import py_compile
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from PIL import Image

import _pillow_cwic_autoload as hook
from benchmarks.codecs import CWIC_AT_RATE, available
from benchmarks.growth import picture
from benchmarks.tables import table
from benchmarks.timing import machine
from pillow_cwic.tools.compare.peers import PEERS as PEER_CODECS

PEERS = {codec.name for codec in PEER_CODECS}

# Started without the site module, so that it can be timed on one folder alone. Python looks for sitecustomize at every
# start, with or without the hook, which is what makes it read the folders.
TIMED = """
import sys, os, site, time
sys.path.insert(0, sys.argv[1])
try:
    import sitecustomize
except ImportError:
    pass
start = time.perf_counter()
site.addsitedir(sys.argv[1])
end = time.perf_counter()
print(1000 * (end - start), sys.modules.get("_pillow_cwic_autoload") is not None)
"""


def measure(runs: int) -> tuple[list[float], list[float]]:
    """Milliseconds that a site folder takes in a new interpreter: with the hook alone in it, and empty."""
    with tempfile.TemporaryDirectory() as folder:
        full, empty = Path(folder) / "full", Path(folder) / "empty"
        for each in (full, empty):
            each.mkdir()
        for name, content in hook.FILES.items():
            (full / name).write_text(content)
        module = Path(hook.__file__)
        (full / module.name).write_bytes(module.read_bytes())
        py_compile.compile(str(full / module.name), doraise=True)  # as pip does when it installs

        def timed(path: Path) -> float:
            command = [sys.executable, "-S", "-c", TIMED, str(path)]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            if (output[1] == "True") != (path == full):
                raise RuntimeError(f"the hook did not run as it should: {output}")
            return float(output[0])

        pairs = [(timed(full), timed(empty)) for _ in range(runs)]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


LIMITS = 5, 1  # milliseconds of CPU and megabytes that registration may take
REGISTERING = """
import time
from PIL import Image
def taken():
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return time.process_time(), pages
taken()
before = taken()
import pillow_cwic
print(*(after - before for before, after in zip(before, taken())))
"""


@contextmanager
def compiled() -> Iterator[None]:
    """Within, processes find modules compiled, as pip leaves them, by the first that imports them: in a new folder."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, PYTHONPYCACHEPREFIX=folder):
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        yield


class Registration(NamedTuple):
    """What registration adds to ``from PIL import Image``: seconds of CPU, and bytes of memory held."""

    cpu: float
    memory: float


def registration(runs: int) -> Registration:
    """Medians of so many new interpreters, by import of the package, which is what the hook does, too. Linux alone."""
    found = []
    for _ in range(runs + 1):
        cpu, pages = subprocess.check_output([sys.executable, "-c", REGISTERING], text=True).split()
        found.append((float(cpu), int(pages) * os.sysconf("SC_PAGE_SIZE")))
    return Registration(*map(statistics.median, zip(*found[1:], strict=True)))


OPENING = """
import io, sys, time
from statistics import median
from PIL import Image
import pillow_cwic
for name in ("pillow_heif", "pillow_jxl"):
    try:
        module = __import__(name)
        getattr(module, "register_heif_opener", lambda: None)()
    except ImportError:
        pass
Image.init()
for path in sys.argv[1:]:
    data, times = open(path, "rb").read(), []
    for _ in range(31):
        start = time.perf_counter()
        with Image.open(io.BytesIO(data)) as im:
            im.size
        times.append(time.perf_counter() - start)
    print(path, 1000 * median(times[1:]))
print("torch" in sys.modules)
"""
LOADING = "import sys; from PIL import Image; {more}Image.open(sys.argv[1]).load()"
LOADED = {"CWIC at a rate": "import pillow_cwic; ", "JPEG XL": "import pillow_jxl; ",
          "HEIC": "import pillow_heif; pillow_heif.register_heif_opener(); "}  # fmt: skip


class Process(NamedTuple):
    """What one process took: seconds on the clock and of CPU, and its memory at the peak in bytes."""

    seconds: float
    cpu: float
    memory: int


# A small process that starts the one to be measured: what a large one starts begins with that one's peak of memory.
LAUNCHER = """
import os, sys, time
start = time.perf_counter()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ,
                        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
_, status, used = os.wait4(child, 0)
print(time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss, os.waitstatus_to_exitcode(status))
"""


def process(*command: str) -> Process:
    """Runs a command. Raises RuntimeError if it fails."""
    *figures, code = map(float, subprocess.check_output([sys.executable, "-S", "-c", LAUNCHER, *command]).split())
    if code:
        raise RuntimeError(f"{command}: exit code {code:g}")
    return Process(figures[0], figures[1], int(1024 * figures[2]))


def medians(calls: dict[str, tuple[str, ...]], repeats: int) -> dict[str, Process]:
    """Medians of so many rounds, in each of which every command runs once; a round before them warms the disk."""
    taken: dict[str, list[Process]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, command in calls.items():
            taken[name].append(process(*command))
    return {name: Process(*map(statistics.median, zip(*each[1:], strict=True))) for name, each in taken.items()}


def run(code: str, *words: str) -> list[str]:
    """Lines that a new interpreter prints."""
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
    ).stdout.split("\n")


def opening(folder: Path, megapixels: float) -> dict[str, float]:
    """Milliseconds to open a file of each codec, in memory; RuntimeError if that loads torch."""
    im = Image.fromarray(picture(Path("tests/data/kodim04.png"), megapixels))
    paths = []
    for name, codec in available().items():
        if name in PEERS or name == CWIC_AT_RATE.name:
            path = folder / f"{name.replace(' ', '_')}.bin"
            path.write_bytes(codec.encode(im, codec.settings[len(codec.settings) // 2]))
            paths.append(path)
    *lines, torch, _ = run(OPENING, *map(str, paths))
    if torch != "False":
        raise RuntimeError("opening a file has loaded torch")
    return {Path(line.split()[0]).stem.replace("_", " "): float(line.split()[1]) for line in lines}


def processes(folder: Path, repeats: int) -> tuple[dict[str, Process], Process]:
    """New processes that open and load 768x512 at 0.5 bpp with each codec, one that only imports Pillow, and
    ``cwic encode``."""
    calls: dict[str, tuple[str, ...]] = {"Pillow alone": (sys.executable, "-c", "from PIL import Image")}
    with Image.open("tests/data/kodim23.png") as file:
        im = file.convert("RGB")
    im.save(source := folder / "photo.png")
    for name, codec in available().items():
        if name in PEERS or name == CWIC_AT_RATE.name:
            path = folder / f"{name.replace(' ', '_')}.small"
            size = im.width * im.height // 16
            ours = name == CWIC_AT_RATE.name
            path.write_bytes(codec.encode(im, 0.5) if ours else codec.encode(im, codec.fit(im, size)))
            calls[name] = sys.executable, "-c", LOADING.format(more=LOADED.get(name, "")), str(path)
    command = str(Path(sys.executable).with_name("cwic")), "encode", str(source), "-o", str(folder), "--force"
    found = medians({**calls, "encode": command}, repeats)
    return found, found.pop("encode")


def report(runs: int, repeats: int, megapixels: float) -> str:
    """All as markdown."""
    with_hook, without = measure(runs)
    added = statistics.median(with_hook) - statistics.median(without)
    registered = registration(runs)
    with tempfile.TemporaryDirectory() as name:
        opened = opening(Path(name), megapixels)
        loaded, encoding = processes(Path(name), repeats)
    ours, own = opened[CWIC_AT_RATE.name], loaded[CWIC_AT_RATE.name]
    rows = [[name.removesuffix(" at a rate"), f"{ms:.3f}", f"{ours / ms:.2f}"] for name, ms in opened.items()]
    whole = [
        [name.removesuffix(" at a rate"), *(f"{x:.3f}" for x in p[:2]), f"{p.memory / 1e6:.0f}", f"{own[0] / p[0]:.2f}"]
        for name, p in loaded.items()
    ]
    costs = [["CPU / ms", f"{1000 * registered.cpu:.2f}", str(LIMITS[0])],
             ["memory / MB", f"{registered.memory / 1e6:.2f}", str(LIMITS[1])]]  # fmt: skip
    return (
        f"# Start-up\n\n{machine()}; medians.\n\n"
        f"The start-up hook adds {added:.3f} ms to every start of Python ({runs} starts).\n\n"
        f"Registration adds to `from PIL import Image` ({runs} processes):\n\n"
        f"{table(['', 'measured', 'at most'], costs)}\n"
        f"`Image.open`, which reads the header, of {megapixels:g} megapixels in memory; torch is not loaded:\n\n"
        f"{table(['codec', 'open / ms', 'CWIC / codec'], rows)}\n"
        f"A new process that opens and loads 768x512 at 0.5 bpp, from its start to its end ({repeats} of each):\n\n"
        f"{table(['codec', 'seconds', 'CPU / s', 'peak memory / MB', 'CWIC / codec'], whole)}\n"
        f"`cwic encode` of 768x512 at the default quality and effort, a new process: {encoding.seconds:.2f} s, "
        f"{encoding.cpu:.2f} s of CPU, {encoding.memory / 1e6:.0f} MB.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=51, help="starts of Python for the hook")
    parser.add_argument("--repeats", type=int, default=7, help="processes of each kind")
    parser.add_argument("--megapixels", type=float, default=12.0)
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    with compiled():
        text = report(args.runs, args.repeats, args.megapixels)
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "startup.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
