"""The decoder for browsers in a browser: pictures of a page, by a headless Chromium where there is one."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.web_node import ROOT, make_weights, sha256

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
PATIENCE = 120.0  # seconds until the page has told what it saw


class Server(SimpleHTTPRequestHandler):
    """Files of a folder; what is posted goes to the queue."""

    results: SimpleQueue[dict[str, Any]]

    def do_POST(self) -> None:
        self.results.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def shown_by_a_browser(folder: Path) -> dict[str, Any]:
    """What index.html of a folder posts."""

    class Mine(Server):
        results: SimpleQueue[dict[str, Any]] = SimpleQueue()

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Mine, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert CHROMIUM
        url = f"http://127.0.0.1:{server.server_port}/index.html"
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--remote-debugging-port=0", url]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return Mine.results.get(timeout=PATIENCE)
        finally:
            browser.terminate()
            browser.wait(30)
            server.shutdown()


def rgba(im: Image.Image) -> str:
    return sha256(np.asarray(im.convert("RGBA")))


def test_a_page(tmp_path: Path) -> None:
    """Pictures there from the start, in srcset, <picture>, added later, changed, turned; bad files and missing ones."""
    with Image.open(ROOT / "tests" / "data" / "kodim23.png") as photo:
        small = photo.convert("RGB").crop((100, 60, 421, 300))
    clear = small.crop((0, 0, 64, 48))
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right
    files = tmp_path / "files"
    files.mkdir()
    small.save(files / "first.cwic")
    small.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(files / "later.cwic", tuning="ssim")
    clear.save(files / "clear.cwic", lossless=True)
    small.save(files / "turned.cwic", exif=exif)
    (files / "bad.cwic").write_bytes((files / "first.cwic").read_bytes()[:-40])
    small.save(files / "plain.png")
    (tmp_path / "web").symlink_to(ROOT / "web")
    (tmp_path / "weights").mkdir()
    make_weights(tmp_path / "weights")
    shutil.copy(ROOT / "tests" / "web_page.html", tmp_path / "index.html")
    found = shown_by_a_browser(tmp_path)
    with Image.open(files / "first.cwic") as first, Image.open(files / "later.cwic") as later:
        assert found["first"] == {"size": list(small.size), "rgba": rgba(first)}
        assert found["chosen"] == found["first"] and found["picture"] == found["later"]
        assert found["later"] == found["changed"] == {"size": list(small.size), "rgba": rgba(later)}
    assert found["png"]["rgba"] == rgba(small)
    assert found["clear"]["size"] == list(clear.size)
    assert found["turned"]["size"] in (list(small.size), list(small.size[::-1]))  # PNG's EXIF is new to some browsers
    assert "length" in found["bad"]["error"] or "left" in found["bad"]["error"], found["bad"]
    assert "HTTP status 404" in found["gone"]["error"]
