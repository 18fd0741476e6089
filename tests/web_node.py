"""The decoder for browsers, run in Node: what it says of files, and the weights that it needs."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pillow_cwic.coding import coefficients
from pillow_cwic.file import container
from pillow_cwic.tools import web

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden" / "v1"
OLDEST = 18  # version of Node


def _missing() -> str:
    """Why Node cannot be used here; empty if it can."""
    if not (node := shutil.which("node")):
        return "node is not installed"
    found = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return "" if int(found.strip("v").split(".")[0]) >= OLDEST else f"node is {found}, wanted v{OLDEST} or later"


needs_node = pytest.mark.skipif(bool(_missing()), reason=_missing())


def make_weights(folder: Path) -> Path:
    """Writes the weights of all released models, and of the golden files' own."""
    web.main(str(folder))
    web.main(str(folder), *(str(GOLDEN / f"{name}.safetensors") for name in ("golden1", "goldenfine")))
    return folder


def decoded(weights: Path, files: Iterable[Path], **options: Any) -> list[dict[str, Any]]:
    """What the decoder says of each file, all in one process."""
    lines = "".join(f"{json.dumps([str(file), options])}\n" for file in files)
    command = ["node", str(ROOT / "tests" / "web_decode.mjs"), str(weights)]
    done = subprocess.run(command, input=lines, capture_output=True, encoding="utf-8", check=False, timeout=500)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.split("\n")[:-1]]


def filtered(data: bytes, payload: bytes | None) -> bytes:
    """The file with this payload of POST."""
    parsed = container.read_file(data)
    extra = list(parsed.extra.items())
    return container.write_file(parsed.header, parsed.layers, extra, parsed.alpha, parsed.pixels, payload)


def any_post(seed: int, limit: int) -> bytes:
    """A payload of POST with random coefficients up to ``limit``, of which some are 0."""
    rng = np.random.default_rng(seed)
    post = rng.integers(-limit, limit + 1, coefficients.SHAPE) * rng.integers(0, 3, coefficients.SHAPE).clip(0, 1)
    return coefficients.write(post.astype(np.int8))


def sha256(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
