"""As many threads for torch as one picture may take, in the thread that works on it and in no other.

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


@contextmanager
def limited_threads() -> Iterator[None]:
    """Gives torch as many threads as ``settings`` says, where its OpenMP can be reached; also a decorator."""
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
