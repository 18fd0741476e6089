"""Which blocks of a picture are exact: those where that costs less, in bits and distortion together.

A transform is the wrong tool for screenshots, charts and text, whose pixels repeat. Blocks of 16 x 16 pixels that do
are weighed one by one: what the pixel coder takes for them against what the transform takes and leaves. The transform
then sees something smooth in their place, which it codes for next to nothing, and the decoder writes their pixels over
what it makes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pillow_cwic import measures
from pillow_cwic.codec import exact, palette, transparency
from pillow_cwic.codec.exact import Blocks
from pillow_cwic.coding import pixels as coder
from pillow_cwic.coding.symbols import Coded
from pillow_cwic.models.config import CODE_LIMIT

# A picture is graphics if a tenth of its blocks repeat a quarter of their pixels, and have at most an eighth as many
# small steps; photographs have those. So it is if grounds that are even but for dithering fill a large share.
FLAT, EVEN, SHARE = 0.25, 8, 0.1
DITHERED, SHARE_DITHERED = 0.8, 0.3
# And if patches of so many rows and columns, together, take few bits a pixel without loss, as gradients do.
PATCH, CHEAP = (16, 32), 2.0
MAGNITUDES = np.array([round(256 * math.log2(1 + 2 * code)) for code in range(CODE_LIMIT + 1)], np.float64)
SIGNALLED = 77.0  # 1/256 bits, about, that even a position takes whose codes are zero, and each level of the map
# What a picture in fewer colours must cost at most, as a share of what it costs exact, to be taken; what is drawn or
# written in few colours shall be exact, if that is most of what fewer colours would show, unless the rate is very low.
NEAR, NEAR_OF_FEW, FEW, MOST = 0.9, 0.5, 256, 0.8
# A block may cost so many times what it costs by the transform if this share of those around it are exact: whatever is
# coded first of its kind, a letter, a button, pays for those that follow, and text that is partly exact looks bad.
AROUND, PATIENCE = 5 / 8, 2.0
SPARED = 1.01  # times as many blocks as are better exact, all of which may stay so
FAR_BEYOND = 1.1  # of the bits that exact blocks may take
LEFT = 1 / 30  # the share of blocks below which what is left to the transform is hardly anything
STEPS = (2, 3, 5, 8)  # between samples that are exact but for being coarse


class Look(NamedTuple):
    """How exact blocks are shown: in so many ``colours``, 0 for their own, with so large a ``step`` between samples."""

    colours: int = 0
    step: int = 1


ITSELF = Look()


class Loss(NamedTuple):
    """What an error costs, in units of a tuning's distortion: ``squared`` times the mean squared error of a pixel's
    samples, and ``structure`` times 1 - SSIM.
    """

    squared: float
    structure: float

    def of(self, original: NDArray[np.uint8], made: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Sums over the blocks of two pictures (H, W, C)."""
        squares = np.square(np.subtract(original, made, dtype=np.int32)).sum(axis=2)
        sums: NDArray[np.float64] = block_sums(squares) * (self.squared / original.shape[2])
        sums += self.structure * measures.structural_loss(original, made, coder.BLOCK)
        return sums


# By tuning. What is even or dark must stay so in graphics, of which squared error alone says little; without it even
# ``mse`` needs more bits for equal squared error. MS-SSIM, which ``ssim`` is for, loses a third of what SSIM does; it
# has all that it can lose once letters are smeared, so squared error counts for more than in training: between 0.04 and
# 0.6, 0.2 is best in SSIM and MS-SSIM and nearly so in SSIMULACRA2 (docs/experiments.md, 56).
_SIMILAR = measures.SSIM_SCALE + measures.MS_SSIM_SCALE / 3
LOSSES = {"mse": Loss(1.0, 600.0), "ssim": Loss(0.2, _SIMILAR)}
MEASURED = {"psnr": Loss(1.0, 0.0), "ssim": Loss(0.0, 1.0)}  # what is lost of what is asked for


