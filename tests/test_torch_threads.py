"""Settings hold for the thread that made them: torch's number of threads, where torch computes, and all others."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pillow_cwic
from pillow_cwic import codec, settings
from pillow_cwic.cwic2018.networks import Decoder, Encoder
from pillow_cwic.saving import Options
from pillow_cwic.transforms.torch import limit, refine

PACKAGE = Path(pillow_cwic.__file__).parent
OPENMP = pytest.mark.skipif(limit._openmp is None, reason="torch's OpenMP is out of reach")
OWN = 3  # torch's number of threads, as the program that uses the package has set it


def in_new_thread(work: Callable[[], int]) -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


@pytest.fixture(autouse=True)
def _own() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(OWN)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Torch's number of threads while it computes: in the thread that does, and in one that is new to it."""
    numbers: list[tuple[int, int]] = []

    def watch(real: Callable[..., object], *args: object) -> object:
        numbers.append((torch.get_num_threads(), in_new_thread(torch.get_num_threads)))
        return real(*args)

    for part, name in ((refine, "distortion"), (Encoder, "features"), (Decoder, "forward")):
        real = getattr(part, name)
        monkeypatch.setattr(part, name, lambda *args, real=real: watch(real, *args))
    return numbers


@OPENMP
def test_no_other_thread_has_the_number(small: Image.Image, seen: list[tuple[int, int]]) -> None:
    """setnum.py: threads that take different numbers at a time, refine, and encode and decode cwic2018."""
    pixels = np.asarray(small.crop((0, 0, 16, 16)))
    kinds = Options(effort=5, quality=10), Options(model="cwic2018", quality=10)
    together, found = threading.Barrier(2), list[int]()

    def work(count: int) -> None:
        together.wait()
        for kind in kinds:
            with pillow_cwic.options(threads=count):
                codec.decode(codec.encode(pixels, kind))
            found.append(torch.get_num_threads())

    threads = [threading.Thread(target=work, args=(count,)) for count in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {inside for inside, _ in seen} == {1, 2}
    assert {new for _, new in seen} == {OWN} and found == [OWN] * 4
    assert torch.get_num_threads() == in_new_thread(torch.get_num_threads) == OWN


# In a process of its own: how many threads torch has started for products of matrices and more, within and after.
STARTED = """
import os, torch, pillow_cwic
from pillow_cwic.transforms.torch.limit import limited
torch.set_num_threads(4)
def started():
    before = len(os.listdir("/proc/self/task"))
    a = torch.randn(900, 900)
    (a @ a).exp_()
    torch.conv2d(torch.randn(1, 32, 200, 200), torch.randn(32, 32, 3, 3))
    return len(os.listdir("/proc/self/task")) - before
with pillow_cwic.options(threads=1), limited():
    print(started())
print(started())
"""


@OPENMP
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are counted in /proc")
def test_one_thread_is_one() -> None:
    done = subprocess.run([sys.executable, "-c", STARTED], capture_output=True, text=True)
    assert done.stdout == "0\n3\n", done.stderr


def test_no_memory_for_torch() -> None:
    with pytest.raises(MemoryError, match="memory"), limit.limited():
        torch.empty(2**55, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="size"), limit.limited():
        torch.empty(2) + torch.empty(3)


def test_an_interrupted_block_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the call that sets what holds in it, where no ``with`` knows of the block yet."""

    class Interrupting:
        def __init__(self, variable: object) -> None:
            self.variable, self.get = variable, settings._current.get

        def __getattr__(self, name: str) -> Callable[..., object]:
            def called(*args: object) -> object:
                result = getattr(self.variable, name)(*args)
                if not done:
                    done.append(name)
                    raise KeyboardInterrupt
                return result

            return called

    done: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(settings, "_current", Interrupting(settings._current))
        with pytest.raises(KeyboardInterrupt), pillow_cwic.options(threads=7):
            pass
    assert done == ["set"] and settings.threads() != 7


def test_nothing_is_set_for_the_whole_process() -> None:
    wide = re.compile(r"torch\.set_\w+\(|use_deterministic\w+\(|seterr\(|putenv\(|os\.environ\[.*\] = ")
    assert [path for path in PACKAGE.rglob("*.py") if wide.search(path.read_text())] == []
