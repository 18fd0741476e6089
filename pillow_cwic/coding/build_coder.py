"""Build script of the C coder: the extension module ``pillow_cwic.coding._coder`` (cffi, API mode).

``setup.py`` names it in ``cffi_modules``; nothing imports it at run time. Every C file in ``csrc/`` becomes part of
the extension, but for the self-test, which has a ``main`` of its own. The declarations that Python sees are the
marked part of ``csrc/cwic.h``, so that they are written once.
"""

import os
import sys
import sysconfig
from pathlib import Path

from cffi import FFI

# cffi runs this file with __file__ set but without importing it, so the folder is found from there.
ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
BEGIN, END = "/* cffi begin */", "/* cffi end */"


def declarations(header: Path) -> str:
    """The part of ``header`` between the two cffi marks."""
    if not header.is_file():
        raise SystemExit(f"{header} is missing: the coder is built from the project's source tree, not from a wheel")
    _, begin, rest = header.read_text(encoding="utf-8").partition(BEGIN)
    marked, end, _ = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{header} lacks the marks {BEGIN} and {END}")
    return marked


def relative(path: Path) -> str:
    """``path`` as setuptools wants it: relative to the project root, where every build runs, with forward slashes."""
    return Path(os.path.relpath(path, ROOT)).as_posix()


ffibuilder = FFI()
ffibuilder.cdef(declarations(CSRC / "cwic.h"))
ffibuilder.set_source(
    "pillow_cwic.coding._coder",
    '#include "cwic.h"\n',
    sources=[relative(path) for path in sorted(CSRC.glob("*.c")) if not path.name.startswith("selftest")],
    depends=[relative(path) for path in sorted(CSRC.glob("*.h"))],
    include_dirs=[relative(CSRC)],
    libraries=[] if sys.platform == "win32" else ["m"],
    extra_compile_args=[] if sys.platform == "win32" else ["-std=c99", "-O3", "-pthread"],
    extra_link_args=[] if sys.platform == "win32" else ["-pthread"],
    # One abi3 build serves CPython 3.11 and later; free-threaded builds have no limited API before 3.15.
    py_limited_api=not sysconfig.get_config_var("Py_GIL_DISABLED"),
)
