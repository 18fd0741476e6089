"""The formats that are compared, each as Pillow writes and reads it, driven by one number.

A rate is always that of a real file, headers included, and quality is that of the picture decoded from those bytes.
"""

from __future__ import annotations

import importlib
import io
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from PIL import Image


class SizeError(ValueError):
    """No setting of the codec gives a file as small as wanted."""


@dataclass(frozen=True)
class Codec:
    """One format and one way to drive it. The higher the setting, the better the picture."""

    name: str
    format: str  # Pillow's name of it
    settings: tuple[float, ...]  # those of a curve from about 0.1 to 1.5 bits per pixel
    options: Callable[[float], dict[str, Any]]  # setting -> arguments of Image.save
    grid: Sequence[float] = range(1, 101)  # all settings, rising: those encode_to_size chooses from
    package: str = "pillow"

    @property
    def version(self) -> str:
        """Package and version that measured figures depend on."""
        return f"{self.package} {metadata.version(self.package)}"

    def encode(self, im: Image.Image, setting: float) -> bytes:
        """The file for a setting."""
        return self.save(im, **self.options(setting))

    def save(self, im: Image.Image, **options: Any) -> bytes:
        """The file that Pillow writes with these options."""
        buffer = io.BytesIO()
        im.save(buffer, self.format, **options)
        return buffer.getvalue()

    def decode(self, data: bytes) -> Image.Image:
        """The picture in a file, fully decoded."""
        im = Image.open(io.BytesIO(data), formats=[self.format])
        im.load()
        return im

    def fit(self, im: Image.Image, size: int) -> float:
        """The highest setting, by bisection, whose file has at most ``size`` bytes; SizeError if none has."""
        found = bisect_right(self.grid, size, key=lambda setting: len(self.encode(im, setting)))
        if found == 0:
            raise SizeError(f"{self.name}: no file of at most {size} bytes")
        return self.grid[found - 1]

    def encode_to_size(self, im: Image.Image, size: int) -> bytes:
        """The best file of at most ``size`` bytes; SizeError if there is none."""
        return self.encode(im, self.fit(im, size))


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

    def fit(self, im: Image.Image, size: int) -> float:
        return size * 8 / (im.width * im.height)

    def encode_to_size(self, im: Image.Image, size: int) -> bytes:
        data = self.save(im, size=size)
        if len(data) > size:
            raise SizeError(f"{self.name}: smallest file has {len(data)} bytes, above {size}")
        return data


RATES = (0.1, 0.15, 0.25, 0.35, 0.5, 0.75, 1.0, 1.5)

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
# Of tuning mse; its files show how well a rate is met, and fill a size.
CWIC_AT_RATE = SizedCodec("CWIC at a rate", "CWIC", (0.15, 0.25, 0.5, 0.75, 1.0), lambda rate: {"rate": rate})

PEERS = (
    Codec(
        "JPEG",
        "JPEG",
        (3, 6, 10, 15, 22, 30, 40, 50, 60, 70, 78, 85),
        lambda quality: {"quality": int(quality), "optimize": True},  # 4:2:0, Pillow's default
    ),
    Codec(
        "JPEG 2000",
        "JPEG2000",
        RATES,  # by rate, as in the published curve: the compression ratio against 24 bits per pixel
        lambda rate: {"quality_mode": "rates", "quality_layers": [24 / rate], "irreversible": True, "mct": 1},
        grid=tuple(0.02 * 1.002**step for step in range(3000)),
    ),
    Codec(
        "WebP",
        "WEBP",
        (0, 5, 15, 27, 40, 52, 64, 74, 80, 85, 91),
        lambda quality: {"quality": int(quality), "method": 6},
        grid=range(101),
    ),
    Codec(
        "AVIF",
        "AVIF",
        (12, 20, 28, 36, 44, 52, 60, 68, 76, 84),
        lambda quality: {"quality": int(quality), "subsampling": "4:4:4", "speed": 4},
    ),
    Codec(
        "HEIC",
        "HEIF",
        (5, 12, 20, 28, 36, 44, 52, 60),
        lambda quality: {"quality": int(quality), "chroma": 444},
        package="pillow-heif",
    ),
    Codec(
        "JPEG XL",
        "JXL",
        (5, 12, 20, 30, 40, 50, 60, 70, 80, 90),
        lambda quality: {"quality": int(quality)},
        package="pillow-jxl-plugin",
    ),
)


ALL = {codec.name: codec for codec in (*PEERS, *TUNINGS.values(), CWIC_AT_RATE)}


def available() -> dict[str, Codec]:
    """The codecs of this installation by name; of CWIC's tunings, those that are released."""
    for module in ("pillow_heif", "pillow_jxl", "pillow_cwic"):
        try:
            plugin = importlib.import_module(module)
        except ImportError:
            continue
        if module == "pillow_heif":
            plugin.register_heif_opener()
    Image.init()
    return {name: codec for name, codec in ALL.items() if codec.format in Image.SAVE and released(codec)}


def released(codec: Codec) -> bool:
    """Whether the weights that the codec needs, if any, are released."""
    tuning = codec.fixed.get("tuning", "mse") if isinstance(codec, Ours) else None
    return tuning is None or tuning in {m.tuning for m in importlib.import_module("pillow_cwic.models").released()}


def bits_per_pixel(data: bytes, im: Image.Image) -> float:
    """Rate of a file that holds this picture."""
    return len(data) * 8 / (im.width * im.height)
