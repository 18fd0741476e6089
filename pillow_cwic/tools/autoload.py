"""Switches the start-up hook on and off; the hook itself is the module ``_pillow_cwic_autoload``."""

from __future__ import annotations

import os
import site
import sysconfig
from pathlib import Path

from pillow_cwic.file import atomic

VARIABLE = "PILLOW_CWIC_AUTOLOAD"


def _files() -> dict[str, str]:
    import _pillow_cwic_autoload

    return _pillow_cwic_autoload.FILES


def _folders() -> list[Path]:
    """Where Python looks for start-up files."""
    folders = [*site.getsitepackages(), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    if site.ENABLE_USER_SITE:
        folders.append(site.getusersitepackages())
    return list(dict.fromkeys(Path(folder).resolve() for folder in folders))


def installed() -> list[Path]:
    """The start-up files that there are."""
    return [path for folder in _folders() for name in _files() if (path := folder / name).is_file()]


def status() -> str:
    """One line that says whether new Python processes have the hook, and why."""
    files = installed()
    if not files:
        return "off: cwic autoload enable switches it on"
    if os.environ.get(VARIABLE) == "0":
        return f"off: {VARIABLE}=0, though there is {files[0]}"
    return f"on: {files[0]}"


def enable() -> list[Path]:
    """Writes the start-up files, beside the package if it lies where Python looks for them. Raises OSError."""
    import _pillow_cwic_autoload

    folders, own = _folders(), Path(_pillow_cwic_autoload.__file__).resolve().parent
    folder = own if own in folders else Path(sysconfig.get_path("purelib")).resolve()
    for name, content in _files().items():
        atomic.write(folder / name, content.encode())
    return installed()


def disable() -> list[Path]:
    """Removes all start-up files and returns what they were. Raises OSError."""
    removed = installed()
    for path in removed:
        path.unlink()
    return removed
