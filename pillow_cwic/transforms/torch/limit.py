"""What holds while torch computes: as many threads as one picture may take, and MemoryError where memory ends.

The number of threads is that of the thread that works on the picture and of no other.

``torch.set_num_threads`` would not do: its number is that of every thread that comes to torch later, too. What it sets
below itself, the numbers of OpenMP and of MKL, belongs to the thread that sets it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from pillow_cwic import settings

_library = ctypes.CDLL(torch._C.__file__)  # what it was linked with is looked through, too, but not on Windows
_openmp: Callable[[int], object] | None = getattr(_library, "omp_set_num_threads", None)
_mkl: Callable[[int], int] = getattr(_library, "MKL_Set_Num_Threads_Local", lambda number: 0)  # gives the one before


NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "could not create a primitive")  # messages


@contextmanager
def limited() -> Iterator[None]:
    """Gives torch as many threads as ``settings`` says, where its OpenMP can be reached; also a decorator.

    Raises MemoryError in place of the RuntimeError that torch has for memory that cannot be had, on any device.
    """
    try:
        with _limited_threads():
            yield
    except RuntimeError as error:
        if any(words in str(error) for words in NO_MEMORY):
            raise MemoryError(str(error)) from error
        raise


@contextmanager
def _limited_threads() -> Iterator[None]:
    wanted = settings.threads()
    if wanted is None or _openmp is None:
        yield
        return
    before = of_mkl = torch.get_num_threads()
    try:
        _openmp(wanted)
        of_mkl = _mkl(wanted)  # 0 if it had none of its own
        yield
    finally:
        _openmp(before)
        _mkl(of_mkl)
