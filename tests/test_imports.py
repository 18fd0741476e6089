"""The rooms of the project and the one-way imports between them, read from the source of every module."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "pillow_cwic"

# From top to bottom. A room imports only from rows below its own; the rooms of one row do not know each other.
ROWS = [
    {"cli"},
    {"compare", "ray"},
    {"bulk"},
    {"__init__"},
    {"arrays", "plugin"},
    {"autoload", "codec", "imageio_support", "requantise"},
    {"rate", "symbols"},
    {"target"},
    {"container", "entropy", "networks"},
    {"alpha", "metadata", "models"},
    {"atomic", "settings"},
    {"limits", "progress"},
    {"errors"},
]
RANK = {room: rank for rank, row in enumerate(ROWS) for room in row}
APART = {"container", "entropy", "networks"}
TOGETHER = {"codec": APART, "symbols": {"container", "entropy"}, "requantise": {"container", "entropy"}}
# What `import pillow_cwic`, `Image.open` and `verify()` run: it must not load these slow modules.
LIGHT = {
    "__init__", "plugin", "imageio_support", "target", "rate", "container", "alpha", "metadata", "models", "errors",
    "limits", "atomic", "autoload", "progress", "settings", "arrays",
}  # fmt: skip
SLOW = {"torch", "numpy", "safetensors"}

MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted(
    path for folder in ("pillow_cwic", "training", "benchmarks", "tests", "csrc", "fuzz")
    for path in (ROOT / folder).rglob("*.py")
)  # fmt: skip
GENERATED = {"tables.c"}  # by csrc/make_tables.py
C_FILES = sorted(path for path in (ROOT / "csrc").glob("*.[ch]") if path.name not in GENERATED)


def dotted(path: Path) -> list[str]:
    """Module name in parts: ``pillow_cwic/entropy/__init__.py`` is ``[pillow_cwic, entropy]``."""
    parts = [*path.relative_to(ROOT).parts[:-1], path.stem]
    return parts[:-1] if parts[-1] == "__init__" else parts


def room(parts: list[str]) -> str:
    """The room within the package that a dotted name belongs to."""
    return parts[1] if len(parts) > 1 else "__init__"


def targets(node: ast.AST, path: Path) -> Iterator[list[str]]:
    """The absolute names, in parts, that an import statement reaches; nothing for other nodes."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name.split(".")
    elif isinstance(node, ast.ImportFrom):
        base = node.module.split(".") if node.module else []
        if node.level:
            package = dotted(path) if path.stem == "__init__" else dotted(path)[:-1]
            base = package[: len(package) - node.level + 1] + base
        for alias in node.names:
            # `from pillow_cwic import errors` reaches the room errors, `from pillow_cwic import encode` the top.
            inside = base == ["pillow_cwic"] and alias.name in RANK
            yield [*base, alias.name] if inside else base


def imports(path: Path) -> set[tuple[str, ...]]:
    """Everything that a module imports, at any depth and for type checking too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {tuple(name) for node in ast.walk(tree) for name in targets(node, path)}


def imports_at_start(path: Path) -> set[tuple[str, ...]]:
    """What a module imports when it is itself imported: not inside functions, not under ``TYPE_CHECKING``."""
    found: set[tuple[str, ...]] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        found.update(tuple(name) for name in targets(node, path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.orelse)
            continue
        waiting.extend(ast.iter_child_nodes(node))
    return found


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_imports_go_downwards(path: Path) -> None:
    own = room(dotted(path))
    assert own in RANK, f"{short(path)}: give the room {own!r} a row in ROWS, and in the design"
    for name in imports(path):
        if name[0] != "pillow_cwic" or room(list(name)) == own:
            continue
        other = room(list(name))
        assert other in RANK, f"{short(path)} imports {'.'.join(name)}, which is in no row"
        assert RANK[own] < RANK[other], f"{short(path)} ({own}) must not import {'.'.join(name)} ({other})"


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_only_some_see_the_rooms_together(path: Path) -> None:
    own = room(dotted(path))
    seen = {room(list(name)) for name in imports(path) if name[0] == "pillow_cwic"} & APART
    if not seen <= TOGETHER.get(own, set()):
        assert len(seen | ({own} & APART)) <= 1, f"{short(path)} sees {sorted(seen)} together"


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_package_stands_alone(path: Path) -> None:
    tops = {name[0] for name in imports(path)}
    assert not tops & {"training", "benchmarks", "tests", "fuzz"}
    if room(dotted(path)) not in {"plugin", "bulk", "cli", "compare"}:  # the command uses Pillow as any program does
        assert "PIL" not in tops, "only plugin.py knows Pillow"


def test_container_uses_the_standard_library_only() -> None:
    for path in MODULES:
        if room(dotted(path)) == "container":
            tops = {name[0] for name in imports(path)} - {"pillow_cwic"}
            assert tops <= sys.stdlib_module_names, f"{short(path)}: {sorted(tops - sys.stdlib_module_names)}"


@pytest.mark.parametrize("path", [path for path in MODULES if room(dotted(path)) in LIGHT], ids=short)
def test_light_modules_import_nothing_slow(path: Path) -> None:
    assert not {name[0] for name in imports_at_start(path)} & SLOW


def test_import_loads_no_slow_module() -> None:
    code = f"import sys, pillow_cwic; print(sorted({SLOW!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(("paths", "limit"), [(SCRIPTS, 400), (C_FILES, 600)], ids=["python", "c"])
def test_files_are_short(paths: list[Path], limit: int) -> None:
    lines = {short(path): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert not {name: count for name, count in lines.items() if count > limit}


def test_a_first_decoding_does_not_load_torchs_compiler(photo: Image.Image, tmp_path: Path) -> None:
    """Some operations on its meta device import it, and with it a second of Python."""
    paths = [tmp_path / f"{model}.cwic" for model in ("cwic1", "cwic2018")]
    for path in paths:
        photo.resize((96, 64)).save(path, model=path.stem, quality=30)
    code = "import sys\nfrom PIL import Image\nimport pillow_cwic\nfor path in sys.argv[1:]: Image.open(path).load()\n"
    code += "print('torch' in sys.modules, sorted({'sympy', 'torch._dynamo'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "True []"), done.stderr
