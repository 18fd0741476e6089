"""Models of one's own: trained by the documented command, found on the model path, and what hostile ones meet."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load, save

import pillow_cwic
from pillow_cwic import cli, codec, container, limits, models, settings
from pillow_cwic.codec import session
from pillow_cwic.errors import CwicError, ModelError
from pillow_cwic.networks.model import Config, Cwic1
from training import export, own

DATA = Path(__file__).parent / "data"
DOCS = Path(__file__).parents[1] / "docs"
TINY = Config(wide=16, blocks=1, groups=(2, 2), context_hidden=16, map_features=8, levels=2)
FACTS = {"name": "mine", "tuning": "mse", "family": "cwc1"}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(settings.MODELS_VARIABLE, raising=False)


@pytest.fixture(scope="module")
def tiny() -> bytes:
    """A weights file of a model that was never trained; its linear paths are a DCT."""
    torch.manual_seed(0)
    return export.freeze(Cwic1(TINY), FACTS)


def changed(weights: bytes, metadata: dict[str, Any] | None = None, **arrays: Any) -> bytes:
    """The weights file with other metadata and arrays; None takes one away."""
    length = struct.unpack_from("<Q", weights)[0]
    facts = {**json.loads(weights[8 : 8 + length])["__metadata__"], **(metadata or {})}
    tensors = {**load(weights), **{k.replace("__", "."): v for k, v in arrays.items()}}
    facts, tensors = ({k: v for k, v in each.items() if v is not None} for each in (facts, tensors))
    return save(tensors, facts)


def with_config(weights: bytes, **values: Any) -> bytes:
    return changed(weights, {"config": json.dumps({**TINY.to_dict(), **values})})


def run(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python code in a process of its own."""
    bare = {k: v for k, v in os.environ.items() if k != settings.MODELS_VARIABLE}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env={**bare, **environment}, capture_output=True, text=True)


