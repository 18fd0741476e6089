"""Networks of torch over windows make what they make of whole pictures."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pillow_cwic import models
from pillow_cwic.codec.session import runtime
from pillow_cwic.cwic2018 import runtime as paper_runtime
from pillow_cwic.cwic2018.networks import Paper, PaperConfig
from pillow_cwic.models.config import Config
from pillow_cwic.models.weights import read
from pillow_cwic.transforms.torch import engine as torch_engine
from pillow_cwic.transforms.torch.engine import Engine
from pillow_cwic.transforms.windows import halved, scaled, spans, windows


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


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    with Image.open(Path(__file__).parent / "data" / "kodim04.png") as im:
        return np.asarray(im.resize((404, 275)))


@pytest.fixture
def engine() -> Engine:
    weights = read(models.by_name("cwic1").read())
    return Engine(Config.from_dict(weights.config), weights.arrays, "cpu")


def test_windows_of_cwic1_make_exactly_what_c_makes(
    engine: Engine, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = runtime(models.by_name("cwic1")).networks
    analysed = networks._native.analyse(pixels, 100)
    codes = ((networks._native.exact_codes(analysed[0], 100) + 16) // 32).astype(np.int16)
    shown = networks.synthesise(codes, 100, 275, 404)
    for side in (512, 16):
        monkeypatch.setattr(torch_engine, "SIDE", side)
        for made, wanted in zip(engine.analyse(pixels, 100), analysed, strict=True):
            assert np.array_equal(made, wanted)
        assert np.array_equal(engine.synthesise(codes, 100, 275, 404), shown)


def test_a_halo_too_small_would_show(engine: Engine, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = runtime(models.by_name("cwic1")).networks
    codes = (networks.codes(networks.analyse(pixels, 0), 0) // 32).astype(np.int16)
    monkeypatch.setattr(torch_engine, "SIDE", 16)
    monkeypatch.setattr(engine, "halo", 0)
    assert not np.array_equal(engine.synthesise(codes, 0, 275, 404), networks.synthesise(codes, 0, 275, 404))


def test_windows_of_cwic2018_make_what_the_whole_makes(pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for rounding in floating point: a value on the edge between two levels may fall to either side."""
    torch.manual_seed(0)
    model = Paper(PaperConfig(width=16, channels=8, levels=4, groups=(4, 4)))
    with torch.no_grad():
        for parameter in model.parameters():  # residual blocks end at zero, and would show no reach
            parameter.add_(0.1 * torch.randn_like(parameter))
    networks = paper_runtime.PaperNetworks.__new__(paper_runtime.PaperNetworks)
    networks.config, networks.device = model.config, "cpu"
    networks.encoder, networks.importance, networks.decoder = model.encoder, model.importance, model.decoder
    whole = networks.analyse(pixels, 100)
    codes = networks.codes(whole, 100)
    rounded = (codes // 32).astype(np.int16)
    shown = networks.synthesise(rounded, 100, 275, 404)
    monkeypatch.setattr(paper_runtime, "SIDE", 16)
    parts = networks.analyse(pixels, 100)
    assert (networks.codes(parts, 100) != codes).mean() < 1e-3
    np.testing.assert_allclose(parts.levels, whole.levels, atol=1e-4)
    small = networks.synthesise(rounded, 100, 275, 404, scale=4)
    assert small.shape == (-(-275 // 4), 404 // 4, 3)
    difference = np.abs(shown.astype(int) - networks.synthesise(rounded, 100, 275, 404))
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-3
