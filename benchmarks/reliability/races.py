"""Data races: threads that share a picture never touch the same number at the same time"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.reliability.row import LeftOutError, Row, command, row

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("pillow_cwic", "csrc", "fuzz", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
COPIED += ("_pillow_cwic_autoload.py",)
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.so", "*.safetensors")
RACE = "WARNING: ThreadSanitizer: data race"

# Codes made-up pictures in argv[1] threads, in plain C, of which the sanitizer sees every access. With argv[2] the
# layers come so many rows closer to each other than they may, which it must notice.
PROGRAM = """
import sys
import numpy as np
from fuzz import files
from pillow_cwic.coding import coder, wavefront
from pillow_cwic.errors import EntropyError
threads, closer = int(sys.argv[1]), int(sys.argv[2])
run = wavefront.run
wavefront.run = lambda begin, rows, ahead, *rest: run(begin, rows, ahead - closer, *rest)
EntropyModel = coder.EntropyModel
files.EntropyModel = lambda *args: EntropyModel(*args, simd=0)
model = files.entropy_models()[b"cwc1"]
assert model.simd == 0
rng = np.random.default_rng(threads)
for size in ((23, 9), (40, 30)):
    layers = [rng.integers(0, model.levels, (1, *size)).astype(np.int16)]
    for channels in model.groups:
        codes = np.round(rng.laplace(0, 3, (channels, 2 * size[0], 2 * size[1])))
        layers.append(codes.clip(-511, 511).astype(np.int16))
    try:
        streams = model.tile(3, *size).encode_all(layers, [None] * len(layers), 0.0, threads)
        back = model.tile(3, *size).decode_all(streams, threads, lambda: None)
    except EntropyError:
        assert closer
    else:
        assert closer or all(np.array_equal(a, b) for a, b in zip(layers, back, strict=True))
print("done")
"""


def build(folder: Path) -> dict[str, str]:
    """The package with its C code under ThreadSanitizer, in a folder; the environment to run it in."""
    compiler = shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        raise LeftOutError("gcc with ThreadSanitizer on Linux is needed")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=LEFT_OUT)
        else:
            shutil.copy(source, folder)
    flags = {"CC": compiler, "CFLAGS": "-fsanitize=thread -g -O1", "LDFLAGS": "-fsanitize=thread"}
    made = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    done = subprocess.run(made, cwd=folder, env={**os.environ, **flags}, capture_output=True, text=True)
    library = subprocess.run([compiler, "-print-file-name=libtsan.so"], capture_output=True, text=True).stdout.strip()
    if done.returncode or not Path(library).exists():
        raise LeftOutError(f"no build under ThreadSanitizer: {done.stderr[-300:]}")
    return {**os.environ, "LD_PRELOAD": library, "PYTHONPATH": str(folder), "TSAN_OPTIONS": "exitcode=66"}


def races(folder: Path, environment: dict[str, str], threads: int, closer: int) -> bool:
    """Whether the sanitizer reports a race. Raises RuntimeError if the program fails otherwise."""
    run = [sys.executable, "-c", PROGRAM, str(threads), str(closer)]
    done = subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    found = RACE in done.stderr
    if "done" not in done.stdout or done.returncode != (66 if found else 0):
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr[-1000:]}")
    return found


@row(quick=True)
def layers() -> Row:
    """Layers coded at once."""
    with tempfile.TemporaryDirectory() as name:
        environment = build(Path(name))
        racing = [threads for threads in (2, 3, 8) if races(Path(name), environment, threads, 0)]
        control = races(Path(name), environment, 3, 9)
    return Row(
        "layers of a picture coded at once in 2, 3 and 8 threads: no data race under ThreadSanitizer, which finds one "
        "where they come closer to each other than they may",
        f"{len(racing)} of 3 race; " + ("the control does" if control else "nor does the control"),
        command(layers),
        not racing and control,
    )
