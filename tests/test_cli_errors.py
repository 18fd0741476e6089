"""Whom the errors of the command name: the file that failed, be it an output, and once."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

import pytest
from test_cli import cwic, files
from test_cli_places import folder

from pillow_cwic.file import atomic
from pillow_cwic.tools import web
from pillow_cwic.tools.cli import jobs, places

__all__ = ["folder"]  # the fixture: a.jpg, b.png and x.cwic in the current folder


def test_an_output_that_cannot_be_written_is_named(folder: Path) -> None:
    long = "n" * 300
    Path("dir.cwic").mkdir()
    Path("out/a.cwic").mkdir(parents=True)
    for arguments, words in (
        (["encode", "a.jpg", "-o", "b.png/a.cwic"], "b.png/a.cwic: b.png is no folder"),
        (["encode", "a.jpg", "-o", "b.png/c/a.cwic"], "b.png/c/a.cwic: b.png is no folder"),
        (["encode", "a.jpg", "-o", "out"], "out/a.cwic: is a folder"),
        (["encode", "a.jpg", "-o", f"{long}.cwic"], f"{long}.cwic: {os.strerror(errno.ENAMETOOLONG)}"),
        (["shrink", "x.cwic", "-o", "b.png/a.cwic", "--size", "300"], "b.png/a.cwic: b.png is no folder"),
        (["compare", "a.jpg", "-o", "b.png/a.html", "-q", "1", "--with", ""], "b.png/a.html: b.png is no folder"),
        (["info", "x.cwic", "--map", "b.png/a.png"], "b.png/a.png: b.png is no folder"),
    ):
        assert cwic(*arguments, code=1).stderr == f"cwic: {words}\n"


OFTEN = [  # what fails, the path that its error is to name, and what comes behind that
    (["encode", "no.png"], "no.png", os.strerror(errno.ENOENT)),
    (["decode", "no.cwic"], "no.cwic", os.strerror(errno.ENOENT)),
    (["info", "no.cwic"], "no.cwic", os.strerror(errno.ENOENT)),
    (["shrink", "no.cwic", "-o", "out/", "--size", "300"], "no.cwic", os.strerror(errno.ENOENT)),
    (["compare", "no.png"], "no.png", os.strerror(errno.ENOENT)),
    (["encode", "a.jpg", "--importance", "no.png"], "no.png", os.strerror(errno.ENOENT)),
    (["encode", "a.jpg", "--importance", "full"], "full", os.strerror(errno.EISDIR)),
    (["info", "b.png/x.cwic"], "b.png/x.cwic", os.strerror(errno.ENOTDIR)),
    (["encode", "a.jpg", "-o", "x.cwic"], "x.cwic", "exists already, --force overwrites it, --skip-existing leaves it"),
    (["decode", "x.cwic", "-o", "b.png"], "b.png", "exists already, --force overwrites it, --skip-existing leaves it"),
    (["shrink", "x.cwic", "-o", "x.cwic", "--size", "300"], "x.cwic", "exists already, --force overwrites it"),
    (["shrink", "x.cwic", "-o", "full", "--size", "300"], "full/x.cwic", "exists already, --force overwrites it"),
    (["info", "x.cwic", "--map", "b.png"], "b.png", "exists already, --force overwrites it"),
    (["compare", "a.jpg", "-o", "full/a.html"], "full/a.html", "exists already, --force overwrites it"),
    (["web", "full"], "full/LICENSE", "exists already, --force overwrites it"),
    (["web", "x.cwic"], "x.cwic/LICENSE", "x.cwic is no folder"),
]


@pytest.mark.parametrize(("arguments", "path", "why"), OFTEN, ids=lambda value: " ".join(value)[:40])
def test_an_error_names_its_path_once(folder: Path, arguments: list[str], path: str, why: str) -> None:
    Path("full").mkdir()
    for name in ("LICENSE", "a.html", "x.cwic"):
        Path("full", name).touch()
    assert cwic(*arguments, code=1).stderr == f"cwic: {path}: {why}\n"


def test_a_link_to_nothing_is_a_file_that_failed(folder: Path) -> None:
    """It was left out in silence, of folders and patterns."""
    Path("tree").mkdir()
    Path("tree/dangling.jpg").symlink_to("gone.jpg")
    Path("a.jpg").rename("tree/a.jpg")
    for source in ("tree", "tree/*.jpg"):
        result = cwic("encode", source, "-o", "out/", "-q", "1", "-f", code=1)
        assert result.stderr == f"cwic: tree/dangling.jpg: {os.strerror(errno.ENOENT)}\n"
        assert result.stdout.endswith("\n1 done, 1 failed\n")


def test_two_pictures_of_one_name_can_be_taken_apart(folder: Path) -> None:
    """The error names patterns that do it."""
    Path("tree").mkdir()
    for name in ("a.jpg", "a.png"):
        shutil.copy(name.replace("a.png", "b.png"), f"tree/{name}")
    told = cwic("encode", "tree", "-o", "all/", code=2).stderr
    apart = "take them apart, as 'tree/*.jpg' and 'tree/*.png' do, with -o and a folder for each"
    assert told.endswith(f"\nError: tree/a.jpg and tree/a.png would both become all/a.cwic: {apart}\n")
    cwic("encode", "tree/*.jpg", "-o", "all/", "-q", "1")
    cwic("encode", "tree/*.png", "-o", "png/", "-q", "1")


def test_addresses_are_not_read(folder: Path) -> None:
    """They were paths, of which the error had lost a stroke."""
    address = "https://example.org/a.png?size=1"
    for command in ("encode", "decode", "info", "compare"):
        told = cwic(command, address, code=2).stderr
        way = f"addresses are not read, but what another program gets: curl -L '{address}' | cwic {command} -"
        assert told.endswith(f"\nError: {address}: {way}\n")


def test_counts_of_one_are_singular(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ": 1 format, " in cwic("compare", "a.jpg", "-q", "1", "--with", "").stdout
    assert places.counted(2556117, "byte") == "2,556,117 bytes" and places.counted(0, "file") == "0 files"

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "convert", interrupted)
    told = cwic("decode", "x.cwic", code=130).stderr
    assert told == "cwic: interrupted, 1 file left, --skip-existing goes on from here\n"


def test_an_input_that_is_its_own_output_is_named_once(folder: Path) -> None:
    told = cwic("encode", "x.cwic", code=2).stderr
    assert told.endswith("\nError: x.cwic: is the input itself, name another output\n")
    told = cwic("encode", "x.cwic", "-o", "./x.cwic", code=2).stderr
    assert told.endswith("\nError: x.cwic: is the input itself, name another output\n")


@pytest.mark.parametrize("name", ["a.cwic", "map.png", "a.html"])
def test_a_file_that_appears_during_the_work_is_named_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def appeared(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = True) -> None:
        Path(path).touch()
        written(path, data, overwrite=overwrite)

    written = atomic.write
    monkeypatch.setattr(atomic, "write", appeared)
    command = {
        "a.cwic": ["encode", "a.jpg", "-q", "1"],
        "map.png": ["info", "x.cwic", "--map", "map.png"],
        "a.html": ["compare", "a.jpg", "-q", "1", "--with", ""],
    }[name]
    assert cwic(*command, code=1).stderr == f"cwic: {name}: exists already\n"


def test_a_site_that_is_not_installed_is_not_blamed_on_the_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> dict[str, object]:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "package.json")

    monkeypatch.setattr(web, "site", missing)
    assert cwic("web", "new", code=1).stderr == f"cwic: package.json: {os.strerror(errno.ENOENT)}\n"


def test_weights_that_cannot_be_read_are_named_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the superuser all can be read."""

    def refused(path: str, *rest: object, **more: object) -> object:
        if os.fspath(path).endswith("mine.safetensors"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path, *rest, **more)  # type: ignore[call-overload]

    real = open
    Path("mine.safetensors").touch()
    monkeypatch.setattr("builtins.open", refused)
    monkeypatch.setenv("PILLOW_CWIC_MODELS", os.path.abspath("mine.safetensors"))
    told = cwic("models").stderr
    where = os.path.abspath("mine.safetensors")
    assert told == f"cwic: warning: {where} is left out of the models: {os.strerror(errno.EACCES)}\n"


