"""Makes golden files, once: ``PYTHONPATH=. python tests/golden/make.py``. What is there already is never made again.

``v1/`` pins the format itself: container, alpha, metadata, tiles, context models and range coder. Its models, one of
each family and one with a fine block, are tiny and were never trained, so that nothing about them will ever improve;
their weights lie beside the files. From 1.0.0 on ``released/MODEL-TUNING-ID/`` holds files of each released model.

A folder holds files, a PNG of what each looked like when it was made, and ``index.json`` with the SHA-256 of each file
and of the symbols in it: levels and codes as 16-bit numbers, low byte first, layer by layer; for family ``cwc1``, whose
pictures are exact, also that of the decoded samples, row by row, all channels of a pixel together.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from PIL import Image, PngImagePlugin

import pillow_cwic
from pillow_cwic import models
from pillow_cwic.codec import choice, exact, graphics
from pillow_cwic.coding import coefficients
from pillow_cwic.coding.symbols import decode_symbols, encode_symbols, entropy_model, grid
from pillow_cwic.cwic2018.networks import Paper, PaperConfig
from pillow_cwic.file import container
from pillow_cwic.transforms import postfilter
from training import paper_export
from training.networks.cuboid import CuboidModel
from training.networks.model import Config, Cwic1
from training.quantise import freeze

HERE = Path(__file__).parent
PHOTO = HERE.parent / "data" / "kodim23.png"
CWIC1 = Config(wide=32, blocks=2, groups=(2, 4, 6), context_hidden=16, map_features=8, levels=4, normalised=True)
CWIC2018 = PaperConfig(width=8, channels=8, levels=4, groups=(2, 2, 4))
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"


class Case(NamedTuple):
    """One file: its picture's mode and size, tiles of 2 ** exponent pixels, save options, and if it has no colour."""

    mode: str
    size: tuple[int, int]
    quality: int = 50
    exponent: int = 10
    metadata: bool = False
    grey: bool = False
    exact: str = ""  # "lossless", or "blocks" for every third block, "coarse" for the same with a step of 3
    post: int = 0  # how far the coefficients of a post-filter reach

    @property
    def name(self) -> str:
        more = ("-tiles" if self.exponent < 10 else "") + ("-grey" if self.grey else "")
        more += (f"-{self.exact}" if self.exact else "") + (f"-post{self.post}" if self.post else "")
        return f"{self.mode}-{self.size[0]}x{self.size[1]}-q{self.quality}{more}"


CASES = (
    Case("RGB", (1, 1)),
    Case("L", (1, 1)),
    Case("LA", (1, 1)),
    Case("RGBA", (1, 70)),
    Case("LA", (70, 1), metadata=True),
    Case("L", (8, 8), 90),
    Case("RGB", (16, 16), 90),
    Case("RGBA", (17, 31), metadata=True),
    Case("LA", (33, 64), 30),
    Case("RGB", (64, 64), 80, 6),
    Case("RGB", (65, 64), 60, 6, True),
    Case("L", (70, 70), 70, 6),
    Case("RGBA", (70, 70), 95, 6, True),
    Case("RGB", (70, 70), 1),
    Case("RGB", (70, 70), 100),
    Case("RGB", (33, 20), grey=True),
    Case("RGBA", (20, 33), 80, grey=True),
    Case("RGB", (70, 50), exact="blocks"),
    Case("L", (33, 64), exact="blocks"),
    Case("RGBA", (40, 40), grey=True, exact="blocks"),
    Case("RGB", (50, 70), exact="coarse"),
    Case("L", (40, 33), exact="coarse"),
)
FILTERED = (
    Case("RGB", (1, 1), post=127),
    Case("RGB", (70, 50), post=9),
    Case("L", (33, 64), 30, post=127),
    Case("RGBA", (40, 40), grey=True, post=9),
    Case("RGB", (50, 40), exact="blocks", post=30),
    Case("RGB", (66, 20), 60, 6, post=127),
)
FINE = (
    Case("L", (8, 8), 90),
    Case("RGBA", (17, 31)),
    Case("RGB", (70, 70), 1),
    Case("RGB", (96, 64), 100),
    *FILTERED[1:4],
)
LOSSLESS = tuple(
    Case(mode, size, 100, exact="lossless", metadata=mode == "LA", grey=grey)
    for mode, size, grey in (
        ("L", (1, 1), False), ("LA", (33, 20), False), ("RGB", (96, 64), False), ("RGB", (20, 33), True),
        ("RGBA", (50, 40), False), ("RGBA", (17, 17), True),
    )
)  # fmt: skip


