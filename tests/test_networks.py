"""Quantisers and their proxy gradients, masks, gains, causality of the context model, size of the decoder."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from pillow_cwic.networks import refine
from pillow_cwic.networks.context import ContextModel, logistic_bits
from pillow_cwic.networks.distortion import distortion, similarities
from pillow_cwic.networks.layers import Gain, MixBlock, Trunk
from pillow_cwic.networks.model import Config, Cwic1, count_macs
from pillow_cwic.networks.quantisers import layer_mask, quantise_codes, quantise_map, useful_levels


def gradient(function, values: list[float]) -> list[float]:
    x = torch.tensor(values, requires_grad=True)
    function(x).sum().backward()
    return x.grad.tolist()


def test_codes_are_a_bank_of_binarizers() -> None:
    limit = 3
    y = torch.linspace(-5, 5, 1001)
    bank = sum((y > k - 0.5).float() for k in range(-limit + 1, limit + 1)) - limit
    ties = ((y - 0.5) % 1) < 1e-3
    assert torch.equal(quantise_codes(y, limit)[~ties], bank[~ties])
    assert gradient(lambda x: quantise_codes(x, limit), [-4.0, -2.2, 0.0, 2.9, 3.5]) == [0, 1, 1, 1, 0]


def test_map_levels_and_their_gradient() -> None:
    p = torch.tensor([0.0, 0.124, 0.126, 0.5, 0.9999, 1.0])
    assert quantise_map(p, 8).tolist() == [0, 0, 1, 4, 7, 7]
    assert gradient(lambda x: quantise_map(x, 8), [0.3]) == [8]


def test_mask_keeps_the_first_layers_and_passes_gradient_near_the_step() -> None:
    level = torch.tensor([0.0, 2.0, 3.0, 7.0])
    assert layer_mask(level, 3).tolist() == [0, 0, 1, 1]
    assert gradient(lambda x: layer_mask(x, 3), [0.0, 2.0, 3.0, 7.0]) == [0, 0.5, 0.5, 0]


def test_gain_goes_on_beyond_the_trained_range() -> None:
    gain = Gain(2, 1.0, 1.25)
    ends = gain(torch.tensor([1.0, 2.0]))[:, 0, 0, 0]
    assert torch.log(ends[1] / ends[0]).item() == pytest.approx(1.25, abs=1e-5)


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


def test_decoder_stays_within_its_budget() -> None:
    macs = count_macs(Config())
    assert macs["context"] > 0 and macs["synthesis"] + macs["context"] <= 40_000


def test_a_new_model_starts_as_the_one_without_a_map() -> None:
    torch.manual_seed(0)
    model = Cwic1(Config(wide=16, blocks=1)).eval()
    pixels = torch.rand(1, 192, 8, 8) - 0.5
    out = model(pixels, torch.zeros(1), use_map=True, hard_rate=True)
    assert out.level.min() == 7 and out.blocks.shape == pixels.shape


def test_a_block_starts_as_the_identity_and_mixes_neighbours_and_channels() -> None:
    torch.manual_seed(0)
    block = MixBlock(8)
    x = torch.randn(1, 8, 5, 5)
    assert torch.equal(block(x), x)
    for last in (block.after, block.narrow):
        torch.nn.init.normal_(last.weight)
    moved = x.clone()
    moved[0, 3, 2, 2] += 1
    changed = (block(moved) - block(x) - (moved - x)).abs() > 1e-6
    assert changed[0, :, 1:4, 1:4].all() and not changed[0, :, 0].any() and not changed[0, :, :, 4].any()


def test_a_block_in_bfloat16_has_the_output_and_the_gradient_of_its_layers() -> None:
    torch.manual_seed(0)
    block = MixBlock(16)
    for last in (block.after, block.narrow):
        torch.nn.init.normal_(last.weight, std=0.3)
    x = torch.randn(2, 16, 12, 12).to(memory_format=torch.channels_last).requires_grad_()
    direction = torch.randn(2, 16, 12, 12)
    one_by_one = copy.deepcopy(block).to(torch.bfloat16)
    exact = one_by_one(x.to(torch.bfloat16))
    wanted = torch.autograd.grad((exact.float() * direction).sum(), [x, *one_by_one.parameters()])
    variables = [x, *block.parameters()]
    with torch.autocast("cpu", torch.bfloat16):
        half = block(x)
    found = torch.autograd.grad((half.float() * direction).sum(), variables)
    assert half.dtype == torch.bfloat16 and half.is_contiguous(memory_format=torch.channels_last)
    for a, b in zip((exact, *wanted), (half, *found), strict=True):
        assert a.shape == b.shape and (a.float() - b.float()).norm() < 0.02 * a.float().norm()
    block.requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16):
        half = block(x)
    assert torch.equal(torch.autograd.grad((half.float() * direction).sum(), x)[0], found[0])


def test_useful_levels_end_where_codes_stop_paying() -> None:
    latents = torch.zeros(1, 6, 2, 4)
    latents[0, 2, 0, 1] = 3.0  # group 1, first cell
    latents[0, 4, 1, 2] = 0.6  # group 2, second cell: a code of 1 costs more than it gives
    assert useful_levels(latents, [2, 2, 2])[0, 0].tolist() == [[1, 0]]
    latents[0, 5, 1, 2] = 1.0
    latents[0, 5, 0, 3] = -2.0
    assert useful_levels(latents, [2, 2, 2])[0, 0].tolist() == [[1, 2]]


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


@torch.no_grad()
def test_a_trunk_makes_the_same_with_less_memory() -> None:
    torch.manual_seed(0)
    trunk = Trunk(16, 3)
    for parameter in trunk.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(2, 16, 21, 34).contiguous(memory_format=layout)  # more places than a part, not a multiple
        plain = trunk(x)
        with torch.inference_mode():
            assert torch.allclose(trunk(x.clone()), plain, atol=1e-5)
        assert torch.isfinite(plain).all() and not torch.allclose(plain, x, atol=0.1)
