"""The rooms of the project and the one-way imports between them, read from the source of every module."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import pillow_cwic

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "pillow_cwic"

# From top to bottom. A room is a folder or module of the package; a part of a folder that has a place of its own is
# named with its folder, which then stands for the rest. A room imports only from rows below its own; the rooms of one
# row do not know each other.
ROWS = [
    {"__main__"},
    {"tools.cli"},
    {"tools.compare", "tools.ray", "tools.web"},
    {"tools.bulk"},
    {"__init__"},
    {"registration"},
    {"arrays", "plugin"},
    {"codec", "tools"},
    {"codec.search", "cwic2018"},
    {"coding.symbols", "rate", "transforms"},
    {"saving"},
    {"coding", "file.container"},
    {"models"},
    {"measures", "settings"},
    {"device", "file", "progress", "threads"},
    {"errors"},
]
RANK = {room: rank for rank, row in enumerate(ROWS) for room in row}
APART = {"file.container", "coding", "transforms"}
TOGETHER = {
    "codec": APART,
    "coding.symbols": {"file.container", "coding"},
    "transforms": {"coding", "transforms"},  # native.py alone, as the test below says
}
WITH_PILLOW = {"registration", "plugin", "tools.bulk", "tools.cli", "tools.compare"}
# Who needs torch: these modules; and, when asked for what only they can do, functions of others.
WITH_TORCH = ("pillow_cwic/cwic2018/", "pillow_cwic/transforms/torch/")
ASK_FOR_TORCH = {
    "pillow_cwic/arrays.py", "pillow_cwic/codec/batch.py", "pillow_cwic/codec/families.py", "pillow_cwic/device.py",
    "pillow_cwic/transforms/cwic1.py", "pillow_cwic/transforms/protocol.py",
}  # fmt: skip
# What `import pillow_cwic`, `Image.open` and `verify()` run: it must not load these slow modules.
LIGHT = {
    "__init__", "registration", "plugin", "saving", "rate", "file", "file.container", "models", "errors", "tools",
    "progress", "settings", "arrays", "device", "threads",
}  # fmt: skip
SLOW = {"torch", "numpy", "safetensors"}
HEAVY = {"pillow_cwic/models/weights.py"}  # the one module of a light room that is not

MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted(
    path for folder in ("pillow_cwic", "training", "benchmarks", "tests", "csrc", "fuzz")
    for path in (ROOT / folder).rglob("*.py")
)  # fmt: skip
GENERATED = {"tables.c"}  # by csrc/make_tables.py
C_FILES = sorted(path for path in (ROOT / "csrc").glob("*.[ch]") if path.name not in GENERATED)


def dotted(path: Path) -> list[str]:
    """Module name in parts: ``pillow_cwic/coding/__init__.py`` is ``[pillow_cwic, coding]``."""
    parts = [*path.relative_to(ROOT).parts[:-1], path.stem]
    return parts[:-1] if parts[-1] == "__init__" else parts


def room(parts: list[str]) -> str:
    """The room within the package that a dotted name belongs to: the longest name in ROWS that it begins with."""
    part = ".".join(parts[1:3])
    return part if part in RANK else parts[1] if len(parts) > 1 else "__init__"


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
            # `from pillow_cwic import errors` reaches the room errors, `from pillow_cwic import encode` the top, and
            # `from pillow_cwic.file import container` the room file.container.
            inside = base[:1] == ["pillow_cwic"] and ".".join([*base[1:], alias.name]) in RANK
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
    if room(dotted(path)) not in WITH_PILLOW:  # the command uses Pillow as any program does
        assert "PIL" not in tops, "only registration.py and plugin.py know Pillow"


FILE = sorted((PACKAGE / "file").glob("**/*.py"))


@pytest.mark.parametrize("path", FILE, ids=short)
def test_the_file_uses_the_standard_library_only(path: Path) -> None:
    """And of the package the errors; but ``alpha`` works on planes of numpy, inside its functions."""
    own = {".".join(name[:2]) for name in imports(path) if name[0] == "pillow_cwic"}
    assert own <= {"pillow_cwic.errors", "pillow_cwic.file"}
    at_start, others = (
        {name[0] for name in names(path)} - sys.stdlib_module_names for names in (imports_at_start, imports)
    )
    assert at_start <= {"pillow_cwic"}
    assert others - {"pillow_cwic"} == ({"numpy"} if path.stem == "alpha" else set())


@pytest.mark.parametrize(
    "path", [path for path in MODULES if room(dotted(path)) in LIGHT and short(path) not in HEAVY], ids=short
)
def test_light_modules_import_nothing_slow(path: Path) -> None:
    found = imports_at_start(path)
    assert not {name[0] for name in found} & SLOW
    assert not {"/".join(name) + ".py" for name in found} & HEAVY
    assert {room(list(name)) for name in found if name[0] == "pillow_cwic"} <= LIGHT


def sees_torch(names: set[tuple[str, ...]]) -> bool:
    """Whether these are imports of torch, or of modules that import it."""
    return any(name[0] == "torch" or "/".join((*name, "")).startswith(WITH_TORCH) for name in names)


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_only_what_needs_torch_imports_it(path: Path) -> None:
    if short(path).startswith(WITH_TORCH):
        return
    assert not sees_torch(imports_at_start(path)), f"{short(path)} imports torch when it is imported"
    if sees_torch(imports(path)):
        assert short(path) in ASK_FOR_TORCH, f"{short(path)} imports torch"


@pytest.mark.parametrize("path", [path for path in MODULES if room(dotted(path)) == "transforms"], ids=short)
def test_one_module_of_the_transforms_calls_c(path: Path) -> None:
    seen = {".".join(name[:3]) for name in imports(path) if name[:2] == ("pillow_cwic", "coding")}
    wanted = {"pillow_cwic.coding._coder", "pillow_cwic.coding.coder"} if path.stem == "native" else set()
    assert seen == wanted


# What needs no torch. argv: an empty folder. It tells in how many ways.
WITHOUT_TORCH = """
import io, sys
from pathlib import Path
import numpy as np
from click.testing import CliRunner
from PIL import Image
import pillow_cwic
from pillow_cwic.tools import cli

