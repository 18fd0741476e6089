"""Device, threads and progress: who sets them, for how long, and that the codec obeys."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from PIL import Image

import pillow_cwic
from pillow_cwic import codec, settings, threads
from pillow_cwic.cwic2018.networks import Decoder, Encoder
from pillow_cwic.saving import Options
from pillow_cwic.transforms.torch import refine


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (settings.DEVICE_VARIABLE, settings.THREADS_VARIABLE, settings.MODELS_VARIABLE):
        monkeypatch.delenv(name, raising=False)


def test_block_over_environment_over_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (settings.device(), settings.threads()) == (None, None)
    monkeypatch.setenv("PILLOW_CWIC_DEVICE", "cuda:1")
    monkeypatch.setenv("PILLOW_CWIC_THREADS", "3")
    assert (settings.device(), settings.threads()) == ("cuda:1", 3)
    with pillow_cwic.options(device="cpu"):
        assert (settings.device(), settings.threads()) == ("cpu", 3)
        with pillow_cwic.options(threads=2):
            assert (settings.device(), settings.threads()) == ("cpu", 2)
        assert (settings.device(), settings.threads()) == ("cpu", 3)
    assert (settings.device(), settings.threads()) == ("cuda:1", 3)


def test_a_block_ends_with_an_exception_too() -> None:
    with pytest.raises(KeyError), pillow_cwic.options(threads=2):
        raise KeyError
    assert settings.threads() is None


def test_a_block_is_of_its_own_thread() -> None:
    seen: list[int | None] = []
    with pillow_cwic.options(threads=2):
        thread = threading.Thread(target=lambda: seen.append(settings.threads()))
        thread.start()
        thread.join()
    assert seen == [None]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "gpu"}, "device: 'gpu' is none of cpu, cuda and xpu"),
        ({"device": "cpu:0:1"}, "device: 'cpu:0:1' is none of"),
        ({"device": 0}, "device: 0 is none of"),
        ({"threads": 0}, "threads: 0 is not a whole number from 1 to 1024"),
        ({"threads": 1025}, "threads: 1025 is not"),
        ({"threads": 1.5}, "threads: 1.5 is not"),
        ({"threads": True}, "threads: True is not"),
        ({"progress": "bar"}, "progress: 'bar' is neither True, False nor a function"),
    ],
)
def test_bad_values_name_themselves(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words), pillow_cwic.options(**options):
        pass


def test_a_bad_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch, small_file: bytes) -> None:
    for name, value in (("PILLOW_CWIC_THREADS", "many"), ("PILLOW_CWIC_THREADS", "0"), ("PILLOW_CWIC_DEVICE", "tpu")):
        monkeypatch.setenv(name, value)
        im = Image.open(io.BytesIO(small_file))
        with pytest.raises(ValueError, match=f"{name}: '?{value}'? is n"):
            im.load()
        monkeypatch.delenv(name)


def test_a_missing_device_is_named(small_file: bytes) -> None:
    im = Image.open(io.BytesIO(small_file))
    with (
        pillow_cwic.options(device="cuda:99"),
        pytest.raises(ValueError, match="device: 'cuda:99' cannot be used here"),
    ):
        im.load()
    im.load()  # without it, all is well


@pytest.fixture
def torch_threads() -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


def test_the_codec_keeps_to_the_threads(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tiles, so that the coder has work for more than one thread."""
    pools: list[int] = []

    def run(step: Callable[[], bool], cancel: Callable[[], None], lanes: int) -> None:
        pools.append(lanes)
        real(step, cancel, lanes)

    real = threads.run
    monkeypatch.setattr(threads, "run", run)
    wide = np.asarray(photo.resize((1040, 16)))
    with pillow_cwic.options(threads=1):
        data = codec.encode(wide, Options(quality=10))
        picture = codec.decode(data)
    assert set(pools) == {1}
    with pillow_cwic.options(threads=2):
        assert np.array_equal(codec.decode(data), picture)
    assert max(pools) == 2


