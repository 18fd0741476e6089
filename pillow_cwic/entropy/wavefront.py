"""Layers that depend on each other, coded at once: each stays a few rows behind the one before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Condition
from typing import Protocol, TypeVar

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

BAND = 8  # rows that are coded at a time; fewer cost more waiting, more let the next layer start later


class Rows(Protocol[T_co]):
    """One layer under way: its rows up to ``end`` are coded, then its result is there."""

    def rows(self, end: int) -> None: ...

    def finish(self) -> T_co: ...


class _AbandonedError(Exception):
    """A layer that this one needs has failed."""


def run(
    begin: Sequence[Callable[[], Rows[T]]], rows: int, ahead: int, threads: int, step: Callable[[], None] | None = None
) -> list[T]:
    """The results of layers of so many ``rows`` each, which begin in order, in as many threads.

    Before a layer codes rows up to ``end``, the one before has coded ``end + ahead``, or all. ``step()`` follows each
    layer, in its thread. If layers fail, the error of the first of them is raised, as without threads.
    """
    done = [0] * len(begin)
    results: dict[int, T] = {}
    errors: dict[int, BaseException] = {}
    changed = Condition()

    def wait(index: int, needed: int) -> None:
        with changed:
            changed.wait_for(lambda: done[index] >= needed or any(failed <= index for failed in errors))
            if done[index] < needed:
                raise _AbandonedError

    def code(index: int) -> None:
        layer = None
        for start in range(0, rows, BAND):
            end = min(start + BAND, rows)
            if index:
                wait(index - 1, min(end + ahead, rows))
            layer = layer or begin[index]()
            layer.rows(end)
            with changed:
                done[index] = end
                changed.notify_all()
        assert layer is not None
        results[index] = layer.finish()
        if step:
            step()

    def lane(first: int) -> None:
        for index in range(first, len(begin), lanes):
            try:
                code(index)
            except BaseException as error:
                with changed:
                    errors[index] = error
                    changed.notify_all()
                return

    lanes = max(1, min(threads, len(begin)))
    if lanes == 1:
        lane(0)
    else:
        with ThreadPoolExecutor(lanes - 1) as pool:
            others = [pool.submit(lane, first) for first in range(1, lanes)]
            lane(0)
            for other in others:
                other.result()
    if errors:
        raise errors[min(errors)]
    return [results[index] for index in range(len(begin))]
