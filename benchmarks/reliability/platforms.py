"""The same symbols everywhere"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import pillow_cwic
from benchmarks.reliability.row import Row, command, row
from pillow_cwic import models, settings
from pillow_cwic.coding import EntropyModel
from pillow_cwic.coding.coder import BEST_SIMD
from pillow_cwic.coding.symbols import decode_symbols, entropy_model, grid
from pillow_cwic.file import container
from pillow_cwic.models.weights import read

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Werror"]
# Compiler, its flags, and what runs its programs; those that are not here are named in the row.
SANITIZE = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"
RACES = "-O1 -g -fsanitize=thread"
BUILDS = [
    *((cc, flags, "") for cc in ("gcc", "clang") for flags in ("-O0", "-O3", "-O2 -m32", SANITIZE, RACES)),
    ("s390x-linux-gnu-gcc", "-O2 -static", "qemu-s390x-static"),
    ("s390x-linux-gnu-gcc", "-O0 -static", "qemu-s390x-static"),
    ("aarch64-linux-gnu-gcc", "-O3 -static", "qemu-aarch64-static"),
    ("aarch64-linux-gnu-gcc", "-O0 -static", "qemu-aarch64-static"),
]
THREADS = (1, 2, 3, 4, 8, 16)


class Build(NamedTuple):
    """One build of the self-test: what made it, and the command that runs it."""

    name: str
    run: list[str]


def builds(folder: Path) -> tuple[list[Build], list[str]]:
    """The self-test from every compiler that works here, and the names of those that do not."""
    made, missing = [], []
    probe = folder / "probe.c"
    probe.write_text('#include <stdio.h>\nint main(void) { return puts("") < 0; }\n')
    for cc, flags, runner in BUILDS:
        name = f"{cc} {flags.replace(SANITIZE, 'with ASan and UBSan').replace(RACES, 'with ThreadSanitizer')}"
        program = folder / f"selftest-{len(made)}"
        run = [*([runner] if runner else []), str(program)]
        compile_ = [cc, *FLAGS, *flags.split()]
        if not all(map(shutil.which, (cc, runner or cc))) or not _works(
            [*compile_, str(probe), "-o", str(program)], run
        ):
            missing.append(name)
            continue
        sources = sorted(map(str, (ROOT / "csrc").glob("*.c")))
        subprocess.run([*compile_, *sources, "-pthread", "-lm", "-o", str(program)], check=True, capture_output=True)
        made.append(Build(name, run))
    return made, missing


def _works(*commands: list[str]) -> bool:
    return all(subprocess.run(each, capture_output=True).returncode == 0 for each in commands)


def symbol_hash(symbols: list[NDArray[np.int16]]) -> str:
    """FNV-1a, as in csrc/selftest.c, of all symbols as two bytes each, low byte first."""
    value = 2166136261
    for layer in symbols:
        for byte in layer.astype("<i2").tobytes():
            value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return f"{value:08x}"


def decoded(data: bytes) -> list[NDArray[np.int16]]:
    """The symbols of a file, layer by layer."""
    parsed = container.read_file(data)
    entropy = entropy_model(models.by_id(parsed.header.model_id))
    return decode_symbols(entropy, parsed, *grid(entropy, parsed.header.height, parsed.header.width))


def vector(data: bytes) -> bytes:
    """A file of one tile for ``selftest FILE``: its model's integers and its streams, as numbers."""
    parsed = container.read_file(data)
    header, model = parsed.header, models.by_id(parsed.header.model_id)
    file = read(model.read())
    config, weights, biases = file.config, file.arrays["context.weights"], file.arrays["context.biases"]
    entropy, symbols = entropy_model(model), decoded(data)
    hidden = [config.get(name, 0) for name in ("context_hidden", "map_hidden")]
    rows, columns = grid(entropy, header.height, header.width)
    head = [int(header.family == b"cw18"), header.rate, rows, columns, *hidden, config["levels"]]
    head += [weights.size, biases.size, len(entropy.groups)]
    out = [struct.pack(">10i", *head), weights.astype(">i2").tobytes(), biases.astype(">i4").tobytes()]
    out.append(np.asarray(entropy.groups, ">i4").tobytes())
    for layer, plane in zip(parsed.layers, symbols, strict=True):
        out += [struct.pack(">2i", plane.size, len(layer.data)), layer.data]
    return b"".join(out)


