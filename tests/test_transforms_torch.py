"""The transforms in torch: exactly what C makes, a differentiable twin of it, and refinement with what it needs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from random_transforms import random_arrays

from pillow_cwic import models
from pillow_cwic.codec.session import runtime
from pillow_cwic.models.config import Config
from pillow_cwic.models.weights import read
from pillow_cwic.transforms import layout, native
from pillow_cwic.transforms.cwic1 import Cwic1
from pillow_cwic.transforms.torch import refine
from pillow_cwic.transforms.torch.context import ContextModel, logistic_bits
from pillow_cwic.transforms.torch.distortion import distortion, similarities
from pillow_cwic.transforms.torch.engine import Engine
from pillow_cwic.transforms.torch.integer import Analysis, isqrt
from pillow_cwic.transforms.torch.twin import SynthesisTwin
from training.networks.quantisers import channel_masks, useful_levels

CONFIGS = [
    Config(wide=32, blocks=2, groups=(2, 4, 6), map_features=5, levels=4),
    Config(wide=96, blocks=3, groups=(4, 10), map_features=32, levels=8, normalised=True, fine=2),
    Config(wide=32, blocks=0, groups=(2,), map_features=1, levels=1),
]


@pytest.mark.parametrize("index", range(len(CONFIGS)))
def test_torch_is_equal_to_c_with_extreme_weights(index: int) -> None:
    """Each picture of a batch at its own rate, as alone."""
    config = CONFIGS[index]
    arrays = random_arrays(config, 10 + index)
    engine, wanted = Engine(config, arrays, "cpu"), native.Transforms(config, arrays)
    rng = np.random.default_rng(index)
    for height, width in ((1, 1), (33, 70)):
        rates = [-2048, -77, 0, 512, 2048]
        pictures = rng.integers(0, 256, (len(rates), height, width, 3), np.uint8)
        batch = []
        for pixels, rate in zip(pictures, rates, strict=True):
            latents, levels = wanted.analyse(pixels, rate)
            made = engine.analyse(pixels, rate)
            assert np.array_equal(made[0], latents) and np.array_equal(made[1], levels)
            codes = rng.integers(-511, 512, latents.shape).astype(np.int16)
            batch.append(np.where(rng.random(codes.shape) < 0.6, 0, codes).astype(np.int16))
        shown = engine.shown(np.stack(batch), rates, height, width)
        for codes, rate, picture in zip(batch, rates, shown, strict=True):
            alone = wanted.synthesise(codes, rate, height, width)
            assert np.array_equal(picture.permute(1, 2, 0).numpy(), alone)
            assert np.array_equal(engine.synthesise(codes, rate, height, width), alone)


def test_unrounded_codes_and_useful_levels_are_those_of_c() -> None:
    config = CONFIGS[0]
    arrays = random_arrays(config, 5)
    parts = layout.split(config, "analysis", *(arrays[f"analysis.{name}"] for name in layout.TYPES))
    latents = np.random.default_rng(5).integers(-32768, 32768, (3, config.channels, 4, 6)).astype(np.int16)
    rates = [-2048, 33, 2048]
    exact = Analysis(config, parts).codes(torch.from_numpy(latents), rates).numpy()
    transforms = native.Transforms(config, arrays)
    for one, rate, wanted in zip(latents, rates, exact, strict=True):
        assert np.array_equal(transforms.exact_codes(one, rate), wanted)
    unrounded = np.random.default_rng(6).normal(0, 0.3, (12, 20, 30))
    unrounded = np.round(32 * unrounded).astype(np.int16)
    unrounded[unrounded % 32 == 16] += 1  # halves, which are rounded to even numbers here, and there are not
    floor = np.random.default_rng(7).integers(0, 2, (1, 10, 15)).astype(np.int16)
    found = useful_levels(torch.from_numpy(unrounded)[None].float() / 32, config.groups)[0].numpy()
    assert np.array_equal(transforms.useful_levels(unrounded, floor), np.maximum(found, floor))
    assert len(np.unique(found)) == 3


def test_isqrt_at_its_edges() -> None:
    roots = torch.tensor([0, 1, 2, 3, 65535, 65536, 2**24 - 1, 2**31 - 1, 2**31, 2**31 + 32767])
    squares = roots * roots
    assert torch.equal(isqrt(squares), roots)
    assert torch.equal(isqrt((squares - 1)[1:]), (roots - 1)[1:])
    assert torch.equal(isqrt(squares + 2 * roots), roots)


@pytest.fixture(scope="module")
def pixels(photo: Image.Image) -> np.ndarray:
    return np.asarray(photo.crop((300, 200, 428, 296)))


@pytest.mark.parametrize("tuning", ["mse", "ssim"])
def test_the_twin_is_close_to_the_integers(tuning: str, pixels: np.ndarray) -> None:
    model = models.by_name("cwic1", tuning)
    networks = runtime(model).networks
    assert isinstance(networks, Cwic1)
    weights = read(model.read())
    config = Config.from_dict(weights.config)
    parts = layout.split(config, "synthesis", *(weights.arrays[f"synthesis.{name}"] for name in layout.TYPES))
    twin = SynthesisTwin(config, parts)
    for rate in (-300, 0, 300):
        codes = (networks.codes(networks.analyse(pixels, rate), rate) // 32).astype(np.int16)
        with torch.no_grad():
            made = twin(torch.from_numpy(codes)[None].float(), [rate])[0].permute(1, 2, 0).numpy()
        difference = made.clip(0, 255) - networks.synthesise(codes, rate, 96, 128)
        assert np.abs(difference).mean() < 1 and abs(difference.mean()) < 0.2


def test_refinement_lowers_what_it_weighs(pixels: np.ndarray) -> None:
    """Distortion and bits together, of rounded codes, by the float models; what the map masks stays as it was."""
    networks = runtime(models.by_name("cwic1")).networks
    assert isinstance(networks, Cwic1)
    rate = -200
    refiner = refine.Refiner(networks.config, "mse", networks._parts, networks._context, "cpu")
    analysed = networks.analyse(pixels, rate)
    level = torch.from_numpy(analysed.levels.astype(np.float32))[None]
    mask = refine._mask(level, networks.config.groups)
    t = torch.tensor([rate / 512])

    def loss(latents: np.ndarray) -> float:
        codes = torch.from_numpy(np.rint(latents))[None] * mask
        mean, log_scale = (torch.cat(p, 1) for p in zip(*refiner.context(codes, level, t), strict=True))
        bits = (logistic_bits(codes, mean, log_scale) * mask).sum()
        shown = refiner.synthesis(codes, [rate])[0].permute(1, 2, 0)
        error = (shown - torch.from_numpy(pixels.copy())).square().mean()
        return float(bits + networks.config.lagrangian(rate / 512) * error * pixels.shape[0] * pixels.shape[1])

    exact = networks.codes(analysed, rate)
    steps: list[tuple[int, int]] = []
    refined = refiner(pixels, exact, analysed.levels, rate, 40, lambda *each: steps.append(each))
    assert steps == [(k + 1, 40) for k in range(40)]
    assert refined.shape == exact.shape and refined.dtype == np.float32
    with torch.no_grad():
        assert loss(refined) < 0.98 * loss(exact.astype(np.float32) / 32)
    again = refiner(pixels, exact, analysed.levels, rate, 40, None)
    assert np.array_equal(again, refined)


def test_masks_are_those_of_training() -> None:
    level = torch.tensor([[0.0, 1.0, 2.0], [3.0, 2.0, 1.0]])[None, None]
    assert torch.equal(refine._mask(level, (2, 4, 6)), channel_masks(level, (2, 4, 6)))


def test_logistic_bits_are_a_distribution() -> None:
    x = torch.arange(-400, 401).float()
    for mean, log_scale in ((0.0, -2.0), (3.3, 0.0), (-7.9, 3.0)):
        bits = logistic_bits(x, torch.full_like(x, mean), torch.full_like(x, log_scale))
        assert (2**-bits).sum().item() == pytest.approx(1, abs=0.01)


def test_gradient_of_code_lengths_is_the_derivative() -> None:
    torch.manual_seed(0)
    x, mean, log_scale = (scale * torch.randn(60, dtype=torch.float64) for scale in (5, 3, 1))
    assert torch.autograd.gradcheck(logistic_bits, tuple(v.requires_grad_() for v in (x, mean, log_scale)))


def test_predictions_never_see_the_present_or_the_future() -> None:
    torch.manual_seed(0)
    groups = [2, 4]
    model = ContextModel(groups, hidden=16, map_hidden=16, levels=8).eval()
    codes, level, t = torch.randn(1, 6, 8, 8), torch.full((1, 1, 4, 4), 5.0), torch.zeros(1)
    before = model(codes, level, t)
    changed = codes.clone()
    changed[:, 2:, 4, 3] += 10  # group 1 at (4, 3)
    after = model(changed, level, t)
    assert torch.equal(before[0][0], after[0][0])  # an earlier group sees nothing of it
    moved = (before[1][0] != after[1][0]).any(1)[0]
    assert not moved[:4].any() and not moved[4, :4].any()
    assert moved[4, 4] and moved[5:7].any()
    shifted = level.clone()
    shifted[:, :, 2, 1] -= 1
    mean, _ = model.map_parameters(level, t)
    mean_shifted, _ = model.map_parameters(shifted, t)
    moved = (mean != mean_shifted)[0, 0]
    assert not moved[:2].any() and not moved[2, :2].any() and moved[2, 2]


@pytest.mark.parametrize("side", [11, 64, 128, 181])
def test_similarities_are_those_of_the_benchmarks(side: int) -> None:
    pytorch_msssim = pytest.importorskip("pytorch_msssim")
    torch.manual_seed(0)
    x = F.interpolate(torch.rand(2, 3, 12, 12) * 255, (side, side + 3), mode="bicubic").clamp(0, 255)
    y = (x + 20 * torch.randn_like(x)).clamp(0, 255)
    ssim, ms_ssim = similarities(x, y)
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    luma = [(p * weights).sum(1, keepdim=True) for p in (x, y)]
    assert torch.allclose(ssim, pytorch_msssim.ssim(*luma, data_range=255, size_average=False), atol=1e-5)
    if side > 160:  # where all five scales fit
        assert torch.allclose(ms_ssim, pytorch_msssim.ms_ssim(x, y, data_range=255, size_average=False), atol=1e-5)
    assert all(torch.allclose(s, torch.ones(2)) for s in similarities(x, x))
    with pytest.raises(ValueError, match="13 x 10 are smaller than the window of 11"):
        similarities(x[..., :10, :13], y[..., :10, :13])


def test_distortion_of_a_tuning() -> None:
    torch.manual_seed(0)
    x = F.interpolate(torch.rand(2, 3, 8, 8) * 200, 64, mode="bilinear")
    brighter, noisy = x + 3, x + 3 * torch.randn_like(x)
    assert distortion("mse", x, brighter)[0].tolist() == pytest.approx([9, 9], rel=1e-4)
    assert (distortion("ssim", x, noisy)[0] > 2 * distortion("ssim", x, brighter)[0]).all()
    with pytest.raises(ValueError, match="tuning: 'psnr'"):
        distortion("psnr", x, x)


def test_a_mixture_favours_the_nearer_integer() -> None:
    random = torch.Generator().manual_seed(0)
    y = torch.full((4000,), 2.7)
    warm, cold = (refine._mixture(y, temperature, random).mean().item() for temperature in (0.5, 0.1))
    assert 2.65 < warm < 2.8 and cold == pytest.approx(3, abs=0.02)