def with_blocks(model: Cwic1) -> None:
    """So that blocks are not the identity."""
    for transform in (model.analysis, model.synthesis):
        for block in transform.trunk:
            for layer in (block.after, block.narrow):
                layer.weight.normal_(std=0.1)
        transform.leave.weight.normal_(std=0.002)


def tiny_models() -> dict[str, bytes]:
    """Weights files of both families from fixed random numbers, by name."""
    torch.manual_seed(2018)
    first = Cwic1(CWIC1)
    context = CuboidModel(CWIC2018.planes, CWIC2018.channels)
    with torch.no_grad():
        with_blocks(first)
        for name, value in [*first.context.named_parameters(), *context.named_parameters()]:
            value.mul_(4 if name.endswith("out.weight") else 2)  # so that predictions vary
            value.add_(0.02 * torch.randn_like(value))
    crops = calibration()
    second = paper_export.freeze(Paper(CWIC2018), context, {"name": "golden2018", "tuning": "mse"}, crops)
    return {
        "golden1": freeze(first, crops, {"name": "golden1", "tuning": "mse", "family": "cwc1"}),
        "golden2018": second,
    }


def fine_model() -> bytes:
    """Weights whose first block is fine."""
    torch.manual_seed(2026)
    model = Cwic1(replace(CWIC1, fine=1))
    with torch.no_grad():
        with_blocks(model)
    return freeze(model, calibration(), {"name": "goldenfine", "tuning": "mse", "family": "cwc1"})


def calibration() -> torch.Tensor:
    """Crops of the photograph, (6, 3, 64, 64) in [-0.5, 0.5], that the integers are fitted to."""
    with Image.open(PHOTO) as im:
        pixels = np.asarray(im.convert("RGB").reduce(2))
    crops = np.stack([pixels[y : y + 64, x : x + 64] for y in (0, 96) for x in (0, 128, 256)])
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255 - 0.5


def picture(case: Case) -> Image.Image:
    """Part of a photograph, with an alpha that is no constant where the mode has one."""
    with Image.open(PHOTO) as im:
        part = im.convert("RGB").resize((96, 64)).crop((10, 0, 10 + case.size[0], case.size[1]))
    part = part.resize(case.size).convert("L" if case.grey else case.mode).convert(case.mode)
    if case.mode in ("LA", "RGBA"):
        part.putalpha(Image.radial_gradient("L").resize(case.size))
    return part


def filter_with(reach: int) -> np.ndarray:
    """Of a post-filter: both ends of the range, zeros, and numbers between."""
    k = np.arange(39)
    spread = (37 * k * k + 11 * k) % (2 * reach + 1) - reach
    return np.select([k % 7 == 3, k % 13 == 5, k % 13 == 8], [0, reach, -reach], spread).reshape(postfilter.SHAPE)


