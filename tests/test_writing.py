"""Saving: one write, after all work is done, and errors that say so."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import pillow_cwic

UNIX = pytest.mark.skipif(sys.platform == "win32", reason="pipes of Unix")


def test_save_atomic(small: Image.Image, small_file: bytes, tmp_path: Path) -> None:
    path = tmp_path / "small.cwic"
    pillow_cwic.save_atomic(small, path, rate=0.6)
    assert path.read_bytes() == small_file
    with pytest.raises(ValueError, match="quality: 0 is not"):
        pillow_cwic.save_atomic(small, path, quality=0)
    assert path.read_bytes() == small_file
    with pytest.raises(FileExistsError):
        pillow_cwic.save_atomic(small, path, overwrite=False, quality=1)
    with Image.open(path) as im:
        pillow_cwic.save_atomic(im, path, quality=1)  # over the file it is read from
    assert Image.open(path).size == small.size
    assert os.listdir(tmp_path) == ["small.cwic"]


def test_save_atomic_writes_no_other_format(small: Image.Image, tmp_path: Path) -> None:
    """It wrote CWIC to a.png, and told of a format given twice."""
    path = tmp_path / "a.png"
    with pytest.raises(
        ValueError, match=r"path: .*a\.png: the name of a CWIC file ends in \.cwic, not \.png: say .*a.cwic"
    ):
        pillow_cwic.save_atomic(small, path, quality=1)
    with pytest.raises(ValueError, match="format: 'PNG' is not CWIC, which save_atomic writes"):
        pillow_cwic.save_atomic(small, tmp_path / "a.cwic", format="PNG")
    assert os.listdir(tmp_path) == []
    for name in ("a.CWIC", "none", "v1.2"):
        pillow_cwic.save_atomic(small, tmp_path / name, format="cwic", quality=1)
    assert sorted(os.listdir(tmp_path)) == ["a.CWIC", "none", "v1.2"]


class Failing(io.BytesIO):
    """A file object that fails at its n-th write."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.left, self.writes = n, 0

    def write(self, data: Any) -> int:
        self.writes += 1
        self.left -= 1
        if self.left == 0:
            raise OSError("no more")
        return super().write(data)


def test_a_failing_file_object(small: Image.Image, small_file: bytes) -> None:
    """The plugin writes once, after all work is done: there is but one write that can fail."""
    with pytest.raises(OSError, match="no more"):
        small.save(failing := Failing(1), format="CWIC", rate=0.6)
    assert failing.getvalue() == b""
    small.save(whole := Failing(2), format="CWIC", rate=0.6)
    assert whole.writes == 1 and whole.getvalue() == small_file
    with pytest.raises(ValueError, match="quality"):
        small.save(untouched := Failing(1), format="CWIC", quality=0)
    assert untouched.writes == 0


class Raw(io.RawIOBase):
    """What an unbuffered file may do: it takes a part of what it is given."""

    def __init__(self, most: int | None) -> None:
        self.most, self.data = most, b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int | None:
        if self.most is None:
            return None
        self.data += bytes(data[: self.most])
        return min(len(data), self.most)


def test_unbuffered_file_objects(small: Image.Image, small_file: bytes) -> None:
    small.save(raw := Raw(100), format="CWIC", rate=0.6)
    assert raw.data == small_file
    for most in (0, None):  # a pipe without room that does not wait
        with pytest.raises(OSError, match=rf"took {most} of"):
            small.save(Raw(most), format="CWIC", rate=0.6)


class NotYet(io.BytesIO):
    """What a file that does not wait may do: its n-th read gives None."""

    def __init__(self, data: bytes, n: int) -> None:
        super().__init__(data)
        self.left = n

    def read(self, size: int | None = -1) -> Any:
        self.left -= 1
        return super().read(size) if self.left else None


def test_reading_what_is_not_there_yet(small: Image.Image) -> None:
    """The first read is Pillow's, then come the header, starts and rest of chunks, and the whole file."""
    small.save(data := io.BytesIO(), format="CWIC", rate=0.6, dpi=(72, 72))
    for n in range(2, 7):
        with pytest.raises(OSError, match=r"^cannot read: NotYet\.read\(-?\d+\) gave None instead of bytes$"):
            Image.open(NotYet(data.getvalue(), n), formats=["CWIC"]).load()
    Image.open(NotYet(data.getvalue(), 7), formats=["CWIC"]).load()


@UNIX
def test_a_closed_pipe(small: Image.Image, tmp_path: Path) -> None:
    """And one that is closed while a file is being written, buffered or not."""
    for buffering in (-1, 0):
        reader, writer = os.pipe()
        os.close(reader)
        with pytest.raises(BrokenPipeError), open(writer, "wb", buffering=buffering) as pipe:
            small.save(pipe, format="CWIC", rate=0.6)
