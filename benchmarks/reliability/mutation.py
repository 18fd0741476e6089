"""Mutants: the tests notice when the code says something else."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.reliability.row import LeftOutError, Row, command, row, seconds
from fuzz.build import ROOT

LEAST_KILLED = 0.9
COPIED = ("pillow_cwic", "fuzz", "tests", "csrc", "pyproject.toml")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.safetensors", "fuzz_findings", "*.cwic")


def mutmut_counts(workers: int = 2) -> dict[str, int]:
    """Runs mutmut, as pyproject.toml sets it up, on a copy of the project: how many mutants ended in which way."""
    with tempfile.TemporaryDirectory() as folder:
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, Path(folder, name), ignore=LEFT_OUT)
            else:
                shutil.copy(ROOT / name, folder)
        tool = [sys.executable, "-m", "mutmut"]
        limit = seconds()
        run = [*tool, "run", "--max-children", str(workers)]
        with contextlib.suppress(subprocess.TimeoutExpired):  # those that were not reached count as such
            subprocess.run(run, cwd=folder, timeout=limit, capture_output=True)
        return counts_in(Path(folder))


def counts_in(folder: Path) -> dict[str, int]:
    """The ends of the mutants that mutmut has tried in a folder, and how many there are (``total``)."""
    tool = [sys.executable, "-m", "mutmut", "export-cicd-stats"]
    done = subprocess.run(tool, cwd=folder, capture_output=True, text=True, check=False)
    stats = folder / "mutants" / "mutmut-cicd-stats.json"
    if done.returncode or not stats.exists():
        raise LeftOutError(f"mutmut: {(done.stdout + done.stderr)[-300:]}")
    counts: dict[str, int] = json.loads(stats.read_text())
    return counts


@row(quick=False)
def killed() -> Row:
    """Mutation testing of the container and of the Python side of the coder."""
    claim = "Mutants of container.py, coding/coder.py and coding/planes.py: at least 90 % killed by the tests"
    if importlib.util.find_spec("mutmut") is None:
        raise LeftOutError("mutmut is not installed")
    counts = mutmut_counts()
    dead = sum(counts[ending] for ending in ("killed", "timeout", "segfault"))
    tried = dead + sum(counts[ending] for ending in ("survived", "no_tests", "suspicious"))
    if not tried:
        raise LeftOutError("mutmut tried no mutant in the time it had")
    figure = f"{dead / tried:.1%} of {tried:,} mutants; {counts['total']:,} in all"
    return Row(claim, figure, command(killed), dead / tried >= LEAST_KILLED and tried == counts["total"])
