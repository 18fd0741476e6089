"""Training crops: photographs kept decoded in memory, randomly resized, with a few rendered and noisy crops.

Some crops may be of graphics, as ``training.graphics`` makes them: with blocks that are exact, which nothing that the
transform makes is seen of.
"""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

BLOCK = 16  # pixels along a side of what may be exact
LEARNT = 0.2  # the share of a crop of graphics that shall not be exact
PICTURES = {".avif", ".png", ".webp", ".jpg", ".jpeg", ".tif", ".bmp"}


def find_pictures(folder: Path) -> list[Path]:
    """All pictures below a folder, in a fixed order. Raises FileNotFoundError if there are none."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURES)
    if not files:
        raise FileNotFoundError(f"no pictures below {folder}")
    return files


def load_pictures(files: list[Path], workers: int = 2, mode: str = "RGB") -> list[np.ndarray]:
    """Decoded pictures, each (H, W, 3) uint8; graphics, in mode RGBA, (H, W, 4) with alpha 0 in exact blocks."""

    def load(path: Path) -> np.ndarray:
        with Image.open(path) as im:
            return np.asarray(im.convert(mode))

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(load, files))


class Crops:
    """An endless, seeded source of (batch, 3, size, size) float pictures in [-0.5, 0.5].

    Half of the crops are shrunk by a factor of 1 to 2, so that the pack yields more pictures than it holds and
    traces of its own compression vanish. ``rendered`` and ``noisy`` are the shares of crops with text or plain
    shapes drawn over them and with sensor-like noise, which photographs downscaled for the pack lack; ``vivid`` of
    those with colours up to four times as strong. ``drawn`` is the share of crops of ``graphics``, which are neither
    resized nor changed, and cut where blocks begin; of eight places the first is taken that has enough to learn from.
    """

    def __init__(
        self,
        pictures: list[np.ndarray],
        size: int,
        batch: int,
        seed: int,
        rendered: float = 0.06,
        noisy: float = 0.04,
        vivid: float = 0.0,
        graphics: Sequence[np.ndarray] = (),
        drawn: float = 0.0,
    ) -> None:
        self.pictures = [p for p in pictures if min(p.shape[:2]) >= size]
        if not self.pictures:
            raise ValueError(f"no picture is at least {size} pixels on its shorter side")
        self.size, self.batch = size, batch
        self.rendered, self.noisy, self.vivid = rendered, noisy, vivid
        self.graphics = [g for g in graphics if min(g.shape[:2]) >= size]
        self.drawn = drawn if self.graphics else 0.0
        self.random = random.Random(seed)
        self.weights = np.cumsum([p.shape[0] * p.shape[1] for p in self.pictures], dtype=np.float64)
        self.learnt = np.cumsum([np.count_nonzero(g[..., 3]) for g in self.graphics], dtype=np.float64)

    def _one(self, pictures: list[np.ndarray], sums: np.ndarray) -> np.ndarray:
        """One of the pictures, by the cumulative sums of their weights."""
        index = int(np.searchsorted(sums, self.random.random() * sums[-1]))
        return pictures[min(index, len(pictures) - 1)]

    def graphic(self) -> tuple[np.ndarray, np.ndarray]:
        """A crop of graphics, and which of its blocks are exact, (size / 16, size / 16)."""
        rng = self.random
        picture = self._one(self.graphics, self.learnt)
        for _ in range(8):
            top, left = (BLOCK * rng.randint(0, (side - self.size) // BLOCK) for side in picture.shape[:2])
            out = picture[top : top + self.size, left : left + self.size]
            if np.count_nonzero(out[..., 3]) >= LEARNT * self.size**2:
                break
        if rng.random() < 0.5:
            out = out[:, ::-1]
        if rng.random() < 0.25:
            out = out.transpose(1, 0, 2)
        return out[..., :3].astype(np.float32), out[::BLOCK, ::BLOCK, 3] == 0

    def crop(self) -> np.ndarray:
        rng = self.random
        picture = self._one(self.pictures, self.weights)
        height, width = picture.shape[:2]
        shrink = 1.0 if rng.random() < 0.5 else rng.uniform(1, min(2, height / self.size, width / self.size))
        side = int(self.size * shrink)
        top, left = rng.randint(0, height - side), rng.randint(0, width - side)
        out = picture[top : top + side, left : left + side]
        if side != self.size:
            out = np.asarray(Image.fromarray(out).resize((self.size, self.size), Image.Resampling.BICUBIC))
        if rng.random() < self.rendered:
            out = self._render(out)
        if rng.random() < 0.5:
            out = out[:, ::-1]
        if rng.random() < 0.25:
            out = out.transpose(1, 0, 2)
        result = out.astype(np.float32)
        if rng.random() < self.noisy:
            noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(1, 8), result.shape)
            result = np.clip(np.round(result + noise), 0, 255).astype(np.float32)
        if self.vivid and rng.random() < self.vivid:
            grey = result.mean(2, keepdims=True)
            result = np.clip(np.round(grey + (result - grey) * rng.uniform(1.5, 4)), 0, 255).astype(np.float32)
        return result

    def _render(self, under: np.ndarray) -> np.ndarray:
        """Text and plain shapes over a crop or over a plain ground."""
        rng = self.random

        def colour() -> tuple[int, int, int]:
            return rng.randrange(256), rng.randrange(256), rng.randrange(256)

        ground = rng.choice([(255, 255, 255), (0, 0, 0), colour(), None])
        im = Image.fromarray(under) if ground is None else Image.new("RGB", (self.size, self.size), ground)
        draw = ImageDraw.Draw(im)
        for _ in range(rng.randrange(4)):
            x0, y0 = rng.randrange(-20, self.size), rng.randrange(-20, self.size)
            box = (x0, y0, x0 + rng.randrange(5, 90), y0 + rng.randrange(5, 90))
            rng.choice([draw.rectangle, draw.ellipse])(box, fill=colour())
        ink = (0, 0, 0) if ground == (255, 255, 255) else (255, 255, 255) if ground == (0, 0, 0) else colour()
        size = rng.choice([9, 11, 13, 16, 22, 34])
        font = ImageFont.load_default(size)
        for line in range(self.size // (size + 4) + 1):
            letters = string.ascii_letters + string.digits
            words = ("".join(rng.choices(letters, k=rng.randrange(1, 9))) for _ in range(9))
            draw.text((rng.randrange(-9, 9), line * (size + 4)), " ".join(words), fill=ink, font=font)
        return np.asarray(im)

    def next(self) -> torch.Tensor:
        return self.draw()[0]

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """A batch, and which of its blocks are exact, (batch, 1, size / 16, size / 16) bool."""
        side = -(-self.size // BLOCK)
        exact = np.zeros((self.batch, 1, side, side), np.bool_)
        crops = []
        for k in range(self.batch):
            if self.drawn and self.random.random() < self.drawn:
                picture, exact[k, 0] = self.graphic()
                crops.append(picture)
            else:
                crops.append(self.crop())
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2) / 255 - 0.5, torch.from_numpy(exact)
