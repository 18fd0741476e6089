"""Hostile input: no crash, no undefined behaviour, no error but the right one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.reliability.row import LeftOutError, Row, command, row, seconds
from fuzz import build
from fuzz.__main__ import FUZZERS, SEEDS, Report

FINDINGS = build.ROOT / "tests" / "fuzz_findings"
EXECUTIONS = {"libfuzzer": 5_000_000, "afl": 500_000, "files": 500_000}
NEEDS = {"affine8_amx.c": "amx_int8"}  # flags of processors without which a file is not reached
LEAST_COVERED = 0.95
RANDOM_INPUTS = 30_000


def fuzzed(name: str, claim: str, measure: Callable[[], Row]) -> Row:
    """The row of one fuzzer, of what it reached in the time it had."""
    wanted = EXECUTIONS[name]
    program, run = FUZZERS[name]
    if program and (why := build.missing(program)):
        raise LeftOutError(why)
    report: Report = run(wanted, seconds() or 1e6)
    return Row(claim, str(report), command(measure), not report.findings and report.executions >= wanted)


@row(quick=False)
def libfuzzer() -> Row:
    """The C code under libFuzzer."""
    claim = (
        "C code (range coder, context models, transforms, pixel coder) under libFuzzer, ASan and UBSan: "
        "5 M executions, 0 findings"
    )
    return fuzzed("libfuzzer", claim, libfuzzer)


@row(quick=False)
def afl() -> Row:
    """The C code under AFL++."""
    return fuzzed("afl", "The same under AFL++: 500,000 executions, 0 findings", afl)


@row(quick=False)
def whole_files() -> Row:
    """Whole files, CRCs made right."""
    claim = "Whole files under atheris, CRCs and lengths made right after each edit: 500,000 executions, 0 findings"
    return fuzzed("files", claim, whole_files)


def replayed() -> tuple[int, list[str]]:
    """Runs every seed and finding through the sanitized C code, each file kind by its target; count and complaints."""
    native = sorted([*SEEDS.iterdir(), *FINDINGS.glob("*.bin")])
    program = build.make(build.REPLAY)
    done = subprocess.run([str(program), *map(str, native)], capture_output=True, text=True, check=False)
    faults = [done.stderr[-1000:]] if done.returncode else []
    whole = sorted(FINDINGS.glob("*.cwic"))
    target = [sys.executable, "-m", "fuzz.whole_file", *map(str, whole)]
    done = subprocess.run(target, capture_output=True, text=True, check=False, cwd=build.ROOT)
    return len(native) + len(whole), faults + ([done.stderr[-1000:]] if done.returncode else [])


@row(quick=True)
def findings() -> Row:
    """What was found, or made by hand to be hostile, over again."""
    claim = "Every seed and every file of tests/fuzz_findings replayed: 0 findings"
    if why := build.missing(build.REPLAY):
        raise LeftOutError(why)
    count, faults = replayed()
    return Row(claim, f"{len(faults)} findings in {count} files", command(findings), not faults)


def native_coverage(random_inputs: int = RANDOM_INPUTS) -> dict[str, tuple[int, int]]:
    """Of each C file that this processor can run, the lines that the fuzz target reaches, and all lines with code."""
    program = build.make(build.COVERAGE)
    with tempfile.TemporaryDirectory() as folder:  # gcov's counters, away from those of earlier runs
        env = {**os.environ, "GCOV_PREFIX": folder, "GCOV_PREFIX_STRIP": str(len(build.BUILD.parts) - 1)}
        inputs = [*map(str, sorted(SEEDS.iterdir())), f"-random={random_inputs}"]
        subprocess.run([str(program), *inputs], env=env, check=True, capture_output=True)
        for notes in build.BUILD.glob("*.gcno"):
            shutil.copy(notes, folder)
        counters = [path.name for path in Path(folder).glob("*.gcda")]
        gcov = ["gcov", "--json-format", "--stdout", *counters]
        text = subprocess.run(gcov, cwd=folder, check=True, capture_output=True, text=True).stdout
    found: dict[str, dict[int, bool]] = {}
    for report in map(json.loads, text.splitlines()):
        for file in report["files"]:
            if Path(file["file"]).parent.name == "csrc":
                lines = found.setdefault(Path(file["file"]).name, {})
                for line in file["lines"]:
                    number = line["line_number"]
                    lines[number] = lines.get(number, False) or line["count"] > 0
    facts = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    runs = (each for each in sorted(found.items()) if NEEDS.get(each[0], "") in facts)
    return {name: (sum(lines.values()), len(lines)) for name, lines in runs}


@row(quick=False)
def coverage_c() -> Row:
    """Lines of csrc that the C fuzz target reaches."""
    claim = "Line coverage of csrc/ by the fuzz target, its seeds and random inputs: at least 95 %"
    if why := build.missing(build.COVERAGE):
        raise LeftOutError(why)
    counts = native_coverage()
    reached, lines = (sum(pair[n] for pair in counts.values()) for n in (0, 1))
    lowest = min(counts, key=lambda name: counts[name][0] / counts[name][1])
    figure = f"{reached / lines:.1%} of {lines} lines; lowest {lowest}, {counts[lowest][0] / counts[lowest][1]:.1%}"
    return Row(claim, figure, command(coverage_c), reached / lines >= LEAST_COVERED)


def container_coverage(runs: int) -> tuple[float, list[int]]:
    """The share of container.py that random hostile files reach, and the lines that they do not."""
    with tempfile.TemporaryDirectory() as folder:
        data, report = Path(folder, "coverage"), Path(folder, "report.json")
        tool = [sys.executable, "-m", "coverage"]
        target = ["-m", "fuzz.whole_file", "--plain", "--runs", str(runs)]
        for arguments in (
            ["run", f"--data-file={data}", "--include=*/pillow_cwic/file/container.py", *target],
            ["json", f"--data-file={data}", "-o", str(report)],
        ):
            subprocess.run([*tool, *arguments], cwd=build.ROOT, check=True, capture_output=True)
        (file,) = json.loads(report.read_text())["files"].values()
    return file["summary"]["percent_covered"] / 100, file["missing_lines"]


@row(quick=True)
def coverage_container() -> Row:
    """Lines of container.py that hostile files reach."""
    share, left = container_coverage(4000)
    claim = "Line coverage of container.py by 4,000 random hostile files: at least 95 %"
    missed = f"; not reached: {', '.join(map(str, left))}" if left else ""
    return Row(claim, f"{share:.1%}{missed}", command(coverage_container), share >= LEAST_COVERED)
