"""The decoder for browsers in a browser: pictures of a page, by a headless Chromium where there is one."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from pillow_cwic import models
from tests.web_browser import CHROMIUM, Browser, browser, site
from tests.web_node import ROOT, make_weights, sha256

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as made:
        yield made


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    with Image.open(ROOT / "tests" / "data" / "kodim23.png") as im:
        return im.convert("RGB").crop((100, 60, 421, 300))


def wide_gamut() -> bytes:
    """An ICC profile: sRGB's curves, and the primaries of Display P3."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    colours = {
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }
    for n in range(struct.unpack_from(">I", data, 128)[0]):
        name, offset, _ = struct.unpack_from(">4sII", data, 132 + 12 * n)
        if name in colours:
            struct.pack_into(">3i", data, offset + 8, *(round(65536 * value) for value in colours[name]))
    return bytes(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, photo: Image.Image) -> Path:
    """A site: the decoder, its weights, pages and pictures."""
    folder = tmp_path_factory.mktemp("site")
    files = folder / "files"
    files.mkdir()
    clear = photo.crop((0, 0, 64, 48))
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right
    photo.save(files / "first.cwic")
    photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(files / "later.cwic", tuning="mse")
    clear.save(files / "clear.cwic", lossless=True)
    wide = {"exif": exif, "icc_profile": wide_gamut(), "dpi": (300, 150)}
    photo.save(files / "turned.cwic", lossless=True, **wide)
    photo.save(files / "turned.png", **wide)
    (files / "bad.cwic").write_bytes((files / "first.cwic").read_bytes()[:-40])
    photo.save(files / "plain.png")
    shutil.copytree(ROOT / "web", folder / "web", ignore=shutil.ignore_patterns("*.weights"))
    make_weights(folder / "web" / "dist")
    (folder / "weights").symlink_to("web/dist")
    (folder / "worker.js").write_text('import "./web/service-worker.js";\n')
    for page in (ROOT / "tests").glob("web_*.[hj]*"):
        shutil.copy(page, folder)
    return folder


def rgba(im: Image.Image) -> str:
    return sha256(np.asarray(im.convert("RGBA")))


def shown(path: Path) -> dict[str, object]:
    """What a browser should tell of a file."""
    with Image.open(path) as im:
        return {"size": list(im.size), "rgba": rgba(im)}


def treated_as_png(found: dict[str, Any], photo: Image.Image) -> None:
    """Orientation and profile, whose colours are others than the file's numbers: as of a PNG that has both."""
    assert found["turned"] == found["turned-png"] != found["png"]
    assert found["turned"]["rgba"] not in (rgba(photo), rgba(photo.transpose(Image.Transpose.ROTATE_270)))
    assert found["turned"]["size"] in (list(photo.size), list(photo.size[::-1]))  # PNG's EXIF is new to some browsers


def test_a_page(chromium: Browser, folder: Path, photo: Image.Image) -> None:
    """Pictures there from the start, in srcset, <picture>, added later, changed, turned; bad files and missing ones."""
    with site(folder) as server:
        found = chromium.shown(server, "web_page.html")
        chromium.shown(server, "web_page.html")
        asked = [name for name in server.asked if name.endswith(".weights")]
    assert len(asked) == len(set(asked)) == len(models.TUNINGS)  # they are kept for the next page
    assert found["bitmap"] == found["turned"]
    assert found["first"] == found["chosen"] == shown(folder / "files" / "first.cwic")
    assert found["picture"] == found["later"] == found["changed"] == shown(folder / "files" / "later.cwic")
    assert found["png"]["rgba"] == rgba(photo)
    assert found["clear"]["size"] == [64, 48]
    treated_as_png(found, photo)
    assert "length" in found["bad"]["error"] or "left" in found["bad"]["error"], found["bad"]
    assert "HTTP status 404" in found["gone"]["error"]


