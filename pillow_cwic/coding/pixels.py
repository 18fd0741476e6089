"""Typed wrapper over ``csrc/pixels.c``: pixels without loss (FORMAT.md section 8)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pillow_cwic import threads
from pillow_cwic.coding._coder import ffi, lib
from pillow_cwic.coding.coder import check, uncleared
from pillow_cwic.errors import EntropyError

SAMPLE_BYTES = 2  # more than any that is known takes; if one takes more, there is another try with more
SLACK = 4096
BLOCK: int = lib.CWIC_BLOCK
WORK = 1 << 12  # pixels between which an interrupt is heard: 30 ms of noise at most


def encode(
    pixels: NDArray[np.uint8],
    blocks: NDArray[np.bool_] | None = None,
    bits: NDArray[np.uint32] | None = None,
) -> bytes:
    """Pixels (H, W, C), uint8, C from 1 to 4, contiguous within each row, to their stream.

    ``blocks`` (ceil(H / 16), ceil(W / 16)), if given, says which blocks of 16 x 16 pixels are coded. What each block
    takes is added to ``bits``, of the same shape and contiguous, in 1/256.
    """
    height, width, channels, stride = _shape(pixels)
    given, result = ffi.cast("uint8_t *", pixels.ctypes.data), ffi.new("int32_t *")
    chosen = _blocks(blocks, height, width)
    capacity = SAMPLE_BYTES * pixels.size + SLACK
    while True:
        taken = np.zeros(0 if bits is None else bits.shape, np.uint32)
        spent = ffi.NULL if bits is None else ffi.from_buffer("uint32_t[]", taken)
        out = uncleared("uint8_t[]", capacity)
        coder = lib.cwic_pixels_encoder(given, height, width, channels, stride, chosen, spent, out, capacity, result)
        if (written := _run(coder, result, height, width)) is not None:
            if bits is not None:
                bits += taken
            return bytes(ffi.buffer(out, written))
        capacity *= 4


def is_rich(data: bytes) -> bool:
    """Whether a stream is coded as a photograph's, which ``encode`` guesses; with ``blocks`` none is."""
    return data[0] < 0x80  # its first decision, of probability 1/2


def decode(data: bytes, pixels: NDArray[np.uint8], blocks: NDArray[np.bool_] | None = None) -> None:
    """Writes a stream's pixels to ``pixels``, an array as ``encode`` takes it; others than those of ``blocks`` stay.

    Raises EntropyError if the stream is not exactly as long as they need.
    """
    height, width, channels, stride = _shape(pixels)
    chosen, result, stream = _blocks(blocks, height, width), ffi.new("int32_t *"), ffi.from_buffer(data)
    given = ffi.cast("uint8_t *", pixels.ctypes.data)
    coder = lib.cwic_pixels_decoder(stream, len(data), given, height, width, channels, stride, chosen, result)
    _run(coder, result, height, width)


def decode_start(data: bytes, pixels: NDArray[np.uint8], blocks: NDArray[np.bool_] | None = None) -> int:
    """As ``decode``, of a stream whose end is missing: how many rows are the same whatever it was; others stay."""
    height, width, channels, stride = _shape(pixels)
    chosen, result, stream = _blocks(blocks, height, width), ffi.new("int32_t *"), ffi.from_buffer(data)
    given = ffi.cast("uint8_t *", pixels.ctypes.data)
    coder = lib.cwic_pixels_decoder(stream, len(data), given, height, width, channels, stride, chosen, result)
    try:
        if not coder:
            check(result[0], "pixels")
        for row, made in enumerate(pixels):
            threads.check()
            before = made.copy()
            lib.cwic_pixels_rows(coder, 1)
            if not lib.cwic_pixels_settled(coder):
                made[:] = before
                return row
        return height
    finally:
        lib.cwic_pixels_free(coder)


def encode_mask(blocks: NDArray[np.bool_]) -> bytes:
    """Which blocks are exact, (rows, columns), to their stream."""
    return encode(blocks[..., None].astype(np.uint8))


def decode_mask(data: bytes, height: int, width: int) -> NDArray[np.bool_]:
    """Which blocks of a picture of so many pixels are exact. Raises EntropyError if the stream is damaged."""
    found = np.empty((-(-height // BLOCK), -(-width // BLOCK), 1), np.uint8)
    decode(data, found)
    if found.max() != 1:
        raise EntropyError(f"blocks: values up to {found.max()}, wanted 0 and 1")
    exact: NDArray[np.bool_] = found[..., 0].astype(np.bool_)
    return exact


def repeats(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """How many pixels of each block equal one of the two at their left; how many are near the first, by 1 to 6.

    ``pixels`` (H, W, C) as ``encode`` takes them; both results are (ceil(H / 16), ceil(W / 16)).
    """
    height, width, channels, stride = _shape(pixels)
    equal = np.empty((-(-height // BLOCK), -(-width // BLOCK)), np.uint16)
    near = np.empty_like(equal)
    counts = (ffi.from_buffer("uint16_t[]", each) for each in (equal, near))
    lib.cwic_repeats(ffi.cast("uint8_t *", pixels.ctypes.data), height, width, channels, stride, *counts)
    return equal, near


def _shape(pixels: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Height, width, channels, and how many bytes the rows are apart."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or not pixels[:1].flags.c_contiguous:
        said = f"{pixels.dtype} {pixels.shape} with strides {pixels.strides}"
        raise ValueError(f"pixels: {said}, wanted uint8 (H, W, C) contiguous in each row")
    height, width, channels = pixels.shape
    return height, width, channels, pixels.strides[0] if height > 1 else width * channels


def _blocks(blocks: NDArray[np.bool_] | None, height: int, width: int) -> Any:
    if blocks is None:
        return ffi.NULL
    if blocks.shape != (wanted := (-(-height // BLOCK), -(-width // BLOCK))):
        raise ValueError(f"blocks: {blocks.shape}, wanted {wanted}")
    return ffi.from_buffer("uint8_t[]", np.ascontiguousarray(blocks, np.uint8))


def _run(coder: Any, result: Any, height: int, width: int) -> int | None:
    """Codes all rows and frees the coder: the bytes written, None if there was no room for them."""
    try:
        if not coder:
            check(result[0], "pixels")
        count = max(1, WORK // width)
        for start in range(0, height, count):
            threads.check()
            if lib.cwic_pixels_rows(coder, min(count, height - start)) != lib.CWIC_OK:
                break  # which finishing says again
        written = ffi.new("size_t *")
        if (code := lib.cwic_pixels_finish(coder, written)) == lib.CWIC_ERROR_SPACE:
            return None
        check(code, "pixels")
        return int(written[0])
    finally:
        lib.cwic_pixels_free(coder)
