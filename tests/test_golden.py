"""Golden files: what was once written decodes for ever, symbol for symbol and pixel for pixel.

Family ``cw18``, whose networks are floating point, may differ by a level.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pillow_cwic
from pillow_cwic import models
from pillow_cwic.file import container

GOLDEN = Path(__file__).parent / "golden"
# Of tests/golden/v1/index.json. Golden files are never changed: whoever changes this adds files, or changes the format.
INDEX_SHA256 = "89c277edab9655534da8cfe6c3f15d60acacfc546c0d461d483353e425e71073"

spec = importlib.util.spec_from_file_location("golden_make", GOLDEN / "make.py")
assert spec is not None and spec.loader is not None
golden = importlib.util.module_from_spec(spec)
spec.loader.exec_module(golden)


def check(folder: Path) -> int:
    """Decodes every file of a folder and compares it with the index; how many there are."""
    entries = json.loads((folder / "index.json").read_text())
    assert sorted(entries) == sorted(path.name for path in folder.glob("*.cwic")), "files and index differ"
    for name, entry in entries.items():
        data = (folder / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry["sha256"], f"{name}: changed"
        assert golden.sha256_of_symbols(data) == entry["symbols"], f"{name}: other symbols"
        with Image.open(BytesIO(data)) as im, Image.open(folder / f"{name}.png") as wanted:
            assert (im.mode, list(im.size)) == (entry["mode"], entry["size"]) == (wanted.mode, list(wanted.size)), name
            found = {key: repr(im.info[key]) for key in entry["metadata"]}
            assert found == entry["metadata"], name
            pixels, shown = np.asarray(im), np.asarray(wanted)
        difference = np.abs(pixels.astype(int) - shown)
        if entry["mode"] in ("LA", "RGBA"):
            assert not difference[..., -1].any(), f"{name}: alpha is not what it was"
        exact = container.read_file(data).header.family != b"cw18"
        allowed = 0 if exact else 1
        assert difference.max() <= allowed, (
            f"{name}: {np.count_nonzero(difference)} samples differ, by {difference.max()}"
        )
        assert exact == ("pixels" in entry), f"{name}: only exact pictures have a hash, and all of them"
        if exact:
            assert golden.sha256_of_pixels(pixels) == entry["pixels"], f"{name}: other pixels"
        Image.open(BytesIO(data)).verify()
    return len(entries)


def test_the_format_is_what_it_was() -> None:
    folder = GOLDEN / "v1"
    assert hashlib.sha256((folder / "index.json").read_bytes()).hexdigest() == INDEX_SHA256
    with pillow_cwic.options(models=[folder], device="cpu"):
        wanted = 2 * len(golden.CASES) + len(golden.LOSSLESS) + len(golden.FILTERED) + len(golden.FINE)
        assert check(folder) == wanted


def test_golden_files_stay_small_and_cover_what_they_must() -> None:
    kept = [path for path in GOLDEN.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in kept) < 600_000
    entries = json.loads((GOLDEN / "v1" / "index.json").read_text())
    for family in ("golden1", "golden2018"):
        mine = {name: entry for name, entry in entries.items() if name.startswith(f"{family}-")}
        assert {entry["mode"] for entry in mine.values()} == {"L", "LA", "RGB", "RGBA"}
        assert {(1, 1), (70, 70)} <= {tuple(entry["size"]) for entry in mine.values()}
        assert any("tiles" in name for name in mine)
        assert any(len(entry["metadata"]) == 4 for entry in mine.values())
    for name in entries:
        post = container.read_file((GOLDEN / "v1" / name).read_bytes()).post
        assert (post is not None) == ("-post" in name)
    assert {name.partition("-")[0] for name in entries if "-post" in name} == {"golden1", "goldenfine"}


def test_every_released_model_has_golden_files_from_1_0_0_on(tmp_path: Path) -> None:
    """Until then the set is made anew, and checked, on each run."""
    cases = golden.CASES[:1] + golden.CASES[7:8] + golden.CASES[12:13]
    for model in models.released():
        folder = GOLDEN / "released" / f"{model.name}-{model.tuning}-{model.id.hex()}"
        if int(pillow_cwic.__version__.partition(".")[0]) >= 1:
            assert folder.is_dir(), f"{folder}: make it, once, by golden.make(folder, [model])"
        if folder.is_dir():
            check(folder)
            continue
        golden.make(tmp_path / folder.name, [model], cases)
        assert check(tmp_path / folder.name) == len(cases)
    for kept in (GOLDEN / "released").glob("*/"):
        assert models.by_id(bytes.fromhex(kept.name.rpartition("-")[2])), "a released model stays"


def test_golden_files_are_never_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden, "write", lambda *_: pytest.fail("made again"))
    monkeypatch.setattr(golden, "tiny_models", lambda *_: pytest.fail("made again"))
    monkeypatch.setattr(golden, "fine_model", lambda *_: pytest.fail("made again"))
    before = (GOLDEN / "v1" / "index.json").read_bytes()
    golden.main()
    assert (GOLDEN / "v1" / "index.json").read_bytes() == before


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    """The check itself: other symbols, other pixels or a file too few."""
    with pillow_cwic.options(models=[GOLDEN / "v1"], device="cpu"):
        golden.make(tmp_path, [models.by_name("golden1")], golden.CASES[6:7])
        assert check(tmp_path) == 1
        name = f"golden1-{golden.CASES[6].name}.cwic"
        index = (tmp_path / "index.json").read_text()
        entry = json.loads(index)[name]
        (tmp_path / "index.json").write_text(index.replace(entry["symbols"], "0" * 64))
        with pytest.raises(AssertionError, match="other symbols"):
            check(tmp_path)
        (tmp_path / "index.json").write_text(index)
        (tmp_path / "index.json").write_text(index.replace(entry["pixels"], "0" * 64))
        with pytest.raises(AssertionError, match="other pixels"):
            check(tmp_path)
        (tmp_path / "index.json").write_text(index)
        with Image.open(tmp_path / f"{name}.png") as im:
            im.point(lambda v: v ^ 1).save(tmp_path / f"{name}.png")
        with pytest.raises(AssertionError, match="samples differ"):
            check(tmp_path)
        (tmp_path / name).unlink()
        with pytest.raises(AssertionError, match="files and index differ"):
            check(tmp_path)
