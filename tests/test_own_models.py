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
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from tiny_model import changed, new_model, tiny_weights

import pillow_cwic
from pillow_cwic import codec, models, settings
from pillow_cwic.codec import session
from pillow_cwic.errors import ModelError
from pillow_cwic.file import limits
from pillow_cwic.saving import Options
from pillow_cwic.tools import cli
from training import own, quantise
from training.weights import masters

DATA = Path(__file__).parent / "data"
DOCS = Path(__file__).parents[1] / "docs"
FACTS = {"name": "mine", "tuning": "mse", "family": "cwc1"}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(settings.MODELS_VARIABLE, raising=False)


@pytest.fixture(scope="module")
def tiny() -> bytes:
    """A weights file of a model that was never trained; its linear paths are a DCT."""
    return tiny_weights(FACTS)


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
    monkeypatch.setattr(
        own, "crops", lambda folder: quantise.crops(folder, 6, 64)
    )  # as many as the command takes: slow
    own.main()
    assert json.loads((tmp_path / "runs" / "mine" / "state.json").read_text())["step"] == 3

    save_code = "import pillow_cwic; from PIL import Image; Image.open('valid/two.png').save('x.cwic', model='mine')"
    load_code = "import pillow_cwic; from PIL import Image; im = Image.open('x.cwic'); im.load(); print(im.info)"
    done = run(f"{save_code}; {load_code}", tmp_path, PILLOW_CWIC_MODELS=os.pathsep.join(["nowhere", "models"]))
    assert "'model': 'mine', 'tuning': 'ssim'" in done.stdout, done.stderr
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
    with pytest.raises(
        ValueError, match=r"model: mine is none of cwic1 \(tuning mse or ssim\), cwic2018 \(tuning mse\)$"
    ):
        codec.encode(pixels, Options(model="mine"))
    with pytest.raises(ValueError, match=r"model: cwic1/mse is none of cwic1 \("):
        codec.encode(pixels, Options(model="cwic1/mse"))
    with pillow_cwic.options(models=[tmp_path]):
        data = pillow_cwic.encode(pixels, model="mine", quality=40)
        assert models.by_id(data[36:42]).tuning == "ssim"  # the default, though another comes first
        data = pillow_cwic.encode(pixels, model="mine", tuning="mse", quality=40)
        assert models.by_name("mine", "ssim").id != data[36:42]
        assert pillow_cwic.decode(data).shape == (75, 100, 3)
        with pytest.raises(ValueError, match="tuning: x is none of mse, ssim, which model mine has"):
            codec.encode(pixels, Options(model="mine", tuning="x"))
        lines = CliRunner().invoke(cli.main, ["models"]).output.splitlines()
        assert f"mine mse: id {data[36:42].hex()}, {tmp_path / 'any-name.safetensors'}" in lines
        (tmp_path / "any-name.safetensors").unlink()
        assert models.by_name("mine").tuning == "ssim"
    with pytest.raises(ModelError, match=f"model id: {data[36:42].hex()} is not installed") as caught:
        pillow_cwic.decode(data)
    assert "PILLOW_CWIC_MODELS (now none)" in str(caught.value)


def test_a_folder_that_does_not_exist_is_told_where_a_model_is_missing(tmp_path: Path) -> None:
    """It was an empty one, and nothing said so."""
    there, wrong = str(tmp_path), str(tmp_path / "nodir")
    with pillow_cwic.options(models=[there, wrong]):
        with pytest.raises(ValueError, match="model: mine is none of") as caught:
            models.by_name("mine")
        assert str(caught.value).endswith(f"; looked for in {there} and {wrong}, which does not exist")
        with pytest.raises(ModelError, match="model id: 000000000000 is not installed") as unknown:
            models.by_id(bytes(6))
    assert str(unknown.value).endswith(f"PILLOW_CWIC_MODELS (now {there} and {wrong}, which does not exist)")


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


def test_the_same_weights_have_the_same_id() -> None:
    model = new_model()
    assert len({tiny_weights(FACTS, model) for _ in range(4)}) == 1


def test_masters_that_do_not_fit_16_bits_are_not_kept() -> None:
    model = new_model()
    with torch.no_grad():
        model.synthesis.leave.bias[0] = 1e6
    with pytest.raises(ValueError, match=r"synthesis.leave.bias: values of up to 1e\+06 do not fit 16 bits"):
        masters(model, FACTS)


def test_a_loaded_model_stays_the_one_its_id_names(tiny: bytes, tmp_path: Path) -> None:
    """Two files of one name and tuning: whichever comes first is saved with, both are loaded."""
    for name, weights in (("a", tiny), ("b", tiny_weights(FACTS, new_model(1)))):
        (tmp_path / f"{name}.safetensors").write_bytes(weights)
    with pillow_cwic.options(models=[tmp_path / "a.safetensors"]):
        first = session.runtime(models.by_name("mine"))
    with pillow_cwic.options(models=[tmp_path / "b.safetensors", tmp_path]):
        second = session.runtime(models.by_name("mine"))
        assert first is not second
        assert session.runtime(next(m for m in models.on_path() if m.file.endswith("a.safetensors"))) is first
