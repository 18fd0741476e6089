"""The decoder for browsers, in Node: the pixels that Python gives, and errors for all that is damaged."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from gzip import compress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from test_cli import cwic

import pillow_cwic
from pillow_cwic import models
from pillow_cwic.file import container
from pillow_cwic.tools import web
from tests.web_node import GOLDEN, ROOT, any_post, decoded, filtered, make_weights, needs_node, sha256
from web import speed

MODULE = ROOT / "web" / "dist" / "cwic.wasm"
TOOLS = {"clang-14": "clang version 14.0.6", "wasm-ld-14": "LLD 14.0.6"}  # that made what is committed


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_weights(tmp_path_factory.mktemp("weights"))


@needs_node
def test_golden_files(weights: Path) -> None:
    """Every picture has the hash of its pixels that stands in the index; those of cwic2018 are refused by name."""
    entries = json.loads((GOLDEN / "index.json").read_text())
    found = decoded(weights, [GOLDEN / name for name in entries])
    exact = 0
    for (name, entry), got in zip(entries.items(), found, strict=True):
        if name.startswith("golden2018"):
            assert got["error"].startswith("model family: cw18"), name
            continue
        assert "error" not in got, (name, got)
        assert (got["mode"], [got["width"], got["height"]]) == (entry["mode"], entry["size"]), name
        assert got["pixels"] == entry["pixels"], f"{name}: other pixels"
        assert got["complete"] and (got["grey3"] or not got["grey"]), name
        exact += 1
    assert exact == sum("pixels" in entry for entry in entries.values()) > 20


@needs_node
def test_metadata_is_that_of_python(weights: Path) -> None:
    path = GOLDEN / "golden1-LA-70x1-q50.cwic"
    (got,) = decoded(weights, [path])
    with Image.open(path) as im:
        for name, theirs in (("exif", "exif"), ("icc_profile", "icc"), ("xmp", "xmp")):
            assert got[theirs].encode("latin1") == im.info[name].removeprefix(b"Exif\0\0"), name
        assert tuple(got["dpi"]) == im.info["dpi"]


@needs_node
@pytest.mark.parametrize("tuning", models.TUNINGS)
def test_a_photograph(tuning: str, weights: Path, tmp_path: Path) -> None:
    """By the released weights, with alpha, exact blocks, without loss, each in a decoder that others used before."""
    with Image.open(ROOT / "tests" / "data" / "kodim23.png") as photo:
        rgb = photo.convert("RGB")
    small = rgb.crop((100, 60, 421, 300))
    window = Image.new("RGB", (320, 200), (240, 240, 245))
    window.paste(small.resize((120, 90)), (150, 70))
    window.paste((20, 30, 90), (10, 10, 140, 24))
    clear = small.copy()
    clear.putalpha(Image.linear_gradient("L").resize(small.size))
    pictures: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "low": (small, {"rate": 0.2}),
        "high": (small, {"quality": 95}),
        "clear": (clear, {}),
        "grey": (small.convert("L"), {}),
        "window": (window, {}),
        "lossless": (rgb, {"lossless": True}),  # whose tables are larger than memory was before
    }
    for name, (im, options) in pictures.items():
        im.save(tmp_path / f"{name}.cwic", tuning=tuning, **options)
    found = decoded(weights, [tmp_path / f"{name}.cwic" for name in pictures])
    for name, got in zip(pictures, found, strict=True):
        with Image.open(tmp_path / f"{name}.cwic") as im:
            assert got.get("pixels") == sha256(np.asarray(im)), (name, got)


@needs_node
@pytest.mark.parametrize("tuning", models.TUNINGS)
def test_post_filters(tuning: str, weights: Path, tmp_path: Path) -> None:
    """Gentle and extreme ones, of colour, grey, alpha, exact blocks, and sides that no position fills."""
    with Image.open(ROOT / "tests" / "data" / "kodim23.png") as photo:
        small = photo.convert("RGB").crop((100, 60, 247, 161))
    clear = small.copy()
    clear.putalpha(Image.linear_gradient("L").resize(small.size))
    window = Image.new("RGB", (250, 120), (240, 240, 245))
    window.paste(small, (96, 12))
    for row in range(8):
        ImageDraw.Draw(window).text((4, 4 + 14 * row), f"{row}: is exact", fill=(20, 30, 90))
    pictures = {"colour": small, "grey": small.convert("L"), "clear": clear, "window": window}
    paths = []
    for name, im in pictures.items():
        plain = tmp_path / f"{name}.cwic"
        im.save(plain, tuning=tuning)
        plain.write_bytes(filtered(plain.read_bytes(), None))
        paths.append(plain)
        for limit in (0, 6, 127):
            paths.append(tmp_path / f"{name}-{limit}.cwic")
            paths[-1].write_bytes(filtered(plain.read_bytes(), any_post(limit, limit)))
    found = {path.stem: got for path, got in zip(paths, decoded(weights, paths), strict=True)}
    for path in paths:
        got = found[path.stem]
        with Image.open(path) as im:
            assert got.get("pixels") == sha256(np.asarray(im)) and got["complete"], (path.name, got)
    assert container.read_file((tmp_path / "window-6.cwic").read_bytes()).pixels
    for name in pictures:
        shown = [found[which]["pixels"] for which in (name, f"{name}-0", f"{name}-6", f"{name}-127")]
        assert shown[0] == shown[1] and len(set(shown)) == 3, name


@needs_node
def test_what_is_shown_of_a_file_that_arrives(weights: Path, tmp_path: Path) -> None:
    """Nothing if it comes at once; else up to three pictures, each nearer to the whole one, and never an error."""
    with Image.open(ROOT / "tests" / "data" / "kodim23.png") as photo:
        small = photo.convert("RGB").crop((100, 60, 421, 300))
    paths = [tmp_path / "layers.cwic", tmp_path / "rows.cwic"]
    small.save(paths[0])
    small.resize((642, 640)).save(paths[1], lossless=True)
    command = ["node", str(ROOT / "tests" / "web_arriving.mjs"), str(weights), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=100)
    for line in done.stdout.splitlines():
        found = json.loads(line)
        assert all(got["same"] for got in found.values())
        assert found["fast"]["far"] == []
        far = found["slow"]["far"]
        assert 1 <= len(far) <= 3 and far == sorted(far, reverse=True) and far[-1] > 0, far
        assert len(found["damaged"]["far"]) <= len(far)


def test_the_module_is_what_the_sources_make(tmp_path: Path) -> None:
    """Byte for byte, by the tools that web/README.md names; others make another one, which is no worse."""
    for tool, version in TOOLS.items():
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
        found = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
        if not re.search(rf"{re.escape(version)}\b", found):
            pytest.skip(f"{tool} is {found}, wanted {version}")
    made = tmp_path / "cwic.wasm"
    subprocess.run(["make", "-s", f"WASM={made}", str(made)], cwd=ROOT, check=True)
    assert hashlib.sha256(made.read_bytes()).hexdigest() == hashlib.sha256(MODULE.read_bytes()).hexdigest()


def test_sizes(weights: Path) -> None:
    """What a page transfers: the runtime, and the weights of one tuning."""
    runtime = sum(len(compress(path.read_bytes(), 9)) for path in (MODULE, *(ROOT / "web").glob("*.js")))
    assert runtime <= 150_000
    assert len(list(weights.glob("*.weights"))) == len(models.TUNINGS) + 2
    assert all(path.stat().st_size <= 2_500_000 for path in weights.glob("*.weights"))


def test_weights_are_the_same_twice(weights: Path) -> None:
    name, packed = web.converted((GOLDEN / "golden1.safetensors").read_bytes())
    assert (weights / f"{name}.weights").read_bytes() == packed


def test_the_command_writes_a_site(tmp_path: Path) -> None:
    """All that is needed and nothing else, over nothing that is there unless it is told to."""
    place = tmp_path / "new" / "web"
    done = cwic("web", str(place))
    names = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    ids = {models.by_name("cwic1", tuning).id.hex() for tuning in models.TUNINGS}
    assert {f"dist/{identity}.weights" for identity in ids} == {name for name in names if name.endswith(".weights")}
    assert names == set(web.site()) and not names & {"README.md", "speed.py", "decoder.c"}
    size = sum((place / name).stat().st_size for name in names)
    assert done.stdout == f"{place}: {len(names)} files, {size:,} bytes\n"
    page = place / "index.html"
    (place / "cwic.js").unlink()
    page.write_text("mine")
    refused = cwic("web", str(place), code=1)
    assert re.fullmatch(f"cwic: {place}/[^ ]+: exists already, --force overwrites it\n", refused.stderr)
    assert page.read_text() == "mine" and not (place / "cwic.js").exists()
    assert cwic("web", str(place), "--force", "--quiet").output == ""
    assert page.read_bytes() == (ROOT / "web" / "index.html").read_bytes()
    assert "is no folder" in cwic("web", str(page / "below"), code=1).stderr


def test_the_site_is_whole() -> None:
    """Whatever a module or page of it names is there, too."""
    files = web.runtime()
    named = re.compile(r"""(?:from |import |new URL\(|src=|href=)"\./([\w./-]+)\"""")
    for name, path in files.items():
        if name.endswith((".js", ".html")):
            for other in named.findall(path.read_text(encoding="utf-8")):
                assert other.rstrip("/") in {*files, "dist"}, (name, other)