folder = Path(sys.argv[1])
im = Image.effect_noise((72, 56), 20).convert("RGBA")
im.putalpha(Image.radial_gradient("L").resize(im.size))
pixels = np.asarray(im)
wanted = [{"quality": 40}, {"rate": 2.5}, {"size": 1300}, {"psnr": 31}, {"ssim": 0.9}, {"tuning": "ssim"}]
wanted += [{"effort": effort} for effort in range(5)] + [{"importance": pixels[..., 3]}]
for options in wanted:
    data = pillow_cwic.encode(pixels, **options)
    assert pillow_cwic.decode(data).shape == (56, 72, 4)
assert pillow_cwic.decode(pillow_cwic.encode(np.stack([pixels, pixels]))).shape == (2, 56, 72, 4)
with pillow_cwic.options(device="cpu", threads=2):
    pillow_cwic.decode(data, device="cpu")
pillow_cwic.shrink(data, size=len(data) - 20)
im.save(folder / "a.cwic", rate=3.0, progress=False)
Image.open(folder / "a.cwic").load()
Image.open(folder / "a.cwic").verify()
Image.open(folder / "a.cwic").importance_map()
small = Image.open(folder / "a.cwic")
small.draft(None, (8, 8))
small.load()
small.thumbnail((4, 4))
im.convert("RGB").save(folder / "b.png")
for words in (
    ["encode", "b.png"], ["decode", "b.cwic", "-o", "c.png"], ["info", "b.cwic"], ["models"],
    ["shrink", "a.cwic", "-o", "d.cwic", "--rate", "2.4"], ["compare", "b.png", "--rate", "2", "--with", "jpeg"],
):
    words = [str(folder / word) if word.endswith(("cwic", "png")) else word for word in words]
    result = CliRunner().invoke(cli.main, words)
    assert result.exit_code == 0, (words, result.output, result.exception)
"""


def alone(code: str, folder: Path) -> str:
    """What the code prints, in a process of its own that sees no GPU."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("PILLOW_CWIC_DEVICE", None)
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_torch_is_not_imported_for_what_needs_none(tmp_path: Path) -> None:
    assert importlib.util.find_spec("torch") is not None
    code = WITHOUT_TORCH + "print(sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'sympy'}))"
    assert alone(code, tmp_path).strip() == "[]"


