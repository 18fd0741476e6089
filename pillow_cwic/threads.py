"""Threads for one piece of work: started for it, gone after it. Standard library only.

The thread that asks for the work may be the main thread, where an interrupt (KeyboardInterrupt) may be raised behind
every call: behind one that takes a lock, which then none gives back, or within one whose exceptions Python ignores.
``threading.Thread`` does both while it starts and ends, and so does ``Condition``; none of them is used.

Memory may end as suddenly: a thread may start, and end before it comes to what it was started for.
"""

from __future__ import annotations

from _thread import allocate_lock, start_new_thread
from collections import deque
from collections.abc import Callable
from threading import local
from typing import TypeVar
from weakref import ref

T = TypeVar("T")

PATIENCE = 0.5  # seconds after which who waits looks whether there is still one to wait for

_local = local()  # .around: the errors of the pieces of work that this thread was started for


class CancelledError(BaseException):
    """The work that this is a part of has failed, or was interrupted. No error in itself, nor one to be handled."""


def check() -> None:
    """Raises CancelledError if a piece of work that this thread was started for, or one around it, is to end."""
    if any(getattr(_local, "around", ())):
        raise CancelledError


class _Lane:
    """One thread's share of the work."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work, self._ended, self._running = work, False, allocate_lock()
        self._running.acquire()

    def start(self) -> None:
        """Raises RuntimeError if the system has no more threads."""
        run = self._run
        self._thread = ref(run)  # which the thread alone holds until it ends
        start_new_thread(run, ())

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._ended = True
            self._running.release()

    def wait(self) -> None:
        """Until the work of a lane that was started has ended. May be interrupted, and called again."""
        while not self._ended and self._thread():
            self._running.acquire(timeout=PATIENCE)


def run(step: Callable[[], bool], cancel: Callable[[], None], threads: int) -> None:
    """Calls ``step()`` in up to so many threads, this one among them, until it says that nothing is left to begin.

    If the system starts fewer threads, those that are there do the work. When a step fails, or this thread is
    interrupted, ``cancel()``, which may be called often, makes the steps under way end: those that call ``check`` or
    ``run`` do so in any case. An interrupt is raised before an error, and of errors the first.
    """
    errors = deque[BaseException]()  # has room for a few without asking for memory
    lanes: list[_Lane] = []  # those started, some twice
    around = (*getattr(_local, "around", ()), errors)

    def start() -> bool:
        def work() -> None:
            try:
                lanes.append(lane)  # if this thread's start was interrupted, it is in no other way known
                _local.around = around
                check()
                while step():
                    check()
            except BaseException as error:
                errors.append(error)
                cancel()

        try:
            lane = _Lane(work)
            lane.start()
        except RuntimeError:
            return False
        lanes.append(lane)
        return True

    try:
        for _ in range(threads - 1):
            if not start():
                break
        while step() and not errors:
            check()
    except BaseException as error:
        errors.append(error)
    finally:
        _end(lanes, errors, cancel)
    if errors:
        try:
            raise next(filter(_interrupts, errors), errors[0])
        finally:
            errors.clear()
            errors.append(CancelledError())  # one within reach of its own traceback keeps all arrays until the next gc


def _end(lanes: list[_Lane], errors: deque[BaseException], cancel: Callable[[], None]) -> None:
    """Waits for the lanes, whatever interrupts it; an interrupt makes them end, too."""
    while True:
        try:
            if errors:
                cancel()
            for lane in lanes:  # one that a lane adds of itself meanwhile is met as well
                lane.wait()
            return
        except BaseException as error:
            errors.append(error)


def _interrupts(error: BaseException) -> bool:
    return not isinstance(error, (Exception, CancelledError))


def each(work: Callable[[int], T], count: int, threads: int) -> list[T]:
    """What ``work(k)`` gives for k = 0 to count - 1, at once in up to so many threads.

    They begin in order. If some fail, no more begin, and the error of the first of them is raised, as without threads.
    """
    waiting = deque(range(count))
    results: dict[int, T] = {}
    errors: dict[int, Exception] = {}

    def step() -> bool:
        try:
            k = waiting.popleft()
        except IndexError:
            return False
        try:
            results[k] = work(k)
        except Exception as error:
            errors[k] = error
            waiting.clear()
        return bool(waiting)

    run(step, waiting.clear, min(threads, count))
    if errors:
        try:
            raise errors[min(errors)]
        finally:
            errors.clear()  # as in ``run``
    return [results[k] for k in range(count)]
