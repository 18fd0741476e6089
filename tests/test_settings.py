"""Device and threads: who sets them, for how long, and that the codec obeys."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

import pillow_cwic
from pillow_cwic import codec, settings, symbols


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (settings.DEVICE_VARIABLE, settings.THREADS_VARIABLE):
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
        ({"device": "gpu"}, "device: 'gpu' is none of cpu, cuda, mps and xpu"),
        ({"device": "cpu:0:1"}, "device: 'cpu:0:1' is none of"),
        ({"device": 0}, "device: 0 is none of"),
        ({"threads": 0}, "threads: 0 is not a whole number from 1 to 1024"),
        ({"threads": 1025}, "threads: 1025 is not"),
        ({"threads": 1.5}, "threads: 1.5 is not"),
        ({"threads": True}, "threads: True is not"),
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
    with pillow_cwic.options(device="cuda:99"), pytest.raises(ValueError, match="device: 'cuda:99' is not available"):
        im.load()
    im.load()  # without it, all is well


@pytest.fixture
def torch_threads() -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(5)
    yield 5
    torch.set_num_threads(before)


def test_the_codec_keeps_to_the_threads(
    photo: Image.Image, monkeypatch: pytest.MonkeyPatch, torch_threads: int
) -> None:
    """Two tiles, so that the coder has work for more than one thread."""
    pools: list[int] = []
    seen: list[int] = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, workers: int) -> None:
            pools.append(workers)
            super().__init__(workers)

    crc = symbols._symbol_crc
    monkeypatch.setattr(symbols, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(symbols, "_symbol_crc", lambda *args: seen.append(torch.get_num_threads()) or crc(*args))
    wide = np.asarray(photo.resize((1040, 16)))
    with pillow_cwic.options(threads=1):
        data = codec.encode(wide, quality=10)
        picture = codec.decode(data)
    assert set(pools) == {1} and set(seen) == {1}
    assert torch.get_num_threads() == torch_threads
    with pillow_cwic.options(threads=2):
        assert np.abs(codec.decode(data).astype(int) - picture).max() <= 1
    assert pools[-1] == 2 and seen[-1] == 2
