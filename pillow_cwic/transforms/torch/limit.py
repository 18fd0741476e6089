"""As many threads for torch as one picture may take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch

from pillow_cwic import settings

_lock = Lock()
_inside = 0  # how many calls are under way
_before = 0  # torch's own number, before the first of them


@contextmanager
def limited_threads() -> Iterator[None]:
    """Gives torch as many threads as ``settings`` says; also a decorator. Each thread has a number of its own."""
    global _inside, _before
    wanted = settings.threads()
    if wanted is None:
        yield
        return
    with _lock:
        if not _inside:
            _before = torch.get_num_threads()
        _inside += 1
    try:
        torch.set_num_threads(wanted)
        yield
    finally:
        with _lock:
            _inside -= 1
            torch.set_num_threads(_before)