def test_pictures_are_shown_before_they_are_whole(chromium: Browser, folder: Path, photo: Image.Image) -> None:
    """Three quarters of each file come, the last when something is shown; `load` fires once, for the whole picture."""
    files = folder / "files"
    photo.resize((642, 640)).save(files / "exact.cwic", lossless=True)
    damaged = bytearray((files / "first.cwic").read_bytes())
    damaged[-20] ^= 1
    (files / "damaged.cwic").write_bytes(damaged)
    names = ("first", "later", "exact", "damaged")
    query = "&".join(f"{name}={(files / f'{name}.cwic').stat().st_size * 3 // 4}" for name in names)
    with site(folder) as server:
        found = chromium.shown(server, f"web_slow.html?{query}")
    assert found["flickered"] == []
    for name in names:
        whole, got = shown(files / f"{name}.cwic") if name != "damaged" else {}, found[name]
        assert got["loads"] == 0 and got["early"]["rgba"] != whole.get("rgba"), name
        assert got["early"]["size"] == whole.get("size", list(photo.size)), name
        if name == "damaged":
            assert "CRC" in got["end"]["error"]
        else:
            assert got["end"] == whole, name


def test_pictures_in_styles(chromium: Browser, folder: Path) -> None:
    """In sheets and style attributes, there from the start and later; what nobody needs is not decoded."""
    (folder / "files" / "linked.css").write_text("#linked { background-image: url(first.cwic) }")
    (folder / "files" / "added.css").write_text("@import 'imported.css';")
    (folder / "files" / "imported.css").write_text("#added { background-image: url(later.cwic) }")
    with site(folder) as server:
        found = chromium.shown(server, "web_styles.html")
        assert "files/turned.cwic" not in server.asked
    for name in ("sheet", "after", "inner", "variable", "linked", "set", "inserted"):
        assert found[name] == shown(folder / "files" / "first.cwic"), name
    for name in ("attribute", "changed", "added"):
        assert found[name] == shown(folder / "files" / "later.cwic"), name
    assert "bad.cwic: " in found["error"] and "left" in found["error"]
    assert found["red"] == "red" and found["never"] == 'url("files/turned.cwic")'


def test_a_service_worker(chromium: Browser, folder: Path, photo: Image.Image) -> None:
    """Pages that know nothing of the format; what a script fetches is the file."""
    (folder / "files" / "named.cwic").write_bytes((folder / "files" / "plain.png").read_bytes())
    with site(folder) as server:
        found = chromium.shown(server, "web_unaware.html")
        asked = [name for name in server.asked if name.endswith((".weights", ".wasm"))]
    assert found["first"] == found["sourced"] == shown(folder / "files" / "first.cwic")
    assert found["later"] == shown(folder / "files" / "later.cwic")
    assert found["clear"]["size"] == [64, 48]
    assert found["png"]["rgba"] == found["named"]["rgba"] == rgba(photo)
    treated_as_png(found, photo)
    assert found["bad"] == found["gone"] == {"error": "plain"}
    assert found["statuses"] == {"bad": 422, "gone": 404}
    assert found["fetched"] == (folder / "files" / "first.cwic").stat().st_size
    assert found["kept"] == {"cwic-module": 1, "cwic-weights": len(models.TUNINGS)}
    assert sum(name.endswith(".weights") for name in asked) == len(models.TUNINGS), asked


def test_the_viewer(chromium: Browser, folder: Path, photo: Image.Image) -> None:
    """Two files dropped on the page, one of them bad, and then the original of the other."""
    with site(folder) as server:
        found = chromium.shown(server, "web_viewer.html")
    size = (folder / "files" / "first.cwic").stat().st_size
    assert found["empty"] and found["listed"] == [["first.cwic", ""], ["bad.cwic", "bad"]]
    assert found["shown"] == shown(folder / "files" / "first.cwic")
    assert found["facts"].startswith(f"321 × 240 · {size / 1000:.1f} kB · {8 * size / 321 / 240:.2f} bpp · decoded in ")
    assert found["save"] == ["first.png", "image/png"]
    assert not found["divider"] and found["original"]["rgba"] == rgba(photo)
    assert found["tags"][0].startswith("first.png, ") and found["tags"][1] == f"CWIC, {size / 1000:.1f} kB"
    assert found["fit"][2:] == [321, 240] and found["zoomed"][2:] == [1284, 960]
    assert found["moved"] == pytest.approx([found["zoomed"][0] - 40, *found["zoomed"][1:]])
    assert "blink" in found["blink"] and found["again"] == found["fit"]
    left, top = (2 * at - 100 for at in found["zoomed"][:2])  # what the finger at 100, 100 is on stays under it
    assert found["pinched"] == pytest.approx([left, top, 2568, 1920], abs=0.01)
    assert found["dragged"] == found["left"] == pytest.approx([left - 10, top + 5, 2568, 1920], abs=0.01)
    assert "left" in found["error"] and found["back"] == ["", False]
