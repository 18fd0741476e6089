"""What the option ``progress`` means: True for a bar, a function of its own, or nothing."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pillow_cwic.errors import quoted

Progress = Callable[[int, int], None]  # steps done, steps in all


def check(progress: object) -> object:
    """``progress`` itself. Raises ValueError if it is neither a truth value nor a function."""
    if progress is None or isinstance(progress, bool) or callable(progress):
        return progress
    raise ValueError(
        f"progress: {quoted(progress)} is neither True, False nor a function of steps done and steps in all"
    )


@contextmanager
def shown(progress: object, label: str) -> Iterator[Progress | None]:
    """The function to call after each step of what takes long, or None. Raises ValueError as ``check`` does."""
    check(progress)
    if callable(progress):
        yield progress
    elif progress:
        import click

        bar = click.progressbar(length=1, label=label, file=sys.stderr)

        def update(done: int, steps: int) -> None:
            bar.length = steps
            bar.update(done - bar.pos)

        with bar:
            yield update
    else:
        yield None


class Steps:
    """Counts steps that several threads take together, and reports each; never two at once."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0
        self._lock = threading.Lock()

    def __call__(self) -> None:
        if self._progress is not None:
            with self._lock:
                self._done += 1
                self._progress(self._done, self._total)
