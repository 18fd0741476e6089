"""Networks over windows make what they make of whole pictures, and take no more memory for larger ones."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pillow_cwic import codec, models
from pillow_cwic.codec.families import AnyNetworks
from pillow_cwic.codec.session import runtime
from pillow_cwic.networks import paper_runtime
from pillow_cwic.networks import runtime as cwic1_runtime
from pillow_cwic.networks.paper import Paper, PaperConfig
from pillow_cwic.networks.windows import halved, scaled, spans, windows


@pytest.mark.parametrize("length", [2, 16, 190, 192, 194, 1000, 12500])
def test_spans_are_even_and_cover_all(length: int) -> None:
    parts = spans(length, 192)
    assert parts[0][0] == 0 and parts[-1][1] == length
    assert all(a[1] == b[0] for a, b in itertools.pairwise(parts))
    assert all(start % 2 == 0 and 0 < end - start <= 193 for start, end in parts)


@pytest.mark.parametrize("shape", [(2, 2), (10, 300), (64, 66), (130, 40)])
def test_cores_cover_each_place_once_within_their_halos(shape: tuple[int, int]) -> None:
    grid = np.arange(shape[0] * shape[1]).reshape(shape)
    seen = np.zeros(shape, int)
    for window in windows((1, *shape), 32, 8):
        seen[window.core] += 1
        assert (grid[window.outer][window.inner] == grid[window.core]).all()
        for core, outer, length in zip(window.core, window.outer, shape, strict=True):
            assert outer.start == max(0, core.start - 8) and outer.stop == min(length, core.stop + 8)
    assert (seen == 1).all()


def test_places_in_other_grids() -> None:
    place = slice(2, 6), slice(4, 7)
    assert scaled(place, 8) == (slice(16, 48), slice(32, 56))
    assert halved(place) == (slice(1, 3), slice(2, 4))


def _close(whole: np.ndarray, parts: np.ndarray) -> None:
    """Equal but for rounding: a value that lies on the edge between two levels may fall to either side."""
    difference = np.abs(whole.astype(int) - parts.astype(int))
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-3


@pytest.fixture(params=["cwic1", "cwic2018"])
def networks(request: pytest.FixtureRequest) -> AnyNetworks:
    if request.param == "cwic1":
        networks = runtime(models.by_name("cwic1", None, 0.5)).networks
        assert isinstance(networks, cwic1_runtime.Networks)
        return networks
    torch.manual_seed(0)
    model = Paper(PaperConfig(width=16, channels=8, levels=4, groups=(4, 4)))
    with torch.no_grad():
        for parameter in model.parameters():  # residual blocks end at zero, and would show no reach
            parameter.add_(0.1 * torch.randn_like(parameter))
    networks = paper_runtime.PaperNetworks.__new__(paper_runtime.PaperNetworks)
    networks.config, networks.device = model.config, torch.device("cpu")
    networks.encoder, networks.importance, networks.decoder = model.encoder, model.importance, model.decoder
    return networks


@pytest.mark.parametrize("size", [(275, 404), (130, 650)])
def test_windows_make_what_the_whole_makes(
    networks: AnyNetworks, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Image.open(Path(__file__).parent / "data" / "kodim04.png") as im:
        pixels = np.asarray(im.resize((size[1], size[0])))
    whole = networks.analyse(pixels, 100)
    codes = networks.codes(whole, 100)
    rounded = (codes // 32).astype(np.int16)
    shown = networks.synthesise(rounded, 100, *size)
    monkeypatch.setattr(cwic1_runtime, "SIDE", 16)
    monkeypatch.setattr(paper_runtime, "SIDE", 16)
    parts = networks.analyse(pixels, 100)
    difference = np.abs(networks.codes(parts, 100).astype(int) - codes)
    if isinstance(networks, cwic1_runtime.Networks):
        assert difference.max() <= 1  # of 32 to a step
        assert (networks.levels(parts, 100) != networks.levels(whole, 100)).mean() < 0.01
    else:
        assert (difference > 0).mean() < 1e-3
        np.testing.assert_allclose(parts.levels, whole.levels, atol=1e-4)
        small = networks.synthesise(rounded, 100, *size, scale=4)
        assert small.shape == (-(-size[0] // 4), -(-size[1] // 4), 3)
    _close(shown, networks.synthesise(rounded, 100, *size))


def test_a_halo_too_small_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = runtime(models.by_name("cwic1", None, 0.5)).networks
    with Image.open(Path(__file__).parent / "data" / "kodim04.png") as im:
        pixels = np.asarray(im)[:256, :256]
    codes = (networks.codes(networks.analyse(pixels, 0), 0) // 32).astype(np.int16)
    whole = networks.synthesise(codes, 0, 256, 256)
    monkeypatch.setattr(cwic1_runtime, "SIDE", 16)
    monkeypatch.setattr(networks, "halo", 0)
    with pytest.raises(AssertionError):
        _close(whole, networks.synthesise(codes, 0, 256, 256))


def test_files_from_windows_decode(monkeypatch: pytest.MonkeyPatch, photo: Image.Image) -> None:
    pixels = np.asarray(photo)
    plain = codec.decode(codec.encode(pixels, rate=0.4))
    monkeypatch.setattr(cwic1_runtime, "SIDE", 8)
    parts = codec.decode(codec.encode(pixels, rate=0.4))
    assert (
        abs(np.square(parts - pixels.astype(float)).mean() / np.square(plain - pixels.astype(float)).mean() - 1) < 0.1
    )
