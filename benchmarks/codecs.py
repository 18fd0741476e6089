"""The formats that are compared, each as Pillow writes and reads it, driven by one number.

A rate is always that of a real file, headers included, and quality is that of the picture decoded from those bytes.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from pillow_cwic.tools.compare.peers import PEERS, Codec, SizeError, writable


@dataclass(frozen=True)
class Ours(Codec):
    """CWIC, whose package may run from the source tree."""

    package: str = "pillow_cwic"
    fixed: Mapping[str, Any] = field(default_factory=dict)  # further arguments of Image.save, whatever the setting

    @property
    def version(self) -> str:
        return f"{self.package} {importlib.import_module(self.package).__version__}"

    def save(self, im: Image.Image, **options: Any) -> bytes:
        return super().save(im, **self.fixed, **options)


@dataclass(frozen=True)
class SizedCodec(Ours):
    """A codec that meets a size by itself: its setting is the rate in bits per pixel."""

    def fit(self, im: Image.Image, size: int, files: dict[float, bytes] | None = None) -> float:
        return size * 8 / (im.width * im.height)

    def encode_to_size(self, im: Image.Image, size: int) -> bytes:
        data = self.save(im, size=size)
        if len(data) > size:
            raise SizeError(f"{self.name}: smallest file has {len(data)} bytes, above {size}")
        return data


# A curve by quality has one Lagrangian on every picture, as the peers' have and the published ones.
TUNINGS = {
    f"CWIC {tuning}": Ours(
        f"CWIC {tuning}",
        "CWIC",
        (1, 8, 16, 25, 35, 45, 55, 65, 75, 85, 95),
        lambda quality: {"quality": int(quality)},
        fixed={"tuning": tuning},
    )
    for tuning in ("mse", "ssim")
}
# Of the default tuning; its files show how well a rate is met, and fill a size.
CWIC_AT_RATE = SizedCodec("CWIC at a rate", "CWIC", (0.15, 0.25, 0.5, 0.75, 1.0), lambda rate: {"rate": rate})

ALL = {codec.name: codec for codec in (*PEERS, *TUNINGS.values(), CWIC_AT_RATE)}


def available() -> dict[str, Codec]:
    """The codecs of this installation by name; of CWIC's tunings, those that are released."""
    formats = writable()
    return {name: codec for name, codec in ALL.items() if codec.format in formats and released(codec)}


def released(codec: Codec) -> bool:
    """Whether the weights that the codec needs, if any, are released."""
    tuning = codec.fixed.get("tuning") if isinstance(codec, Ours) else None
    return tuning is None or tuning in {m.tuning for m in importlib.import_module("pillow_cwic.models").released()}


def bits_per_pixel(data: bytes, im: Image.Image) -> float:
    """Rate of a file that holds this picture."""
    return len(data) * 8 / (im.width * im.height)