def released_files() -> Iterator[bytes]:
    """A picture of 144 x 112 in every released model and tuning, at a low and a high rate."""
    with Image.open(ROOT / "tests" / "data" / "kodim23.png") as im:
        part = im.convert("RGB").crop((300, 100, 444, 212))
    for model in models.released():
        for quality in (20, 90):
            part.save(data := BytesIO(), format="CWIC", model=model.name, tuning=model.tuning, quality=quality)
            yield data.getvalue()


@row(quick=False)
def compilers_and_processors() -> Row:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = list(released_files())
        wanted = [symbol_hash(decoded(data)) for data in files]
        paths = [folder / f"{n}.vector" for n in range(len(files))]
        for path, data in zip(paths, files, strict=True):
            path.write_bytes(vector(data))
        made, missing = builds(folder)
        wrong = []
        for build in made:
            alone = subprocess.run(build.run, capture_output=True, text=True)
            done = subprocess.run([*build.run, *map(str, paths)], capture_output=True, text=True)
            found = re.findall(r"vector: symbol hash (\w{8})", done.stdout)
            if alone.returncode or done.returncode or found != wanted:
                wrong.append(build.name)
    same = ", ".join(build.name for build in made if build.name not in wrong)
    return Row(
        "symbols of released models, and the self-test's own hashes, are the same with gcc and clang, -O0 and -O3, "
        "-m32, on s390x (big-endian) and aarch64, with every SIMD path and with none",
        f"the same with {same or 'none'}"
        + (f"; **not with {', '.join(wrong)}**" if wrong else "")
        + (f"; not here: {', '.join(missing)}" if missing else ""),
        command(compilers_and_processors),
        not wrong and not missing,
    )


def simd_paths() -> dict[int, EntropyModel]:
    """The released model's context model with each instruction set that this processor has."""
    file = read(models.by_name("cwic1").read())
    arrays = file.arrays["context.weights"], file.arrays["context.biases"]
    facts = [file.config[name] for name in ("groups", "context_hidden", "map_hidden", "levels")]
    made = [EntropyModel(*arrays, *facts, simd=simd) for simd in range(BEST_SIMD + 1)]
    return {each.simd: each for each in made}


@row(quick=True)
def threads_and_simd() -> Row:
    with Image.open(ROOT / "tests" / "data" / "kodim23.png") as im:
        part = im.convert("RGB").crop((200, 100, 456, 292))
    part.save(data := BytesIO(), format="CWIC", quality=60)
    parsed = retiled(data.getvalue(), 6)
    hashes, paths = set(), simd_paths()
    for entropy in paths.values():
        for threads in THREADS:
            with pillow_cwic.options(threads=threads):
                assert settings.threads() == threads
                hashes.add(symbol_hash(decode_symbols(entropy, parsed, *grid(entropy, 192, 256))))
    names = {0: "plain C", 1: "AVX2", 3: "AVX-512 VNNI"}
    return Row(
        "symbols are the same with every SIMD path of x86-64 and 1 to 16 threads",
        f"{len(hashes)} hash of the symbols in {len(paths) * len(THREADS)} decodings of {parsed.header.tiles} tiles: "
        f"{', '.join(names[simd] for simd in sorted(paths))}; {', '.join(map(str, THREADS))} threads",
        command(threads_and_simd),
        len(hashes) == 1 and len(paths) > 1,
    )


def retiled(data: bytes, exponent: int) -> container.Parsed:
    """A file's symbols coded anew in tiles of 2 ** exponent pixels."""
    from dataclasses import replace

    from pillow_cwic.coding.symbols import encode_symbols

    parsed, symbols = container.read_file(data), decoded(data)
    header = replace(parsed.header, tile_exponent=exponent)
    entropy = entropy_model(models.by_id(header.model_id))
    layers = encode_symbols(entropy, symbols, [None] * len(symbols), 0.0, header.rate, exponent).layers()
    return container.read_file(container.write_file(header, layers))
