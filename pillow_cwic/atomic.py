"""Files that are there whole or not at all. Standard library only."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path


def write(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = True) -> None:
    """Writes ``data`` to ``path``: whoever looks finds the old file or the whole new one, after a crash too.

    The bytes go to a new file in the same folder, which takes the place of the old one when it is on the disk. A file
    that is replaced passes on its permissions, and a symbolic link stays one. Without ``overwrite`` a file that
    exists, even one that appears meanwhile, raises FileExistsError. Raises OSError if the folder cannot be written.
    """
    target = Path(path).resolve()
    if not overwrite and target.exists():
        raise FileExistsError(f"{os.fspath(path)}: exists already")
    temporary = target.with_name(f".{target.name[:200]}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if not overwrite:
            _move_to_nothing(temporary, target)
            return
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _move_to_nothing(temporary: Path, target: Path) -> None:
    """Gives a file another name, which must not be taken; where there are no hard links, as safely as can be."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise FileExistsError(f"{target}: exists already") from None
    except OSError:
        if target.exists():
            raise FileExistsError(f"{target}: exists already") from None
        os.replace(temporary, target)
