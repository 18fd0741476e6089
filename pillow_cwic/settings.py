"""Device, threads, model path and progress, for a block of code or from the environment. Standard library only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Integral
from typing import NamedTuple

from pillow_cwic.errors import quoted
from pillow_cwic.progress import Progress
from pillow_cwic.progress import check as check_progress

DEVICE_VARIABLE, THREADS_VARIABLE = "PILLOW_CWIC_DEVICE", "PILLOW_CWIC_THREADS"
MODELS_VARIABLE = "PILLOW_CWIC_MODELS"
MAX_THREADS = 1024
_DEVICE = re.compile(r"cpu|(cuda|xpu)(:\d{1,3})?")


class _Settings(NamedTuple):
    device: str | None = None
    threads: int | None = None
    models: tuple[str, ...] | None = None
    progress: object = None


_UNSET = _Settings()
_current: ContextVar[_Settings] = ContextVar("pillow_cwic_settings", default=_UNSET)


@contextmanager
def options(
    *,
    device: str | None = None,
    threads: int | None = None,
    models: Iterable[str | os.PathLike[str]] | None = None,
    progress: bool | Progress | None = None,
) -> Iterator[None]:
    """Settings for the pictures that are loaded and saved within a ``with`` block, in this thread or task alone.

    ``device`` is where the networks run: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"xpu"``; ``threads`` is
    how many threads one picture may take, 1 to 1024; ``models`` are the folders, or files, in which weights other
    than the released ones are looked for; ``progress`` is True for a bar on stderr, or a function that is called
    after each step with the steps done and the steps in all, from whichever thread took it, never two at once.

    What is None stays as it is around the block: by default what the environment variables PILLOW_CWIC_DEVICE,
    PILLOW_CWIC_THREADS and PILLOW_CWIC_MODELS (folders parted as in PATH) say, else a GPU if there is one, all
    cores, and the released models alone. Raises ValueError for anything else; a device that this machine lacks is
    noticed when a picture needs it, and a folder that does not exist is an empty one.
    """
    around = _current.get()
    within = _Settings(
        around.device if device is None else _check_device(device, "device"),
        around.threads if threads is None else _check_threads(threads, "threads"),
        around.models if models is None else _check_models(models),
        around.progress if progress is None else check_progress(progress),
    )
    try:
        _current.set(within)
        yield
    finally:
        _current.set(around)  # without a token, which an interrupt behind ``set`` would lose


def device() -> str | None:
    """The device wanted now, None for the best there is. Raises ValueError if the environment names none."""
    if (chosen := _current.get().device) is not None:
        return chosen
    named = os.environ.get(DEVICE_VARIABLE)
    return _check_device(named, DEVICE_VARIABLE) if named else None


def threads() -> int | None:
    """How many threads a picture may take now, None for all cores. Raises ValueError if the environment is wrong."""
    if (chosen := _current.get().threads) is not None:
        return chosen
    named = os.environ.get(THREADS_VARIABLE)
    return _check_threads(int(named) if named.isdecimal() else named, THREADS_VARIABLE) if named else None


def model_path() -> tuple[str, ...]:
    """The folders and files, absolute, in which weights are looked for beside the released ones."""
    if (chosen := _current.get().models) is not None:
        return chosen
    named = os.environ.get(MODELS_VARIABLE, "")
    return tuple(os.path.abspath(entry) for entry in named.split(os.pathsep) if entry)


def progress(option: object = None) -> object:
    """What a save option ``progress`` means now: itself, or what the block says if it is None."""
    return _current.get().progress if option is None else option


def _check_device(value: object, name: str) -> str:
    if not isinstance(value, str) or not _DEVICE.fullmatch(value):
        raise ValueError(f"{name}: {quoted(value)} is none of cpu, cuda and xpu, the last two with :number or without")
    return value


def _check_threads(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or not 1 <= int(value) <= MAX_THREADS:
        raise ValueError(f"{name}: {quoted(value)} is not a whole number from 1 to {MAX_THREADS}")
    return int(value)


def _check_models(value: Iterable[str | os.PathLike[str]]) -> tuple[str, ...]:
    if isinstance(value, str | bytes | os.PathLike) or not isinstance(value, Iterable):
        raise ValueError(f"models: {quoted(value)} is not a list of folders")
    paths = [os.fspath(entry) if isinstance(entry, os.PathLike) else entry for entry in value]
    for path in paths:
        if not isinstance(path, str) or not path:
            raise ValueError(f"models: {quoted(path)} is not a folder")
    return tuple(map(os.path.abspath, paths))
