"""Desynchronisation: a decoder whose arithmetic differs from the encoder's says so."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cffi
import numpy as np

from benchmarks.reliability.row import Row, command, row, within_time
from fuzz import build, files
from pillow_cwic import models
from pillow_cwic.coding import Entropy, build_coder, coder, planes, symbols
from pillow_cwic.errors import EntropyError
from pillow_cwic.file import container

TRIALS = 10_000
GLOBALS = "extern int64_t cwic_perturb_count; extern int64_t cwic_perturb_at; extern int32_t cwic_perturb_by;"


@contextmanager
def perturbed_coder() -> Iterator[Any]:
    """The wrapper on a build of the C code in which one decision's probability can be moved; its globals."""
    ffi = cffi.FFI()
    ffi.cdef(build_coder.declarations(build.CSRC / "cwic.h") + GLOBALS)
    lib = ffi.dlopen(str(build.make(build.PERTURBED)))
    before = [
        (module, name, getattr(module, name)) for module in (coder, planes) for name in ("ffi", "lib", "uncleared")
    ]
    replacement = {"ffi": ffi, "lib": lib, "uncleared": ffi.new_allocator(should_clear_after_alloc=False)}
    for module, name, _ in before:
        setattr(module, name, replacement[name])
    symbols.entropy_model.cache_clear()
    files.entropy_models.cache_clear()
    try:
        yield lib
    finally:
        for module, name, value in before:
            setattr(module, name, value)
        symbols.entropy_model.cache_clear()
        files.entropy_models.cache_clear()


def trials(lib: Any, seed: int) -> Iterator[str]:
    """What came of one wrong probability after another: ``crc``, ``stream``, ``same`` symbols, or ``silent``.

    ``stream``: the range coder saw it before the CRC of the symbols was looked at. Files of one tile, of both
    families; the probability moves by as little as 2^-16 and by as much as there is.
    """
    rng = random.Random(seed)
    made_up = files.made_up()
    some: list[tuple[Entropy, container.Parsed]] = []
    for data in (*made_up[:1], *made_up[4:5], *(files.eight()[name] for name in ("RGB", "L", "mse"))):
        parsed = container.read_file(data)
        known = parsed.header.model_id != files.MODEL_ID
        model = symbols.entropy_model(models.by_id(parsed.header.model_id)) if known else None
        some.append((model or files.entropy_models()[parsed.header.family], parsed))
    good = []
    for entropy, parsed in some:
        lib.cwic_perturb_count, lib.cwic_perturb_at = 0, -1
        grid = symbols.grid(entropy, parsed.header.height, parsed.header.width)
        good.append((grid, symbols.decode_symbols(entropy, parsed, *grid), lib.cwic_perturb_count))
    while True:
        k = rng.randrange(len(some))
        (entropy, parsed), (grid, right, decisions) = some[k], good[k]
        lib.cwic_perturb_count, lib.cwic_perturb_at = 0, rng.randrange(decisions)
        lib.cwic_perturb_by = rng.choice((1, -1)) * (1 << rng.randrange(16)) % 65535
        try:
            found = symbols.decode_symbols(entropy, parsed, *grid)
        except EntropyError as error:
            yield "crc" if "symbol CRC" in str(error) else "stream"
        else:
            yield "same" if all(np.array_equal(a, b) for a, b in zip(found, right, strict=True)) else "silent"


def outcomes(wanted: int, seed: int = 3) -> Counter[str]:
    """How ``wanted`` trials ended that made a symbol wrong, and how many on the way made none (``same``)."""
    count: Counter[str] = Counter()
    files.eight()  # made by the coder as it is
    with perturbed_coder() as lib:
        for outcome in within_time(trials(lib, seed), 100 * wanted):
            count[outcome] += 1
            if count.total() - count["same"] == wanted:
                break
    return count


@row(quick=False)
def one_probability() -> Row:
    """One probability of the decoder moved."""
    count = outcomes(TRIALS)
    raised, wrong = count["crc"] + count["stream"], count.total() - count["same"]
    claim = f"One probability in the decoder moved, at a random decision: an error in {TRIALS:,} of {TRIALS:,} trials"
    figure = (
        f"{raised:,} of {wrong:,} raised, {count['crc']:,} of them by the symbol CRC, the others sooner by the range "
        f"coder; {count['same']:,} further moves changed no symbol, so the picture was right"
    )
    return Row(claim, figure, command(one_probability), raised == wrong == TRIALS)
