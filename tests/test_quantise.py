"""The export of a float model to integers: what it gives is valid, and shows what the float model shows."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pillow_cwic.models.weights import read
from pillow_cwic.transforms import layout
from pillow_cwic.transforms.torch import integer
from training.calibrate import Exporter
from training.finer import finer
from training.fit import compensated, positive_span, regress, symmetric_span
from training.networks.model import Config, Cwic1
from training.networks.transforms import to_blocks, to_picture
from training.quantise import encode, quantise, weights_file


def pictures(count: int, seed: int) -> Tensor:
    """Smooth noise, (count, 3, 64, 64) in [-0.5, 0.5], in whole samples."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 10, 10, generator=random)
    fine = nn.functional.interpolate(coarse, size=64, mode="bicubic").clamp(0, 1)
    return (fine * 255).round() / 255 - 0.5


class Exported(NamedTuple):
    model: Cwic1
    parts: dict[str, dict[str, np.ndarray]]


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "normalised"])
def exported(request: pytest.FixtureRequest) -> Iterator[Exported]:
    """A small model with random blocks, and its integers."""
    torch.manual_seed(5)
    config = Config(wide=32, blocks=2, groups=(4, 4, 8), context_hidden=16, map_features=16,
                    normalised=request.param, fine=int(request.param))  # fmt: skip
    model = Cwic1(config).requires_grad_(False)
    for name, parameter in model.named_parameters():
        if name.startswith("context."):
            continue
        if "trunk" in name or "leave" in name:
            parameter += 0.05 * torch.randn_like(parameter)
        if "film" in name or "gain.mlp" in name:
            parameter += 0.02 * torch.randn_like(parameter)
    yield Exported(model, quantise(model, pictures(12, seed=1)))


@pytest.mark.parametrize("rate", [-512, -1, 256, 512])
def test_integer_synthesis_shows_what_the_float_one_shows(exported: Exported, rate: int) -> None:
    model, parts = exported
    t = torch.full((3,), rate / 512)
    codes, _ = encode(model, to_blocks(pictures(3, seed=2)), t)
    shown = integer.Synthesis(model.config, parts["synthesis"])(codes.to(torch.int16), [rate] * 3)
    wanted = (to_picture(model.synthesis(codes, t)) * 255 + 127.5).clamp(0, 255)
    error = (shown.float() - wanted).square().mean()
    assert error < 1.0, f"mean squared error {error:.3f}"  # of rounding to whole samples it is 1/12


@pytest.mark.parametrize("rate", [-512, -1, 256, 512])
def test_integer_analysis_gives_what_the_float_one_gives(exported: Exported, rate: int) -> None:
    model, parts = exported
    t = torch.full((3,), rate / 512)
    given = pictures(3, seed=2)
    analysis = integer.Analysis(model.config, parts["analysis"])
    latents, levels = analysis((given * 255 + 127.5).round().to(torch.uint8), [rate] * 3)
    codes = analysis.codes(latents, [rate] * 3).float() / 32
    blocks = to_blocks(given)
    features = model.analysis.features(blocks, t)
    wanted = model.analysis.latents(blocks, features, t) * model.analysis.gain(t)
    assert (codes - wanted).square().mean().sqrt() < 0.1  # steps
    likely = (model.config.levels * model.importance(features)[:, 0]).floor().clamp(max=model.config.levels - 1)
    assert (levels != likely).float().mean() < 0.1


