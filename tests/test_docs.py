"""The documents: every code sample runs, every link within the project leads somewhere."""

from __future__ import annotations

import inspect
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image
from tiny_model import tiny_weights

from pillow_cwic import models, plugin, settings
from pillow_cwic.saving import Options
from pillow_cwic.tools import cli

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WITH_PYTHON = [path for path in DOCUMENTS if "```python\n" in path.read_text(encoding="utf-8")]
COMMAND = re.compile(r"^((?:\w+=\S+ )*)cwic (.*)$", re.MULTILINE)  # with variables before it, or without
WITH_COMMANDS = [path for path in DOCUMENTS if COMMAND.search(path.read_text(encoding="utf-8"))]


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def samples(path: Path, language: str) -> Iterator[tuple[int, str]]:
    """Code blocks of a document with the line that each begins at."""
    text = path.read_text(encoding="utf-8")
    for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield text.count("\n", 0, match.start()) + 2, match[1]


@pytest.fixture
def folder(small: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: photo.jpg, another.png, holiday/beach.jpg and a model, models/mine.safetensors."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("models")
    (tmp_path / "models" / "mine.safetensors").write_bytes(tiny_weights({"name": "mine", "tuning": "mse"}))
    exif = Image.Exif()
    exif[0x013B] = "somebody"
    small.save("photo.jpg", quality=95, exif=exif)
    small.save("another.png")
    os.mkdir("holiday")
    small.save("holiday/beach.jpg")
    return tmp_path


def test_there_are_samples() -> None:
    assert {"README.md", "docs/TUTORIAL.md"} <= {short(path) for path in WITH_PYTHON}
    assert {"README.md", "docs/TUTORIAL.md"} <= {short(path) for path in WITH_COMMANDS}


@pytest.mark.parametrize("path", WITH_PYTHON, ids=short)
def test_python_samples_run(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, "show", lambda self: None)
    names: dict[str, object] = {}
    for line, code in samples(path, "python"):
        exec(compile("\n" * (line - 1) + code, str(path), "exec"), names)  # so that an error names the line


@pytest.mark.parametrize("path", WITH_COMMANDS, ids=short)
def test_commands_run(path: Path, folder: Path) -> None:
    commands = [match for _, block in samples(path, "sh") for match in COMMAND.finditer(block)]
    assert commands
    for match in commands:
        variables = dict(pair.split("=", 1) for pair in match[1].split())
        result = CliRunner().invoke(cli.main, shlex.split(match[2], comments=True), env=variables)
        assert result.exit_code == 0, (match[0], result.output, result.exception)


@pytest.mark.parametrize("path", DOCUMENTS, ids=short)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if re.match(r"\w+:", target):
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists(), f"{short(path)}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{short(path)}: {target}"


def test_the_readme_is_an_entrance_hall() -> None:
    """One picture of files, one of curves, one of the method; a table of complaints and one of figures; no planning."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 125
    assert len(re.findall(r"^!\[", text, re.MULTILINE)) == 3
    assert len(re.findall(r"^\|\W*-", text, re.MULTILINE)) == 2  # the line below a table's head
    measured = text.partition("<!-- results begin")[2].partition("<!-- results end")[0]
    assert all(f"`{tuning}` against {peer}" in measured for tuning in ("mse", "ssim") for peer in ("AVIF", "WebP"))
    assert "**+" in measured  # losses are in it
    assert not re.search(r"\b(not met|must)\b", text)
    assert text.index("format 0") < text.index("## Install")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == ["Install", "Use", "Why", "Measured", "Limits", "How it works", "More"]


def test_every_page_is_reached_from_the_one_that_says_what_is_where() -> None:
    hall = ROOT / "docs" / "README.md"
    linked = {(hall.parent / target).resolve() for target in re.findall(r"\]\(([^)\s#]+)", hall.read_text("utf-8"))}
    pages = {path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "decisions"} - {hall}
    assert pages - linked == set()
    assert hall.parent / "decisions" in linked
    assert "](docs/README.md" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_option_reference_is_complete() -> None:
    text = (ROOT / "docs" / "OPTIONS.md").read_text(encoding="utf-8")
    for option in (*Options.__dataclass_fields__, "importance", "progress", "exif", "icc_profile", "xmp", "dpi"):
        assert f"| `{option}` |" in text
    for mode in plugin.CONVERSIONS:
        assert re.search(rf"^\| [^|]*\b{mode}\b[^|]* \|", text, re.MULTILINE), mode
    for option in inspect.signature(settings.options).parameters:
        assert f"| `{option}` |" in text
    variables = settings.DEVICE_VARIABLE, settings.THREADS_VARIABLE, settings.MODELS_VARIABLE
    for variable in (*variables, "PILLOW_CWIC_AUTOLOAD"):
        assert f"`{variable}`" in text
    for model in models.released():
        assert f'`"{model.name}"`' in text and f'"{model.tuning}"' in text
