"""Writing: the old file or the new one, whatever happens."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks.reliability.row import Row, command, row, seconds

# Forks processes that save two pictures in turn over one file, and kills each at a random moment. In a process of its
# own, since it forks. argv: folder, rounds, longest life of a process in seconds, "named" or "any", "write" or "save",
# the most seconds of all, and whether the file is "there" when another is saved, or "new" each time.
KILLER = """
import io, json, os, random, signal, sys, time
folder, rounds, longest, named, save = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4], sys.argv[5]
limit, new = float(sys.argv[6]), sys.argv[7] == "new"
os.environ["PILLOW_CWIC_THREADS"] = "1"  # torch starts no threads, which a fork would lose
import pillow_cwic
from pillow_cwic.file import atomic
if named == "named":
    atomic._unnamed = lambda target: None
path, generator = os.path.join(folder, "x.cwic"), random.Random(1)
if save == "save":
    from PIL import Image
    pictures = [Image.linear_gradient("L").resize((48, 32)), Image.radial_gradient("L").resize((48, 32))]
    files = []
    for each in pictures:
        each.save(data := io.BytesIO(), format="CWIC", quality=30)
        files.append(data.getvalue())
    work = lambda k: pillow_cwic.save_atomic(pictures[k], path, quality=30)
else:
    files = [bytes([k]) * 200_000 for k in (1, 2)]
    work = lambda k: atomic.write(path, files[k])
work(0)
beside = lambda: os.listdir(folder) not in ([[], ["x.cwic"]] if new else [["x.cwic"]])
found = {"killed": 0, "damaged": 0, "litter": 0, "litter_after_next": 0, "replaced": 0}
start = time.monotonic()
for n in range(rounds):
    before = os.stat(path).st_ino
    child = os.fork()
    if not child:
        while True:
            for k in (1, 0):
                if new:
                    os.unlink(path)
                work(k)
    time.sleep(generator.uniform(0, longest))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not new or os.path.exists(path):
        with open(path, "rb") as file:
            found["damaged"] += file.read() not in files
        found["replaced"] += os.stat(path).st_ino != before
    found["killed"] += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    found["litter"] += beside()
    atomic.write(path, files[0])
    found["litter_after_next"] += os.listdir(folder) != ["x.cwic"]
    if time.monotonic() - start > limit:
        break
print(json.dumps(found))
"""


class Kills(NamedTuple):
    """What was found after so many processes were killed."""

    killed: int
    damaged: int  # times that neither the old file, or none if there was none, nor the new one was there whole
    litter: int  # times that another file lay beside it
    litter_after_next: int  # and still did when the next one had been written
    replaced: int  # times that the process had replaced the file at least once


def kill(
    folder: Path,
    rounds: int,
    *,
    named: bool = False,
    save: bool = False,
    new: bool = False,
    longest: float = 0.02,
    limit: float = 1e9,
) -> Kills:
    """Kills ``rounds`` processes that write a file over and over; ``save``: by ``save_atomic``, encoding and all.

    ``named`` has the bytes go to a file with a temporary name from the start, as on systems without nameless files;
    ``new`` has the processes remove the file before each time, so that there is none to replace.
    """
    ways = "named" if named else "any", "save" if save else "write"
    words = [rounds, longest, *ways, limit, "new" if new else "there"]
    command = [sys.executable, "-c", KILLER, str(folder), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return Kills(**json.loads(done.stdout))


def _killed(function, how: str, longest: float = 0.02, **ways: bool) -> Row:  # type: ignore[no-untyped-def]
    """A file that takes the place of another must have a name before it does, and so may be left."""
    with tempfile.TemporaryDirectory() as folder:
        k = kill(Path(folder), 500, longest=longest, limit=seconds() or 1e9, **ways)
    new = ways.get("new", False)
    left = (
        "none or the whole one, and no litter" if new else "the old file or the new one; litter goes with the next save"
    )
    return Row(
        f"kill -9 at 500 random moments of {how}: {left}",
        f"{k.killed} killed, {k.damaged} damaged; litter {k.litter} times, {k.litter_after_next} after the next save",
        command(function),
        k.killed >= 500 and not (k.damaged or k.litter_after_next or (new and k.litter)),
    )


@row(quick=True)
def killed_while_writing() -> Row:
    return _killed(killed_while_writing, "writing 200 kB over a file")


@row(quick=True)
def killed_while_writing_new() -> Row:
    return _killed(killed_while_writing_new, "writing 200 kB where no file is", new=True)


@row(quick=True)
def killed_without_nameless_files() -> Row:
    how = "writing 200 kB over a file where files have names from the start"
    return _killed(killed_without_nameless_files, how, named=True)


@row(quick=False)
def killed_while_saving() -> Row:
    return _killed(killed_while_saving, "`save_atomic` over a file, encoding and all", 0.15, save=True)
