"""Pages in a headless Chromium, served by a server of ours: what they tell of themselves."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--force-color-profile=srgb")  # fmt: skip
PATIENCE = 120.0  # seconds until the browser is there, and until a page has told what it saw


class Site(ThreadingHTTPServer):
    """Serves a folder. `name?hold=N` gives N bytes of a file, and the others once `release` was posted.

    Everything else that is posted goes to `results`; `asked` has the names of what was asked for.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        self.results: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self.released = threading.Event()
        self.asked: list[str] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(SimpleHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.asked.append(self.path.lstrip("/"))
        hold = parse_qs(urlsplit(self.path).query).get("hold")
        with suppress(ConnectionError):  # browsers may have seen enough
            if hold:
                self.slowly(int(hold[0]))
            else:
                super().do_GET()

    def slowly(self, size: int) -> None:
        data = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[:size])
        self.server.released.wait(PATIENCE)
        self.wfile.write(data[size:])

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")  # so that all is asked for that is not kept elsewhere
        super().end_headers()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/release":
            self.server.released.set()
        else:
            self.server.results.put(json.loads(body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    with Site(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()


class Browser:
    """One Chromium for many pages: starting it takes longer than most of them."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        said = profile / "DevToolsActivePort"
        end = time.monotonic() + PATIENCE
        while not (said.exists() and said.read_text().count("\n")):
            assert time.monotonic() < end and self.process.poll() is None, "Chromium does not start"
            time.sleep(0.05)
        self.port = int(said.read_text().split()[0])

    def call(self, path: str) -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/json/{path}", method="PUT")
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return bytes(answer.read())

    def shown(self, server: Site, page: str = "index.html") -> dict[str, Any]:
        """What a page posts."""
        tab = json.loads(self.call(f"new?{quote(server.url(page), safe='')}"))["id"]
        try:
            found = server.results.get(timeout=PATIENCE)
            assert "failed" not in found, found["failed"]
            return found
        finally:
            self.call(f"close/{tab}")

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@contextmanager
def browser() -> Iterator[Browser]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        made = Browser(Path(profile))
        try:
            yield made
        finally:
            made.close()
