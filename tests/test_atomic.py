"""Atomic writes: the old file or the whole new one, and nothing left lying about."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest
from PIL import Image

import pillow_cwic
from pillow_cwic import atomic

UNIX = pytest.mark.skipif(sys.platform == "win32", reason="permissions and links of Unix")


def test_new_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x"
    atomic.write(path, b"one")
    assert path.read_bytes() == b"one"
    atomic.write(str(path), b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["x"]


def test_a_long_name(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250)
    atomic.write(path, b"one")
    assert path.read_bytes() == b"one"


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file(tmp_path: Path, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(OSError, match="disk full"):
        atomic.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


@UNIX
def test_permissions(tmp_path: Path) -> None:
    path, plain = tmp_path / "x", tmp_path / "plain"
    plain.write_bytes(b"")
    atomic.write(path, b"one")
    assert path.stat().st_mode == plain.stat().st_mode  # what the umask allows, not a temporary file's 0600
    path.chmod(0o640)
    atomic.write(path, b"two")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@UNIX
def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "x")
    for content in (b"one", b"two"):
        atomic.write(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "there" / "x").read_bytes() == content


def test_without_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "x"
    atomic.write(path, b"one", overwrite=False)
    with pytest.raises(FileExistsError, match="exists already"):
        atomic.write(path, b"two", overwrite=False)
    assert path.read_bytes() == b"one" and os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile(tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    link = os.link

    def late(source: Path, target: Path) -> None:
        path.write_bytes(b"another's")
        if not links:
            raise PermissionError("no hard links here")
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(FileExistsError, match="exists already"):
        atomic.write(path, b"mine", overwrite=False)
    assert path.read_bytes() == b"another's" and os.listdir(tmp_path) == ["x"]


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", fail)
    atomic.write(tmp_path / "x", b"one", overwrite=False)
    assert (tmp_path / "x").read_bytes() == b"one" and os.listdir(tmp_path) == ["x"]


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
