"""The build of the C coder, the start-up hook, and the decoder for browsers. All metadata is in pyproject.toml."""

from __future__ import annotations

import json
import runpy
import shutil
import sysconfig
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.errors import CompileError

NEEDS = """
pillow_cwic contains C code, and building it needs a C compiler and Python's header files:

    Debian, Ubuntu   apt install gcc python3-dev
    Fedora           dnf install gcc python3-devel
    Alpine           apk add gcc musl-dev python3-dev
    macOS            xcode-select --install
    Windows          Visual Studio Build Tools, with "Desktop development with C++"

If a compiler is installed under another name, put that name into the environment variable CC.
"""


class BuildExt(build_ext):
    """``build_ext`` that says in plain words what to install when there is no compiler."""

    def build_extensions(self) -> None:
        command = getattr(self.compiler, "compiler_so", None)  # Unix only; MSVC reports its own absence plainly
        if command and shutil.which(command[0]) is None:
            raise SystemExit(f"error: no C compiler found: there is no command {command[0]!r}.\n{NEEDS}")
        try:
            super().build_extensions()
        except CompileError as error:
            raise SystemExit(f"error: the C compiler failed (its messages are above): {error}\n{NEEDS}") from None


class BuildPy(build_py):
    """``build_py`` that puts the start-up files beside the package, and the decoder for browsers into it.

    ``cwic autoload enable`` and ``cwic web`` put them elsewhere.
    """

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            root = Path(__file__).parent
            hook = runpy.run_path(str(root / "_pillow_cwic_autoload.py"))
            for name, content in hook["FILES"].items():
                Path(self.build_lib, name).write_text(content, encoding="utf-8")
            self.copy_web(root / "web", Path(self.build_lib, "pillow_cwic", "web"))

    def copy_web(self, home: Path, target: Path) -> None:
        """Those files that npm gets as well, but for the weights, which follow from those of the package."""
        for pattern in json.loads((home / "package.json").read_text(encoding="utf-8"))["files"]:
            for path in home.glob(pattern):
                if path.suffix != ".weights":
                    copy = target / path.relative_to(home)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, copy)


# One wheel for CPython 3.11 and later, but for free-threaded builds, which have no limited API.
limited = not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    cffi_modules=["pillow_cwic/coding/build_coder.py:ffibuilder"],
    cmdclass={"build_ext": BuildExt, "build_py": BuildPy},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if limited else {},
)
