"""The alpha plane, without loss, as ``docs/FORMAT.md`` section 1.2 defines it, and the colour behind transparency.

Imports numpy in the functions that need it: ``check`` belongs to ``verify()``, which must be light.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pillow_cwic.errors import ContainerError, CwicError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

_CONSTANT, _PACKED = 0, 1  # the first byte of the payload
_NONE, _LEFT, _ABOVE = 0, 1, 2  # what a row's bytes are differences to; the numbers are those of PNG's filters
_DICTIONARY = 1 << 22  # bytes; part of the format, and what decoding takes beside the plane itself
# Of these, nice_len and depth concern the encoder alone.
_LZMA2 = {"dict_size": _DICTIONARY, "lc": 3, "lp": 0, "pb": 0, "nice_len": 273, "depth": 512}
_PIECE = 1 << 16


def encode(plane: NDArray[np.uint8]) -> bytes:
    """A plane (H, W) to the payload of ALPH."""
    import numpy as np

    if (plane == plane[0, 0]).all():
        return bytes([_CONSTANT, plane[0, 0]])
    padded = np.pad(plane, ((1, 0), (1, 0)))
    rows = np.stack([plane, plane - padded[1:, :-1], plane - padded[:-1, 1:]])  # (filter, H, W), modulo 256
    costs = np.abs(rows.view(np.int8).astype(np.int16)).sum(axis=2, dtype=np.int64)  # as PNG encoders choose
    every = np.arange(len(plane))
    # Masks and text are smallest as they are, soft edges and gradients as differences.
    choices = np.zeros(len(plane), np.intp), costs.argmin(axis=0)
    return min((_pack(np.uint8(kinds).tobytes() + rows[kinds, every].tobytes()) for kinds in choices), key=len)


def decode(payload: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """The payload of ALPH to its plane (height, width). Raises ContainerError if it is damaged."""
    import numpy as np

    if (value := _constant(payload)) is not None:
        return np.full((height, width), value, np.uint8)
    data = np.frombuffer(b"".join(_unpack(payload, height, width)), np.uint8)
    kinds, plane = data[:height], data[height:].reshape(height, width).copy()
    if kinds.max() > _ABOVE:
        raise ContainerError(f"ALPH: row filter {kinds.max()} is outside 0 to {_ABOVE}")
    left = kinds == _LEFT
    plane[left] = plane[left].cumsum(axis=1, dtype=np.uint8)
    for y in np.flatnonzero(kinds[1:] == _ABOVE) + 1:  # above the first row all is 0
        plane[y] += plane[y - 1]
    return plane


def check(payload: bytes, height: int, width: int) -> None:
    """Raises ContainerError where ``decode`` would, without holding the plane."""
    if _constant(payload) is not None:
        return
    left = height  # of the rows' filters
    for piece in _unpack(payload, height, width):
        if (largest := max(piece[: max(0, left)], default=0)) > _ABOVE:
            raise ContainerError(f"ALPH: row filter {largest} is outside 0 to {_ABOVE}")
        left -= len(piece)


def reduced(plane: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Means over squares of ``scale`` pixels, (H, W) -> (ceil(H / scale), ceil(W / scale)); edges are repeated."""
    import numpy as np

    if scale == 1:
        return plane
    padded = np.pad(plane, [(0, -side % scale) for side in plane.shape], mode="edge")
    rows, columns = (side // scale for side in padded.shape)
    means = padded.reshape(rows, scale, columns, scale).mean(axis=(1, 3), dtype=np.float32)
    shown: NDArray[np.uint8] = np.rint(means).astype(np.uint8)
    return shown


def fill(colour: NDArray[np.uint8], plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture (H, W, C) with smooth colour wherever alpha (H, W) is 0, so that what nobody sees costs few bits.

    A pyramid: each level is the mean over 2 x 2 of what is visible in the finer one, and the gaps of the finer one
    are filled from it. A picture without visible pixels becomes grey.
    """
    import numpy as np

    hidden = plane == 0
    if not hidden.any():
        return colour
    if hidden.all():
        return np.full_like(colour, 128)
    visible = (~hidden[..., None]).astype(np.float32)
    smooth = _filled(colour * visible, visible)
    return np.where(hidden[..., None], np.rint(smooth).astype(np.uint8), colour)


def _filled(sums: Floats, counts: Floats) -> Floats:
    """Means (H, W, C) from sums (H, W, C) and counts (H, W, 1); where the count is 0, from coarser means."""
    import numpy as np

    means = sums / np.maximum(counts, 1)
    if counts.all():
        return means
    coarse = _filled(_halved(sums), _halved(counts))
    finer = _doubled(_doubled(coarse).swapaxes(0, 1)).swapaxes(0, 1)
    return np.where(counts > 0, means, finer[: len(sums), : sums.shape[1]])


def _halved(grid: Floats) -> Floats:
    """Sums over squares of 2 x 2: (H, W, C) -> (ceil(H / 2), ceil(W / 2), C)."""
    import numpy as np

    padded = np.pad(grid, ((0, grid.shape[0] % 2), (0, grid.shape[1] % 2), (0, 0)))
    return padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]


def _doubled(grid: Floats) -> Floats:
    """Linear interpolation along the first axis: (H, W, C) -> (2 H, W, C)."""
    import numpy as np

    padded = np.pad(grid, ((1, 1), (0, 0), (0, 0)), mode="edge")
    both = np.stack([padded[:-2] + 3 * grid, padded[2:] + 3 * grid], axis=1) / 4
    return both.reshape(-1, *grid.shape[1:])


def _lzma() -> Any:
    """The module, which some builds of Python lack; without alpha they need not have it."""
    try:
        import lzma
    except ImportError as error:
        raise CwicError("alpha: needs the module lzma, which this Python was built without") from error
    return lzma


def _pack(rows: bytes) -> bytes:
    lzma = _lzma()
    compressor = lzma.LZMACompressor(format=lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, **_LZMA2}])
    pieces = (compressor.compress(rows[start : start + _PIECE]) for start in range(0, len(rows), _PIECE))
    packed: bytes = b"".join(pieces) + compressor.flush()  # in pieces, between which an interrupt is heard
    return bytes([_PACKED]) + packed


def _constant(payload: bytes) -> int | None:
    """The value of a constant plane, None for a packed one."""
    if not payload or payload[0] not in (_CONSTANT, _PACKED):
        raise ContainerError(f"ALPH: method {payload[:1].hex() or 'missing'} is none of 0 and 1")
    if payload[0] == _PACKED:
        return None
    if len(payload) != 2:
        raise ContainerError(f"ALPH: {len(payload)} bytes instead of the 2 of a constant plane")
    return payload[1]


def _unpack(payload: bytes, height: int, width: int) -> Iterator[bytes]:
    """The rows' filters and the rows, in pieces; never more than ``height * (width + 1)`` bytes."""
    wanted, lzma = height * (width + 1), _lzma()
    filters = [{"id": lzma.FILTER_LZMA2, **_LZMA2}]
    decompressor = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=filters)
    found, data = 0, payload[1:]
    while not decompressor.eof:
        try:
            piece = decompressor.decompress(data, max_length=_PIECE)
        except lzma.LZMAError as error:
            raise ContainerError(f"ALPH: {error}") from error
        if not piece and decompressor.needs_input:
            raise ContainerError(f"ALPH: its {len(payload)} bytes end early")
        found, data = found + len(piece), b""
        if found > wanted:
            break
        if piece:
            yield piece
    if found != wanted:
        raise ContainerError(f"ALPH: {found} bytes or more unpacked instead of {wanted}")
    if decompressor.unused_data:
        raise ContainerError(f"ALPH: {len(decompressor.unused_data)} bytes follow its data")
