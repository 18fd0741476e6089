"""Collections on a real Ray of this machine, one of whose two workers is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import pillow_cwic
from pillow_cwic.tools import bulk

ROOT = Path(__file__).resolve().parents[1]

try:
    import ray
    import ray.data

    from pillow_cwic.tools.ray import decode_dataset, encode_dataset
except ImportError as error:
    pytest.skip(f"Ray Data is not installed ({error}): make test-ray installs it", allow_module_level=True)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Two cores, on this machine; workers find the package and the tests where this process does."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    ray.init(
        num_cpus=2,
        num_gpus=0,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100_000_000,
        runtime_env={"env_vars": {"PYTHONPATH": path}},
    )
    yield
    ray.shutdown()


@pytest.fixture
def pictures(small: Image.Image, tmp_path: Path) -> Path:
    """A folder with twelve pictures, one of them deeper, a damaged one and a text."""
    source = tmp_path / "in"
    (source / "deep").mkdir(parents=True)
    for index in range(11):
        small.rotate(10 * index).save(source / f"{index:02}.png", dpi=(300, 300))
    small.save(source / "deep" / "11.jpg")
    (source / "bad.png").write_bytes((source / "00.png").read_bytes()[:200])
    (source / "notes.txt").write_text("no picture")
    return source


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def kill_one(made: Path, killed: list[int], wait: float = 120) -> None:
    """Kills one of the workers as soon as there is a file."""
    end = time.monotonic() + wait
    while time.monotonic() < end and not list(made.rglob("*.cwic")):
        time.sleep(0.02)
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        if b"MapWorker" in path.read_bytes():
            killed.append(int(path.parent.name))
            os.kill(killed[0], signal.SIGKILL)
            return


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds the worker to kill in /proc")
def test_nothing_is_lost_and_nothing_done_twice_when_a_worker_dies(pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    killed: list[int] = []
    killer = threading.Thread(target=kill_one, args=(output, killed))
    killer.start()
    steps: list[tuple[int, int]] = []
    report = encode_dataset(
        pictures, output, workers=2, quality=20, effort=2, progress=lambda *step: steps.append(step)
    )
    killer.join()
    assert len(killed) == 1
    assert (report.done, report.skipped, report.total) == (12, 0, 13)
    assert [(Path(source).name, bool(why)) for source, why in report.failures] == [("bad.png", True)]
    assert steps == [(done, 13) for done in range(1, 14)]  # each picture counted once
    wanted = {f"{index:02}.cwic" for index in range(11)} | {"deep/11.cwic"}
    assert names(output) == wanted
    assert all(bulk.is_whole(output / name, "CWIC") for name in wanted)
    assert report.bytes == sum((output / name).stat().st_size for name in wanted)
    with Image.open(output / "00.cwic") as im:
        assert im.info["dpi"] == pytest.approx((300, 300), abs=0.01)  # a PNG counts by the metre
        assert im.info["quality"] == 20

    # the second run goes on: one file is missing, one is not whole, the others are left alone
    times = {name: (output / name).stat().st_mtime_ns for name in wanted}
    (output / "03.cwic").unlink()
    (output / "04.cwic").write_bytes((output / "04.cwic").read_bytes()[:-1])
    report = encode_dataset(pictures, output, workers=2, quality=20, effort=2)
    assert (report.done, report.skipped, len(report.failures)) == (2, 10, 1)
    changed = {name for name, when in times.items() if (output / name).stat().st_mtime_ns != when}
    assert changed == {"03.cwic", "04.cwic"}

    # and back
    (output / "05.cwic").write_bytes(b"rubbish")
    report = decode_dataset(output, tmp_path / "back", to="webp", workers=2, lossless=True)
    assert (report.done, [Path(f.source).name for f in report.failures]) == (11, ["05.cwic"])
    with Image.open(tmp_path / "back" / "deep" / "11.webp") as im, Image.open(output / "deep" / "11.cwic") as ours:
        assert im.format == "WEBP" and im.convert("RGB").tobytes() == ours.tobytes()


def test_wrong_arguments(pictures: Path, tmp_path: Path, small: Image.Image) -> None:
    output = tmp_path / "out"
    for words, options in {
        "rate: 0 is not": {"rate": 0},
        "effort: 10 is not": {"effort": 10},
        "model: x is none": {"model": "x"},
        "workers: 0 is not": {"workers": 0},
        "gpus: 2 is not": {"gpus": 2},
    }.items():
        with pytest.raises(ValueError, match=words):
            encode_dataset(pictures, output, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="to: 'xyz' is no format"):
        decode_dataset(pictures, output, to="xyz")
    with pytest.raises(FileNotFoundError, match="not there"):
        encode_dataset(tmp_path / "nowhere", output)
    small.save(pictures / "00.jpg")
    with pytest.raises(ValueError, match=r"00\.jpg and .*00\.png would both become 00\.cwic"):
        encode_dataset(pictures, output)
    assert not output.exists()


def test_the_package_alone_loads_no_ray() -> None:
    code = "import sys, pillow_cwic, pillow_cwic.tools.cli; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert "ray" not in pillow_cwic.__all__
