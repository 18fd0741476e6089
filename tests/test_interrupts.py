"""Ctrl-C while a picture is saved or loaded, and systems that start fewer threads than asked for: with real ones."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from PIL import Image

UNIX = pytest.mark.skipif(sys.platform == "win32", reason="signals, users and limits of Unix")

# What both programs work on. argv: save or load, mode, side in pixels.
PICTURES = """
import faulthandler, io, os, queue, random, signal, sys, threading, time
import numpy as np
from PIL import Image
import pillow_cwic
from pillow_cwic import threads
what, mode, side = sys.argv[1], sys.argv[2], int(sys.argv[3])
pixels = np.random.default_rng(1).integers(0, 60, (side, side, 3), np.uint8)
picture = Image.fromarray(pixels + np.asarray(Image.radial_gradient("L").resize((side, side)))[..., None] // 2)
if mode == "RGBA":
    noise = np.random.default_rng(2).integers(0, 256, (side, side), np.uint8)
    picture.putalpha(Image.fromarray(noise))

def save():
    with pillow_cwic.options(threads=4, device="cpu"):
        picture.save(data := io.BytesIO(), format="CWIC")
    return data.getvalue()

def load():
    with pillow_cwic.options(threads=4, device="cpu"):
        return Image.open(io.BytesIO(file)).tobytes()

file = save()
work = {"save": save, "load": load}[what]
wanted = work()
"""

# argv: moments, seed. Prints how late nine of ten interrupts were at most, as a share of the work's time.
INTERRUPTED = (
    PICTURES
    + """
moments, rng = int(sys.argv[4]), random.Random(int(sys.argv[5]))
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have background jobs ignore it
start = time.perf_counter()
assert work() == wanted
whole, orders, sent, late = time.perf_counter() - start, queue.SimpleQueue(), [0.0], []

def send():
    while True:
        time.sleep(orders.get())
        sent[0] = time.perf_counter()
        os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=send, daemon=True).start()
for n in range(moments):
    faulthandler.dump_traceback_later(60, exit=True)
    try:
        orders.put(rng.uniform(0, whole))
        while True:
            work()
    except KeyboardInterrupt:
        late.append(time.perf_counter() - sent[0])
    if n % 10 == 0:
        assert work() == wanted, n
    assert pillow_cwic.settings.threads() is None, n
    faulthandler.cancel_dump_traceback_later()
assert work() == wanted
print(sorted(late)[len(late) * 9 // 10] / whole)
"""
)


def interrupt(what: str, mode: str, moments: int, seed: int) -> None:
    """interrupt-hang.py: KeyboardInterrupt and nothing else, soon, and all works as before."""
    run = [sys.executable, "-c", INTERRUPTED, what, mode, "768" if mode == "RGB" else "512", str(moments), str(seed)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    # A band of rows, at most a tenth; if none heard of it before the end, it would be 9 / 10. Busy machines are late.
    assert float(done.stdout) < 1 / 2


@UNIX
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("what", ["save", "load"])
def test_interrupts(what: str, mode: str) -> None:
    interrupt(what, mode, 20, 1)


@UNIX
@pytest.mark.long
@pytest.mark.parametrize("what", ["save", "load"])
def test_interrupts_at_many_moments(what: str) -> None:
    interrupt(what, "RGB", 500, 2)


class Stubborn(io.BytesIO):
    """An interrupt comes behind its first close."""

    interrupts = 0

    def close(self) -> None:
        super().close()
        self.interrupts += 1
        if self.interrupts == 1:
            raise KeyboardInterrupt


def test_an_interrupted_picture_loads_again(small_file: bytes) -> None:
    im = Image.open(stubborn := Stubborn(small_file))
    im._exclusive_fp = True  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        im.load()
    assert stubborn.interrupts == 1
    assert im.fp is not None  # type: ignore[attr-defined]
    im.fp.read(7)  # type: ignore[attr-defined]  # as an interrupt within Pillow's load leaves it
    im.load()
    assert im.tobytes() == Image.open(io.BytesIO(small_file)).tobytes()


# As a user who may have so many threads more than one; prints how often a thread did not start.
LIMITED = (
    PICTURES
    + """
import resource
faulthandler.dump_traceback_later(60, exit=True)  # in a thread of its own, which counts
if root := os.getuid() == 0:
    os.setresuid(54321, 54321, 54321)
for more in (0, 1, 2, 5):
    most = 2 + more if root else 0  # of another user's threads we know only that none are left at 0
    resource.setrlimit(resource.RLIMIT_NPROC, (most, resource.getrlimit(resource.RLIMIT_NPROC)[1]))
    failed, real = 0, threads.start_new_thread

    def start(*arguments):
        global failed
        try:
            return real(*arguments)
        except RuntimeError:
            failed += 1
            raise

    threads.start_new_thread = start
    assert work() == wanted, more
    threads.start_new_thread = real
    assert (failed > 0) == (more < 3 or not root), (more, failed)
print("done")
"""
)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits and users of Linux")
@pytest.mark.parametrize("what", ["save", "load"])
def test_a_user_who_may_have_few_threads(what: str) -> None:
    """thread-start-fails-hang.py: fewer threads do the work."""
    run = [sys.executable, "-c", LIMITED, what, "RGB", "300"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
