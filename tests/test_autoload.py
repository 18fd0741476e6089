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
from benchmarks.startup import LIMITS, compiled, measure, registration

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
SEEN = "import sys; print([m for m in ('PIL', 'imageio', 'mimetypes', 'pillow_cwic') if m in sys.modules])"
GUESSED = "import mimetypes; print(mimetypes.guess_type('a.cwic'), mimetypes.guess_extension('image/x-cwic'))"


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
    pytest.importorskip("imageio")
    assert environment.run("import imageio.v3; " + SEEN) == "['imageio']"


def test_mime_type_without_an_import(environment: Environment) -> None:
    """As web servers ask for it, that know neither Pillow nor this package."""
    assert environment.run(GUESSED + "; " + SEEN) == "('image/x-cwic', None) .cwic\n['mimetypes']"
    again = "import mimetypes; mimetypes.init(); mimetypes.init(); " + GUESSED
    assert environment.run(again) == "('image/x-cwic', None) .cwic"
    assert environment.run(GUESSED, PILLOW_CWIC_AUTOLOAD="0") == "(None, None) None"


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
    """Their loader is Python's own, their source is found, and there is one finder more."""
    code = (
        "import sys, inspect; from PIL import Image\n"
        "print(type(Image.__loader__).__name__, type(Image.__spec__.loader).__name__, 'def open' in "
        "inspect.getsource(Image), len([f for f in sys.meta_path if 'autoload' in str(f)]))"
    )
    assert environment.run(code) == "SourceFileLoader SourceFileLoader True 1"


# Another start-up hook of the same make: asks all other finders for the module it waits for, with no guard, and puts a
# loader of its own around a copy of what it finds.
OTHER = """
import copy, pickle, sys
class Loader:
    def __init__(self, loader): self.loader = loader
    def __getattr__(self, name): return getattr(self.__dict__["loader"], name)
    def exec_module(self, module):
        self.loader.exec_module(module)
        print("other:", module.__name__)
class Other:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "PIL.Image": return None
        for f in sys.meta_path:
            if f is not Other and (s := f.find_spec(name, path, target)) is not None:
                s.loader = Loader(pickle.loads(pickle.dumps(copy.deepcopy(copy.copy(s.loader)))))
                return s
        return None
sys.meta_path.insert(0, Other)
"""


@pytest.mark.parametrize("name", ["aa_other", "zz_other"])
def test_another_hook_of_the_kind(environment: Environment, file: Path, name: str) -> None:
    """Before this one and behind it; the case hook-sitecustomize.py."""
    (environment.site / f"{name}.py").write_text(OTHER)
    (environment.site / f"{name}.pth").write_text(f"import {name}\n")
    assert environment.run(OPEN, file) == "other: PIL.Image\n(100, 75) CWIC"
    look = "import importlib.util; print(importlib.util.find_spec('PIL.Image').name)\n"
    assert environment.run(look + OPEN, file) == "PIL.Image\nother: PIL.Image\n(100, 75) CWIC"


def test_loaders_can_be_copied_and_pickled(environment: Environment) -> None:
    """The case hook-sitecustomize.py, too: a copy asks for attributes before it has its own."""
    code = (
        "import copy, importlib.util, pickle\nloader = importlib.util.find_spec('PIL.Image').loader\n"
        "for each in copy.copy(loader), copy.deepcopy(loader), pickle.loads(pickle.dumps(loader)):\n"
        "    print(type(each) is type(loader), each.path == loader.path, hasattr(type(each).__new__(type(each)), 'x'))"
    )
    assert environment.run(code).splitlines() == ["True True False"] * 3


RACE = """
import sys, threading, time
class Slow:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "PIL.Image":
            begun.set()
            time.sleep(0.3)
begun = threading.Event()
sys.meta_path.insert(0, Slow)
def relies_on_the_hook():
    from PIL import Image
    print("CWIC" in Image.OPEN)
thread = threading.Thread(target=relies_on_the_hook)
thread.start()
begun.wait()
import pillow_cwic
thread.join()
"""


def test_pillow_and_the_package_imported_at_once(environment: Environment) -> None:
    """Each thread waits for what the other imports; Python gives one of them what is there so far."""
    assert environment.run(RACE) == "True"


THREADS = """
import importlib, sys, threading
def use(name, start):
    start.wait()
    importlib.import_module(name)
names = sys.argv[1:] * 4
start = threading.Barrier(len(names))
threads = [threading.Thread(target=use, args=(name, start)) for name in names]
for thread in threads: thread.start()
for thread in threads: thread.join(30)
import mimetypes
from PIL import Image
print([thread for thread in threads if thread.is_alive()], "CWIC" in Image.OPEN, mimetypes.guess_type("a.cwic")[0])
"""


def test_threads_import_all_at_once(environment: Environment) -> None:
    for _ in range(5):
        said = environment.run(THREADS, "PIL.Image", "mimetypes", "pillow_cwic", "json", "PIL.PngImagePlugin")
        assert said == "[] True image/x-cwic"


def test_a_module_of_an_unknown_version_is_imported_as_ever(environment: Environment) -> None:
    (environment.site / "mimetypes.py").write_text("answer = 42")
    code = "import sys; sys.path.insert(0, sys.argv[1])\nimport mimetypes, pillow_cwic; print(mimetypes.answer)"
    assert environment.run(code, environment.site) == "42"


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


@pytest.mark.skipif(sys.platform != "linux", reason="the memory held is read from /proc")
def test_registration_costs_next_to_nothing() -> None:
    """Over Pillow alone, 5 ms of CPU and 1 MB at most; it took ten times that. The case hook-sitecustomize.py."""
    with compiled():
        found = registration(5)
    assert found.cpu * 1000 < LIMITS[0] and found.memory / 1e6 < LIMITS[1], found
