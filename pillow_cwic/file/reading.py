"""Reading from whatever Pillow is given as a file."""

from __future__ import annotations

from typing import IO


def file_length(stream: IO[bytes]) -> int:
    """Bytes of a seekable file, whatever its ``seek`` returns; all is read where that knows no way to the end."""
    try:
        stream.seek(0, 2)
    except TypeError:
        stream.seek(0)
        while stream.read(1 << 16):
            pass
    return stream.tell()


def take(stream: IO[bytes], size: int = -1) -> bytes:
    """What ``stream.read(size)`` gives. Raises OSError if it is None, as of streams that do not wait for bytes."""
    data: bytes | None = stream.read(size)
    if data is None:
        raise OSError(f"cannot read: {type(stream).__name__}.read({size}) gave None instead of bytes")
    return data
