"""Weights"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.reliability.row import Row, command, row

ROOT = Path(__file__).resolve().parents[2]

# Everything that users can do with a file, in a process that counts what unpickling would show: the audit event of
# pickle, and calls of the loaders that can unpickle. argv: a folder with the models of tests/golden/v1, or "".
WATCHED = """
import json, sys
found, counted = [], []
def hook(event, args):
    if event == "pickle.find_class" and counted:
        found.append([event, repr(args)[:80]])
sys.addaudithook(hook)
sys.path[:0] = ["."]
import pickle, subprocess
from io import BytesIO
from pathlib import Path
import numpy, torch
from PIL import Image
def forbid(name):
    def call(*_, **__):
        found.append([name, "called"])
        raise AssertionError(f"{name} was called")
    return call
pickle.load, pickle.loads, torch.load = forbid("pickle.load"), forbid("pickle.loads"), forbid("torch.load")
pickle.Unpickler = type("Unpickler", (), {"__init__": forbid("pickle.Unpickler")})
torch.serialization.load = torch.load
load = numpy.load
numpy.load = lambda *a, allow_pickle=False, **k: forbid("numpy.load")() if allow_pickle else load(*a, **k)
import pillow_cwic, pillow_cwic.tools.cli
from click.testing import CliRunner
from tempfile import TemporaryDirectory
paths = []
im = Image.effect_noise((256, 256), 20).resize((64, 48)).convert("RGBA")
exif = Image.Exif(); exif[0x010E] = "x"
with TemporaryDirectory() as folder, pillow_cwic.options(models=[sys.argv[1]] if sys.argv[1] else []):
    # The first use of each part of torch and of the standard library may compile or cache; that is not the codec's.
    path = Path(folder) / "x.cwic"
    im.save(path)
    Image.open(path).load()
    counted.append(True)
    for tuning in ("mse", "ssim"):
        im.save(path, tuning=tuning, exif=exif, xmp=b"<x/>", dpi=(72, 72), effort=5)
        Image.open(path).load()
    paths += ["save", "open", "load"]
    Image.open(path).verify(); paths.append("verify")
    small = Image.open(path); small.draft(None, (8, 8)); small.load(); paths.append("draft")
    Image.open(path).importance_map(); paths.append("importance_map")
    data = path.read_bytes()
    pillow_cwic.shrink(data, size=len(data) - 1); paths.append("shrink")
    pillow_cwic.decode(pillow_cwic.encode(numpy.asarray(im))); paths.append("arrays")
    if sys.argv[1]:
        for name in ("golden1", "golden2018"):
            im.save(path, model=name); Image.open(path).load()
        paths.append("own models")
    im.save(Path(folder) / "y.png")
    for words in (["encode", "y.png"], ["decode", "-f", "y.cwic"], ["info", "x.cwic"], ["models"]):
        words = [str(Path(folder) / w) if "." in w else w for w in words]
        done = CliRunner().invoke(pillow_cwic.tools.cli.main, words)
        assert done.exit_code == 0, done.output
        paths.append(f"cwic {words[0]}")
counted.clear()
print(json.dumps({"found": found, "paths": paths}))
"""


def watch(own: Path | None = None) -> tuple[list[list[str]], list[str]]:
    """What was unpickled, and the paths that were gone, in a process of its own."""
    run = [sys.executable, "-c", WATCHED, str(own or "")]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    result = json.loads(done.stdout.splitlines()[-1])
    return result["found"], result["paths"]


@row(quick=True)
def no_pickle() -> Row:
    found, paths = watch(ROOT / "tests" / "golden" / "v1")
    return Row(
        "no pickle is loaded on any path (audit hook, and the loaders that could unpickle forbidden)",
        f"{len(found)} found on {len(paths)} paths: {', '.join(paths)}",
        command(no_pickle),
        not found and len(paths) > 10,
    )
