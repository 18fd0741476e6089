"""Device and threads, for a block of code or from the environment. Standard library only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Integral
from typing import NamedTuple

DEVICE_VARIABLE, THREADS_VARIABLE = "PILLOW_CWIC_DEVICE", "PILLOW_CWIC_THREADS"
MAX_THREADS = 1024
_DEVICE = re.compile(r"cpu|(cuda|mps|xpu)(:\d{1,3})?")


class _Settings(NamedTuple):
    device: str | None = None
    threads: int | None = None


_UNSET = _Settings()
_current: ContextVar[_Settings] = ContextVar("pillow_cwic_settings", default=_UNSET)


@contextmanager
def options(*, device: str | None = None, threads: int | None = None) -> Iterator[None]:
    """Settings for the pictures that are loaded and saved within a ``with`` block, in this thread or task alone.

    ``device`` is where the networks run: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"`` or ``"xpu"``; ``threads`` is
    how many threads one picture may take, 1 to 1024. What is None stays as it is around the block: by default what
    the environment variables PILLOW_CWIC_DEVICE and PILLOW_CWIC_THREADS say, else a GPU if there is one, and all
    cores. Raises ValueError for anything else; a device that this machine lacks is noticed when a picture needs it.
    """
    around = _current.get()
    token = _current.set(
        _Settings(
            around.device if device is None else _check_device(device, "device"),
            around.threads if threads is None else _check_threads(threads, "threads"),
        )
    )
    try:
        yield
    finally:
        _current.reset(token)


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


def _check_device(value: object, name: str) -> str:
    if not isinstance(value, str) or not _DEVICE.fullmatch(value):
        raise ValueError(f"{name}: {value!r} is none of cpu, cuda, mps and xpu, the last three with :number or without")
    return value


def _check_threads(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or not 1 <= int(value) <= MAX_THREADS:
        raise ValueError(f"{name}: {value!r} is not a whole number from 1 to {MAX_THREADS}")
    return int(value)
