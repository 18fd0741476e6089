"""Threads that cannot start, that fail, that are interrupted, and processes that fork: the work ends, and rightly."""

from __future__ import annotations

import _thread
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from queue import SimpleQueue

import numpy as np
import pytest

from fuzz import files
from pillow_cwic import settings, threads
from pillow_cwic.coding import symbols, wavefront
from pillow_cwic.file import container
from pillow_cwic.models.config import Config
from pillow_cwic.transforms.native import Transforms
from tests.random_transforms import random_arrays

CONFIG = Config(wide=32, blocks=2, groups=(2, 4, 6), map_features=5, levels=4, normalised=True)
HEIGHT, WIDTH = 200, 170
PATIENCE = 60  # seconds after which something hangs
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@cache
def native() -> Transforms:
    return Transforms(CONFIG, random_arrays(CONFIG, 5))


def analysed() -> list[np.ndarray]:
    pixels = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    return list(native().analyse(pixels, 100))


def synthesised() -> list[np.ndarray]:
    shape = CONFIG.channels, 2 * -(-HEIGHT // 16), 2 * -(-WIDTH // 16)
    codes = np.random.default_rng(2).integers(-9, 10, shape).astype(np.int16)
    return [native().synthesise(codes, 100, HEIGHT, WIDTH)]


@cache
def symbols_file() -> tuple[symbols.Symbols, list[container.Layer]]:
    """Symbols of six tiles, and their layers."""
    entropy, rng = files.entropy_models()[b"cwc1"], np.random.default_rng(3)
    planes = [rng.integers(0, entropy.levels, (1, 10, 14)).astype(np.int16)]
    planes += [np.round(rng.laplace(0, 3, (c, 20, 28))).astype(np.int16) for c in entropy.groups]
    layers = symbols.encode_symbols(entropy, planes, [None] * len(planes), 0.0, 40, 6).layers()
    return planes, layers


def decoded() -> list[np.ndarray]:
    header = container.Header(14 * 16, 10 * 16, "RGB", 6, 40, files.MODEL_ID, b"cwc1")
    parsed = container.read_file(container.write_file(header, symbols_file()[1]))
    return symbols.decode_symbols(files.entropy_models()[b"cwc1"], parsed, 10, 14)


def encoded() -> list[np.ndarray]:
    planes = [plane.copy() for plane in symbols_file()[0]]
    layers = symbols.encode_symbols(files.entropy_models()[b"cwc1"], planes, [None] * len(planes), 0.0, 40, 6).layers()
    return [np.frombuffer(layer.data, np.uint8) for layer in layers]


def one_tile() -> list[np.ndarray]:
    """Layers of one tile, which wait for each other."""
    model, planes = files.entropy_models()[b"cwc1"], [plane.copy() for plane in symbols_file()[0]]
    count = settings.threads() or 1
    streams = model.tile(3, 10, 14).encode_all(planes, [None] * len(planes), 0.0, count)
    return model.tile(3, 10, 14).decode_all(streams, count, lambda: None)


WORK: dict[str, Callable[[], list[np.ndarray]]] = {
    each.__name__: each for each in (analysed, synthesised, decoded, encoded, one_tile)
}


def in_threads(name: str, count: int) -> list[np.ndarray]:
    with settings.options(threads=count):
        return WORK[name]()


@cache
def wanted(name: str) -> list[np.ndarray]:
    return in_threads(name, 1)


def is_right(name: str, count: int = 4) -> bool:
    return all(map(np.array_equal, in_threads(name, count), wanted(name)))


def left(others: int) -> int:
    """How many threads there are but for so many others, when those that have ended have had time to go."""
    for _ in range(200):
        if _thread._count() <= others:
            break
        time.sleep(0.005)
    return _thread._count() - others


@pytest.mark.parametrize("name", WORK)
def test_any_number_of_threads(name: str) -> None:
    before = _thread._count()
    for count in range(1, 17):
        assert is_right(name, count)
        assert left(before) == 0


@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize("later", [True, False], ids=["and_later_ones", "alone"])
def test_threads_that_cannot_start(name: str, later: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted(name)
    asked = 0
    for failing in range(1, 9):

        def start(lane: Callable[[], None], arguments: tuple[()], failing: int = failing) -> int:
            nonlocal asked
            asked += 1
            if asked == failing or (later and asked > failing):
                raise RuntimeError("can't start new thread")
            return _thread.start_new_thread(lane, arguments)

        asked = 0
        with monkeypatch.context() as patch:
            patch.setattr(threads, "start_new_thread", start)
            assert is_right(name, 8)
        assert asked > 0


@pytest.mark.parametrize("name", WORK)
def test_threads_that_end_before_they_work(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they do where memory ends: the system has started them, but Python cannot call their function."""
    monkeypatch.setattr(threads, "start_new_thread", lambda lane, _: _thread.start_new_thread(lambda: None, ()))
    found: list[bool] = []
    outside = threading.Thread(target=lambda: found.append(is_right(name)), daemon=True)
    outside.start()
    outside.join(PATIENCE)
    assert found == [True], "it hangs, or fails"


def test_nothing_is_told_for_want_of_memory() -> None:
    """A layer that waits for one that has failed, and could not say so, ends all the same."""
    begun = threading.Event()

    class Layer:
        def rows(self, end: int) -> None:
            begun.set()
            time.sleep(0.01)  # the next one waits by now
            raise MemoryError

        def finish(self) -> int:
            return 0

    class Mute(SimpleQueue[int]):
        def put(self, item: int, block: bool = True, timeout: float | None = None) -> None:
            raise MemoryError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wavefront, "SimpleQueue", Mute)
        found: list[BaseException] = []

        def work() -> None:
            try:
                wavefront.run([Layer, Layer, Layer], 16, 0, 3)
            except BaseException as error:
                found.append(error)

        outside = threading.Thread(target=work, daemon=True)
        outside.start()
        outside.join(PATIENCE)
    assert begun.is_set() and [type(error) for error in found] == [MemoryError]


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt])
def test_an_error_ends_all_lanes(count: int, fault: type[BaseException]) -> None:
    before, steps = _thread._count(), list[int]()
    cancelled: list[bool] = []

    def step() -> bool:
        steps.append(1)
        if len(steps) == 20:
            raise fault("planted")
        time.sleep(0.0005)
        return True  # never done of itself

    with pytest.raises(fault, match="planted"):
        threads.run(step, lambda: cancelled.append(True), count)
    assert cancelled and len(steps) < 20 + 2 * count and left(before) == 0
    threads.check()  # and nothing of it is left for what comes next


def test_the_first_that_fails_says_why() -> None:
    def work(k: int) -> int:
        time.sleep(0.02 if k == 2 else 0.001)
        if k in (2, 3, 5):
            raise ValueError(f"number {k}")
        return k

    for count in (1, 2, 4, 16):
        with pytest.raises(ValueError, match=r"^number 2$"):
            threads.each(work, 9, count)
        assert threads.each(work, 2, count) == [0, 1]
    assert threads.each(work, 0, 4) == []


def test_work_within_work_ends_with_it() -> None:
    """Two lanes that go on for ever in lanes of their own, until the outer work fails."""
    before, rounds = _thread._count(), list[int]()

    def inner() -> bool:
        rounds.append(1)
        time.sleep(0.0005)
        return True

    def outer() -> bool:
        while len(rounds) < 30:
            if threading.current_thread() is threading.main_thread():
                time.sleep(0.001)
            else:
                threads.run(inner, lambda: None, 3)
        raise KeyError("outer")

    with pytest.raises(KeyError, match="outer"):
        threads.run(outer, lambda: None, 3)
    assert left(before) == 0


# In a process of its own: argv are the work's name, how many moments, and a seed. The interrupts come from a thread.
INTERRUPTED = """
import faulthandler, os, queue, random, signal, sys, threading, time
from tests import test_transform_threads as t
name, moments, rng = sys.argv[1], int(sys.argv[2]), random.Random(int(sys.argv[3]))
assert t.is_right(name)
sys.setswitchinterval(1e-4)
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have background jobs ignore it
orders = queue.SimpleQueue()
def send():
    while True:
        time.sleep(orders.get())
        os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=send, daemon=True).start()
for n in range(moments):
    faulthandler.dump_traceback_later(60, exit=True)
    try:
        orders.put(rng.uniform(0, 0.01))
        while True:
            t.in_threads(name, 4)
    except KeyboardInterrupt:
        pass
    assert t.left(1) == 0, n
    assert t.is_right(name), n
    faulthandler.cancel_dump_traceback_later()
print("done")
"""


def interrupt(name: str, moments: int, seed: int) -> None:
    """All interrupts raise KeyboardInterrupt and nothing else, end the threads, and leave what comes next as it is."""
    run = [sys.executable, "-c", INTERRUPTED, name, str(moments), str(seed)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=500, cwd=files.PHOTO.parents[2], check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.parametrize("name", WORK)
def test_interrupts(name: str) -> None:
    interrupt(name, 100, 1)


@pytest.mark.long
@pytest.mark.parametrize("name", WORK)
def test_interrupts_at_many_moments(name: str) -> None:
    interrupt(name, 500, 2)


@FORKS
@pytest.mark.parametrize("name", WORK)
def test_a_child_of_a_fork(name: str) -> None:
    assert is_right(name)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if is_right(name) and is_right(name, 2) else 2
        finally:
            os._exit(status)
    ends = time.monotonic() + PATIENCE
    while (found := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < ends:
        time.sleep(0.005)
    if found[0] == 0:
        os.kill(child, 9)
        os.waitpid(child, 0)
        pytest.fail("the child hangs")
    assert os.waitstatus_to_exitcode(found[1]) == 0


@FORKS
@pytest.mark.parametrize("before", WORK)
def test_pools_of_forks(before: str) -> None:
    assert is_right(before)
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        assert pool.map_async(is_right, WORK).get(PATIENCE) == [True] * len(WORK)
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        assert list(executor.map(is_right, WORK, timeout=PATIENCE)) == [True] * len(WORK)
