"""The sdist and the wheel built from it: their contents, and what a machine without a compiler is told.

Built without isolation from what is installed, so that nothing is downloaded.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from _pillow_cwic_autoload import FILES
from pillow_cwic.tools.web import runtime, site

ROOT = Path(__file__).resolve().parents[1]
PURELIB = "import sysconfig; print(sysconfig.get_path('purelib'))"
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def built(kind: str, source: Path, target: Path) -> Path:
    """Build an sdist or a wheel from ``source`` and return the one file made."""
    result = run("-m", "build", f"--{kind}", "--no-isolation", "--outdir", target, source, cwd=source)
    assert result.returncode == 0, result.stdout
    (path,) = target.iterdir()
    return path


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def source(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked sdist."""
    folder = tmp_path_factory.mktemp("source")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # from 3.11.4 on
    (root,) = folder.iterdir()
    return root


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", source, tmp_path_factory.mktemp("wheel"))


def files(folder: str, pattern: str = "*") -> set[str]:
    """Project paths of a folder's files, without what builds and runs leave behind."""
    left = {".so", ".pyd", ".pyc", ".o"}
    paths = (path for path in (ROOT / folder).rglob(pattern) if path.is_file() and path.suffix not in left)
    return {path.relative_to(ROOT).as_posix() for path in paths}


def test_sdist_holds_everything_to_build_and_test(source: Path) -> None:
    names = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    wanted = {
        "setup.py",
        "_pillow_cwic_autoload.py",
        "pyproject.toml",
        "MANIFEST.in",
        "Makefile",
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
    }
    for folder in ("pillow_cwic", "csrc", "tests", "benchmarks", "docs", "training", "web"):
        wanted |= {name for name in files(folder) if not name.endswith(".weights")}
    missing = wanted - names
    assert not missing
    assert not [name for name in names if name.endswith((".so", ".pyd", ".pyc"))]


def test_wheel_tag(wheel: Path) -> None:
    if FREE_THREADED:
        assert "abi3" not in wheel.name
    else:
        assert re.fullmatch(r"pillow_cwic-[0-9.]+-cp311-abi3-\w+\.whl", wheel.name)


def test_wheel_is_small(wheel: Path) -> None:
    """Two tunings of ``cwic1`` and four operating points of ``cwic2018``; what a user downloads."""
    assert wheel.stat().st_size <= 25_000_000
    assert sum(entry.file_size for entry in zipfile.ZipFile(wheel).infolist()) <= 25_000_000


def test_wheel_holds_coder_weights_and_types(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    coders = [name for name in names if re.fullmatch(r"pillow_cwic/coding/_coder[\w.-]*\.(so|pyd)", name)]
    assert len(coders) == 1
    weights = files("pillow_cwic/models", "*.safetensors")
    assert weights, "no released weights in pillow_cwic/models"
    web = {f"pillow_cwic/web/{name}" for name in runtime()}
    assert {"pillow_cwic/web/dist/cwic.wasm", "pillow_cwic/web/cwic.js", "pillow_cwic/web/index.html"} < web
    missing = (weights | files("pillow_cwic") | {"pillow_cwic/py.typed"} | web) - names
    assert not missing
    tops = {name.split("/")[0] for name in names}
    hook = {"_pillow_cwic_autoload.py", *FILES}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"pillow_cwic", *hook}
    for name, content in FILES.items():
        assert zipfile.ZipFile(wheel).read(name).decode() == content


def test_wheel_runs_without_the_source(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "import pillow_cwic.coding._coder as coder; print(coder.__file__); print(len(dir(coder.lib)))"
    result = run("-c", code, cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    file, functions = result.stdout.split()
    assert Path(file).is_relative_to(tmp_path)
    assert int(functions) > 0
    result = run("-m", "pillow_cwic.tools.cli", "web", "made", cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    made = {path.relative_to(tmp_path / "made").as_posix() for path in (tmp_path / "made").rglob("*") if path.is_file()}
    assert made == set(site())


def test_wheel_installs_the_hook_and_uninstalls_cleanly(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", symlinks=os.name != "nt")
    python = next(path for path in (tmp_path / "venv").rglob("python*") if path.parent.name in ("bin", "Scripts"))
    site = Path(subprocess.run([python, "-c", PURELIB], capture_output=True, text=True, check=True).stdout.strip())
    before = {path.name for path in site.iterdir()}
    pip = ("-m", "pip", "--python", python, "--disable-pip-version-check")
    result = run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=tmp_path, PYTHONPATH="")
    assert result.returncode == 0, result.stdout
    assert set(FILES) <= {path.name for path in site.iterdir()}
    code = "import sys; print([str(finder) for finder in sys.meta_path if 'autoload' in str(finder)])"
    started = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    assert "_pillow_cwic_autoload._Finder" in started.stdout and started.stderr == ""
    result = run(*pip, "uninstall", "-y", "pillow_cwic", cwd=tmp_path, PYTHONPATH="")
    assert result.returncode == 0, result.stdout
    left = {path.name for path in site.glob("*")} - {"__pycache__"}  # pip removes an empty folder too
    assert left == before


@pytest.mark.skipif(sys.platform == "win32", reason="CC chooses the compiler on Unix only")
def test_missing_compiler_gets_a_plain_message(source: Path, tmp_path: Path) -> None:
    command = ("-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", tmp_path, source)
    result = run(*command, cwd=tmp_path, CC="no-such-compiler")
    assert result.returncode != 0
    assert "no C compiler found: there is no command 'no-such-compiler'" in result.stdout
    assert "apt install gcc python3-dev" in result.stdout
    assert "Traceback" not in result.stdout
