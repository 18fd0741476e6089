"""Threads and processes"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

from PIL import Image

from benchmarks.reliability.row import Row, command, row

ROOT = Path(__file__).resolve().parents[2]

# A process decodes with argv[1] threads, forks, and has the child decode; it prints what the child got, or "hangs".
FORK = """
import os, signal, sys, time
sys.path[:0] = ["."]
from io import BytesIO
from PIL import Image
import pillow_cwic
os.environ["PILLOW_CWIC_THREADS"] = sys.argv[1]
im = Image.open("tests/data/kodim23.png").convert("RGB").crop((0, 0, 320, 256))
im.save(data := BytesIO(), format="CWIC", quality=40)
wanted = Image.open(data).tobytes()
child = os.fork()
if not child:
    os._exit(0 if Image.open(data).tobytes() == wanted else 3)
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        print("the same pixels" if status == 0 else f"status {status}")
        break
    time.sleep(0.05)
else:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print("hangs")
"""


def mismatches(threads: int, rounds: int) -> int:
    """How often one of so many threads, each with a picture of its own, decodes something else than it should."""
    with Image.open(ROOT / "tests" / "data" / "kodim23.png") as im:
        photo = im.convert("RGB")
    files, wanted = [], []
    for n in range(threads):
        place = 5 * n % 640, 7 * n % 416
        picture = photo.crop((*place, place[0] + 32 + n % 65, place[1] + 24 + n % 43)).convert(
            ("RGB", "L", "RGBA")[n % 3]
        )
        picture.save(data := BytesIO(), format="CWIC", quality=5 + 9 * n % 90)
        files.append(data.getvalue())
        wanted.append(_digest(data.getvalue()))
    together = threading.Barrier(threads)

    def work(n: int) -> int:
        together.wait()
        return sum(_digest(files[n]) != wanted[n] for _ in range(rounds))

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, range(threads)))


def _digest(data: bytes) -> bytes:
    with Image.open(BytesIO(data)) as im:
        return hashlib.sha256(im.tobytes()).digest()


@row(quick=True)
def hundred_threads() -> Row:
    count = mismatches(100, 5)
    return Row(
        "100 threads that decode their own pictures, 5 times each: 0 mismatches",
        f"{count} mismatches in 500 decodings",
        command(hundred_threads),
        count == 0,
    )


def after_fork(threads: int, patience: float = 60) -> str:
    """What a child gets that a process forks after it has decoded with so many threads."""
    run = [sys.executable, "-c", FORK, str(threads), str(patience)]
    return subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


@row(quick=True)
def fork() -> Row:
    one, two = after_fork(1), after_fork(2)
    return Row(
        "a process that is forked after an encode and a decode decodes, too",
        f"after one thread: {one}; after two: {two}",
        command(fork),
        one == two == "the same pixels",
    )
