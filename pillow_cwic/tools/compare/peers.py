"""The formats that CWIC is compared with, each as Pillow writes and reads it, driven by one number."""

from __future__ import annotations

import importlib
import io
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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

    @property
    def key(self) -> str:
        """The name as the command line has it: ``jpeg2000``."""
        return self.name.lower().replace(" ", "")

    def describe(self, setting: float) -> str:
        """A setting in words: the quality, or the rate where the format is driven by that."""
        return f"quality {setting:g}" if isinstance(setting, int) else f"rate {setting:.3g} bpp"

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

    def fit(self, im: Image.Image, size: int, files: dict[float, bytes] | None = None) -> float:
        """The highest setting, by bisection, whose file has at most ``size`` bytes; SizeError if none has.

        ``files``, if given, is filled with the files made on the way, by their settings.
        """
        made: dict[float, bytes] = {} if files is None else files

        def length(setting: float) -> int:
            made[setting] = self.encode(im, setting)
            return len(made[setting])

        found = bisect_right(self.grid, size, key=length)
        if found == 0:
            raise SizeError(f"{self.name}: no file of at most {size} bytes")
        return self.grid[found - 1]

    def encode_to_size(self, im: Image.Image, size: int) -> bytes:
        """The best file of at most ``size`` bytes; SizeError if there is none."""
        return self.encode(im, self.fit(im, size))


RATES = (0.1, 0.15, 0.25, 0.35, 0.5, 0.75, 1.0, 1.5)

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


def writable() -> set[str]:
    """Pillow's names of the formats that it writes here, with those of the plugins that are installed."""
    for module in ("pillow_heif", "pillow_jxl"):
        try:
            plugin = importlib.import_module(module)
        except ImportError:
            continue
        if module == "pillow_heif":
            plugin.register_heif_opener()
    Image.init()
    return set(Image.SAVE)
