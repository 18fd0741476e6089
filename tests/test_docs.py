"""The documents: every code sample runs, one after the other in one folder; every link within the project leads
somewhere."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from tiny_model import tiny_weights

from pillow_cwic import models, plugin, settings
from pillow_cwic.saving import Options

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(r"^(?:\w+=\S+ )*(?:cwic|.*\| cwic) .*$", re.MULTILINE)  # with variables before it, or a pipe
# What else the lines with commands call: the network, and a window.
BESIDE = {"curl": "exec cat photo.jpg", "display": "exec cat > shown"}


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def samples(path: Path) -> Iterator[tuple[int, str, str]]:
    """What of a document runs: blocks of Python, and commands, with the line that each begins at and its language."""
    text = path.read_text(encoding="utf-8")
    for match in re.finditer(r"^```(python|sh)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, match.start()) + 2
        if match[1] == "python":
            yield line, "python", match[2]
            continue
        for command in COMMAND.finditer(match[2]):
            yield line + match[2].count("\n", 0, command.start()), "sh", command[0]


WITH_SAMPLES = [path for path in DOCUMENTS if any(samples(path))]


@pytest.fixture
def folder(small: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: photo.jpg, another.png, holiday/beach.jpg and a model, models/mine.safetensors.

    ``cwic`` is this package's, and what would show a picture does not.
    """
    if shutil.which("sh") is None:
        pytest.skip("no shell of Unix")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, line in {**BESIDE, "cwic": f'exec "{sys.executable}" -m pillow_cwic "$@"'}.items():
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    monkeypatch.setattr(Image.Image, "show", lambda self: None)
    tmp_path = tmp_path / "folder"
    tmp_path.mkdir()
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


def run(path: Path) -> None:
    """All samples of a document, as a reader runs them who goes through it."""
    names: dict[str, object] = {}
    for line, language, code in samples(path):
        if language == "python":
            exec(compile("\n" * (line - 1) + code, str(path), "exec"), names)  # so that an error names the line
        else:
            done = subprocess.run(["sh", "-c", code], capture_output=True, text=True, errors="replace")
            failed = done.returncode or re.search(r"^(cwic|Error): ", done.stderr, re.MULTILINE)  # that of a pipe, too
            assert not failed, (short(path), line, code, done.stderr)


def test_there_are_samples() -> None:
    for name in ("README.md", "docs/TUTORIAL.md"):
        assert {language for _, language, _ in samples(ROOT / name)} == {"python", "sh"}


@pytest.mark.parametrize("path", WITH_SAMPLES, ids=short)
def test_samples_run(path: Path, folder: Path) -> None:
    run(path)


def test_samples_of_all_documents_run_in_one_folder(folder: Path) -> None:
    """The names that one takes for its files are free in the others."""
    for path in WITH_SAMPLES:
        run(path)


@pytest.mark.parametrize("path", DOCUMENTS, ids=short)
def test_no_command_is_beyond_the_tests(path: Path) -> None:
    """As those in blocks that are indented were."""
    assert not re.findall(r"^(?: {4}|\t).*\bcwic [a-z]+ .*$", path.read_text(encoding="utf-8"), re.MULTILINE)


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
