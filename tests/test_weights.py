"""Weights are numbers: no pickle on any path, and nothing is parsed before its SHA-256 is right."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.reliability import weights
from pillow_cwic import models
from pillow_cwic.codec import requantise, session
from pillow_cwic.coding import symbols
from pillow_cwic.errors import ModelError

ROOT = Path(__file__).resolve().parents[1]


def test_no_pickle_is_loaded_on_any_path() -> None:
    found, paths = weights.watch(ROOT / "tests" / "golden" / "v1")
    assert found == []
    assert {"save", "load", "verify", "shrink", "own models", "cwic encode", "cwic decode"} <= set(paths)


@pytest.mark.parametrize(
    "name", ["pickle.loads(pickle.dumps(Path))", "torch.load(BytesIO())", "pickle.Unpickler(BytesIO())"]
)
def test_a_pickle_would_be_noticed(name: str) -> None:
    """The watch itself: what it forbids raises, and the audit hook sees what goes around it."""
    code = weights.WATCHED.partition("im = Image.linear_gradient")[0]
    assert "sys.addaudithook(hook)" in code
    code += f"counted.append(True)\ntry:\n    {name}\nexcept AssertionError:\n    pass\nprint(found)"
    done = subprocess.run([sys.executable, "-c", code, ""], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert name.partition("(")[0] in done.stdout or "pickle.find_class" in done.stdout


def test_the_audit_hook_sees_a_pickle() -> None:
    code = weights.WATCHED.partition("import pickle, subprocess")[0]
    code += "import pickle\ncounted.append(True)\npickle.loads(pickle.dumps(pickle.PickleError))\nprint(found)"
    done = subprocess.run([sys.executable, "-c", code, ""], cwd=ROOT, capture_output=True, text=True)
    assert "pickle.find_class" in done.stdout, done.stderr


def test_the_hash_is_checked_before_anything_is_parsed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A released weights file with one bit changed: the reader does not get to see it."""
    model = models.by_name("cwic1")
    data = bytearray(model.read())
    data[len(data) // 2] ^= 1
    (tmp_path / model.file).write_bytes(data)
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    monkeypatch.setattr("safetensors.numpy.load", lambda _: pytest.fail("parsed"))
    monkeypatch.setattr(models, "read_header", lambda *_: pytest.fail("parsed"))
    changed = replace(model, bpp=-1.0)  # so that no cache knows it
    for read in (symbols.entropy_model, session.runtime, requantise._load):
        with pytest.raises(ModelError, match="SHA-256 of the weights is"):
            read(changed)


def test_the_sources_name_no_loader_that_unpickles() -> None:
    for path in [*(ROOT / "pillow_cwic").rglob("*.py"), *(ROOT / "training").rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        for word in ("torch.load(", "import pickle", "allow_pickle=True", "joblib", "import shelve", "import marshal"):
            assert word not in text, f"{path.name}: {word}"
