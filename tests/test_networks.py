"""Networks of training: quantisers and their proxy gradients, masks, gains, blocks, size of the decoder."""

from __future__ import annotations

import copy

import pytest
import torch

from training.networks.layers import Gain, MixBlock, Trunk
from training.networks.model import Config, Cwic1, count_macs
from training.networks.quantisers import layer_mask, quantise_codes, quantise_map, useful_levels


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


@pytest.mark.parametrize(("kind", "far"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_a_block_has_the_output_and_the_gradient_of_its_layers(kind: torch.dtype, far: float) -> None:
    torch.manual_seed(0)
    block = MixBlock(16)
    for last in (block.after, block.narrow):
        torch.nn.init.normal_(last.weight, std=0.3)
    x = torch.randn(2, 16, 12, 12).to(memory_format=torch.channels_last).requires_grad_()
    direction = torch.randn(2, 16, 12, 12)
    layers = copy.deepcopy(block).to(kind)
    middle = x.to(kind) + layers.after(layers.space(torch.relu(layers.before(x.to(kind)))))
    exact = middle + layers.narrow(torch.relu(layers.widen(middle)))
    wanted = torch.autograd.grad((exact.float() * direction).sum(), [x, *layers.parameters()])
    variables = [x, *block.parameters()]
    under = torch.autocast("cpu", torch.bfloat16, enabled=kind == torch.bfloat16)
    with under:
        out = block(x)
    found = torch.autograd.grad((out.float() * direction).sum(), variables)
    assert out.dtype == kind and out.is_contiguous(memory_format=torch.channels_last)
    for a, b in zip((exact, *wanted), (out, *found), strict=True):
        assert a.shape == b.shape and (a.float() - b.float()).norm() < far * a.float().norm()
    block.requires_grad_(False)
    with under:
        out = block(x)
    assert torch.equal(torch.autograd.grad((out.float() * direction).sum(), x)[0], found[0])


def test_useful_levels_end_where_codes_stop_paying() -> None:
    latents = torch.zeros(1, 6, 2, 4)
    latents[0, 2, 0, 1] = 3.0  # group 1, first cell
    latents[0, 4, 1, 2] = 0.6  # group 2, second cell: a code of 1 costs more than it gives
    assert useful_levels(latents, [2, 2, 2])[0, 0].tolist() == [[1, 0]]
    latents[0, 5, 1, 2] = 1.0
    latents[0, 5, 0, 3] = -2.0
    assert useful_levels(latents, [2, 2, 2])[0, 0].tolist() == [[1, 2]]


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
