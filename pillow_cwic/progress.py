"""What the save option ``progress`` means: True for a bar, a function of its own, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], None]  # steps done, steps in all


@contextmanager
def shown(progress: object) -> Iterator[Progress | None]:
    """The function to call after each step of a long encoding, or None. Raises ValueError for anything else."""
    if progress is None or progress is False:
        yield None
    elif callable(progress):
        yield progress
    elif progress is True:
        import click

        bar = click.progressbar(length=1, label="encoding", file=sys.stderr)

        def update(done: int, steps: int) -> None:
            bar.length = steps
            bar.update(done - bar.pos)

        with bar:
            yield update
    else:
        raise ValueError(f"progress: {progress!r} is neither True, False nor a function of steps done and steps in all")
