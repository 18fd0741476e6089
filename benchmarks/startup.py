"""What a process pays before its first picture: ``python -m benchmarks.startup``. Writes ``startup.md``.

How much later Python starts for the start-up hook; what it takes to open a file of 12 megapixels, which reads its
header alone, beside the peers; and how much longer than importing torch the first decoding of a new process takes.
"""

from __future__ import annotations

import argparse
import py_compile
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

import _pillow_cwic_autoload as hook
from benchmarks.codecs import CWIC_AT_RATE, available
from benchmarks.growth import picture
from benchmarks.tables import table
from benchmarks.timing import machine
from pillow_cwic.compare.peers import PEERS as PEER_CODECS

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
TORCH = "import time; start = time.perf_counter(); import torch; print(time.perf_counter() - start)"
FIRST = """
import sys, time
start = time.perf_counter()
import pillow_cwic
from PIL import Image
with Image.open(sys.argv[1]) as im:
    im.load()
print(time.perf_counter() - start)
"""


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


def first_decoding(folder: Path, repeats: int) -> tuple[float, float]:
    """Seconds that new processes take to import torch, and to decode 768x512 from nothing: medians, by turns."""
    path = folder / "first.cwic"
    with Image.open("tests/data/kodim23.png") as im:
        im.convert("RGB").save(path, format="CWIC", rate=0.5)
    pairs = [(float(run(TORCH)[0]), float(run(FIRST, str(path))[0])) for _ in range(repeats + 1)][1:]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def report(runs: int, repeats: int, megapixels: float) -> str:
    """All as markdown."""
    with_hook, without = measure(runs)
    added = statistics.median(with_hook) - statistics.median(without)
    with tempfile.TemporaryDirectory() as name:
        opened = opening(Path(name), megapixels)
        torch, first = first_decoding(Path(name), repeats)
    ours = opened[CWIC_AT_RATE.name]
    rows = [[name.removesuffix(" at a rate"), f"{ms:.3f}", f"{ours / ms:.2f}"] for name, ms in opened.items()]
    return (
        f"# Start-up\n\n{machine()}; medians.\n\n"
        f"The start-up hook adds {added:.3f} ms to every start of Python ({runs} starts).\n\n"
        f"`Image.open`, which reads the header, of {megapixels:g} megapixels in memory; torch is not loaded:\n\n"
        f"{table(['codec', 'open / ms', 'CWIC / codec'], rows)}\n"
        f"A new process that imports `pillow_cwic` and decodes 768x512 takes {first:.2f} s, "
        f"{first - torch:.2f} s more than the {torch:.2f} s of `import torch` alone ({repeats} processes each).\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=51, help="starts of Python for the hook")
    parser.add_argument("--repeats", type=int, default=7, help="processes that import torch, and that decode")
    parser.add_argument("--megapixels", type=float, default=12.0)
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    text = report(args.runs, args.repeats, args.megapixels)
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "startup.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
