"""What there is to run networks on, on machines that are made up."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pillow_cwic import device


@pytest.fixture(autouse=True)
def asked_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    device.cuda_present.cache_clear()
    yield
    device.cuda_present.cache_clear()


def machine(monkeypatch: pytest.MonkeyPatch, system: str, signs: list[Path], driver: Any) -> list[str]:
    """A system with these signs of a GPU and this driver, None for none; returns the names of libraries loaded."""
    loaded = []

    def library(name: str) -> Any:
        loaded.append(name)
        if driver is None:
            raise OSError(f"{name}: cannot open shared object file")
        return driver

    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(device, "SIGNS", [str(sign) for sign in signs])
    monkeypatch.setattr(ctypes, "CDLL", library)
    return loaded


def driver(state: int = 0, count: int = 1, counted: int = 0) -> Any:
    def fill(pointer: Any) -> int:
        pointer._obj.value = count
        return counted

    return SimpleNamespace(cuInit=lambda flags: state, cuDeviceGetCount=fill)


def test_linux_is_not_asked_to_start_cuda(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "nvidia0").touch()
    loaded = machine(monkeypatch, "linux", [tmp_path / "nothing*", tmp_path / "nvidia[0-9]*"], object())
    assert device.cuda_present() and device.cuda_present()  # any call of an object() would fail
    assert loaded == ["libcuda.so.1"]  # asked once


def test_linux_without_gpu_or_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert machine(monkeypatch, "linux", [tmp_path / "nvidia[0-9]*"], object()) == []
    assert not device.cuda_present()
    device.cuda_present.cache_clear()
    machine(monkeypatch, "linux", [tmp_path], None)
    assert not device.cuda_present()


@pytest.mark.parametrize(
    ("visible", "there"),
    [
        *((hidden, False) for hidden in ("", " ", "-1", "-1,0", "NoDevFiles", "none")),
        *((shown, True) for shown in ("0", "1,0", "0,-1", "GPU-8932f937", "MIG-GPU-8932f937/1/2")),
    ],
)
@pytest.mark.parametrize("system", ["linux", "win32"])
def test_devices_may_be_hidden(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: str, visible: str, there: bool
) -> None:
    machine(monkeypatch, system, [tmp_path], driver())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert device.cuda_present() is there


@pytest.mark.parametrize(
    ("library", "there"),
    [
        *((good, True) for good in (driver(), driver(count=4))),
        *((bad, False) for bad in (driver(count=0), driver(state=100), driver(counted=3), None, SimpleNamespace())),
    ],
)
def test_windows_asks_the_driver(monkeypatch: pytest.MonkeyPatch, library: Any, there: bool) -> None:
    loaded = machine(monkeypatch, "win32", [], library)
    assert device.cuda_present() is there
    assert loaded == ["nvcuda.dll"]


def test_no_cuda_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert machine(monkeypatch, "darwin", [tmp_path], driver()) == []
    assert device.cuda_present() is False


def test_torch_is_found_but_not_imported(tmp_path: Path) -> None:
    code = "import sys; from pillow_cwic import device\n"
    code += "device.cuda_present(); print(device.torch_installed(), 'torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.split()[1] == "False"
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").touch()
    package = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + code
    assert subprocess.run([sys.executable, "-c", package], capture_output=True, text=True).stdout == "True False\n"


def test_torch_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert not device.torch_installed()
    (tmp_path / "torch").mkdir()  # a folder of pictures, say
    sys.path_importer_cache.clear()
    assert not device.torch_installed()
    monkeypatch.setitem(sys.modules, "torch", None)  # how an import is forbidden
    assert not device.torch_installed()