@pytest.mark.parametrize("early", [True, False])
def test_a_folder_that_is_read_only(folder: Path, monkeypatch: pytest.MonkeyPatch, early: bool) -> None:
    """It is told before the work where the system says so, else after it; for the superuser all can be written."""
    Path("out").mkdir()

    def refused(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = True) -> None:
        assert not early
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), ".a.0.cwic-tmp")

    monkeypatch.setattr(atomic, "write", refused)
    if early:
        monkeypatch.setattr(os, "access", lambda path, mode: os.fspath(path) != "out")
    why = "" if early else f": {os.strerror(errno.EACCES)}"
    for command, name in ((["decode", "x.cwic"], "x.png"), (["encode", "a.jpg", "-q", "1"], "a.cwic")):
        told = cwic(*command, "-o", "out", code=1).stderr
        assert told == f"cwic: out/{name}: the folder out is read-only{why}\n"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
def test_no_folders_are_left_of_files_that_were_not_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """A full disk left those that were made for the file; those that were there, or hold others, stay."""
    Path("there").mkdir()

    def fail(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = True) -> None:
        if "held" in os.fspath(path):
            Path("there/held/other").touch()
        raise error

    monkeypatch.setattr(atomic, "write", fail)
    for name in ("there/y/z/new.cwic", "w/new.cwic", "there/held/z/new.cwic"):
        told = cwic("encode", "a.jpg", "-q", "1", "-o", name, code=1 if isinstance(error, OSError) else 130).stderr
        assert told.startswith("cwic: ") and told.count("\n") == 1
    cwic("encode", "a.jpg", "-q", "1", "-o", f"v/{'n' * 300}/new.cwic", code=1)
    assert sorted(path.as_posix() for path in Path().rglob("*") if path.suffix == "") == [
        "there", "there/held", "there/held/other"
    ]  # fmt: skip


