"""What the commands read and write: files, or standard input and output, which are called ``-``."""

from __future__ import annotations

import errno
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from io import BytesIO
from pathlib import Path

import click

from pillow_cwic.file import atomic
from pillow_cwic.tools.bulk import reason

__all__ = ["OutputError", "Place", "Stream", "check_free", "complaint", "counted", "file_of", "plain",
           "plain_warnings", "printing", "say", "source_of", "target_of", "valid", "write"]  # fmt: skip


# Control characters, ends of lines, and what turns the direction of the text behind it.
STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Stream(Enum):
    """A standard stream; its text is what messages call it."""

    INPUT = "standard input"
    OUTPUT = "standard output"

    def __str__(self) -> str:
        return self.value


Place = Path | Stream


class OutputError(OSError):
    """An output cannot be written: the error is the target's, not that of the file it is made from."""

    def __init__(self, target: Place, why: str) -> None:
        super().__init__(why)
        self.target = target


def source_of(name: str) -> Place:
    """What an input's name stands for. Raises click's error if it is a stream that holds no file."""
    if name != "-":
        return Path(name)
    if sys.stdin is None or sys.stdin.isatty():
        what = "is closed" if sys.stdin is None else "is a terminal"
        raise click.UsageError(
            f"- is standard input, which {what} here and must come from a file or a program: - < FILE"
        )
    return Stream.INPUT


def target_of(name: str) -> Place:
    """What an output's name stands for. Raises click's error if it is a stream that takes no file."""
    if name != "-":
        return Path(name)
    if sys.stdout is None or sys.stdout.isatty():
        what = "is closed" if sys.stdout is None else "is a terminal"
        raise click.UsageError(f"- is standard output, which {what} here: name a file with -o, or send it to one")
    return Stream.OUTPUT


def file_of(source: Place) -> Path | BytesIO:
    """An input as what opens files takes it; of standard input, all that is left of it. Raises OSError."""
    return source if isinstance(source, Path) else BytesIO(sys.stdin.buffer.read())


def check_free(target: Place, force: bool, otherwise: str = "") -> None:
    """Looks, before any work, whether an output may be written there; ``write`` looks again after it.

    Raises OutputError for a file that must not be overwritten, and for what never can be.
    """
    if isinstance(target, Stream):
        return
    if os.path.isdir(target):  # which, unlike Path's own, says no to a name that is too long
        raise OutputError(target, "is a folder")
    if os.path.exists(target) and not force:
        raise OutputError(target, f"exists already, --force overwrites it{otherwise}")
    folder = _folder(target)
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    if not os.path.isdir(folder):
        raise OutputError(target, f"{plain(str(folder))} is no folder")
    if not os.access(folder, os.W_OK):
        raise OutputError(target, f"the folder {plain(str(folder))} is read-only")


def write(target: Place, data: bytes, overwrite: bool) -> None:
    """Writes all of a file, with the folders it lies in, or nothing. Raises OutputError."""
    try:
        if isinstance(target, Path):
            try:
                _write_file(target, data, overwrite)
            except FileNotFoundError:  # another process removed the folder, which it had made and could not use
                _write_file(target, data, overwrite)
        else:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    except OSError as error:
        if target is Stream.OUTPUT:
            _silence_output()
        why = reason(error)
        if isinstance(target, Path) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            why = f"the folder {plain(str(_folder(target)))} is read-only: {why}"
        raise OutputError(target, why) from error


def _write_file(target: Path, data: bytes, overwrite: bool) -> None:
    """Writes a file, with the folders it lies in; if it cannot, those that are new and empty are removed."""
    new = [folder for folder in target.parents if not os.path.lexists(folder)]  # the innermost first
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(target, data, overwrite=overwrite)
    except BaseException:
        for folder in new:
            with suppress(OSError):
                folder.rmdir()
        raise


def _folder(target: Path) -> Path:
    """Where the bytes go, which is elsewhere if the target is a symbolic link."""
    return Path(os.path.realpath(target)).parent if os.path.islink(target) else target.parent


def complaint(place: object, error: BaseException) -> str:
    """An error in one line, which begins with the name of what failed."""
    return f"cwic: {error.target if isinstance(error, OutputError) else place}: {reason(error)}"


def say(text: str, err: bool = False) -> None:
    """Prints a line, whatever is in the names in it, as ``printing`` does."""
    with printing(err):
        click.echo(plain(text), err=err)


def counted(count: int, thing: str) -> str:
    """How many there are, in words: ``1 file``, ``2,556,117 bytes``."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def plain(text: str) -> str:
    """A text with escapes, such as ``\\n``, for what would end the line or steer a terminal, and ``valid`` ones."""
    return STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), valid(text))


def valid(text: str) -> str:
    """A text with escapes, such as ``\\xe9``, for the bytes of a file's name that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@contextmanager
def printing(err: bool = False) -> Iterator[None]:
    """Around what prints: a stream that takes no more ends no work. It is closed to the rest, its name None in sys.

    For standard output that is told; not where its reader has gone, as ``head`` does when it has enough.
    """
    try:
        yield
    except OSError as error:
        if err:
            sys.stderr = None
            return
        _silence_output()
        if error.errno != errno.EPIPE:
            say(complaint(Stream.OUTPUT, error), err=True)


def _silence_output() -> None:
    """Takes standard output from Python, which would try at the end to write once more what is left in it."""
    sys.stdout = None


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Warnings, of Pillow too, as a line like those of errors, without a line of source."""

    def show(message: Warning | str, *_: object) -> None:
        say(f"cwic: warning: {' '.join(str(message).split())}", err=True)

    with warnings.catch_warnings():
        warnings.showwarning = show  # type: ignore[assignment]
        yield