def write(case: Case, model: models.Model) -> bytes:
    """The file of a case."""
    options: dict[str, Any] = {}
    if case.metadata:
        exif = Image.Exif()
        exif[0x010E] = "golden"
        options = {"exif": exif, "xmp": XMP, "dpi": (300, 72.5), "icc_profile": bytes(range(128))}
    if case.exact == "lossless":
        options["lossless"] = True
    save_to = BytesIO()
    # Small pictures may be exact, but not here.
    drawn = mock.patch.object(graphics, "is_graphics", return_value=False)
    with (
        drawn,
        mock.patch.object(choice, "SMALL", 0),
        mock.patch.object(models, "nearest", return_value=model),
    ):  # this one of several operating points
        picture(case).save(save_to, format="CWIC", model=model.name, quality=case.quality, **options)
    parsed = container.read_file(save_to.getvalue())
    if case.exact == "lossless":
        return save_to.getvalue()
    assert parsed.header.model_id == model.id
    header = replace(parsed.header, tile_exponent=case.exponent)
    found, entropy = symbols(save_to.getvalue()), entropy_model(model)
    layers = encode_symbols(entropy, found, [None] * len(found), 0.0, header.rate, case.exponent).layers()
    held = None
    if case.exact:
        blocks = np.arange(-(-case.size[0] // 16) * -(-case.size[1] // 16)).reshape(-(-case.size[1] // 16), -1) % 3 == 0
        planes = np.asarray(picture(case)).reshape(case.size[1], case.size[0], -1)
        colour = np.ascontiguousarray(planes[..., : header.channels])
        step = 3 if case.exact == "coarse" else 1
        held = exact.with_mask(blocks, exact.encode(exact.coarse(colour, step), blocks, step=step))
    post = coefficients.write(filter_with(case.post)) if case.post else None
    return container.write_file(header, layers, list(parsed.extra.items()), parsed.alpha, held, post)


def symbols(data: bytes) -> list[np.ndarray]:
    """Levels and codes of a file, layer by layer."""
    parsed = container.read_file(data)
    if parsed.header.lossless:
        return []
    entropy = entropy_model(models.by_id(parsed.header.model_id))
    return decode_symbols(entropy, parsed, *grid(entropy, parsed.header.height, parsed.header.width))


def sha256_of_symbols(data: bytes) -> str:
    return hashlib.sha256(b"".join(layer.astype("<i2").tobytes() for layer in symbols(data))).hexdigest()


def sha256_of_pixels(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def make(folder: Path, chosen: list[models.Model], cases: tuple[Case, ...] = CASES) -> None:
    """Adds to a folder the files that it lacks; golden files that are there stay as they are."""
    index = folder / "index.json"
    folder.mkdir(parents=True, exist_ok=True)
    entries: dict[str, dict[str, Any]] = json.loads(index.read_text()) if index.exists() else {}
    for model in chosen:
        for case in cases:
            owner = "pixels" if case.exact == "lossless" else model.name
            if (name := f"{owner}-{case.name}.cwic") in entries:
                continue
            data = write(case, model)
            (folder / name).write_bytes(data)
            with Image.open(BytesIO(data)) as im:
                info = {k: repr(v) for k, v in sorted(im.info.items()) if k in ("exif", "xmp", "dpi", "icc_profile")}
                Image.fromarray(np.asarray(im)).save(
                    folder / f"{name}.png", optimize=True, pnginfo=PngImagePlugin.PngInfo()
                )
                entries[name] = {
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "symbols": sha256_of_symbols(data),
                    "mode": im.mode,
                    "size": list(im.size),
                    "metadata": info,
                }
                if model.family == b"cwc1" or case.exact == "lossless":
                    entries[name]["pixels"] = sha256_of_pixels(np.asarray(im))
    index.write_text(json.dumps(entries, indent=1) + "\n")


def main() -> None:
    folder = HERE / "v1"
    if not (folder / "index.json").exists():
        folder.mkdir(exist_ok=True)
        for name, data in tiny_models().items():
            (folder / f"{name}.safetensors").write_bytes(data)
    if not (fine := folder / "goldenfine.safetensors").exists():
        fine.write_bytes(fine_model())
    with pillow_cwic.options(models=[folder], device="cpu"):
        make(folder, [models.by_name(name) for name in ("golden1", "golden2018")])
        make(folder, [models.by_name("golden1")], LOSSLESS)
        make(folder, [models.by_name("golden1")], FILTERED)
        make(folder, [models.by_name("goldenfine")], FINE)


if __name__ == "__main__":
    main()
