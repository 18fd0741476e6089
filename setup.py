"""The build of the C coder. All metadata is in pyproject.toml."""

from __future__ import annotations

import shutil
import sysconfig

from setuptools import setup
from setuptools.command.build_ext import build_ext
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


# One wheel for CPython 3.11 and later, but for free-threaded builds, which have no limited API.
limited = not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    cffi_modules=["pillow_cwic/entropy/build_coder.py:ffibuilder"],
    cmdclass={"build_ext": BuildExt},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if limited else {},
)
