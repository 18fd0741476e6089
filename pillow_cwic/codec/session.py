"""What encoding and decoding run on: loaded models, on the device of the moment, and the times of the stages."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from pillow_cwic import device, models, settings
from pillow_cwic.codec.families import Runtime, make
from pillow_cwic.errors import ModelError
from pillow_cwic.file import container

Timings = dict[str, float]

_lock = threading.Lock()


@cache
def _load(model: models.Model, on: str) -> Runtime:
    return make(model.family, model.read(), on)


def runtime(model: models.Model) -> Runtime:
    """The model on the device of the moment; loaded at the first call."""
    with _lock:  # so that two threads do not load the same weights
        return _load(model, device.choose(settings.device()))


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
