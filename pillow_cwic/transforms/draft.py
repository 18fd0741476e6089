"""A small picture straight from the codes, by the linear path of the synthesis transform alone.

The mean of that path over squares of pixels is one product with a matrix, and the first few channels carry nearly all
of it; the blocks, which take most of the time, only add detail. Integers, so that it is the same everywhere: products
are of whole numbers below 2^53 in double precision, which holds them exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pillow_cwic.models.config import CODE_LIMIT, STRIDE, Config
from pillow_cwic.transforms import postfilter
from pillow_cwic.transforms.layout import GAIN_FROM, LATENT, TABLE_FROM, Parts, at
from pillow_cwic.transforms.protocol import Post

SCALES = (8, 4)  # pixels of the picture per pixel of the small one
STRIP = 1 << 14  # positions at a time, so that memory stays bounded
ALONE = 1 << 18  # multiplications up to which BLAS starts no threads, which would stay busy long after
REDUNDANCY = 3  # channels, which come in order of importance, for each number of the small picture's block


def groups_for(config: Config, scale: int) -> int:
    """How many channel groups a small picture needs."""
    channels = REDUNDANCY * 3 * (STRIDE // scale) ** 2
    return int(np.searchsorted(np.cumsum(config.groups[:-1]), channels)) + 1


def product(weight: NDArray[Any], x: NDArray[Any]) -> NDArray[np.int64]:
    """Whole numbers (outputs, inputs) by (inputs, positions), sums below 2^53."""
    sums = np.empty((len(weight), x.shape[1]), np.int64)
    left, step = weight.astype(np.float64), max(1, ALONE // weight.size)
    for k in range(0, x.shape[1], step):
        sums[:, k : k + step] = left @ x[:, k : k + step].astype(np.float64)
    return sums


def isqrt(x: NDArray[np.int64]) -> NDArray[np.int64]:
    """The largest integers whose squares are at most ``x``, 0 to 2^32."""
    root = np.sqrt(x.astype(np.float64)).astype(np.int64)
    root -= root * root > x
    larger: NDArray[np.int64] = root + ((root + 1) * (root + 1) <= x)
    return larger


class _Latents:
    """FORMAT.md section 6.2 for the first ``count`` channels at rate T, where the others are zero."""

    def __init__(self, config: Config, p: Parts, rate: int, count: int) -> None:
        every = np.arange(-CODE_LIMIT, CODE_LIMIT + 1)
        gain = at(p["gain"][:, :count], rate, GAIN_FROM)[:, None]
        self.of_code = np.clip((every * gain + 32768) >> 16, -LATENT, LATENT)  # (channels, codes)
        self.normalised = config.normalised
        if config.normalised:
            self.r, self.s = int(p["r"]), int(p["s"])
            self.mixture, self.floor = p["mixture"][:count, :count].T, p["floor"][:count, None]
            self.rate = at(p["rate"][:, :count], min(max(rate, TABLE_FROM), -TABLE_FROM))[:, None]

    def __call__(self, codes: NDArray[np.int16]) -> NDArray[np.int64]:
        """Codes (channels, positions) to y, the same shape, within +-8191."""
        y = np.stack([values[each + CODE_LIMIT] for values, each in zip(self.of_code, codes, strict=True)])
        if not self.normalised:
            return y
        e = np.minimum((y * y + (1 << self.r >> 1)) >> self.r, 32767)
        f = np.minimum(self.floor + ((product(self.mixture, e) * self.rate) >> self.s), 2**32 - 1)
        expanded: NDArray[np.int64] = np.clip((y * isqrt(f) + 1024) >> 11, -LATENT, LATENT)
        return expanded


def synthesise(
    config: Config,
    p: Parts,
    codes: NDArray[np.int16],
    rate: int,
    height: int,
    width: int,
    scale: int,
    post: Post | None = None,
) -> NDArray[np.uint8]:
    """Codes (channels, H/8, W/8), the first groups or all, at rate T to (ceil(height/scale), ceil(width/scale), 3).

    ``p`` are the parts of the synthesis transform, ``post`` the coefficients of a post-filter, if there is one.
    """
    count, rows, columns = codes.shape
    side = STRIDE // scale
    latents = _Latents(config, p, rate, count)
    squares = p["linear.weight"][:count].astype(np.int64).reshape(count, 3, side, scale, side, scale).sum((3, 5))
    weight, shift, places = squares.reshape(count, -1).T, int(p["exit.shift"]), scale * scale
    picture = np.empty((rows, side, columns, side, 3), np.uint8)
    strip = max(1, STRIP // columns)
    for top in range(0, rows, strip):
        part = codes[:, top : top + strip]
        y = latents(part.reshape(count, -1))
        # The mean over `places` samples, each 127.5 and a sum in 2^-shift, rounded.
        sums = 2 * product(weight, y) + ((256 * places) << shift)
        fraction = 1 + shift + places.bit_length() - 1
        if post is None:
            samples = np.clip(sums >> fraction, 0, 255)
        else:
            fine = (sums >> (fraction - postfilter.BITS)).reshape(3, -1)
            samples = np.stack(postfilter.apply(fine, post, point=True))
        blocks = samples.reshape(3, side, side, part.shape[1], columns).transpose(3, 1, 4, 2, 0)
        picture[top : top + strip] = blocks
    whole = picture.reshape(rows * side, columns * side, 3)
    return np.ascontiguousarray(whole[: -(-height // scale), : -(-width // scale)])
