"""Files that are there whole or not at all. Standard library only.

Where the system can (Linux, on most file systems), the bytes go to a file without a name, which vanishes with its
process however that ends; only when all of it is on the disk it gets a name: that of the target, if it is free. To
take the place of another file it must have a temporary one first, and one system call later that of the target.
Elsewhere it has the temporary name from the start. A process that is killed while there is one leaves it behind; but
its writer held a lock on it, which is gone with the writer, and by that the next ``write`` of the same target knows
the leftover and removes it. Whoever makes a file and does not get its lock lost it to such a ``write``, and tries
another name.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from itertools import chain, count, islice

if sys.platform != "win32":
    import fcntl

NAMED = 50  # characters of the target's name in a temporary one: 200 bytes at most of the 255 that a name may have
SLOTS = 16  # temporary names that are looked at for leftovers: as many as may write to one target at a time


def write(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = True) -> None:
    """Writes ``data`` to ``path``: whoever looks finds the old file or the whole new one, after a crash too.

    The bytes go to a new file in the same folder, which takes the place of the old one when it is on the disk. A file
    that is replaced passes on its permissions to read, write and execute, and nothing else; a symbolic link stays one.
    Without ``overwrite`` a file that exists, even one that appears meanwhile, raises FileExistsError. Raises OSError
    if the folder cannot be written, if the disk is full, or if what is at ``path`` is no file; then nothing has
    changed.
    """
    target = os.path.realpath(path)
    permissions = _permissions(target)
    if permissions is not None and not overwrite:
        raise _taken(target)
    _clear(target)

    def put(file: FileIO, name: str | None) -> bool:
        """Fills a new file and gives it its place; False if it has no name and can have none."""
        with file:  # which holds the lock on the temporary name; only under it the name is ours
            try:
                _fill(file, data, permissions)
                name = name or _give_name(file, target, overwrite)
                if name == target:
                    return True
                if sys.platform == "win32":  # where an open file is as good as locked, but cannot be renamed
                    file.close()
                if name:
                    _move(name, target, overwrite)
            except BaseException:
                if name and name != target:
                    _discard(file, name)
                raise
        return name is not None

    try:
        unnamed = _unnamed(target)
        if not (unnamed and put(unnamed, None)):
            put(*_named(target))
    except BaseException:
        _clear(target)  # an interrupt may come before a file's name is known here
        raise
    _keep_names(os.path.dirname(target))


def _permissions(target: str) -> int | None:
    """Those of the file at ``target``, None if there is nothing. Raises OSError if it is none that can be replaced."""
    try:
        mode = os.lstat(target).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder", target)
    if not stat.S_ISREG(mode):  # a pipe, a device, or links that lead in a circle
        raise OSError(errno.EINVAL, "is no regular file, whose place another could take", target)
    return mode & 0o777  # what runs as its owner or group must not run as the new file's


def _taken(target: str) -> FileExistsError:
    return FileExistsError(errno.EEXIST, "exists already", target)


def _temporary(target: str) -> Iterator[str]:
    """The temporary names, without end."""
    folder, name = os.path.split(target)
    return (os.path.join(folder, f".{name[:NAMED]}.{slot}.cwic-tmp") for slot in count())


def _unnamed(target: str) -> FileIO | None:
    """A new, locked file in the folder of ``target`` that has no name; None where there is no such thing."""
    try:
        file = FileIO(os.open(os.path.dirname(target), os.O_TMPFILE | os.O_RDWR, 0o666), "wb")
    except (AttributeError, OSError):
        return None
    _lock(file)
    return file


def _named(target: str) -> tuple[FileIO, str]:
    """A new, locked file with the first temporary name that is to be had."""
    for name in _temporary(target):
        try:
            file = FileIO(name, "xb")
        except FileExistsError:
            continue
        except OSError as error:  # of which nobody knows the temporary name
            raise OSError(error.errno, error.strerror, target) from None
        try:
            if _lock(file) and _is_at(file, name):  # if not, another write has cleared it, or is about to
                return file, name
        except BaseException:
            file.close()
            raise
        file.close()
    raise AssertionError("the names do not end")


def _give_name(file: FileIO, target: str, overwrite: bool) -> str | None:
    """The name that the file then has: ``target`` if it is free, else the first temporary one that is.

    None if the system does not let it. Raises FileExistsError if it must not be another than ``target``.
    """
    folder = os.open(os.path.dirname(target), os.O_PATH)  # with a folder given, os.link follows the link in /proc
    try:
        for name in chain([target], _temporary(target)):
            try:
                os.link(f"/proc/self/fd/{file.fileno()}", os.path.basename(name), dst_dir_fd=folder)
            except FileExistsError:
                if not overwrite:
                    raise
            else:
                return name
    except FileExistsError:
        raise _taken(target) from None
    except OSError:  # no /proc, or hard links are forbidden
        return None
    finally:
        os.close(folder)
    raise AssertionError("the names do not end")


def _fill(file: FileIO, data: bytes, permissions: int | None) -> None:
    """Writes the whole of ``data``, which is on the disk afterwards."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]
    if permissions is not None and sys.platform != "win32":
        os.fchmod(file.fileno(), permissions)
    os.fsync(file.fileno())


def _move(name: str, target: str, overwrite: bool) -> None:
    """Gives a file the name ``target``; where there are no hard links and it must not be taken, as safely as can be."""
    if overwrite:
        os.replace(name, target)
        return
    try:
        os.link(name, target)
    except OSError as error:
        if isinstance(error, FileExistsError) or os.path.lexists(target):
            raise _taken(target) from None
        os.replace(name, target)
    else:
        os.unlink(name)


def _lock(file: FileIO) -> bool:
    """Holds it until the file is closed; False if another does.

    Where there are no locks, all are had, and leftovers are not told from files being written.
    """
    if sys.platform != "win32":  # which does not remove open files
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass
    return True


def _is_at(file: FileIO | int, name: str) -> bool:
    """Whether ``name`` is still that of the open file, and not gone, or another's."""
    descriptor = file if isinstance(file, int) else file.fileno()
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(name))
    except FileNotFoundError:
        return False


def _discard(file: FileIO, name: str) -> None:
    """Removes a file that is open and locked. Behind an interrupt it may have got its place, and another its name."""
    with suppress(OSError):
        if sys.platform == "win32":
            file.close()
            os.unlink(name)
        elif _is_at(file, name):
            os.unlink(name)


def _clear(target: str) -> None:
    """Removes the leftovers of those whose writers are dead, and that bear one of the first temporary names."""
    for name in islice(_temporary(target), SLOTS):
        with suppress(OSError):  # there is none, or it is not ours to remove, or being written
            if sys.platform == "win32":
                os.unlink(name)
                continue
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(descriptor, name):
                    os.unlink(name)
            finally:
                os.close(descriptor)


def _keep_names(folder: str) -> None:
    """Waits until the folder's names are on the disk, where folders can be opened."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows, or a folder that can be written but not read
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has no such thing
            raise
    finally:
        os.close(descriptor)
