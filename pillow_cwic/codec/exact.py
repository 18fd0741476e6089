"""Pixels without loss, in bands that threads share: lossless pictures, and the alpha of all others."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from pillow_cwic import settings, threads
from pillow_cwic.coding import pixels as coder
from pillow_cwic.errors import ContainerError, EntropyError
from pillow_cwic.file import pixels as payloads
from pillow_cwic.file.pixels import UNIT, Band
from pillow_cwic.progress import Progress, Steps

Blocks = NDArray[np.bool_]  # of 16 x 16 pixels

# Each band learns anew, which costs 0.2 % of the bytes of a photograph in two, and 4 % of those of a screenshot.
MOST_PIXELS = 1 << 20  # of a band
VARIED_PIXELS, VARIED_BANDS = 3 << 16, 4  # those of photographs are smaller, until there are a few to share
DRAWN = 0.25  # the share of pixels equal to one at their left from which on a photograph may have text beside it
REPEATED = 0.5  # the share of pixels equal to one at their left that photographs lack


def encode(
    planes: NDArray[np.uint8],
    blocks: Blocks | None = None,
    bits: NDArray[np.uint32] | None = None,
    step: int = 1,
) -> bytes:
    """Pixels (H, W, C), uint8 with C from 1 to 4, to a payload of ALPH or PIXL; all are as ``coarse`` makes them.

    If ``blocks`` (ceil(H / 16), ceil(W / 16)) is given, those that are True are coded, one or more. What each block
    takes is added to ``bits``, of the same shape, in 1/256.
    """
    planes = np.ascontiguousarray(planes)
    height, width = planes.shape[:2]
    coded = planes if blocks is None else planes[spread(blocks, height, width)][None]
    if (coded == coded[0, 0]).all():
        return payloads.write_constant(coded[0, 0].tobytes())
    rows = _band_rows(planes, coded.shape[0] * coded.shape[1])
    planes = _nearest(step)[planes] if step > 1 else planes

    def band(k: int) -> Band:
        part, chosen = _cut(planes, blocks, rows, k)
        data, taken = _stream(part, chosen)
        if bits is not None:
            bits[k * rows // UNIT : (k + 1) * rows // UNIT] += taken
        return Band(data, _crc(part, chosen))

    return payloads.write(rows, threads.each(band, -(-height // rows), _lanes()), step)


def _stream(part: NDArray[np.uint8], chosen: Blocks | None) -> tuple[bytes, NDArray[np.uint32]]:
    """A band's stream, and what each block takes; coded as a photograph's or as others, where that is hard to guess."""
    taken = np.zeros((-(-part.shape[0] // UNIT), -(-part.shape[1] // UNIT)), np.uint32)
    data = coder.encode(part, chosen, taken)
    if chosen is None and coder.is_rich(data) and coder.repeats(part)[0].sum() >= DRAWN * part[..., 0].size:
        other, every = np.zeros_like(taken), np.ones(taken.shape, np.bool_)
        if len(as_drawn := coder.encode(part, every, other)) < len(data):
            return as_drawn, other
    return data, taken


def coarse(planes: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Pixels with each sample as the nearest that has so large a ``step``; 0 and 255 stay."""
    shown: NDArray[np.uint8] = _shown(step)[_nearest(step)][planes]
    return shown


def _shown(step: int) -> NDArray[np.uint8]:
    """What is shown of coded samples 0 to 255."""
    return np.minimum(step * np.arange(256), 255).astype(np.uint8)


def _nearest(step: int) -> NDArray[np.uint8]:
    """The sample that each of 0 to 255 is coded as."""
    values = np.arange(256)
    below = values // step
    off = [abs(np.minimum(step * sample, 255) - values) for sample in (below, below + 1)]
    return (below + (off[1] < off[0])).astype(np.uint8)


