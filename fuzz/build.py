"""The programs that hostile input is run on, each made from ``csrc`` and files of this folder when it is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
HERE, CSRC = ROOT / "fuzz", ROOT / "csrc"
BUILD = ROOT / "build" / "fuzz"

_STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-g", "-I", str(CSRC))
_SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


class Program(NamedTuple):
    """``sources`` lie in this folder; those of ``csrc`` but for the self-test come with them."""

    name: str
    compiler: str
    flags: tuple[str, ...]
    sources: tuple[str, ...]


_TARGET = ("core.c", "transforms.c", "lossless.c")
# Comparisons are not traced: this code compares loop counters most of all, and would spend its time there.
LIBFUZZER = Program(
    "libfuzzer", "clang", (*_STRICT, "-O2", "-fsanitize=fuzzer", "-fno-sanitize-coverage=trace-cmp", *_SANITIZE),
    _TARGET,
)  # fmt: skip
AFL = Program("afl", "afl-clang-fast", (*_STRICT, "-O2", "-fsanitize=fuzzer", *_SANITIZE), _TARGET)
REPLAY = Program("replay", "cc", (*_STRICT, "-O1", *_SANITIZE), (*_TARGET, "replay.c"))
COVERAGE = Program("coverage", "gcc", (*_STRICT, "-O0", "--coverage"), (*_TARGET, "replay.c"))
PERTURBED = Program(
    "perturbed.so", "cc", (*_STRICT, "-O2", "-shared", "-fPIC", "-include", str(HERE / "perturb.h")), ("perturb.c",)
)


def sources() -> list[Path]:
    """The C files that the coder is made of."""
    return sorted(path for path in CSRC.glob("*.c") if not path.name.startswith("selftest"))


def missing(program: Program) -> str | None:
    """Why a program cannot be made here; None if it can."""
    if shutil.which(program.compiler) is None:
        return f"{program.compiler} is not installed"
    BUILD.mkdir(parents=True, exist_ok=True)
    probe = BUILD / f"probe-{program.name}.c"
    entry = "int LLVMFuzzerTestOneInput(const unsigned char *data, unsigned long size)"
    body = f"{entry};\n{entry} {{ (void)data; return size == 77; }}\n"
    plain = "-fsanitize=fuzzer" not in program.flags
    probe.write_text(body + ("int main(void) { return 0; }\n" if plain else ""))
    flags = [flag for flag in program.flags if flag not in ("-include", str(HERE / "perturb.h"))]
    done = _run([program.compiler, *flags, probe.name, "-o", f"probe-{program.name}"])
    return None if done.returncode == 0 else f"{program.compiler} cannot build {program.name}: {done.stderr[-300:]}"


def make(program: Program) -> Path:
    """The program, compiled if it is older than what it is made of. Raises RuntimeError with the compiler's words."""
    made = BUILD / program.name
    inputs = [*sources(), *CSRC.glob("*.h"), *HERE.glob("*.[ch]"), Path(__file__)]
    if not made.exists() or made.stat().st_mtime < max(path.stat().st_mtime for path in inputs):
        BUILD.mkdir(parents=True, exist_ok=True)
        files = [*(HERE / name for name in program.sources), *sources()]
        done = _run(
            [program.compiler, *program.flags, *map(str, files), "-pthread", "-lm", "-o", f"{program.name}.new"]
        )
        if done.returncode:
            raise RuntimeError(f"{program.name}: {done.stderr}")
        os.replace(BUILD / f"{program.name}.new", made)  # a program that runs, or is mapped, stays as it is
    return made


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=BUILD, capture_output=True, text=True, check=False)
