"""Runs the fuzzers that can be had here: ``python -m fuzz [--runs N] [--seconds S] [--fuzzer NAME ...]``.

libFuzzer and AFL++ on the C code, atheris (or plain random edits) on whole files. What they find lies in build/fuzz;
a finding's input belongs into tests/fuzz_findings. Exit status 1 if there is any.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

from fuzz import build

SEEDS = build.HERE / "seeds"
MAX_BYTES = 400  # of an input to the C code: enough for every layer of every shape


class Report(NamedTuple):
    """What one fuzzer did; ``findings`` are the files it left, and its last words if it ended badly."""

    fuzzer: str
    executions: int
    seconds: float
    findings: list[str]

    def __str__(self) -> str:
        rate = f", {self.executions / self.seconds:,.0f} a second" if self.seconds else ""
        return f"{self.fuzzer}: {self.executions:,} executions{rate}, {len(self.findings)} findings"


def seeded(name: str) -> str:
    """A corpus folder that keeps what earlier runs found worth keeping, and has the seeds."""
    corpus = build.BUILD / name
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in SEEDS.iterdir():
        shutil.copy(seed, corpus)
    return str(corpus)


def _libfuzzer_report(name: str, done: subprocess.CompletedProcess[str]) -> Report:
    ended = re.search(r"^Done (\d+)(?: runs)? in (\d+) second", done.stderr, re.MULTILINE)
    left = re.findall(r"Test unit written to (\S+)", done.stderr)
    if done.returncode and not left:
        left = [done.stderr[-500:]]
    return Report(name, int(ended[1]) if ended else 0, float(ended[2]) if ended else 0.0, left)


def libfuzzer(runs: int, seconds: float) -> Report:
    """The C code under libFuzzer, with AddressSanitizer and UndefinedBehaviorSanitizer."""
    program = build.make(build.LIBFUZZER)
    limits = [
        f"-runs={runs}",
        f"-max_total_time={int(seconds)}",
        f"-max_len={MAX_BYTES}",
        "-timeout=20",
        "-len_control=0",
    ]
    artifacts = f"-artifact_prefix={build.BUILD}/finding-"
    command = [str(program), *limits, artifacts, "-print_final_stats=1", seeded("corpus-libfuzzer")]
    return _libfuzzer_report("libFuzzer", subprocess.run(command, capture_output=True, text=True, check=False))


def afl(runs: int, seconds: float) -> Report:
    """The same under AFL++."""
    program = build.make(build.AFL)
    out = build.BUILD / "out-afl"
    shutil.rmtree(out, ignore_errors=True)
    quiet = {
        "AFL_NO_UI": "1",
        "AFL_SKIP_CPUFREQ": "1",
        "AFL_NO_AFFINITY": "1",
        "AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES": "1",
    }
    limits = ["-V", str(int(seconds)), "-E", str(runs), "-G", str(MAX_BYTES), "-m", "none"]
    command = ["afl-fuzz", "-i", seeded("corpus-afl"), "-o", str(out), *limits, "--", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **quiet})
    stats = out / "default" / "fuzzer_stats"
    if not stats.exists():
        return Report("AFL++", 0, 0.0, [(done.stdout + done.stderr)[-500:]])
    found = dict(line.split(":", 1) for line in stats.read_text().splitlines())
    values = {name.strip(): value.strip() for name, value in found.items()}
    left = [str(p) for kind in ("crashes", "hangs") for p in (out / "default" / kind).glob("id*")]
    return Report("AFL++", int(values["execs_done"]), float(values["run_time"]), left)


def whole_file(runs: int, seconds: float) -> Report:
    """Whole files, by atheris if it is installed."""
    command = [sys.executable, "-m", "fuzz.whole_file", "--runs", str(runs), "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=build.ROOT)
    return _libfuzzer_report("whole files", done)


FUZZERS: dict[str, tuple[build.Program | None, Callable[[int, float], Report]]] = {
    "libfuzzer": (build.LIBFUZZER, libfuzzer),
    "afl": (build.AFL, afl),
    "files": (None, whole_file),
}


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20_000, help="executions of each")
    parser.add_argument("--seconds", type=float, default=10.0, help="at most, of each")
    parser.add_argument("--fuzzer", nargs="+", choices=list(FUZZERS), default=list(FUZZERS))
    args = parser.parse_args()
    findings = 0
    for name in args.fuzzer:
        program, run = FUZZERS[name]
        if program and (why := build.missing(program)):
            print(f"{name}: left out: {why}")
            continue
        report = run(args.runs, args.seconds)
        print(report, *report.findings, sep="\n  ", flush=True)
        findings += len(report.findings)
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
