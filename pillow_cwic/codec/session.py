"""What encoding and decoding run on: the device, its threads, loaded models, and the times of the stages."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from pillow_cwic import container, models, settings
from pillow_cwic.codec.families import FAMILIES, Runtime
from pillow_cwic.errors import ModelError

Timings = dict[str, float]


_lock = threading.Lock()


def _device() -> str:
    """The device that the networks run on: the one in ``settings``, else CUDA if there is one, else the CPU."""
    wanted = settings.device()
    if wanted is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError) as error:  # as builds without that kind of device raise it
        raise ValueError(f"device: {wanted!r} is not available here: {error}") from error
    return wanted


@contextmanager
def limited_threads() -> Iterator[None]:
    """Gives torch as many threads as ``settings`` says."""
    before, wanted = torch.get_num_threads(), settings.threads()
    if wanted is None:
        yield
        return
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def _load(model: models.Model, device: str) -> Runtime:
    return FAMILIES[model.family](model.read(), device)


def runtime(model: models.Model) -> Runtime:
    """The model on the device of the moment; loaded at the first call."""
    with _lock:  # so that two threads do not load the same weights
        return _load(model, _device())


def loaded(header: container.Header) -> Runtime:
    """The model that a file names, which must be of the file's family. Raises ModelError."""
    model = models.by_id(header.model_id)
    if model.family != header.family:
        raise ModelError(f"model family: the file says {header.family!r}, its model {model.family!r}")
    return runtime(model)


@contextmanager
def stage(timings: Timings | None, name: str) -> Iterator[None]:
    """Adds the seconds spent inside to ``timings[name]``."""
    start = time.perf_counter()
    try:
        yield
    finally:
        if timings is not None:
            timings[name] = timings.get(name, 0.0) + time.perf_counter() - start
