"""How the command ends where its streams are full or closed, and when it is interrupted."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from test_cli import cwic, files
from test_cli_places import folder, run

from pillow_cwic.tools.cli import jobs, places, show, shrink

__all__ = ["folder"]  # the fixture: a.jpg, b.png and x.cwic in the current folder

full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a full device of Linux")
NO_SPACE = f"cwic: standard output: {os.strerror(errno.ENOSPC)}\n".encode()


def ended(done: subprocess.CompletedProcess[bytes]) -> tuple[int, bytes]:
    return done.returncode, done.stderr


# Streams that take no more ------------------------------------------------------------------------------------------


@full
@pytest.mark.parametrize(
    "words", ["info x.cwic", "info --json x.cwic", "models", "models --json", "autoload status", "-h", "-V", "info -h"]
)
def test_a_full_disk_behind_what_is_printed_is_a_line(folder: Path, words: str) -> None:
    """It was a traceback."""
    assert ended(run(f"cwic {words} > /dev/full")) == (1, NO_SPACE)


@full
@pytest.mark.parametrize("options", ["", "-j 2"])
def test_files_are_made_though_nothing_can_be_printed(folder: Path, options: str) -> None:
    """The first report ended the work."""
    assert ended(run(f"cwic encode a.jpg b.png -q 1 -o out {options} > /dev/full")) == (1, NO_SPACE)
    assert ended(run("cwic shrink out -o small --size 300 > /dev/full")) == (1, NO_SPACE)
    assert files(folder / "out") == files(folder / "small") == ["a.cwic", "b.cwic"]


@full
def test_full_standard_error_changes_no_exit_code(folder: Path) -> None:
    assert run("cwic encode nothing.jpg b.png -o out -q 1 2> /dev/full").returncode == 1
    assert files(folder / "out") == ["b.cwic"]
    assert run("cwic frobnicate 2> /dev/full").returncode == 2


def test_a_reader_that_has_enough_is_told_nothing(folder: Path) -> None:
    assert run("(cwic models; echo $? >&2) | true").stderr == b"1\n"
    assert run("(cwic encode a.jpg b.png -q 1 -o out; echo $? >&2) | true").stderr == b"1\n"
    assert files(folder / "out") == ["a.cwic", "b.cwic"]


# Streams that are closed --------------------------------------------------------------------------------------------


def test_closed_streams_give_and_take_no_files(folder: Path) -> None:
    """They were called terminals."""
    for words, name in (("- <&-", "input"), ("a.jpg -o - >&-", "output"), ("- -o - < a.jpg >&-", "output")):
        done = run(f"cwic encode {words}")
        assert done.returncode == 2 and f"- is standard {name}, which is closed here".encode() in done.stderr


@pytest.mark.parametrize(("closed", "options"), [("2>&-", ""), ("2>&-", "-j 2"), ("<&- >&- 2>&-", "-j 2")])
def test_files_are_made_with_closed_streams(folder: Path, closed: str, options: str) -> None:
    """Without standard error several files were an error, and nothing was made."""
    done = run(f"cwic encode a.jpg b.png -q 1 -o out {options} {closed}")
    assert (done.returncode, done.stderr) == (0, b"")
    assert files(folder / "out") == ["a.cwic", "b.cwic"]


# Interrupts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "name", "arguments"),
    [
        (show, "cwic_bytes", ["info", "x.cwic"]),
        (shrink, "cwic_bytes", ["shrink", "x.cwic", "-o", "y.cwic", "--size", "300"]),
        (places.atomic, "write", ["compare", "a.jpg", "--with", "", "-q", "1"]),
        (Image, "registered_extensions", ["encode", "."]),
        (Image, "registered_extensions", ["encode", ".", "-j", "2"]),
        (jobs, "convert", ["decode", "x.cwic"]),
    ],
)
def test_interrupted_is_130(
    folder: Path, monkeypatch: pytest.MonkeyPatch, where: object, name: str, arguments: list[str]
) -> None:
    """Wherever it comes, in each command, and in one line; it was 1 and Aborted!"""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, name, interrupted)
    result = cwic(*arguments, code=130)
    assert result.stdout == "" and result.stderr.startswith("cwic: interrupted") and result.stderr.count("\n") == 1