def test_torch_keeps_to_the_threads(small: Image.Image, monkeypatch: pytest.MonkeyPatch, torch_threads: int) -> None:
    """Where it computes: refinement, and model cwic2018 both ways."""
    pixels, seen = np.asarray(small.crop((0, 0, 32, 32))), list[int]()
    for part, name in ((refine, "distortion"), (Encoder, "features"), (Decoder, "forward")):
        real = getattr(part, name)
        monkeypatch.setattr(part, name, lambda *args, f=real: seen.append(torch.get_num_threads()) or f(*args))
    with pillow_cwic.options(threads=1):
        codec.encode(pixels, Options(effort=5, quality=10))
    assert len(seen) == 12 and set(seen) == {1} and torch.get_num_threads() == torch_threads
    seen.clear()
    with pillow_cwic.options(threads=1):
        file = codec.encode(pixels, Options(model="cwic2018", quality=10))
    assert set(seen) == {1} and torch.get_num_threads() == torch_threads
    seen.clear()
    with pillow_cwic.options(threads=2):
        codec.decode(file)
    assert set(seen) == {2} and torch.get_num_threads() == torch_threads


@pytest.fixture
def two_tiles(photo: Image.Image) -> bytes:
    return codec.encode(np.asarray(photo.resize((1040, 24))), Options(quality=10, effort=0))


def test_progress_of_a_decoding(two_tiles: bytes) -> None:
    """A step for each layer of each tile and one for the picture, from any thread, in order."""
    steps: list[tuple[int, int]] = []
    im = Image.open(io.BytesIO(two_tiles))
    with pillow_cwic.options(progress=lambda *each: steps.append(each)):
        im.load()
        im.load()  # nothing is decoded again
    assert steps == [(k + 1, 2 * 9 + 1) for k in range(2 * 9 + 1)]
    steps.clear()
    im = Image.open(io.BytesIO(two_tiles))
    with pillow_cwic.options(progress=lambda *each: steps.append(each)):
        im.draft(None, (130, 3))
        im.load()
    assert 0 < len(steps) < 19 and steps[-1] == (len(steps), len(steps))


def test_progress_of_a_batch(small_file: bytes, small: Image.Image) -> None:
    steps: list[tuple[int, int]] = []
    pillow_cwic.decode([small_file] * 3, progress=lambda *each: steps.append(each))
    assert steps == [(k + 1, 30) for k in range(30)]
    steps.clear()
    with pillow_cwic.options(progress=lambda *each: steps.append(each)):
        pillow_cwic.encode(np.stack([np.asarray(small)] * 3), quality=5, effort=0)
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_progress_of_a_block_serves_saving_too(small: Image.Image) -> None:
    block: list[tuple[int, int]] = []
    own: list[tuple[int, int]] = []
    tiny = small.crop((0, 0, 32, 32))
    with pillow_cwic.options(progress=lambda *each: block.append(each)):
        tiny.save(io.BytesIO(), format="CWIC", effort=5)
        tiny.save(io.BytesIO(), format="CWIC", effort=5, progress=lambda *each: own.append(each))
        with pillow_cwic.options(progress=False):
            tiny.save(io.BytesIO(), format="CWIC", effort=5)
    assert block == own == [(k + 1, 12) for k in range(12)]


def test_a_bar_for_decoding(small_file: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with pillow_cwic.options(progress=True):
        Image.open(io.BytesIO(small_file)).load()
    assert "decoding" in capsys.readouterr().err
    Image.open(io.BytesIO(small_file)).load()
    assert capsys.readouterr().err == ""


def test_what_progress_raises_ends_the_decoding(two_tiles: bytes) -> None:
    def stop(done: int, steps: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    im = Image.open(io.BytesIO(two_tiles))
    with pillow_cwic.options(progress=stop), pytest.raises(KeyboardInterrupt):
        im.load()
    im.load()
