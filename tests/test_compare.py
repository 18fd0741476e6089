"""``cwic compare``: the numbers, the page without a browser, and the page in a real one."""

from __future__ import annotations

import base64
import io
import json
import math
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from pillow_cwic.tools import cli
from pillow_cwic.tools.compare import measure, page, peers

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
SIZE = 6000


def cwic(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli.main, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result


class Table(HTMLParser):
    """The rows of the page's table: texts of the cells and the file behind the link."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.files: list[bytes] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._inside = True
        elif tag == "a":
            self.files.append(base64.b64decode((dict(attrs)["href"] or "").partition(",")[2]))

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.rows[-1][-1] += data


def shots(text: str) -> dict[str, Image.Image]:
    """The pictures that the page shows, by name."""
    found = re.search(r"shots = (\[.*?\]), width", text)
    assert found
    sources = {each["name"]: each["src"].partition(",")[2] for each in json.loads(found[1])}
    return {name: Image.open(io.BytesIO(base64.b64decode(data))) for name, data in sources.items()}


@pytest.fixture(scope="module")
def crop(photo: Image.Image) -> Image.Image:
    return photo.crop((300, 60, 300 + 304, 60 + 208))


@pytest.fixture(scope="module")
def written(crop: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page for a picture whose name needs care in HTML."""
    folder = tmp_path_factory.mktemp("compare")
    crop.save(folder / "a<b>&c.png")
    cwic("compare", folder / "a<b>&c.png", "-o", folder / "page.html", "--size", SIZE, "--with", "jpeg,webp")
    return folder / "page.html"


def test_peers_fill_the_bytes_of_ours_and_the_numbers_are_those_of_the_files(written: Path, crop: Image.Image) -> None:
    text = written.read_text(encoding="utf-8")
    table, pictures = Table(text), shots(text)
    assert table.rows[0] == ["File", "Bytes", "PSNR / dB", "SSIM", "MS-SSIM", "SSIMULACRA2", "bpp", "Setting"]
    assert [row[0] for row in table.rows[1:]] == ["CWIC", "JPEG", "WebP"]
    assert list(pictures) == ["Original", "CWIC", "JPEG", "WebP"]
    assert pictures["Original"].tobytes() == crop.tobytes()
    ours = len(table.files[0])
    assert 0.9 * SIZE < ours <= SIZE
    for row, data in zip(table.rows[1:], table.files, strict=True):
        with Image.open(io.BytesIO(data)) as im:
            decoded = im.convert("RGB")
        assert pictures[row[0]].tobytes() == decoded.tobytes()
        assert 0.75 * ours < len(data) <= ours
        assert row[1] == f"{len(data):,}" and row[6] == f"{len(data) * 8 / (304 * 208):.3f}"
        mse = np.mean((np.asarray(crop, float) - np.asarray(decoded, float)) ** 2)
        assert float(row[2]) == pytest.approx(10 * math.log10(255**2 / mse), abs=0.006)


def test_similarities_are_those_of_the_benchmarks(written: Path, crop: Image.Image) -> None:
    pytest.importorskip("skimage", reason="needs the extra `bench`")
    pytest.importorskip("pytorch_msssim", reason="needs the extra `bench`")
    from benchmarks import metrics

    text = written.read_text(encoding="utf-8")
    for row, data in zip(Table(text).rows[1:], Table(text).files, strict=True):
        pair = np.asarray(crop), np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        assert float(row[3]) == pytest.approx(metrics.ssim(*pair), abs=1.5e-4)
        assert float(row[4]) == pytest.approx(metrics.ms_ssim(*pair), abs=1.5e-4)


def test_the_page_needs_nothing_else(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    markup = text[: text.index("<script>")]
    for url in re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", markup) + re.findall(r"url\(([^)]*)\)", text):
        assert url.startswith("data:"), url[:80]
    assert "http" not in text.replace("http-equiv", "") and "%%" not in text
    assert "default-src 'none'" in text
    assert "a&lt;b&gt;&amp;c.png" in text and "a<b>" not in text


def test_what_pillow_lacks_or_cannot_make_so_small_is_named(crop: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    jpeg, jp2, webp = peers.PEERS[:3]
    monkeypatch.setattr(measure, "writable", lambda: {"JPEG", "WEBP"})
    found = measure.compare(crop, [jp2, webp, jpeg], size=700)
    assert found.missing[0] == ("JPEG 2000", "Pillow cannot write it here")
    assert ("JPEG", f"has no file of at most {len(found.entries[0].data):,} bytes") in found.missing
    text = page.write(found, "x.png")
    assert "Left out: JPEG 2000 Pillow cannot write it here; " in text


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1"])
def test_every_mode_has_a_page(small: Image.Image, mode: str, tmp_path: Path) -> None:
    im = small.convert("RGB" if mode == "RGBA" else mode.removesuffix("A"))
    if mode in ("LA", "RGBA"):
        im.putalpha(0)
        assert measure.compare(im, [], quality=5).original.getextrema() == ((255, 255),) * 3  # laid on white
    im.save(tmp_path / ("x.tif"))
    cwic("compare", tmp_path / "x.tif", "--quality", "5", "--with", "jpg, jpeg")  # by either name
    rows = Table((tmp_path / "x.html").read_text(encoding="utf-8")).rows
    assert all(row[4] == "–" for row in rows[1:])  # too small for MS-SSIM


def test_tiny_and_perfect_pictures(tmp_path: Path) -> None:
    found = measure.compare(Image.new("RGB", (9, 9), "white"), [], quality=90)
    assert found.entries[0].point.ssim is None
    page.write(found, "x")
    black = np.zeros((12, 12, 3), np.uint8)
    same = measure.measure(Image.fromarray(black), Image.fromarray(black), 10)
    assert same.psnr == math.inf and same.ssim == pytest.approx(1)
    with pytest.raises(OSError, match="cannot compare mode I;16"):
        measure.compare(Image.new("I;16", (30, 30)), [])


def test_curves_hold_real_files_apart_from_one_another(crop: Image.Image) -> None:
    found = measure.compare(crop, peers.PEERS[:1], size=SIZE)
    for entry in found.entries:
        rates = [point.bpp for point in entry.curve]
        assert entry.point in entry.curve and len(rates) > 2
        assert all(b >= measure.APART * a * 0.999 for a, b in pairwise(rates))
        assert entry.curve[0].psnr < entry.curve[-1].psnr


def test_wrong_usage_and_nothing_overwritten(
    small: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small.save("x.png")
    assert "--with: gif is none of jpeg, jpeg2000" in cwic("compare", "x.png", "--with", "gif", code=2).stderr
    told = cwic("compare", "x.png", "--with", "jpg,foo,gif,foo", code=2).stderr
    assert "--with: foo and gif are none of jpeg, jpeg2000" in told
    assert "rate: 0.0 is not" in cwic("compare", "x.png", "--rate", "0", code=2).stderr
    assert "model: x is none of" in cwic("compare", "x.png", "--model", "x", code=2).stderr
    Path("x.html").write_text("mine")
    result = cwic("compare", "x.png", code=1)
    assert result.stderr == "cwic: x.html: exists already, --force overwrites it\n"
    assert Path("x.html").read_text() == "mine"
    Path("y.png").write_bytes(b"rubbish")
    assert cwic("compare", "y.png", code=1).stderr == "cwic: y.png: is no picture that this Pillow can open\n"


# In a browser -----------------------------------------------------------------------------------------------------


class Browser:
    """As much of the WebDriver protocol (W3C) as these tests need."""

    def __init__(self, port: int, profile: Path) -> None:
        self._base = f"http://127.0.0.1:{port}"
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                 "--disable-component-update", "--disable-sync", "--window-size=1100,900",
                 f"--user-data-dir={profile}"]  # fmt: skip
        options = {"binary": CHROMIUM, "args": flags}
        wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
        session = self._call("POST", "/session", {"capabilities": wanted})["sessionId"]
        self._base += f"/session/{session}"

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def open(self, page: Path) -> None:
        self._call("POST", "/url", {"url": page.as_uri()})

    def run(self, script: str) -> Any:
        return self._call("POST", "/execute/sync", {"script": script, "args": []})

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Mouse button down, a move and up, in pixels of the window."""

        def move(at: tuple[float, float]) -> dict[str, Any]:
            return {"type": "pointerMove", "x": round(at[0]), "y": round(at[1]), "duration": 30, "origin": "viewport"}

        steps = [move(start), {"type": "pointerDown", "button": 0}, move(end), {"type": "pointerUp", "button": 0}]
        mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": steps}
        self._call("POST", "/actions", {"actions": [mouse]})

    def press(self, *keys: str) -> None:
        steps = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": steps}]})

    def screenshot(self) -> Image.Image:
        data = base64.b64decode(self._call("GET", "/screenshot"))
        return Image.open(io.BytesIO(data)).convert("RGB")

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self._call("POST", "/se/log", {"type": "browser"})]

    def close(self) -> None:
        self._call("DELETE", "")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if not CHROMIUM or not DRIVER:
        pytest.skip("needs Chromium and chromedriver (Debian: apt install chromium chromium-driver)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with socket.socket() as there:
                if there.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        started = Browser(port, tmp_path_factory.mktemp("profile"))
        yield started
        started.close()
    finally:
        driver.terminate()
        driver.wait(30)


@pytest.fixture
def shown(browser: Browser, written: Path) -> Browser:
    browser.open(written)
    return browser


SPLIT = "return +document.getElementById('handle').getAttribute('aria-valuenow')"
FRAME = "var b = document.getElementById('frame').getBoundingClientRect(); return [b.left, b.top, b.width, b.height]"
LEFT, RIGHT, UP, HOME, END, PAGE_UP = "\ue012", "\ue014", "\ue013", "\ue011", "\ue010", "\ue00e"


def at(shown: Browser, picture: Image.Image, column: float, row: float = 0.3) -> float:
    """Mean difference between the screen and ``picture``, fitted to the frame, around a place given in shares of it."""
    left, top, width, height = shown.run(FRAME)
    box = left + column * width - 24, top + row * height - 24, left + column * width + 24, top + row * height + 24
    fitted = picture.convert("RGB").resize((round(width), round(height)), Image.Resampling.BILINEAR)
    own = fitted.crop((round(box[0] - left), round(box[1] - top), round(box[2] - left), round(box[3] - top)))
    seen = shown.screenshot().crop(tuple(round(side) for side in box))
    return float(np.abs(np.asarray(seen, float) - np.asarray(own, float)).mean())


def test_the_slider_moves(shown: Browser, written: Path) -> None:
    left, top, width, height = shown.run(FRAME)
    middle = top + height / 2
    assert shown.run(SPLIT) == 50
    shown.drag((left + width / 2, middle), (left + width * 0.8, middle))
    assert shown.run(SPLIT) == pytest.approx(80, abs=1)
    handle = shown.run("var b = document.getElementById('handle').getBoundingClientRect(); return b.left + b.width / 2")
    assert handle == pytest.approx(left + width * 0.8, abs=2)
    shown.drag((left + width * 0.5, middle), (left + width * 0.2, middle))  # anywhere in the picture
    assert shown.run(SPLIT) == pytest.approx(20, abs=1)


def test_each_side_shows_its_picture(shown: Browser, written: Path) -> None:
    """A white picture takes the place of one side's, and white is seen exactly on that side of the divider."""
    data = io.BytesIO()
    Image.new("RGB", (3, 2), "white").save(data, "PNG")
    white = "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
    original = shots(written.read_text(encoding="utf-8"))["Original"]
    blank = Image.new("RGB", original.size, "white")
    assert at(shown, original, 0.25) < 8
    shown.run(f'document.querySelector("#left img").src = "{white}"')
    time.sleep(0.3)
    assert at(shown, blank, 0.25) < 1 and at(shown, blank, 0.75) > 30
    shown.run("document.getElementById('handle').focus()")
    shown.press(END)
    assert at(shown, blank, 0.75) < 1
    shown.press(HOME)
    assert at(shown, blank, 0.25) > 30


def test_the_keyboard_does_everything(shown: Browser) -> None:
    shown.run("document.getElementById('handle').focus()")
    shown.press(RIGHT, RIGHT, LEFT, PAGE_UP)
    assert shown.run(SPLIT) == 62
    shown.press("+", "+", "+")
    assert shown.run("return document.querySelector('[data-zoom=\"4\"]').getAttribute('aria-pressed')") == "true"
    shown.run("document.getElementById('frame').focus()")
    before = shown.run("return parseFloat(document.querySelector('#left .sheet').style.left)")
    shown.press(RIGHT)
    assert shown.run("return parseFloat(document.querySelector('#left .sheet').style.left)") == before - 60
    sheets = "return Array.from(document.querySelectorAll('.sheet')).map(s => s.style.cssText)"
    assert len(set(shown.run(sheets))) == 1  # both pictures and the map lie on one another
    shown.press("0", "3", "m")
    assert shown.run("return document.getElementById('tagright').textContent").startswith("JPEG · ")
    assert shown.run("return document.querySelector('#right img').alt") == "JPEG"
    assert shown.run("return !document.getElementById('map').hidden && document.getElementById('showmap').checked")


def test_dragging_pans_when_zoomed(shown: Browser) -> None:
    left, top, *_ = shown.run(FRAME)
    shown.run("document.querySelector('[data-zoom=\"8\"]').click()")
    where = "var s = document.querySelector('#left .sheet').style; return [parseFloat(s.left), parseFloat(s.top)]"
    before = shown.run(where)
    shown.drag((left + 200, top + 200), (left + 150, top + 230))
    after = shown.run(where)
    assert (after[0] - before[0], after[1] - before[1]) == pytest.approx((-50, 30), abs=1.5)
    assert shown.run(SPLIT) == 50


def test_pictures_load_and_numbers_are_on_the_screen(shown: Browser, written: Path) -> None:
    rows = Table(written.read_text(encoding="utf-8")).rows
    seen = shown.run("return Array.from(document.querySelectorAll('#table tr')).map(r => "
                     "Array.from(r.cells).map(c => c.textContent))")  # fmt: skip
    assert seen == rows
    loaded = "return Array.from(document.images).every(i => i.complete && i.naturalWidth > 0)"
    assert shown.run(loaded)
    assert shown.run("return document.querySelectorAll('svg polyline').length") == 12  # 3 formats, 4 measures
    assert shown.run("return document.documentElement.scrollWidth <= window.innerWidth")
    assert shown.complaints() == []  # neither errors nor anything the page's policy forbade
    assert shown.run("return performance.getEntriesByType('resource').every(e => e.name.startsWith('data:'))")
