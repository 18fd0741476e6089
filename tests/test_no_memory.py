"""Memory that cannot be had is MemoryError on every path, and nothing hangs for want of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

# Forks processes, each with so many bytes more than the last, that save, open, look into and load pictures of a kind;
# prints how often each of their outcomes came. argv: kind, side in pixels, threads, processes, bytes.
PROGRAM = """
import collections, faulthandler, hashlib, io, json, os, resource, sys, warnings
from PIL import Image
import pillow_cwic
kind, (side, threads, processes, more) = sys.argv[1], map(int, sys.argv[2:])
warnings.simplefilter("ignore")  # of forks beside threads of torch
options = {"refined": {"effort": 5}, "paper": {"model": "cwic2018"}}.get(kind, {})
whole = Image.effect_noise((side // 8, side // 8), 60).resize((side, side)).convert("RGB")  # no drawing
if kind == "alpha":
    whole.putalpha(Image.linear_gradient("L").resize((side, side)))

def work(picture):
    data = io.BytesIO()
    with pillow_cwic.options(threads=threads, device="cpu"):
        picture.save(data, "CWIC", quality=20, **options)
        Image.open(data).importance_map()
        return hashlib.sha256(data.getvalue() + Image.open(data).tobytes()).digest()

def limited(more):
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, resource.RLIM_INFINITY))
    try:
        return b"right" if work(whole) == wanted else b"wrong"
    except BaseException as error:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        return b"MemoryError" if isinstance(error, MemoryError) else repr(error).encode()

def forked(work, argument):
    back, forth = os.pipe()
    if not os.fork():
        faulthandler.dump_traceback_later(60, exit=True)
        os.write(forth, work(argument))
        os._exit(0)
    os.close(forth)
    with open(back, "rb") as pipe:
        found = pipe.read()
    os.wait()
    return found

work(whole.crop((0, 0, 32, 32)))
wanted = forked(work, whole)
print(json.dumps(collections.Counter(forked(limited, k * more).decode() for k in range(processes))))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits and sizes of Linux")
@pytest.mark.parametrize(
    ("kind", "side", "threads", "processes", "more"),
    [
        ("plain", 768, 1, 8, 10_000_000),
        ("plain", 768, 4, 8, 15_000_000),
        ("alpha", 512, 2, 8, 9_000_000),
        ("paper", 256, 1, 8, 8_000_000),
    ],
)
def test_little_memory(kind: str, side: int, threads: int, processes: int, more: int) -> None:
    words = [kind, *map(str, (side, threads, processes, more))]
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}  # threads of before leave 64 MB each to take without a limit
    done = subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, env=environment)
    found = json.loads(done.stdout)
    assert found.keys() == {"MemoryError", "right"}, (found, done.stderr)