def test_without_torch_all_else_works_and_the_rest_says_what_it_needs(tmp_path: Path, photo: Image.Image) -> None:
    photo.resize((40, 24)).save(tmp_path / "paper.cwic", model="cwic2018", quality=30)
    code = (
        "import sys\nsys.modules['torch'] = None  # as if it were not installed\n"
        + WITHOUT_TORCH
        + """
batch = pillow_cwic.encode(np.stack([pixels, pixels]), effort=0)
file = Path(folder / "paper.cwic").read_bytes()
def on_cuda():
    with pillow_cwic.options(device="cuda"):
        Image.open(folder / "a.cwic").load()
for ask in (
    lambda: pillow_cwic.encode(pixels, effort=7), lambda: im.save(folder / "e.cwic", effort=5),
    lambda: pillow_cwic.decode(data, device="cuda"), on_cuda,
    lambda: pillow_cwic.decode(data, as_tensor=True), lambda: pillow_cwic.decode(batch, as_tensor=True),
    lambda: pillow_cwic.encode(pixels, model="cwic2018"), lambda: pillow_cwic.decode(file),
    lambda: Image.open(folder / "paper.cwic").load(),
):
    try:
        ask()
    except pillow_cwic.CwicError as error:
        print(error)
assert not (folder / "e.cwic").exists()
assert len(Image.open(folder / "paper.cwic").importance_map().getbbox()) == 4  # integers alone
result = CliRunner().invoke(cli.main, ["decode", str(folder / "paper.cwic"), "-o", str(folder / "p.png")])
assert result.exit_code == 1 and "pillow_cwic[torch]" in result.output, result.output
"""
    )
    lines = alone(code, tmp_path).splitlines()
    assert len(lines) == 9
    assert all("needs torch, which is not installed: pip install 'pillow_cwic[torch]'" in line for line in lines)
    for words, line in zip(
        ["effort", "effort", "'cuda'", "'cuda'", *["as_tensor"] * 2, *["cwic2018"] * 3], lines, strict=True
    ):
        assert words in line


def test_import_loads_no_slow_module() -> None:
    code = f"import sys, pillow_cwic; print(sorted({SLOW!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def loaded(code: str) -> list[str]:
    """What modules of the project and others that take time the code imports, beside what Pillow does itself."""
    code = f"import sys\nfrom PIL import Image\nbefore = set(sys.modules)\n{code}\nprint(*set(sys.modules) - before)"
    return sorted(subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).split())


def test_registration_imports_nothing_but_itself(tmp_path: Path) -> None:
    """Nor does opening a picture of another format. The case hook-sitecustomize.py."""
    own = ["_pillow_cwic_autoload", "pillow_cwic", "pillow_cwic.registration"]
    assert loaded("import pillow_cwic") == own
    Image.new("L", (1, 1)).save(path := tmp_path / "a.png")
    found = loaded(f"import pillow_cwic; Image.open({str(path)!r}).load(); Image.new('L', (1, 1)).save({str(path)!r})")
    assert [name for name in found if "cwic" in name] == own
    assert [name for name in loaded("import pillow_cwic; pillow_cwic.CwicError") if "cwic" in name] == sorted(
        [*own, "pillow_cwic.errors"]
    )


def test_public_names_come_when_asked_for() -> None:
    every = sorted(pillow_cwic.__all__)
    code = f"import sys, pillow_cwic\nassert set({every}) <= set(dir(pillow_cwic)), dir(pillow_cwic)\n"
    code += f"from pillow_cwic import *\nassert set({every}) <= set(globals())\n"
    code += "assert CwicError is pillow_cwic.CwicError is pillow_cwic.errors.CwicError\n"
    code += "assert pillow_cwic.plugin.save_atomic is save_atomic and not hasattr(pillow_cwic, 'decoder')\n"
    code += "try: pillow_cwic.decoder\nexcept AttributeError as error: print(error)"
    said = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    assert said == "module 'pillow_cwic' has no attribute 'decoder'\n"
    for name in every:  # what it is does not depend on how it is reached
        assert getattr(pillow_cwic, name).__name__ == name


def test_opened_files_are_of_the_class_of_the_plugin_and_can_be_pickled(small_file: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.cwic").write_bytes(small_file)
    code = (
        "import pickle, sys, pillow_cwic; from PIL import Image; im = Image.open(sys.argv[1])\n"
        "print(type(im) is pillow_cwic.plugin.CwicImageFile, Image.OPEN['CWIC'][0](open(sys.argv[1], 'rb'), '').size)\n"
        "im.load(); sys.stdout.flush(); sys.stdout.buffer.write(pickle.dumps(im).hex().encode())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.cwic")]
    said, pickled = subprocess.check_output(command, cwd=ROOT, text=True).split("\n")
    assert said == "True (100, 75)"
    code = "import pickle, sys; im = pickle.loads(bytes.fromhex(sys.argv[1])); print(im.format, im.size, type(im))"
    said = subprocess.check_output([sys.executable, "-c", code, pickled], cwd=ROOT, text=True).strip()
    assert said == "CWIC (100, 75) <class 'pillow_cwic.plugin.CwicImageFile'>"


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
