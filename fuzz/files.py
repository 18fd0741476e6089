"""Small files to damage: made-up ones that need no networks, and eight of a photograph by the released models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pillow_cwic import models
from pillow_cwic.codec import exact
from pillow_cwic.coding import Entropy, EntropyModel, PlaneModel, coefficients, symbols
from pillow_cwic.coding import pixels as coder
from pillow_cwic.file import container, metadata, pixels
from pillow_cwic.file.pixels import Band

PHOTO = Path(__file__).resolve().parents[1] / "tests" / "data" / "kodim23.png"
MODEL_ID = b"madeup"
META = metadata.Metadata(exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0", icc_profile=b"p" * 40, xmp=b"<x/>", dpi=(72.0, 300.0))


@cache
def entropy_models() -> dict[bytes, Entropy]:
    """A small context model of each family, with weights that are made up and the same everywhere."""
    rng = np.random.default_rng(6)

    def of(count: int, reach: int, kind: Any) -> Any:
        return rng.integers(-reach, reach, count, endpoint=True).astype(kind)

    groups, n = (2, 4), 16
    dense = [
        2 * n + 9 * (1 + sum(groups[:g])) * n + 9 * n * n + 12 * c * n + n * n + 2 * c * n for g, c in enumerate(groups)
    ]
    weights, biases = 2 * n + n * n + 12 * n + n * n + 2 * n + sum(dense), 3 * n * 3 + 2 + 2 * sum(groups)
    planes = 2 + 4  # of the map and of the codes
    return {
        b"cwc1": EntropyModel(of(weights, 900, np.int16), of(biases, 90000, np.int32), groups, n, n, 3),
        b"cw18": PlaneModel(of(1664 * planes, 3000, np.int16), of(33 * planes, 90000, np.int32), (1, 3), 4),
    }


def _made_up(
    family: bytes,
    mode: str,
    width: int,
    height: int,
    chunks: list[tuple[bytes, bytes]],
    seed: int,
    filtered: bool = False,
) -> bytes:
    entropy, rng = entropy_models()[family], np.random.default_rng(seed)
    rows, columns = symbols.grid(entropy, height, width)
    n = entropy.codes_per_level
    picture = [rng.integers(0, entropy.levels, (1, rows, columns)).astype(np.int16)]
    for channels in entropy.groups:
        shape = channels, n * rows, n * columns
        codes = rng.integers(0, 2, shape) if family == b"cw18" else np.round(rng.laplace(0, 3, shape))
        picture.append(codes.astype(np.int16))
    layers = symbols.encode_symbols(entropy, picture, [None] * len(picture), 0.0, 40, 6).layers()
    header = container.Header(width, height, mode, 6, 40, MODEL_ID, family)
    plane = (
        rng.integers(0, 3, (height, width)).astype(np.uint8)
        if mode == "RGBA"
        else np.full((height, width), 9, np.uint8)
    )
    payload = exact.encode(plane[..., None]) if mode in container.ALPHA_MODES else None
    post = coefficients.write(rng.integers(-9, 10, coefficients.SHAPE).astype(np.int8)) if filtered else None
    return container.write_file(header, layers, chunks, payload, post=post)


def _lossless(mode: str, width: int, height: int, seed: int) -> bytes:
    """A few colours in blocks, by the rows of several bands."""
    rng = np.random.default_rng(seed)
    shape = -(-height // 8), -(-width // 8), len(mode)
    blocks = rng.integers(0, 3, shape).astype(np.uint8) * 90
    picture = blocks.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    grey = mode in container.GREY_MODES
    payload = exact.encode(picture[..., -1:]) if mode in container.ALPHA_MODES else None
    colour = np.ascontiguousarray(picture[..., : 1 if grey else 3])
    bands = [Band(coder.encode(part), pixels.crc(part)) for part in (colour[:32], colour[32:])]
    header = container.Header.without_model(width, height, mode, grey)
    return container.write_file(header, [], [], payload, pixels.write(32, bands))


@cache
def made_up() -> tuple[bytes, ...]:
    """Files of all families, every mode, metadata, a post-filter, one tile and several; by no released model."""
    extra = metadata.to_chunks(META)
    return (
        _made_up(b"cwc1", "RGB", 20, 30, [], 1),
        _made_up(b"cwc1", "L", 1, 1, [], 2),
        _made_up(b"cwc1", "LA", 70, 65, [], 3),
        _made_up(b"cwc1", "RGBA", 17, 33, extra, 4),
        _made_up(b"cw18", "RGB", 20, 12, extra[:1], 5),
        _made_up(b"cw18", "RGBA", 66, 9, [], 6),
        _lossless("RGBA", 40, 50, 7),
        _lossless("L", 33, 64, 8),
        _made_up(b"cwc1", "RGB", 16, 9, [], 9, filtered=True),
    )


def _saved(im: Image.Image, **options: Any) -> bytes:
    data = BytesIO()
    im.save(data, format="CWIC", **options)
    return data.getvalue()


def _in_tiles(data: bytes) -> bytes:
    """The same picture in tiles of 64 pixels."""
    parsed = container.read_file(data)
    header = parsed.header
    entropy = symbols.entropy_model(models.by_id(header.model_id))
    planes = symbols.decode_symbols(entropy, parsed, *symbols.grid(entropy, header.height, header.width))
    layers = symbols.encode_symbols(entropy, planes, [None] * len(planes), 0.0, header.rate, 6).layers()
    return container.write_file(replace(header, tile_exponent=6), layers, list(parsed.extra.items()), parsed.alpha)


@cache
def eight() -> dict[str, bytes]:
    """Small files by the released models: every mode, both tunings, metadata, several tiles. By what they are."""
    import pillow_cwic

    pillow_cwic.register()
    with Image.open(PHOTO) as photo:
        rgb = photo.convert("RGB").crop((200, 60, 520, 300))

    def small(width: int, height: int, mode: str = "RGB") -> Image.Image:
        im = rgb.resize((width, height), Image.Resampling.LANCZOS)
        if mode in container.ALPHA_MODES:
            im.putalpha(Image.linear_gradient("L").resize((width, height)))
        return im.convert(mode)

    constant = small(24, 18, "RGBA")
    constant.putalpha(200)
    made: dict[str, Callable[[], bytes]] = {
        "RGB": lambda: _saved(small(48, 32), rate=1.5),
        "L": lambda: _saved(small(33, 17, "L"), rate=2.5),
        "LA": lambda: _saved(small(24, 24, "LA"), quality=30),
        "RGBA": lambda: _saved(constant, quality=20),
        "15x13": lambda: _saved(small(15, 13), quality=20),
        "mse": lambda: _saved(small(40, 40), rate=1.2, tuning="mse"),
        "metadata": lambda: _saved(
            small(20, 20), quality=20, exif=META.exif, icc_profile=META.icc_profile, dpi=META.dpi
        ),
        "tiles": lambda: _in_tiles(_saved(small(80, 66), quality=20)),
    }
    return {name: make() for name, make in made.items()}
