"""Many files at a time: what goes on after an interrupt, a dead process or a damaged file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from test_cli import cwic, files

from pillow_cwic.tools import bulk
from pillow_cwic.tools.cli import workers

UNIX = pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")


@pytest.fixture
def pictures(small: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, in/ with five pictures in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for index in range(5):
        small.rotate(20 * index).save(f"in/{index}.png")
    return tmp_path


def test_skip_existing_goes_on(pictures: Path) -> None:
    cwic("encode", "in", "-o", "out", "--quality", "1")
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    times = {path: path.stat().st_mtime_ns for path in before}
    Path("out/0.cwic").unlink()
    Path("out/1.cwic").write_bytes(before[Path("out/1.cwic")][:-1])  # not whole
    result = cwic("encode", "in", "-o", "out", "--quality", "1", "--skip-existing")
    assert result.stdout.splitlines()[-1] == "2 done, 3 skipped"
    assert {path: path.read_bytes() for path in Path("out").iterdir()} == before
    again = {path.name for path, when in times.items() if path.stat().st_mtime_ns != when}
    assert again == {"0.cwic", "1.cwic"}


def test_skip_existing_when_decoding(pictures: Path) -> None:
    cwic("encode", "in/0.png", "in/1.png", "-o", "small", "--quality", "1")
    cwic("decode", "small", "-o", "back", "--to", "jpg")
    whole = Path("back/1.jpg").read_bytes()
    Path("back/1.jpg").write_bytes(whole[: len(whole) // 2])
    assert cwic("decode", "small", "-o", "back", "--to", "jpg", "--skip-existing").stdout.endswith(
        "1 done, 1 skipped\n"
    )
    assert Path("back/1.jpg").read_bytes() == whole


def test_failures_are_listed_after_the_others(pictures: Path) -> None:
    Path("in/2.png").write_bytes(Path("in/2.png").read_bytes()[:100])
    result = cwic("encode", "in", "-o", "out", "--quality", "1", code=1)
    assert result.output.splitlines()[4].startswith("cwic: in/2.png: ")  # after the four that went well
    assert result.output.splitlines()[5] == "4 done, 1 failed"
    assert files(pictures / "out") == ["0.cwic", "1.cwic", "3.cwic", "4.cwic"]


def _act(job: str, first: bool) -> tuple[str, bool]:
    """What the processes below do: a job may end its process, each time or the first time alone."""
    path = Path(job)
    if path.name == "always" or (path.name == "once" and not path.exists()):
        path.touch()
        os._exit(3)
    return path.name, first


def test_a_dead_process_takes_no_other_job_along(tmp_path: Path) -> None:
    names = ["a", "always", "b", "once", "c", "d"]
    found = list(workers.outcomes([str(tmp_path / name) for name in names], _act, 2))
    assert sorted(Path(job).name for job, _ in found) == sorted(names)  # each once
    died = {Path(job).name: str(outcome) for job, outcome in found if isinstance(outcome, workers.WorkerError)}
    assert died == {"always": "its process died, 2 times, the last time with exit code 3"}
    assert {True, False} >= {outcome[1] for _, outcome in found if isinstance(outcome, tuple)}


def _where(job: int, first: bool) -> tuple[int, bool]:
    time.sleep(0.2)
    return os.getpid(), first


def test_one_process_is_the_first() -> None:
    found = dict(outcome for _, outcome in workers.outcomes(range(6), _where, 2) if isinstance(outcome, tuple))
    assert sorted(found.values()) == [False, True]  # by process


@UNIX
def test_interrupt_leaves_no_litter(pictures: Path) -> None:
    """As a terminal does it: SIGINT to all processes of the group, while files are being made."""
    command = [sys.executable, "-m", "pillow_cwic.tools.cli", "encode", "in", "-o", "out", "-j", "2", "--effort", "3"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None and process.stdout.readline()  # the first file is there
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    made = files(pictures / "out")
    assert made and all(name.endswith(".cwic") and not name.startswith(".") for name in made)
    assert all(bulk.is_whole(pictures / "out" / name, "CWIC") for name in made)
    if process.returncode != 0:  # else it was done already
        assert process.returncode == 130, stderr
        assert stderr.startswith("cwic: interrupted, ") and stderr.count("\n") == 1, stderr
    cwic("encode", "in", "-o", "out", "--skip-existing")
    assert files(pictures / "out") == [f"{index}.cwic" for index in range(5)]


def test_reasons() -> None:
    assert bulk.reason(FileNotFoundError(2, "No such file")) == "No such file"
    assert bulk.reason(ValueError("two\nlines")) == "two lines"
    assert bulk.reason(KeyError("x")) == "KeyError: 'x'"
    assert bulk.reason(RuntimeError()) == "RuntimeError"
    assert bulk.reason(MemoryError()) == "not enough memory"
    assert bulk.reason(OSError("chunk b'CODE': too short")) == "chunk CODE: too short"
