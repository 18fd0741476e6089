"""The start-up hook, in real interpreters whose site-packages hold the package."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import _pillow_cwic_autoload as hook
from benchmarks.startup import measure

ROOT = Path(__file__).resolve().parents[1]


class Environment:
    """A virtual environment that sees the packages of this one, with the package linked into it, and the hook."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=os.name != "nt")
        scripts = folder / ("Scripts" if os.name == "nt" else "bin")
        self.python = scripts / ("python.exe" if os.name == "nt" else "python")
        self.site = Path(self.run("import sysconfig; print(sysconfig.get_path('purelib'))"))
        others = [path for path in sys.path if path.endswith("site-packages")]
        (self.site / "zz_others.pth").write_text("\n".join([str(ROOT), *others]) + "\n")
        (self.site / "_pillow_cwic_autoload.py").write_bytes(Path(hook.__file__).read_bytes())
        for name, content in hook.FILES.items():
            (self.site / name).write_text(content)

    def run(self, code: str, *arguments: object, **environment: str) -> str:
        variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        done = subprocess.run(
            [self.python, "-c", code, *map(str, arguments)],
            env={**variables, **environment}, cwd=self.python.parent, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0 and done.stderr == "", done.stderr
        return done.stdout.strip()


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "environment")


@pytest.fixture
def file(small_file: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "x.cwic"
    path.write_bytes(small_file)
    return path


OPEN = "import sys; from PIL import Image; im = Image.open(sys.argv[1]); im.load(); print(im.size, im.format)"
SEEN = "import sys; print([m for m in ('PIL', 'imageio', 'pillow_cwic') if m in sys.modules])"


def test_pillow_opens_without_an_import(environment: Environment, file: Path) -> None:
    assert environment.run(OPEN, file) == "(100, 75) CWIC"


@pytest.mark.parametrize("module", ["imageio.v2", "imageio.v3"])
def test_imageio_reads_without_an_import(environment: Environment, file: Path, module: str) -> None:
    pytest.importorskip("imageio")
    code = f"import sys, {module}; print({module}.imread(sys.argv[1]).shape)"
    assert environment.run(code, file) == "(75, 100, 3)"


def test_nothing_is_loaded_before_it_is_needed(environment: Environment) -> None:
    assert environment.run(SEEN) == "[]"
    assert environment.run("import json, email; " + SEEN) == "[]"


SPAWNED = """
import multiprocessing, sys
def size(path):
    from PIL import Image
    return Image.open(path).size
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(size, [sys.argv[1]]))
"""
LOADER = """
import sys
from torch.utils.data import DataLoader
class Files:
    def __len__(self): return 1
    def __getitem__(self, _):
        from PIL import Image
        return Image.open(sys.argv[1]).size
if __name__ == "__main__":
    print(list(DataLoader(Files(), batch_size=None, num_workers=1, multiprocessing_context="spawn")))
"""


@pytest.mark.parametrize(("code", "said"), [(SPAWNED, "[(100, 75)]"), (LOADER, "[[100, 75]]")], ids=["pool", "loader"])
def test_spawned_workers_have_it_too(
    environment: Environment, file: Path, tmp_path: Path, code: str, said: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run([environment.python, script, file], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == said, done.stderr


def test_looking_for_a_module_is_not_importing_it(environment: Environment, file: Path) -> None:
    look = "import importlib.util; print(importlib.util.find_spec('PIL.Image').name)\n"
    assert environment.run(look + OPEN, file) == "PIL.Image\n(100, 75) CWIC"


def test_the_entry_point_of_start_files_resolves() -> None:
    """Python 3.15 calls it so; older versions run the other file."""
    assert pkgutil.resolve_name(hook.FILES["pillow_cwic_autoload.start"].strip()) is hook.install


def test_the_variable_switches_it_off(environment: Environment, file: Path) -> None:
    code = "import sys, PIL.Image, PIL; print('pillow_cwic' in sys.modules)"
    assert environment.run(code, PILLOW_CWIC_AUTOLOAD="0") == "False"
    assert environment.run(code, PILLOW_CWIC_AUTOLOAD="1") == "True"


def test_modules_look_as_ever(environment: Environment) -> None:
    """Their loader is Python's own, their source is found, and the finder is gone."""
    code = (
        "import sys, inspect; before = len(sys.meta_path); from PIL import Image\n"
        "print(type(Image.__loader__).__name__, type(Image.__spec__.loader).__name__, 'def open' in "
        "inspect.getsource(Image), [f for f in sys.meta_path if 'autoload' in str(f)])"
    )
    assert environment.run(code) == "SourceFileLoader SourceFileLoader True []"


@pytest.mark.parametrize("missing", [["_pillow_cwic_autoload.py"], ["zz_others.pth"]])
def test_leftovers_of_an_uninstalled_package_are_silent(environment: Environment, missing: list[str]) -> None:
    for name in missing:
        (environment.site / name).unlink()
    assert environment.run("import sys; print('pillow_cwic' in sys.modules)") == "False"


def test_a_broken_package_is_silent(environment: Environment, tmp_path: Path) -> None:
    (environment.site / "pillow_cwic.py").write_text("raise RuntimeError('broken')")
    assert environment.run("from PIL import Image; print(Image.new('L', (1, 1)).size)") == "(1, 1)"


def test_an_import_that_fails_fails_as_ever(environment: Environment) -> None:
    (environment.site / "zz_others.pth").unlink()
    code = "try:\n import PIL.Image\nexcept ModuleNotFoundError as error: print(error)"
    assert environment.run(code) == "No module named 'PIL'"


def test_command(environment: Environment, file: Path) -> None:
    command = "from pillow_cwic.tools.cli import main; main()"
    paths = [str(environment.site / name) for name in hook.FILES]
    assert environment.run(command, "autoload", "status") == f"on: {paths[0]}"
    off = environment.run(command, "autoload", "status", PILLOW_CWIC_AUTOLOAD="0")
    assert off == f"off: PILLOW_CWIC_AUTOLOAD=0, though there is {paths[0]}"
    assert environment.run(command, "autoload", "disable").splitlines() == [f"removed {path}" for path in paths]
    assert environment.run(command, "autoload", "disable") == ""
    assert environment.run(command, "autoload", "status") == "off: cwic autoload enable switches it on"
    assert environment.run("import sys, PIL.Image; print('pillow_cwic' in sys.modules)") == "False"
    assert environment.run(command, "autoload", "enable").splitlines() == [f"wrote {path}" for path in paths]
    assert environment.run(OPEN, file) == "(100, 75) CWIC"


def test_start_takes_less_than_a_millisecond_longer() -> None:
    with_hook, without = measure(7)
    assert min(with_hook) - min(without) < 1