def test_from_pictures_to_files_in_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The documented command, a few steps of it; then save and load with the file on the path, and without."""
    for name in ("data", "valid", "models"):
        (tmp_path / name).mkdir()
    with Image.open(DATA / "kodim15.png") as im:
        im.save(tmp_path / "data" / "one.png")
        im.resize((96, 64)).save(tmp_path / "valid" / "two.png")
    out = tmp_path / "models" / "mine.safetensors"
    command = re.search(r"^python -m training\.own (.*)$", (DOCS / "MODELS.md").read_text(), re.MULTILINE)
    assert command
    arguments = command[1].replace("other-pictures/", "valid").replace("pictures/", "data").split()
    arguments[arguments.index("--minutes") :] = ["--steps", "3"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["own", *arguments])
    own.main()
    assert json.loads((tmp_path / "runs" / "mine" / "state.json").read_text())["step"] == 3

    save_code = "import pillow_cwic; from PIL import Image; Image.open('valid/two.png').save('x.cwic', model='mine')"
    load_code = "import pillow_cwic; from PIL import Image; im = Image.open('x.cwic'); im.load(); print(im.info)"
    done = run(f"{save_code}; {load_code}", tmp_path, PILLOW_CWIC_MODELS=os.pathsep.join(["nowhere", "models"]))
    assert "'model': 'mine', 'tuning': 'mse'" in done.stdout, done.stderr
    with settings.options(models=[out.parent]):
        model = models.by_name("mine")
        im = Image.open("x.cwic")
        error = np.mean((np.asarray(im).astype(float) - np.asarray(Image.open("valid/two.png"))) ** 2)
    assert 10 * np.log10(255**2 / error) > 25
    done = run(load_code, tmp_path)
    assert done.returncode == 1
    assert f"ModelError: model id: {model.id.hex()} is not installed" in done.stderr
    assert "a folder of PILLOW_CWIC_MODELS (now none)" in done.stderr

    own.main()  # again: the run is over, the same file is written
    with settings.options(models=[out.parent]):
        assert models.by_name("mine") == model


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--name": "cwic1"}, "'cwic1' is the name of a released model"),
        ({"--name": "../x"}, "'../x' is not 1 to 64 letters"),
        ({"--out": "mine.pt"}, "mine.pt: does not end in .safetensors"),
    ],
)
def test_training_refuses_what_would_not_work(
    changes: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {
        "--data": "x",
        "--valid": "x",
        "--out": "mine.safetensors",
        "--name": "mine",
        "--steps": "1",
        **changes,
    }
    monkeypatch.setattr(sys, "argv", ["own", *(word for pair in arguments.items() for word in pair)])
    with pytest.raises(SystemExit):
        own.main()
    assert words in capsys.readouterr().err


def test_a_model_is_known_by_name_and_id(tiny: bytes, tmp_path: Path, small: Image.Image) -> None:
    (tmp_path / "any-name.safetensors").write_bytes(tiny)
    (tmp_path / "second.safetensors").write_bytes(changed(tiny, {"tuning": "ssim"}))
    pixels = np.asarray(small)
    with pytest.raises(ValueError, match=r"model: mine is none of cwic1/mse, cwic1/ssim, cwic2018/mse$"):
        codec.encode(pixels, model="mine")
    with pillow_cwic.options(models=[tmp_path]):
        data = pillow_cwic.encode(pixels, model="mine", quality=40)
        assert models.by_id(data[36:42]).tuning == "mse"  # the default, though another comes later
        assert models.by_name("mine", "ssim").id != data[36:42]
        assert pillow_cwic.decode(data).shape == (75, 100, 3)
        with pytest.raises(
            ValueError, match="model: mine/x is none of cwic1/mse, cwic1/ssim, cwic2018/mse, mine/mse, mine/ssim"
        ):
            codec.encode(pixels, model="mine", tuning="x")
        lines = CliRunner().invoke(cli.main, ["models"]).output.splitlines()
        assert f"mine mse: id {data[36:42].hex()}, {tmp_path / 'any-name.safetensors'}" in lines
        (tmp_path / "any-name.safetensors").unlink()
        assert models.by_name("mine").tuning == "ssim"
    with pytest.raises(ModelError, match=f"model id: {data[36:42].hex()} is not installed") as caught:
        pillow_cwic.decode(data)
    assert "PILLOW_CWIC_MODELS (now none)" in str(caught.value)


def test_no_file_takes_the_place_of_a_released_model(tiny: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(changed(tiny, {"name": "cwic1"}))
    (tmp_path / "y.safetensors").write_bytes(models.by_name("cwic1").read())
    with pillow_cwic.options(models=[tmp_path]):
        assert models.by_name("cwic1").released and models.by_id(models.by_name("cwic1").id).released
        assert [model.name for model in models.on_path()] == ["cwic1", "cwic1"]


def test_files_are_hashed_once_and_again_when_they_change(
    tiny: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    digest = models.hashlib.file_digest
    monkeypatch.setattr(
        models.hashlib, "file_digest", lambda file, kind: hashed.append(file.name) or digest(file, kind)
    )
    path = tmp_path / "x.safetensors"
    path.write_bytes(tiny)
    with pillow_cwic.options(models=[path]):
        first = models.by_name("mine")
        assert models.by_name("mine") == first and hashed == [str(path)]
        path.write_bytes(changed(tiny, {"step": "12345"}))
        second = models.by_name("mine")
        assert second.id != first.id and len(hashed) == 2
    with pytest.raises(ModelError, match="model mine/mse: SHA-256 of the weights is"):
        first.read()


def test_path_from_environment_and_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.model_path() == ()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PILLOW_CWIC_MODELS", os.pathsep.join(["a", "", str(tmp_path / "b")]))
    assert settings.model_path() == (str(tmp_path / "a"), str(tmp_path / "b"))
    with pillow_cwic.options(models=["c", Path("d")]):
        assert settings.model_path() == (str(tmp_path / "c"), str(tmp_path / "d"))
        with pillow_cwic.options(threads=1):
            assert len(settings.model_path()) == 2
        with pillow_cwic.options(models=[]):
            assert settings.model_path() == ()
    for bad in ("folder", Path("folder"), 3, [b"x"], [""], [None]):
        with pytest.raises(ValueError, match=r"models: .* is not a (list of )?folder"), pillow_cwic.options(models=bad):
            pass


def head(length: int, text: bytes) -> bytes:
    return struct.pack("<Q", length) + text


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda w: b"", "header: length 0 exceeds the 0 bytes left"),
        (lambda w: w[:7], "header: length"),
        (lambda w: head(2**63, b"{}"), "length 9223372036854775808 exceeds the 2 bytes left"),
        (lambda w: head(limits.MAX_WEIGHTS_HEADER + 1, bytes(2 << 20)), "exceeds the 1048576 bytes left"),
        (lambda w: head(2, b"{}"), "no metadata can be read"),
        (lambda w: head(8, b"\xff\xfe notjs"), "no metadata can be read"),
        (lambda w: head(200_000, b"[" * 200_000), "no metadata can be read"),
        (lambda w: head(20, b'{"__metadata__": []}'), "metadata: list is not an object"),
        (lambda w: changed(w, {"name": None}), "name: '' is not 1 to 64"),
        (lambda w: changed(w, {"name": "a/b"}), "name: 'a/b' is not"),
        (lambda w: changed(w, {"tuning": "lpips"}), "tuning: 'lpips' is none of mse, ssim"),
        (lambda w: changed(w, {"family": "cw99"}), "family: 'cw99' is none of cwc1"),
    ],
)
def test_what_is_no_model_is_left_out(
    make: Callable[[bytes], bytes], words: str, tiny: bytes, tmp_path: Path, small_file: bytes
) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(make(tiny))
    (tmp_path / "good.safetensors").write_bytes(tiny)
    (tmp_path / "notes.txt").write_text("no weights")
    (tmp_path / "folder.safetensors").mkdir()
    with pillow_cwic.options(models=[tmp_path, "missing"]):
        with pytest.warns(RuntimeWarning, match=re.escape(f"{path} is left out of the models")) as told:
            assert models.by_name("mine").file == str(tmp_path / "good.safetensors")
        assert len(told) == 1 and words in str(told[0].message)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # it is said once
            assert models.by_name("mine")
            assert codec.decode(small_file).any()


def test_too_large_a_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    with path.open("wb") as file:
        file.truncate(limits.MAX_WEIGHTS + 1)  # a hole: takes no room
    with pillow_cwic.options(models=[path]), pytest.warns(RuntimeWarning, match="268435457 bytes exceed the limit"):
        assert not list(models.on_path())


HUGE = 10**12
WRONG = [
    ("wide", HUGE), ("wide", 0), ("wide", 16.0), ("wide", "16"), ("blocks", HUGE), ("blocks", -1),
    ("context_hidden", 24), ("map_hidden", HUGE), ("map_features", True), ("levels", 33), ("levels", None),
    ("lambda_slope", float("inf")), ("lambda_middle", float("nan")), ("code_limit", 512),
]  # fmt: skip
HOSTILE: list[tuple[Callable[[bytes], bytes], str]] = [
    (lambda w: w[:-5], "not a readable model file"),
    (lambda w: w + b"more", "not a readable model file"),
    (lambda w: changed(w, {"config": None}), "not a readable model file"),
    (lambda w: changed(w, {"config": "[" * 100_000}), "not a readable model file"),
    (lambda w: changed(w, {"config": "7"}), "not a readable model file"),
    (lambda w: with_config(w, more=1), "not those of cwic1: .*unexpected keyword"),
    (lambda w: with_config(w, groups=4), "not those of cwic1"),
    *((lambda w, k=k, v=v: with_config(w, **{k: v}), f"config: {k} is {re.escape(repr(v))}, wanted") for k, v in WRONG),
    (lambda w: with_config(w, groups=[2] * 64), "64 groups hold 128 channels"),
    (lambda w: with_config(w, groups=[HUGE]), "hold 1000000000000 channels"),
    (lambda w: with_config(w, groups=[3]), "groups hold 3, wanted even"),
    (lambda w: with_config(w, groups=[]), "0 groups hold 0 channels"),
    (lambda w: with_config(w, wide=32), "analysis does not fit the config"),
    (lambda w: with_config(w, groups=[2, 4]), "analysis does not fit the config"),
    (lambda w: with_config(w, groups=[4]), "context model's weights do not fit its shape"),
    (lambda w: with_config(w, levels=3, context_hidden=32), "do not fit its shape"),
    (lambda w: changed(w, synthesis__leave__bias=None), "synthesis does not fit the config"),
    (lambda w: changed(w, synthesis__leave__bias=torch.full((192,), torch.nan)), "does not hold finite numbers"),
    (lambda w: changed(w, analysis__gain__offset=torch.full((4,), torch.inf)), "does not hold finite numbers"),
    (lambda w: changed(w, synthesis__leave__bias=torch.zeros(192, dtype=torch.int32)), "int32, does not hold"),
    (lambda w: changed(w, synthesis__leave__bias=torch.zeros(192, 1)), "synthesis does not fit the config"),
    (lambda w: changed(w, other=torch.zeros(1)), "1 arrays belong to no part, the first is other"),
    (lambda w: changed(w, context__weights=None), r"context.weights is torch.float32 \(0,\), wanted torch.int16"),
    (lambda w: changed(w, context__weights=torch.full((5,), torch.nan)), "context.weights is torch.float32"),
    (lambda w: changed(w, context__biases=torch.zeros(5, dtype=torch.int64)), "context.biases is torch.int64"),
    (lambda w: changed(w, context__biases=torch.zeros(1, 5, dtype=torch.int32)), r"context.biases .* \(1, 5\)"),
    (lambda w: changed(w, context__biases=torch.zeros(0, dtype=torch.int32)), "do not fit its shape"),
    (lambda w: changed(w, context__weights=load(w)["context.weights"] * 0 + 32767), "could overflow"),
    (lambda w: changed(w, context__biases=load(w)["context.biases"] * 0 - 2**31), "could overflow"),
    (lambda w: changed(w, analysis__gain__offset=torch.full((4,), 80.0)), "codes pass the limit of 511"),
    (
        lambda w: changed(w, analysis__leave__weight=torch.full((4, 16, 1, 1), 3e38)),
        "gives numbers that are not finite",
    ),
    (lambda w: changed(w, analysis__enter__weight=torch.full((16, 192, 1, 1), 3e38)), "gives numbers that are not"),
]


@pytest.mark.parametrize(("make", "words"), HOSTILE)
def test_hostile_weights_are_refused(
    make: Callable[[bytes], bytes], words: str, tiny: bytes, tmp_path: Path, small: Image.Image
) -> None:
    """A file that looks like a model until it is loaded, as an encoder meets it, a decoder, and ``shrink``."""
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "x.safetensors").write_bytes(tiny)
    with pillow_cwic.options(models=[tmp_path / "good"]):
        parsed = container.read_file(codec.encode(np.asarray(small), model="mine", effort=0, quality=60))
    (tmp_path / "x.safetensors").write_bytes(make(tiny))
    with pillow_cwic.options(models=[tmp_path]):
        for target in ({"quality": 50}, {"rate": 1.0}, {"psnr": 30.0}):
            with pytest.raises(ModelError, match=words):
                codec.encode(np.asarray(small), model="mine", effort=0, **target)
        header = replace(parsed.header, model_id=models.by_name("mine").id)
        file = container.write_file(header, parsed.layers)
        for read in (pillow_cwic.decode, lambda data: pillow_cwic.shrink(data, rate=0.3)):
            with suppress(CwicError):  # what it needs may be in order: then it works
                read(file)


def test_extreme_weights_do_no_harm(tiny: bytes, tmp_path: Path, small: Image.Image) -> None:
    """Finite numbers whose sums are not: garbage in the picture, and no more."""
    (tmp_path / "x.safetensors").write_bytes(changed(tiny, synthesis__leave__weight=torch.full((192, 16, 1, 1), 3e38)))
    with pillow_cwic.options(models=[tmp_path]):
        data = codec.encode(np.asarray(small), model="mine", quality=50)
        assert codec.decode(data).shape == (75, 100, 3)


def test_the_same_weights_have_the_same_id() -> None:
    model = Cwic1(TINY)
    assert len({export.freeze(model, FACTS) for _ in range(8)}) == 1


def test_values_that_do_not_fit_16_bits_are_not_exported() -> None:
    model = Cwic1(TINY)
    with torch.no_grad():
        model.synthesis.leave.bias[0] = 1e6
    with pytest.raises(ValueError, match=r"synthesis.leave.bias: values of up to 1e\+06 do not fit 16 bits"):
        export.freeze(model, FACTS)


def test_a_loaded_model_stays_the_one_its_id_names(tiny: bytes, tmp_path: Path) -> None:
    """Two files of one name and tuning: whichever comes first is saved with, both are loaded."""
    other = Cwic1(TINY)
    with torch.no_grad():
        other.synthesis.leave.bias += 0.1
    for name, weights in (("a", tiny), ("b", export.freeze(other, FACTS))):
        (tmp_path / f"{name}.safetensors").write_bytes(weights)
    with pillow_cwic.options(models=[tmp_path / "a.safetensors"]):
        first = session.runtime(models.by_name("mine"))
    with pillow_cwic.options(models=[tmp_path / "b.safetensors", tmp_path]):
        second = session.runtime(models.by_name("mine"))
        assert first is not second
        assert session.runtime(next(m for m in models.on_path() if m.file.endswith("a.safetensors"))) is first