def test_a_folder_that_another_process_removed_is_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = atomic.write

    def removed_before(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = True) -> None:
        monkeypatch.setattr(atomic, "write", written)
        Path("out").rmdir()
        written(path, data, overwrite=overwrite)

    monkeypatch.setattr(atomic, "write", removed_before)
    cwic("encode", "a.jpg", "-q", "1", "-o", "out/")
    assert files(folder / "out") == ["a.cwic"]


def test_a_bound_that_cannot_be_met_is_one_line_and_no_file(folder: Path) -> None:
    """03-metadata-eats-rate.py: both sizes are told, and no file beyond the bound is made."""
    for arguments, name in (
        (["encode", "a.jpg", "--size", "100"], "a.jpg"),
        (["encode", "a.jpg", "--rate", "0.01"], "a.jpg"),
        (["compare", "a.jpg", "--size", "100"], "a.jpg"),
        (["shrink", "x.cwic", "-o", "y.cwic", "--size", "5"], "x.cwic"),
        (["shrink", "x.cwic", "-o", "y.cwic", "--rate", "0.01"], "x.cwic"),
    ):
        result = cwic(*arguments, code=1)
        wanted = f"{name}: {arguments[-2].strip('-')}: {arguments[-1]} "
        assert result.stdout == "" and result.stderr.startswith(f"cwic: {wanted}") and result.stderr.count("\n") == 1
        assert re.search(r"the smallest file found has \d+", result.stderr)
    assert files(folder) == ["a.jpg", "b.png", "x.cwic"]
