"""Jobs in several processes, none of which takes the others along when it dies."""

from __future__ import annotations

import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, TypeVar

SPAWN = get_context("spawn")  # CUDA does not outlive a fork
TRIES = 2  # of a job whose process dies, as it does where memory ends; the second may find more of it
PATIENCE = 10  # seconds that a process gets to tidy up

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")


class WorkerError(RuntimeError):
    """The process that did a job ended with it."""


class _Worker(NamedTuple):
    process: BaseProcess
    pipe: Connection
    first: bool


def outcomes(
    todo: Sequence[Job], attempt: Callable[[Job, bool], Outcome], workers: int
) -> Generator[tuple[Job, Outcome | WorkerError]]:
    """Each job once, in the order they end, with what ``attempt(job, first)`` made of it in a process of its own.

    ``attempt`` is a function of a module, raises nothing, and is told whether its process is the first of the
    ``workers``, the one that may have the GPU. A job whose process dies is tried once more, in a new process. Closing
    the iterator ends the processes: they remove what they have half written.
    """
    waiting: deque[tuple[Job, int]] = deque((job, 1) for job in todo)
    busy: dict[Any, tuple[_Worker, Job, int]] = {}  # by the pipe that will say what came of it
    idle: list[_Worker] = []
    firsts = [index == 0 for index in range(workers)]  # of the processes that are yet to start
    try:
        while waiting or busy:
            while waiting and (idle or firsts):
                worker = idle.pop() if idle else _start(attempt, firsts.pop(0))
                job, tries = waiting.popleft()
                busy[worker.pipe] = worker, job, tries
                with suppress(OSError):  # dead already, which the next lines find
                    worker.pipe.send(job)
            for pipe in wait(list(busy)):
                worker, job, tries = busy.pop(pipe)
                try:
                    outcome = worker.pipe.recv()
                except (EOFError, OSError):
                    firsts.insert(0, worker.first)
                    code = _end(worker)
                    if tries < TRIES:
                        waiting.appendleft((job, tries + 1))
                        continue
                    outcome = WorkerError(f"its process died, {tries} times, the last time with exit code {code}")
                else:
                    idle.append(worker)
                yield job, outcome
    finally:
        living = [*idle, *(worker for worker, _, _ in busy.values())]
        for worker in living:
            worker.process.terminate()
        for worker in living:
            _end(worker)


def _start(attempt: Callable[[Any, bool], Any], first: bool) -> _Worker:
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=_serve, args=(theirs, attempt, first), daemon=True)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process inherits it, and is deaf from the beginning
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    theirs.close()  # so that the end of the process ends the pipe
    return _Worker(process, ours, first)


def _end(worker: _Worker) -> int | None:
    worker.pipe.close()
    worker.process.join(PATIENCE)
    if worker.process.exitcode is None:
        worker.process.kill()
        worker.process.join()
    return worker.process.exitcode


def _serve(pipe: Connection, attempt: Callable[[Any, bool], Any], first: bool) -> None:
    """What a process does: jobs, until the pipe ends or SIGTERM comes. Ctrl-C is for the parent to act on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # raises SystemExit: what is half written is removed
    with suppress(EOFError, OSError):  # the parent has gone
        while True:
            pipe.send(attempt(pipe.recv(), first))