def decode(
    payload: bytes, planes: NDArray[np.uint8], field: str, *, blocks: Blocks | None = None, partial: bool = False,
    progress: Progress | None = None,
) -> NDArray[np.uint8]:  # fmt: skip
    """Writes a payload's pixels to ``planes`` (H, W, C), those of ``blocks`` if they are given; returns ``planes``.

    With ``partial`` those stay as they are that did not arrive; of the band in which the payload ends, which no CRC
    guards then, rows are written as far as no missing byte could change them. Raises ContainerError or EntropyError,
    which begins with ``field``, if it is damaged.
    """
    height, width, channels = planes.shape
    parsed = payloads.read(payload, height, channels, field, partial)
    if parsed.step > 1 and blocks is None:
        raise ContainerError(f"{field}: step {parsed.step} between samples that are to be exact, wanted 1")
    if parsed.colour is not None:
        where = slice(None) if blocks is None else spread(blocks, height, width)
        planes[where] = np.frombuffer(parsed.colour, np.uint8)
        return planes
    bands = parsed.bands if parsed.cut is None else [*parsed.bands, parsed.cut]
    steps = Steps(progress, len(bands))

    def band(k: int) -> None:
        part, chosen = _cut(planes, blocks, parsed.rows, k)
        rows, (data, said) = len(part), bands[k]
        try:
            if bands[k] is parsed.cut:
                rows = coder.decode_start(data, part, chosen)
            else:
                coder.decode(data, part, chosen)
        except EntropyError as error:
            raise EntropyError(f"{field}: band {k}: {error}") from error
        if rows == len(part) and (found := _crc(part, chosen)) != said:
            raise EntropyError(f"{field}: band {k}: CRC of its pixels is {found:08x}, the file says {said:08x}")
        if parsed.step > 1:
            where = slice(rows) if chosen is None else spread(chosen, rows, width)
            part[:rows][where] = _shown(parsed.step)[part[:rows][where]]
        steps()

    threads.each(band, len(bands), _lanes())
    return planes


def with_mask(blocks: Blocks, payload: bytes) -> bytes:
    """The payload of PIXL in a file with layers: which blocks are exact, and what ``encode`` made of them."""
    return payloads.write_blocks(coder.encode_mask(blocks), payload)


def decode_blocks(payload: bytes, planes: NDArray[np.uint8], *, partial: bool = False) -> Blocks:
    """Writes the exact pixels over ``planes`` (H, W, C), and says which blocks they are. Raises as ``decode`` does."""
    mask, rest = payloads.read_blocks(payload, partial)
    height, width = planes.shape[:2]
    if mask is None:
        return np.zeros((-(-height // UNIT), -(-width // UNIT)), np.bool_)
    blocks = coder.decode_mask(mask, height, width)
    decode(rest, planes, "PIXL", blocks=blocks, partial=partial)
    return blocks


def described(payload: bytes, height: int, width: int, channels: int) -> tuple[float, int]:
    """Of a payload of PIXL beside layers: the share of blocks that are exact, and the step of their samples."""
    mask, rest = payloads.read_blocks(payload)
    assert mask is not None
    step = payloads.read(rest, height, channels, "PIXL").step
    return float(coder.decode_mask(mask, height, width).mean()), step


def spread(blocks: Blocks, height: int, width: int, side: int = UNIT) -> Blocks:
    """For each pixel, (H, W), what ``blocks`` of so many pixels a side say of its block."""
    return blocks.repeat(side, axis=0)[:height].repeat(side, axis=1)[:, :width]


def _cut(
    planes: NDArray[np.uint8], blocks: Blocks | None, rows: int, k: int
) -> tuple[NDArray[np.uint8], Blocks | None]:
    """Band k of so many rows, and its blocks."""
    chosen = None if blocks is None else blocks[k * rows // UNIT : (k + 1) * rows // UNIT]
    return planes[k * rows : (k + 1) * rows], chosen


def _crc(part: NDArray[np.uint8], chosen: Blocks | None) -> int:
    if chosen is not None and not chosen.all():
        part = part[spread(chosen, *part.shape[:2])]
    return payloads.crc(part.data)


def reduced(planes: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Means over squares of ``scale`` pixels, edges repeated: (H, W, C) -> (ceil(H / scale), ceil(W / scale), C)."""
    if scale == 1:
        return planes
    below, right = (-side % scale for side in planes.shape[:2])
    padded = np.pad(planes, ((0, below), (0, right), (0, 0)), mode="edge")
    rows, columns = padded.shape[0] // scale, padded.shape[1] // scale
    means = padded.reshape(rows, scale, columns, scale, -1).mean(axis=(1, 3), dtype=np.float32)
    shown: NDArray[np.uint8] = np.rint(means).astype(np.uint8)
    return shown


def _lanes() -> int:
    return settings.threads() or os.cpu_count() or 1


def _band_rows(planes: NDArray[np.uint8], coded: int) -> int:
    """How many rows a band has, with so many coded pixels in all: whatever the number of threads, as files are."""
    height = len(planes)
    count = -(-coded // MOST_PIXELS)
    if coded >= 2 * VARIED_PIXELS and coder.repeats(planes)[0].sum() < REPEATED * planes[..., 0].size:
        count = max(count, min(VARIED_BANDS, coded // VARIED_PIXELS))
    return UNIT * int(-(-height // (UNIT * max(1, count))))
