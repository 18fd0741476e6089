"""One row of the scoreboard, and the functions that measure rows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """``claim``: what is promised, its target named. ``figure``: what this run reached. ``command``: what repeats it.

    ``met``: whether the whole target was reached; False for a run that was ended early, too.
    """

    claim: str
    figure: str
    command: str
    met: bool


class LeftOutError(Exception):
    """Raised by a measure that cannot be taken here, as where a tool is missing: the row stays as it was."""


class Measure(NamedTuple):
    """A function that measures one row; its ``name``, MODULE.FUNCTION, is the row's key for ever."""

    name: str
    quick: bool
    run: Callable[[], Row]


MEASURES: dict[str, Measure] = {}  # in the order of the table


def row(*, quick: bool) -> Callable[[Callable[[], Row]], Callable[[], Row]]:
    """Enters a function of no arguments into the table. ``quick``: it takes seconds, and runs without ``--long``."""

    def register(function: Callable[[], Row]) -> Callable[[], Row]:
        name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        if name in MEASURES:
            raise ValueError(f"two measures are called {name}")
        MEASURES[name] = Measure(name, quick, function)
        return function

    return register


def command(function: Callable[[], Row]) -> str:
    """What repeats the row of this function."""
    return f"python -m benchmarks.reliability --only {function.__module__.rpartition('.')[2]}.{function.__name__}"


def seconds() -> float | None:
    """How long each long row may take before it says how far it came; None for no limit."""
    text = os.environ.get("RELIABILITY_SECONDS")
    return float(text) if text else None


def within_time(trials: Iterable[T], wanted: int) -> Iterator[T]:
    """At most ``wanted`` of the trials, fewer if ``seconds()`` have passed."""
    limit = seconds()
    start = time.monotonic()
    for trial in islice(trials, wanted):
        if limit is not None and time.monotonic() - start > limit:
            return
        yield trial