class Exact(NamedTuple):
    """The exact ``blocks`` of a picture, their ``payload`` for PIXL, what a decoder shows there, (H, W, 3), and how.

    ``pixels`` (H, W, 3) are left to the transform.
    """

    blocks: Blocks
    payload: bytes
    shown: NDArray[np.uint8]
    look: Look
    pixels: NDArray[np.uint8]

    def over(self, made: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What a decoder shows: exact pixels over the synthesised ones (H, W, 3)."""
        where = exact.spread(self.blocks, made.shape[0], made.shape[1])
        return np.where(where[..., None], self.shown, made)


class _Version(NamedTuple):
    """How blocks may look, and what all of them are coded to: each block's bits, and its loss."""

    look: Look
    payload: bytes
    bits: NDArray[np.float64]
    off: NDArray[np.float64]

    def costs(self, weight: float | NDArray[np.float64]) -> NDArray[np.float64]:
        """What each block costs in bits; ``weight`` is what a unit of loss at a pixel costs."""
        return self.bits + weight * self.off


def is_graphics(planes: NDArray[np.uint8], hidden: NDArray[np.bool_] | None = None) -> bool:
    """Whether a picture (H, W, 1 or 3) is no photograph; found in a millisecond.

    ``hidden`` pixels (H, W), each as the one at its left (``transparency.extend``), do not count.
    """
    equal, near = (counts.astype(np.int64) for counts in coder.repeats(planes))
    area = block_sums(np.ones(planes.shape[:2], np.int32))
    if hidden is not None:
        behind = block_sums(hidden.astype(np.int32))
        seen = area > behind
        equal, near, area = np.maximum(equal - behind, 0)[seen], near[seen], (area - behind)[seen]
        if not area.size:
            return True
    drawn = (equal >= FLAT * area) & (EVEN * near <= equal)
    dithered = equal >= DITHERED * area
    if drawn.mean() >= SHARE or dithered.mean() >= SHARE_DITHERED:
        return True
    return hidden is None and _cheap(planes)


def _cheap(planes: NDArray[np.uint8]) -> bool:
    """Whether the middles of the four quarters are cheap without loss: by the coder itself, in a millisecond."""
    rows, columns = PATCH
    pairs = zip(planes.shape[:2], PATCH, strict=True)
    tops, lefts = ([max(0, min(at * side // 4 - long // 2, side - long)) for at in (1, 3)] for side, long in pairs)
    patches = np.concatenate([planes[y : y + rows, x : x + columns] for y in tops for x in lefts])
    return 8 * len(coder.encode(patches)) < CHEAP * patches[..., 0].size


class Graphics:
    """A picture (H, W, 1 or 3) some blocks of which may be exact, or be shown in fewer colours."""

    def __init__(self, planes: NDArray[np.uint8], loss: Loss) -> None:
        self.planes, self.loss = planes, loss
        self._versions: dict[Look, _Version] = {}
        self._latest = ITSELF, planes

    @property
    def lossless(self) -> bytes:
        """The payload of the whole picture, as ``exact.encode`` makes it."""
        return self._version(ITSELF).payload

    @cached_property
    def _palettes(self) -> palette.Palettes:
        return palette.Palettes(self.planes.reshape(-1, self.planes.shape[2]))

    def chosen(
        self, lost: NDArray[np.float64], weight: float | NDArray[np.float64], most: float = math.inf
    ) -> Exact | None:
        """The blocks that are better exact, in some number of colours; None if there are none.

        ``lost`` is what each block costs by the transform, in bits; ``weight`` as ``_Version.costs`` takes it. None as
        well if the blocks take far more than ``most`` bits even with all others beside them, which makes them cheaper.
        """
        version = self._cheapest(lost, weight)
        costs = version.costs(weight)
        blocks: Blocks = costs < lost
        among = _around(blocks) >= AROUND * _around(np.ones_like(blocks))
        allowed = np.where(among & ~blocks, PATIENCE, 1.0) * lost
        blocks |= costs < allowed
        if not blocks.any() or version.bits[blocks].sum() > FAR_BEYOND * most:
            return None
        bits = np.zeros(blocks.shape, np.uint32)
        shown = self.shown(version.look)
        payload = exact.encode(shown, blocks, bits)
        kept: Blocks = blocks & (bits / 256 + weight * version.off < allowed)  # blocks that are alone cost more
        if not kept.any():
            return None
        if blocks.sum() <= SPARED * kept.sum():  # so few that it is not worth coding the others anew
            return self.made(blocks, shown, payload, version.look)
        return self.made(kept, shown, None, version.look)

    def cheapest_wholly(self, weight: float) -> tuple[Look, float, NDArray[np.float64]]:
        """The look that costs least, of those that were tried, if all blocks are exact with it.

        And what it costs, and what each block loses.
        """
        costs = {look: float(version.costs(weight).sum()) for look, version in self._versions.items()}
        look = min(costs, key=costs.__getitem__)
        return look, costs[look], self._versions[look].off

    def best_wholly(self, bits: float, missed: Collection[Look] = ()) -> Look | None:
        """The look that loses least, of those that were tried, if all blocks are exact with it in so many bits."""
        fits = (look for look, version in self._versions.items() if version.bits.sum() <= bits and look not in missed)
        within = {look: self._versions[look].off.sum() for look in fits}
        return min(within, key=within.__getitem__, default=None)

    def wholly(self, look: Look) -> Exact:
        """All blocks exact, with this look."""
        return self.made(np.ones(self._version(look).bits.shape, np.bool_), self.shown(look), None, look)

    def made(self, blocks: Blocks, shown: NDArray[np.uint8], payload: bytes | None, look: Look) -> Exact:
        """Exact ``blocks`` that are ``shown`` with this look, which are coded to ``payload``."""
        payload = exact.encode(shown, blocks, step=look.step) if payload is None else payload
        colour = (*self.planes.shape[:2], 3)
        rest = np.broadcast_to(left_to_transform(self.planes, blocks), colour)
        return Exact(blocks, exact.with_mask(blocks, payload), np.broadcast_to(shown, colour), look, rest)

    def extended(self, made: Exact | None, more: Blocks) -> Exact:
        """Exact blocks, or none, and ``more`` of them, as they are unless all have coarse samples."""
        if made is None:
            return self.made(more, self.planes, None, ITSELF)
        shown = self.shown(made.look if made.look.step > 1 else ITSELF)
        where = exact.spread(made.blocks, *self.planes.shape[:2])[..., None]
        kept = made.shown[..., : self.planes.shape[2]]
        return self.made(made.blocks | more, np.where(where, kept, shown), None, made.look)

    @property
    def looks(self) -> Iterator[list[Look]]:
        """All but its own, each list of one kind, that which loses least first."""
        yield [Look(colours=size) for size in reversed(self._palettes.sizes)]
        yield [Look(step=step) for step in STEPS]

    def shown(self, look: Look) -> NDArray[np.uint8]:
        """The picture (H, W, C) with this look."""
        if look == ITSELF:
            return self.planes
        if look != self._latest[0]:
            few = look.step == 1
            shown = self._palettes.apply(self.planes, look.colours) if few else exact.coarse(self.planes, look.step)
            self._latest = look, shown
        return self._latest[1]

    def bits(self, look: Look) -> NDArray[np.float64]:
        """What each block takes if all are exact with this look."""
        return self._version(look).bits

    def _cheapest(self, lost: NDArray[np.float64], weight: float | NDArray[np.float64]) -> _Version:
        """The picture as it is, or in few colours if that is much cheaper: tried from the middle, while costs fall."""

        def cost(version: _Version) -> float:
            return float(np.minimum(lost, version.costs(weight)).sum())

        itself, sizes = self._version(ITSELF), [Look(colours=size) for size in self._palettes.sizes]
        if not sizes:
            return itself
        n = len(sizes) // 2
        best = self._version(sizes[n])
        for step in (1, -1):
            while 0 <= n + step < len(sizes) and cost(near := self._version(sizes[n + step])) < cost(best):
                n, best = n + step, near
        share = cost(best) / cost(itself)
        if NEAR_OF_FEW <= share < NEAR:
            drawn, others = (each.costs(weight) < lost for each in (itself, best))
            if drawn.sum() >= MOST * others.sum():
                where = exact.spread(drawn, *self.planes.shape[:2])
                return itself if palette.count(self.planes[where]) <= FEW else best
        return best if share < NEAR else itself

    def _version(self, look: Look) -> _Version:
        if look not in self._versions:
            shown = self.shown(look)
            rows, columns = (-(-side // coder.BLOCK) for side in shown.shape[:2])
            bits = np.zeros((rows, columns), np.uint32)
            payload = exact.encode(shown, None, bits, look.step)
            off = np.zeros(bits.shape) if look == ITSELF else self.loss.of(self.planes, shown)
            self._versions[look] = _Version(look, payload, bits / 256, off)
        return self._versions[look]


def left_to_transform(planes: NDArray[np.uint8], blocks: Blocks) -> NDArray[np.uint8]:
    """The picture (H, W, C) with something smooth in exact ``blocks``.

    Those of one colour stay, and what is between them follows: a ground that goes on is cheapest. Where hardly anything
    is left to the transform, the edges between grounds would cost more than they save.
    """
    if (1 - blocks.mean()) < LEFT:
        even: Blocks = np.zeros_like(blocks)
    else:
        even = one_colour(planes)
    return transparency.fill(planes, exact.spread(~blocks | even, *planes.shape[:2]).astype(np.uint8))


def _around(blocks: Blocks) -> NDArray[np.int64]:
    """How many of the eight blocks around each are True."""
    rows, columns = blocks.shape
    padded = np.pad(blocks, 1).astype(np.int64)
    sums: NDArray[np.int64] = sum(padded[y : y + rows, x : x + columns] for y in range(3) for x in range(3)) - blocks
    return sums


def one_colour(planes: NDArray[np.uint8]) -> Blocks:
    """The blocks of a picture (H, W, C) whose pixels are all alike."""
    side = coder.BLOCK
    few = np.array((0, side // 2, side - 1))
    rows, columns = (np.minimum(np.arange(0, n, side)[:, None] + few, n - 1) for n in planes.shape[:2])
    some = planes[rows[:, None, :, None], columns[None, :, None, :]]
    same: Blocks = (some == some[:, :, :1, :1]).all(axis=(2, 3, 4))
    for row in np.flatnonzero(same.any(axis=1)):  # others, as of most photographs, are known by those few pixels
        strip = planes[side * row : side * (row + 1)]
        strip = np.pad(strip, ((0, 0), (0, -strip.shape[1] % side), (0, 0)), mode="edge")
        cells = strip.reshape(len(strip), -1, side, strip.shape[2])
        same[row] &= (cells == cells[:1, :, :1]).all(axis=(0, 2, 3))
    return same


def spent(coded: Coded) -> NDArray[np.float64]:
    """About how many bits of the layers each block takes, (rows, columns) of the map."""
    levels, *groups = coded.symbols
    shares = SIGNALLED * (1.0 + levels[0])
    for codes in groups:
        magnitude = MAGNITUDES[np.abs(codes)].sum(axis=0)
        rows, columns = magnitude.shape
        shares += magnitude.reshape(rows // 2, 2, columns // 2, 2).sum(axis=(1, 3))
    bits: NDArray[np.float64] = shares * (8 * sum(map(len, coded.streams)) / shares.sum())
    return bits


def block_sums(values: NDArray[np.int32]) -> NDArray[np.int64]:
    """Sums over blocks, (H, W) -> (ceil(H / 16), ceil(W / 16))."""
    height, width = values.shape
    side = coder.BLOCK
    padded = np.pad(values, ((0, -height % side), (0, -width % side)))
    rows, columns = padded.shape[0] // side, padded.shape[1] // side
    sums: NDArray[np.int64] = padded.reshape(rows, side, columns, side).sum(axis=(1, 3), dtype=np.int64)
    return sums