def test_pictures_at_several_rates_are_as_each_alone(exported: Exported) -> None:
    model, parts = exported
    rates = [-700, 100, 512]
    samples = (pictures(3, seed=3) * 255 + 127.5).round().to(torch.uint8)
    analysis, synthesis = (
        integer.Analysis(model.config, parts["analysis"]),
        integer.Synthesis(model.config, parts["synthesis"]),
    )
    latents, levels = analysis(samples, rates)
    codes = (analysis.codes(latents, rates) // 32).clamp(-511, 511)
    shown = synthesis(codes, rates)
    for k, rate in enumerate(rates):
        one, level = analysis(samples[k : k + 1], [rate])
        assert torch.equal(one[0], latents[k]) and torch.equal(level[0], levels[k])
        assert torch.equal(synthesis(codes[k : k + 1], [rate])[0], shown[k])


def test_what_is_made_finer_shows_the_same_with_less_error(tmp_path: Path) -> None:
    """The first block of integers that have none that is fine; what the command writes is what the function gives."""
    torch.manual_seed(5)
    model = Cwic1(Config(wide=32, blocks=2, groups=(4, 4, 8), context_hidden=16, map_features=16))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "trunk" in name or "leave" in name:
                parameter += 0.05 * torch.randn_like(parameter)
    parts = quantise(model, pictures(12, seed=1))
    made = finer(model.config, 1, parts["synthesis"])
    fine = replace(model.config, fine=1)
    t = torch.full((3,), 1.0)
    codes, _ = encode(model, to_blocks(pictures(3, seed=2)), t)
    wanted = (to_picture(model.synthesis(codes, t)) * 255 + 127.5).clamp(0, 255)
    shown = [
        integer.Synthesis(config, each)(codes.to(torch.int16), [512] * 3).float()
        for config, each in ((model.config, parts["synthesis"]), (fine, made))
    ]
    coarse_error, fine_error = ((each - wanted).square().mean() for each in shown)
    assert fine_error < coarse_error and (shown[0] - shown[1]).abs().max() <= 4
    start, out = tmp_path / "start", tmp_path / "out"
    start.write_bytes(weights_file(model, parts, {"name": "a", "tuning": "mse", "family": "cwc1"}))
    subprocess.run([sys.executable, "-m", "training.finer", "--start", start, "--out", out], check=True)
    written = read(out.read_bytes())
    assert Config.from_dict(written.config) == fine and written.tuning == "mse"
    for name, array in layout.join(fine, "synthesis", made).items():
        assert np.array_equal(written.arrays[f"synthesis.{name}"], array)
    with pytest.raises(ValueError, match="fine: 1 blocks wanted, and 1 are so already"):
        finer(fine, 1, made)
    small = {**parts["synthesis"], "block0.before.m": parts["synthesis"]["block0.before.m"] * 0 + 9}
    with pytest.raises(ValueError, match=r"block0\.before\.m is down to 9, wanted 1016 or more"):
        finer(model.config, 1, small)


def test_weights_file_holds_the_parts(exported: Exported) -> None:
    model, parts = exported
    facts = {"name": "small", "tuning": "mse", "family": "cwc1", "step": "0"}
    data = weights_file(model, parts, facts)
    assert data == weights_file(model, parts, facts)
    weights = read(data)
    for kind in ("synthesis", "analysis"):
        arrays = [weights.arrays[f"{kind}.{name}"] for name in layout.TYPES]
        for name, value in layout.split(model.config, kind, *arrays).items():
            np.testing.assert_array_equal(value, parts[kind][name])


def test_a_channel_at_rest_is_no_harm() -> None:
    """Outputs that are never positive, and a channel of the stream that never changes."""
    torch.manual_seed(7)
    model = Cwic1(Config(wide=32, blocks=1, groups=(4, 4), context_hidden=16, map_features=16)).requires_grad_(False)
    block = model.synthesis.trunk[0]
    block.widen.bias[:40] -= 50
    block.before.bias[:9] -= 50
    model.synthesis.enter.weight[3] = 0
    parts = quantise(model, pictures(6, seed=1))
    codes, _ = encode(model, to_blocks(pictures(1, seed=2)), torch.zeros(1))
    shown = integer.Synthesis(model.config, parts["synthesis"])(codes.to(torch.int16), [0])
    wanted = (to_picture(model.synthesis(codes, torch.zeros(1))) * 255 + 127.5).clamp(0, 255)
    assert (shown.float() - wanted).square().mean() < 0.35


def test_roots_are_exact() -> None:
    roots = torch.tensor([0, 1, 2, 3, 46340, 65535, 2**24 + 1, 94906265, 2**31 - 1, 2**31])
    squares = roots * roots
    assert torch.equal(integer.isqrt(squares), roots)
    assert torch.equal(integer.isqrt(squares[1:] - 1), roots[1:] - 1)
    assert torch.equal(integer.isqrt(squares[2:] + 1), roots[2:])


def test_compensated_rounding_loses_less_than_rounding() -> None:
    random = torch.Generator().manual_seed(0)
    mixed = torch.randn(4000, 24, generator=random) @ torch.randn(24, 24, generator=random)
    weight = torch.randn(24, 7, generator=random) * 4
    moments = (mixed.t() @ mixed / len(mixed)).double()
    rounded = compensated(moments[None], weight[None])[0].float()
    errors = [(mixed @ (w - weight)).square().mean() for w in (weight.round(), rounded)]
    assert errors[1] < 0.6 * errors[0]
    assert torch.equal(rounded, rounded.round())


def test_spans_leave_out_what_is_rare() -> None:
    values = torch.randn(5000, 2, generator=torch.Generator().manual_seed(0)) + 3
    weights = torch.full((5000,), 1 / 5000)
    centre, step = symmetric_span(values, weights)
    assert (centre - 3).abs().max() < 0.6 and (step * 127).max() < 4.5
    few = torch.randn(5000, 1, generator=torch.Generator().manual_seed(1)).relu()
    few[0], weights[0] = 30, 1e-7
    assert positive_span(few, weights)[0] * 127 < 20


def test_a_strong_prior_wins_and_a_weak_one_gives_least_squares() -> None:
    random = torch.Generator().manual_seed(0)
    x, true = torch.randn(500, 5, generator=random).double(), torch.randn(5, 3, generator=random).double()
    moments, cross, prior = x.t() @ x / 500, x.t() @ (x @ true) / 500, torch.zeros(5, 3, dtype=torch.float64)
    assert torch.allclose(regress(moments, cross, prior, 1e-9), true, atol=1e-6)
    assert regress(moments, cross, prior, 1e6).abs().max() < 1e-4


def test_inputs_that_are_hardly_ever_above_zero_leave_sums_within_their_bounds() -> None:
    random = torch.Generator().manual_seed(3)
    exporter = Exporter(Cwic1(Config(wide=16, blocks=1, groups=(4, 4))).analysis, [0, 0], (8, 8))
    h = torch.zeros(2, 8, 8, 16, dtype=torch.int32)
    h[0, 3, 4, :8], h[1, 2, 2, 4:] = 1, 1
    wanted, prior = 300 * torch.randn(2, 8, 8, 16, generator=random), torch.randn(16, 9, generator=random)
    exporter.space("block0.space", h, wanted, prior, fine=False)
    weight, bias = exporter.parts["block0.space.weight"].long(), exporter.parts["block0.space.bias"].long()
    assert (layout.OPERAND * weight.abs().sum((0, 1)) + bias.abs()).max() < 2**15