def test_the_npm_package() -> None:
    """Its version is the package's, and what it exports is in it."""
    said, files = json.loads((ROOT / "web" / "package.json").read_text()), web.runtime()
    assert said["version"] == pillow_cwic.__version__ and not said.get("private")
    assert (ROOT / "web" / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    exports = re.findall(r'"\./([\w.-]+\.\w+)"', json.dumps(said["exports"]))
    assert len(exports) > 4 and set(exports) <= {*files, "package.json"}
    assert {"cwic.js", "cwic.d.ts", "install.d.ts", "container.js", "dist/cwic.wasm", "LICENSE"} <= set(files)


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_what_npm_packs(weights: Path, tmp_path: Path) -> None:
    """The files of the site, the readme, and the weights where `make web` made them."""
    copy = tmp_path / "web"
    shutil.copytree(ROOT / "web", copy, ignore=shutil.ignore_patterns("*.weights"))
    shutil.copy(next(weights.glob("*.weights")), copy / "dist")
    command = ["npm", "pack", "--dry-run", "--json", "--offline", f"--cache={tmp_path / 'cache'}"]
    done = subprocess.run(command, cwd=copy, capture_output=True, encoding="utf-8", check=True)
    (packed,) = json.loads(done.stdout)
    found = {file["path"] for file in packed["files"]}
    assert found == {*web.runtime(), "README.md", next((copy / "dist").glob("*.weights")).relative_to(copy).as_posix()}
    assert (packed["name"], packed["version"]) == ("cwic", pillow_cwic.__version__)


@needs_node
@pytest.mark.long
def test_speed(weights: Path) -> None:
    """A photograph of 768 x 512 in one thread, against plain C in the same run."""
    for row in speed.measure(weights):
        assert max(row.node, row.chromium or 0) <= 0.6 and row.node <= 6 * row.plain, row
