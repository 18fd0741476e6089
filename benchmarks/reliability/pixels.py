"""Pixels, the same everywhere"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import pillow_cwic
from benchmarks.reliability.row import Row, command, row
from pillow_cwic import models
from pillow_cwic.codec.picture import post_of
from pillow_cwic.coding.coder import BEST_SIMD
from pillow_cwic.coding.symbols import decode_symbols, entropy_model, grid
from pillow_cwic.file import container
from pillow_cwic.models.config import Config
from pillow_cwic.models.weights import read
from pillow_cwic.transforms.native import Transforms
from pillow_cwic.transforms.torch.engine import Engine

ROOT = Path(__file__).resolve().parents[2]
THREADS = (1, 2, 3, 4, 8, 16)
NAMES = {0: "plain C", 1: "AVX2 or NEON", 2: "AVX-VNNI or NEON with dot product", 3: "AVX-512 VNNI", 4: "AMX"}


def files() -> Iterator[tuple[models.Model, bytes]]:
    """Part of a photograph in every released model of family cwc1, at a low and at a high rate."""
    with Image.open(ROOT / "tests" / "data" / "kodim23.png") as im:
        part = im.convert("RGB").crop((200, 100, 457, 291))
    for model in models.released():
        if model.family != b"cwc1":
            continue
        for quality in (15, 60, 95):
            part.save(data := BytesIO(), format="CWIC", model=model.name, tuning=model.tuning, quality=quality)
            yield model, data.getvalue()


def codes(data: bytes) -> NDArray[np.int16]:
    parsed = container.read_file(data)
    entropy = entropy_model(models.by_id(parsed.header.model_id))
    _, *groups = decode_symbols(entropy, parsed, *grid(entropy, parsed.header.height, parsed.header.width))
    return np.concatenate(groups)


def hashes(engine: Transforms | Engine, model: models.Model, given: Iterable[tuple[models.Model, bytes]]) -> set[str]:
    """Of all that a model's transforms make: pictures of the files, and latents and levels of those pictures."""
    digest = hashlib.sha256()
    for of, data in given:
        if of == model:
            parsed = container.read_file(data)
            header = parsed.header
            shown = engine.synthesise(codes(data), header.rate, header.height, header.width, post_of(parsed))
            for array in (shown, *engine.analyse(shown, header.rate)):
                digest.update(np.ascontiguousarray(array).tobytes())
    return {digest.hexdigest()}


@row(quick=True)
def same_everywhere() -> Row:
    given, levels, counts = list(files()), set[int](), []
    for model in {of for of, _ in given}:
        weights = read(model.read())
        config, found = Config.from_dict(weights.config), set[str]()
        for simd in range(BEST_SIMD + 1):
            native = Transforms(config, weights.arrays, simd)
            levels.add(native.simd)
            for threads in THREADS if native.simd == simd else ():
                with pillow_cwic.options(threads=threads):
                    found |= hashes(native, model, given)
        found |= hashes(Engine(config, weights.arrays, "cpu"), model, given)
        counts.append(len(found))
    return Row(
        "pixels, latents and levels are the same with every instruction set, number of threads, and in torch",
        f"{max(counts)} hash a model, {len(given)} files of {len(counts)} models: "
        f"{', '.join(NAMES[level] for level in sorted(levels))}, each with {', '.join(map(str, THREADS))} threads; "
        "torch on the CPU",
        command(same_everywhere),
        set(counts) == {1},
    )


@row(quick=False)
def gpu() -> Row:
    claim = "pictures of files, and files of pictures, are the same on the CPU and on a CUDA GPU"
    if not torch.cuda.is_available():
        return Row(claim, "not measured: no GPU here", command(gpu), False)
    given, different = list(files()), 0
    for model in {of for of, _ in given}:
        weights = read(model.read())
        config = Config.from_dict(weights.config)
        engines = Transforms(config, weights.arrays), Engine(config, weights.arrays, "cuda")
        different += len(set.union(*(hashes(engine, model, given) for engine in engines))) - 1
    return Row(claim, f"{different} models of {len({of for of, _ in given})} differ", command(gpu), not different)
