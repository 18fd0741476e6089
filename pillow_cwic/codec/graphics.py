"""Which blocks of a picture are exact: those where that costs less, in bits and distortion together.

A transform is the wrong tool for screenshots, charts and text, whose pixels repeat. Blocks of 16 x 16 pixels that do
are weighed one by one: what the pixel coder takes for them against what the transform takes and leaves. The transform
then sees something smooth in their place, which it codes for next to nothing, and the decoder writes their pixels over
what it makes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pillow_cwic.codec import exact, palette, transparency
from pillow_cwic.codec.exact import Blocks
from pillow_cwic.coding import pixels as coder
from pillow_cwic.coding.symbols import Coded

FLAT, EVEN, SHARE = 0.25, 8, 0.1  # a picture is graphics if a tenth of its blocks repeat a quarter of their pixels, and
# have at most an eighth as many small steps; photographs have those
REPEATED = 0.3  # the share of its pixels that a block repeats that may be exact
MOSTLY = 0.5  # the share of such blocks above which all of a picture may be
SIGNALLED = 0.3  # bits, about, that even a position takes whose codes are zero, and each level of the map
# What blocks in fewer colours must cost at most, as a share of what they cost exact, to be taken; drawings and text of
# few colours shall be exact unless the rate is very low.
NEAR, NEAR_OF_FEW, FEW = 0.9, 0.5, 256
PASSES = 2  # blocks that are alone cost more: what the first pass chose is weighed again


class Exact(NamedTuple):
    """The exact ``blocks`` of a picture, their ``payload`` for PIXL, and what a decoder shows there, (H, W, 3).

    ``pixels`` (H, W, 3) are left to the transform.
    """

    blocks: Blocks
    payload: bytes
    share: float  # of the cost without, at which they are taken: 1, less if pixels are but near
    shown: NDArray[np.uint8]
    pixels: NDArray[np.uint8]

    def over(self, made: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What a decoder shows: exact pixels over the synthesised ones (H, W, 3)."""
        where = exact.spread(self.blocks, made.shape[0], made.shape[1])
        return np.where(where[..., None], self.shown, made)


def candidates(planes: NDArray[np.uint8]) -> Blocks | None:
    """Which blocks of a picture (H, W, 1 or 3) may be exact; None for photographs, found in a millisecond."""
    equal, near = coder.repeats(planes)
    height, width = planes.shape[:2]
    area = block_sums(np.ones((height, width), np.int32))
    if ((equal >= FLAT * area) & (EVEN * near <= equal)).mean() < SHARE:
        return None
    chosen: Blocks = equal >= REPEATED * area
    return chosen


def every(planes: NDArray[np.uint8]) -> Blocks:
    """All blocks of a picture."""
    return np.ones((-(-planes.shape[0] // coder.BLOCK), -(-planes.shape[1] // coder.BLOCK)), np.bool_)


def chosen(
    planes: NDArray[np.uint8], shown: NDArray[np.uint8], found: Blocks, lost: NDArray[np.float64], weight: float
) -> Exact | None:
    """Those of the blocks ``found`` that are better ``shown`` than what is ``lost`` by the transform; None if none.

    ``planes`` (H, W, 1 or 3) are the picture's own, ``shown`` what becomes of their pixels, the same or near them;
    ``lost`` counts bits, and errors as bits, for each block, ``weight`` is what a unit of squared error, the mean over
    a pixel's samples, costs in bits.
    """
    off = 0 if shown is planes else weight * errors(planes, shown)
    blocks = found & (lost > off)
    for _ in range(PASSES):
        if not blocks.any():
            return None
        bits = np.zeros(blocks.shape, np.uint32)
        exact.encode(shown, blocks, bits)
        blocks &= bits / 256 + off < lost
    if not blocks.any():
        return None
    where = exact.spread(blocks, *planes.shape[:2])
    colour = (*planes.shape[:2], 3)
    smooth = transparency.fill(np.broadcast_to(planes, colour), 1 - where.astype(np.uint8))
    share = 1.0
    if not np.array_equal(pixels := planes[where], shown[where]):
        share = NEAR if palette.count(pixels) > FEW else NEAR_OF_FEW
    return Exact(blocks, exact.encode_blocks(shown, blocks), share, np.broadcast_to(shown, colour), smooth)


def fewer_colours(planes: NDArray[np.uint8], found: Blocks, weight: float) -> NDArray[np.uint8] | None:
    """The picture in as few colours as pay, those of the blocks ``found``; None if all of them do.

    Sizes of palettes are tried from the middle, as long as bits and errors together fall.
    """
    if not found.any():
        return None
    made = palette.Palettes(planes[exact.spread(found, *planes.shape[:2])])
    tried: dict[int, tuple[float, NDArray[np.uint8]]] = {}

    def cost(n: int) -> float:
        if n not in tried:
            shown = made.apply(planes, made.sizes[n])
            bits = 8 * len(exact.encode(shown, found))
            tried[n] = bits + weight * float(errors(planes, shown)[found].sum()), shown
        return tried[n][0]

    if not made.sizes:
        return None
    n = len(made.sizes) // 2
    for step in (1, -1):
        while 0 <= n + step < len(made.sizes) and cost(n + step) < cost(n):
            n += step
    return tried[n][1] if cost(n) >= 0 else None


def errors(original: NDArray[np.uint8], made: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Sums over blocks of the mean squared error of a pixel's samples."""
    squares = np.square(np.subtract(original, made, dtype=np.int32)).sum(axis=2)
    sums: NDArray[np.float64] = block_sums(squares) / original.shape[2]
    return sums


def spent(coded: Coded) -> NDArray[np.float64]:
    """About how many bits each block takes in a file, (rows, columns) of the map."""
    levels, *groups = coded.symbols
    shares = SIGNALLED * (1.0 + levels[0])
    for codes in groups:
        magnitude = np.log2(1 + 2 * np.abs(codes).astype(np.float32)).sum(axis=0)
        rows, columns = magnitude.shape
        shares += magnitude.reshape(rows // 2, 2, columns // 2, 2).sum(axis=(1, 3))
    bits: NDArray[np.float64] = shares * (8 * coded.size / shares.sum())
    return bits


def block_sums(values: NDArray[np.int32]) -> NDArray[np.int64]:
    """Sums over blocks, (H, W) -> (ceil(H / 16), ceil(W / 16))."""
    height, width = values.shape
    side = coder.BLOCK
    padded = np.pad(values, ((0, -height % side), (0, -width % side)))
    rows, columns = padded.shape[0] // side, padded.shape[1] // side
    sums: NDArray[np.int64] = padded.reshape(rows, side, columns, side).sum(axis=(1, 3), dtype=np.int64)
    return sums
