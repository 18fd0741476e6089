"""Layers that depend on each other, coded at once: each stays a few rows behind the one before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Protocol, TypeVar

from pillow_cwic import threads as pool

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

BAND = 8  # rows that are coded at a time; fewer cost more waiting, more let the next layer start later
FAILED = -1


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
    waiting = deque(range(len(begin)))
    # How many rows of each layer are coded, told to the next one: by queues alone, whose puts and gets are whole
    # whenever an interrupt comes. The layer that one waits for was begun before, so any number of threads will do.
    told: list[SimpleQueue[int]] = [SimpleQueue() for _ in begin]
    results: dict[int, T] = {}
    errors: dict[int, Exception] = {}

    def code(index: int) -> T:
        layer, ready = None, 0 if index else rows
        for start in range(0, rows, BAND):
            end = min(start + BAND, rows)
            while ready < min(end + ahead, rows):
                with suppress(Empty):
                    ready = told[index - 1].get(timeout=pool.PATIENCE)
                if ready == FAILED:
                    raise _AbandonedError
                pool.check()  # there may have been no memory to tell it that another has failed
            pool.check()
            layer = layer or begin[index]()
            layer.rows(end)
            told[index].put(end)
        assert layer is not None
        result = layer.finish()
        if step:
            step()
        return result

    def next_layer() -> bool:
        try:
            index = waiting.popleft()
        except IndexError:
            return False
        try:
            results[index] = code(index)
        except Exception as error:  # layers before it may fail yet
            errors[index] = error
            waiting.clear()
            told[index].put(FAILED)
        return bool(waiting)

    def cancel() -> None:
        waiting.clear()
        for queue in told:
            with suppress(MemoryError):  # who waits will look for itself
                queue.put(FAILED)

    pool.run(next_layer, cancel, max(1, min(threads, len(begin))))
    if errors:
        try:
            raise errors[min(errors)]
        finally:
            errors.clear()  # as in pool.run
    return [results[index] for index in range(len(begin))]
