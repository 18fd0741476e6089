"""Atomic writes: the old file or the whole new one, and nothing left lying about."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reliability import writing
from pillow_cwic.file import atomic

UNIX = pytest.mark.skipif(sys.platform == "win32", reason="permissions, links, locks and limits of Unix")
LEFTOVER = ".x.0.cwic-tmp"


@pytest.fixture(params=["unnamed", "no names for unnamed", "named"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test runs in each of the ways that a file can come into being."""
    if request.param == "named":
        monkeypatch.setattr(atomic, "_unnamed", lambda target: None)
    elif request.param == "no names for unnamed":
        monkeypatch.setattr(atomic, "_give_name", lambda file, target, overwrite: None)
    return str(request.param)


def test_new_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x"
    atomic.write(path, b"one")
    assert path.read_bytes() == b"one"
    atomic.write(str(path), b"two")
    assert path.read_bytes() == b"two"
    atomic.write(path, b"")
    assert path.read_bytes() == b"" and os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("name", ["x" * 255, "ä" * 127, "\U0001f4f7" * 63])
def test_a_long_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for content in (b"one", b"two"):
        atomic.write(path, content)
        assert path.read_bytes() == content and os.listdir(tmp_path) == [name]


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


def test_the_folder_is_on_the_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    fsync = os.fsync

    def watch(descriptor: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        assert (tmp_path / "x").exists() == synced[-1]  # the file before it gets its name, the folder after
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    atomic.write(tmp_path / "x", b"one")
    assert synced[-1] is True and False in synced


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
def test_what_runs_as_its_owner_does_not_pass_that_on(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    path.chmod(0o7755)
    atomic.write(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o755


@UNIX
def test_other_names_keep_the_old_file(tmp_path: Path) -> None:
    """As docs/FAQ.md says of hard links."""
    (tmp_path / "x").write_bytes(b"old")
    os.link(tmp_path / "x", tmp_path / "other")
    atomic.write(tmp_path / "x", b"new")
    assert (tmp_path / "other").read_bytes() == b"old" and (tmp_path / "x").read_bytes() == b"new"


@UNIX
def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "x")
    for content in (b"one", b"two"):
        atomic.write(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "there" / "x").read_bytes() == content


@UNIX
def test_what_is_no_file_stays_what_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    for name in ("pipe", "folder", "circle"):
        for overwrite in (True, False):
            before = (tmp_path / name).lstat().st_mode
            with pytest.raises(OSError, match=r"is no regular file|is a folder|exists already"):
                atomic.write(tmp_path / name, b"new", overwrite=overwrite)
            assert (tmp_path / name).lstat().st_mode == before
    with pytest.raises(OSError, match="No such file") as caught:
        atomic.write(tmp_path / "nowhere" / "x", b"new")
    assert caught.value.filename == str(tmp_path / "nowhere" / "x")  # and not the temporary name
    assert sorted(os.listdir(tmp_path)) == ["circle", "folder", "pipe"]


def test_without_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "x"
    atomic.write(path, b"one", overwrite=False)
    with pytest.raises(FileExistsError, match="exists already"):
        atomic.write(path, b"two", overwrite=False)
    assert path.read_bytes() == b"one" and os.listdir(tmp_path) == ["x"]


def during_fsync(monkeypatch: pytest.MonkeyPatch, happening: Callable[[], object]) -> None:
    """Has something happen once, while the next file is being written."""
    fsync, waiting = os.fsync, [happening]

    def interrupted(descriptor: int) -> None:
        if waiting:
            waiting.pop()()
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", interrupted)


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile(tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    path, link = tmp_path / "x", os.link

    def no_links(source: str, target: str, **options: Any) -> None:
        if not options:  # but for naming what has no name
            raise PermissionError("no hard links here")
        link(source, target, **options)

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    during_fsync(monkeypatch, lambda: path.write_bytes(b"another's"))
    with pytest.raises(FileExistsError, match="exists already"):
        atomic.write(path, b"mine", overwrite=False)
    assert path.read_bytes() == b"another's" and os.listdir(tmp_path) == ["x"]


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", fail)
    atomic.write(tmp_path / "x", b"one", overwrite=False)
    assert (tmp_path / "x").read_bytes() == b"one" and os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("overwrite", [True, False])
def test_leftovers_of_the_dead_are_removed(tmp_path: Path, overwrite: bool) -> None:
    for slot in range(3):
        (tmp_path / f".x.{slot}.cwic-tmp").write_bytes(b"half of a fi")
    (tmp_path / ".y.0.cwic-tmp").write_bytes(b"another's")
    atomic.write(tmp_path / "x", b"one", overwrite=overwrite)
    assert sorted(os.listdir(tmp_path)) == [".y.0.cwic-tmp", "x"]


@UNIX
def test_those_of_the_living_stay(tmp_path: Path, way: str) -> None:
    """A file that is being written keeps its temporary name, and the next one takes another."""
    with open(tmp_path / LEFTOVER, "wb") as file:
        atomic._lock(file)  # type: ignore[arg-type]
        atomic.write(tmp_path / "x", b"one")
        assert sorted(os.listdir(tmp_path)) == [LEFTOVER, "x"]
    atomic.write(tmp_path / "x", b"two")
    assert os.listdir(tmp_path) == ["x"] and (tmp_path / "x").read_bytes() == b"two"


def test_two_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    during_fsync(monkeypatch, lambda: atomic.write(path, b"inner"))
    atomic.write(path, b"outer")
    assert path.read_bytes() == b"outer" and os.listdir(tmp_path) == ["x"]


@UNIX
def test_a_name_lost_before_it_was_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, lost = atomic._lock, []

    def late(file: Any) -> bool:
        if not lost and (tmp_path / LEFTOVER).exists():
            lost.append(True)
            atomic._clear(str(tmp_path / "x"))
        return lock(file)

    monkeypatch.setattr(atomic, "_lock", late)
    atomic.write(tmp_path / "x", b"one")
    assert (tmp_path / "x").read_bytes() == b"one" and os.listdir(tmp_path) == ["x"]


@UNIX
@pytest.mark.parametrize("when", ["before", "behind"])
@pytest.mark.parametrize("call", ["link", "replace", "unlink", "fsync", "fchmod"])
@pytest.mark.parametrize("old", [b"old", None])
def test_an_interrupt(tmp_path: Path, call: str, when: str, old: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old file or the new one, nothing beside it, and nothing of another who has the name by now."""
    path, real, done = tmp_path / "x", getattr(os, call), []
    if old:
        path.write_bytes(old)

    def interrupted(*args: Any, **options: Any) -> None:
        if done or when == "behind":
            real(*args, **options)
        if not done:
            done.append(True)
            if (call, when) == ("replace", "behind"):
                taken.append(FileIO(tmp_path / LEFTOVER, "wb"))
                atomic._lock(taken[0])
            raise KeyboardInterrupt

    taken: list[FileIO] = []
    monkeypatch.setattr(os, call, interrupted)
    try:
        atomic.write(path, b"new")
    except KeyboardInterrupt:
        assert (path.read_bytes() if path.exists() else None) in (old, b"new")
    else:
        assert not done and path.read_bytes() == b"new"
    assert set(os.listdir(tmp_path)) <= ({LEFTOVER, "x"} if taken else {"x"})
    for file in taken:
        assert os.path.samestat(os.fstat(file.fileno()), os.stat(tmp_path / LEFTOVER))
        file.close()


@UNIX
@pytest.mark.parametrize("way", ["named"], indirect=True)
def test_a_lock_not_got(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torn-target-deterministic.py: A's new file, not yet locked, is taken for a leftover, and C gets its name."""
    path, lock, cleared = tmp_path / "x", atomic._lock, list[FileIO]()
    path.write_bytes(b"old")

    def late(file: Any) -> bool:
        if not cleared:
            cleared.append(FileIO(tmp_path / LEFTOVER))
            lock(cleared[0])
        return lock(file)

    def clear() -> None:
        os.unlink(tmp_path / LEFTOVER)
        (tmp_path / LEFTOVER).write_bytes(b"half of C")
        cleared[0].close()

    monkeypatch.setattr(atomic, "_lock", late)
    during_fsync(monkeypatch, clear)
    atomic.write(path, b"all of A")
    assert path.read_bytes() == b"all of A" and (tmp_path / LEFTOVER).read_bytes() == b"half of C"


# Forks processes that all save argv[1] over and over, and prints how many failed and how often half a file was read.
SAVERS = """
import os, sys
from pillow_cwic.file import atomic
vars(os).pop("O_TMPFILE", None)
os.fsync = lambda descriptor: None  # so that they meet more often
running, failed, torn = set(), 0, 0
for n in range(12):
    if not (child := os.fork()):
        for _ in range(100):
            atomic.write(sys.argv[1], bytes([n]) * 5000)
        os._exit(0)
    running.add(child)
while running:
    with open(sys.argv[1], "rb") as file:
        found = file.read()
    torn += len(found) != 5000 or len(set(found)) != 1
    for child in list(running):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            running.remove(child)
            failed += status != 0
print(failed, torn)
"""


@UNIX
@pytest.mark.parametrize("way", ["named"], indirect=True)
def test_twelve_at_once(tmp_path: Path) -> None:
    """concurrent-savers-named.py: where files have names from the start, all save, and none reads half a file."""
    atomic.write(tmp_path / "x", bytes(5000))
    done = subprocess.run([sys.executable, "-c", SAVERS, tmp_path / "x"], capture_output=True, text=True)
    assert (done.stdout, os.listdir(tmp_path)) == ("0 0\n", ["x"]), done.stderr


@UNIX
@pytest.mark.parametrize("old", [b"old", None])
def test_a_full_disk(tmp_path: Path, old: bytes | None, way: str) -> None:
    if old is not None:
        (tmp_path / "x").write_bytes(old)
    code = "import resource, signal, sys; from pillow_cwic.file import atomic\n"
    code += "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
    code += "if sys.argv[2] == 'named': atomic._unnamed = lambda target: None\n"
    code += "atomic.write(sys.argv[1], bytes(5001))"
    command = [sys.executable, "-c", code, str(tmp_path / "x"), way]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "OSError: [Errno 27] File too large" in done.stderr, done.stderr
    assert os.listdir(tmp_path) == ([] if old is None else ["x"])
    assert old is None or (tmp_path / "x").read_bytes() == old


@UNIX
@pytest.mark.parametrize("new", [False, True])
def test_killed_at_random(tmp_path: Path, way: str, new: bool) -> None:
    """The old file or the new one, each time; ``make check-long`` does it 500 times, with whole encodings."""
    found = writing.kill(tmp_path, rounds=25, named=way == "named", new=new)
    assert found.killed == 25 and found.damaged == 0 and found.litter_after_next == 0
    if new and way == "unnamed" and (file := atomic._unnamed(str(tmp_path / "x"))):
        file.close()
        assert found.litter == 0  # the bytes get their only name when they are whole
