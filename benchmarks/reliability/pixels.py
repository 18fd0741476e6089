"""Pixels on different devices"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import pillow_cwic
from benchmarks.reliability.row import Row, command, row
from pillow_cwic import container, models
from pillow_cwic.codec import session
from pillow_cwic.networks.runtime import RATE_UNIT, Networks
from pillow_cwic.networks.transforms import to_picture
from pillow_cwic.symbols import decode_symbols, entropy_model, grid

ROOT = Path(__file__).resolve().parents[2]
LEVELS, SHARE = 1, 0.001  # by how much a sample may differ, and how many may


def files() -> Iterator[bytes]:
    """Part of a photograph in every released model of family cwc1, at a low and at a high rate."""
    with Image.open(ROOT / "tests" / "data" / "kodim23.png") as im:
        part = im.convert("RGB").crop((200, 100, 456, 292))
    for model in models.released():
        if model.family != b"cwc1":
            continue
        for quality in (15, 60, 95):
            part.save(data := BytesIO(), format="CWIC", model=model.name, tuning=model.tuning, quality=quality)
            yield data.getvalue()


def exact(data: bytes) -> NDArray[np.uint8]:
    """The picture of a file with the networks in float64: what float32 comes near to, on any device."""
    parsed = container.read_file(data)
    header, model = parsed.header, models.by_id(parsed.header.model_id)
    networks = session.FAMILIES[model.family](model.read(), "cpu").networks
    assert isinstance(networks, Networks)
    entropy = entropy_model(model)
    symbols = decode_symbols(entropy, parsed, *grid(entropy, header.height, header.width))
    with torch.inference_mode():
        codes = torch.from_numpy(np.concatenate(symbols[1:])[None]).double()
        t = torch.tensor([header.rate / RATE_UNIT], dtype=torch.float64)
        picture = to_picture(networks.synthesis.double()(codes, t))[0, :, : header.height, : header.width]
        return ((picture + 0.5) * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()


def compare(pairs: Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> tuple[int, float]:
    """The largest difference of a sample, and the largest share of samples of a picture that differ."""
    worst, share = 0, 0.0
    for one, other in pairs:
        difference = np.abs(one.astype(int) - other)
        worst, share = max(worst, int(difference.max())), max(share, float((difference > 0).mean()))
    return worst, share


def _on(device: str) -> Iterator[NDArray[np.uint8]]:
    for data in files():
        with pillow_cwic.options(device=device), Image.open(BytesIO(data)) as im:
            yield np.asarray(im)


def _row(name: str, found: tuple[int, float], repeat: str) -> Row:
    worst, share = found
    claim = f"{name} differ by at most {LEVELS} level on at most {SHARE:.1%} of the samples of a file"
    figure = f"{worst} level{'s' * (worst != 1)}, {share:.4%} of the samples"
    return Row(claim, figure, repeat, worst <= LEVELS and share <= SHARE)


@row(quick=True)
def precision() -> Row:
    pairs = zip(_on("cpu"), map(exact, files()), strict=True)
    return _row(
        "decodes in float32, the only precision that the decoder has, and in float64",
        compare(pairs),
        command(precision),
    )


@row(quick=False)
def gpu() -> Row:
    name = "decodes of one file on the CPU and on a GPU"
    if not torch.cuda.is_available():
        claim = f"{name} differ by at most {LEVELS} level on at most {SHARE:.1%} of the samples"
        return Row(claim, "not measured: no GPU here", command(gpu), False)
    return _row(name, compare(zip(_on("cpu"), _on("cuda"), strict=True)), command(gpu))
