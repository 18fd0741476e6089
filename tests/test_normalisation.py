"""Divisive normalisation: an exact pair at first, from luma contrast alone, and part of models that say so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.networks.dct import basis, luma_contrast
from training.networks.model import Config, Cwic1
from training.networks.normalisation import QUIET, UNIT, Normalisation
from training.train import Run, Schedule

TINY = Config(wide=16, blocks=1, groups=(4, 8), context_hidden=16, map_features=8, levels=2)
T = torch.zeros(1)


def pair(channels: int) -> tuple[Normalisation, Normalisation]:
    """Both directions without the traces of other channels that training starts from."""
    made = Normalisation(channels, inverse=False), Normalisation(channels, inverse=True)
    for each in made:
        with torch.no_grad():
            each.mixture[each.mixture < 0.5] = 0
            each.mixture[each.mixture > 0.5] = 1
    return made


def block(picture: torch.Tensor) -> torch.Tensor:
    """Codes, (1, 192, 1, 1), of one block of pixels, (3, 8, 8)."""
    return (basis(192) @ picture.flatten()).view(1, 192, 1, 1)


def test_the_channels_are_what_they_are_taken_for() -> None:
    luma, contrast = luma_contrast(192)
    assert (int(luma.sum()), int(contrast.sum())) == (63, 189)  # three means; 63 other functions of each colour
    grey = torch.randn(8, 8).expand(3, 8, 8)
    codes = block(grey - grey.mean()).flatten()
    assert codes[~luma].abs().max() < 1e-5
    assert codes[luma].square().sum() == pytest.approx(192 * float(grey.var(correction=0)), rel=1e-4)


def test_there_and_back() -> None:
    forward, back = pair(128)
    x = torch.randn(2, 128, 3, 5, generator=torch.Generator().manual_seed(1)) * 0.3
    with torch.no_grad():
        assert torch.allclose(back(forward(x, T), T), x, atol=1e-5)


def test_steps_grow_with_contrast_as_half_of_what_ssim_asks_for() -> None:
    """At large variance, of which SSIM's root would be 2 * variance + C2, the step is its fourth root."""
    _, back = pair(192)
    picture = torch.randn(8, 8, generator=torch.Generator().manual_seed(2)).expand(3, 8, 8)
    forward = pair(192)[0]
    _, contrast = luma_contrast(192)
    with torch.no_grad():
        sizes = []
        for strength in (1.0, 16.0):
            x = block(strength * (picture - picture.mean()))
            sizes.append(float((x / forward(x, T))[0, contrast, 0, 0].nanmean()))
        quiet = block(torch.full((3, 8, 8), 0.3))
        expanded = back(quiet, T)
    assert sizes[1] / sizes[0] == pytest.approx(4, rel=0.02)
    assert sizes[0] > 2 and torch.allclose(expanded[0, ~contrast], quiet[0, ~contrast])
    assert UNIT > 1 > QUIET


def test_a_model_has_it_if_its_config_says_so(tmp_path: Path) -> None:
    plain, normal = Cwic1(TINY), Cwic1(replace(TINY, normalised=True))
    names = {n for n in normal.state_dict() if n not in plain.state_dict()}
    assert {n.split(".")[1] for n in names} == {"normalisation"}
    run = Run(tmp_path, normal.config, Schedule(), torch.device("cpu"))
    before = {n: v.clone() for n, v in run.model.state_dict().items()}
    run.start_from(plain)
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, before[name] if name in names else plain.state_dict()[name])
    with pytest.raises(ValueError, match=r"no place for analysis\.normalisation"):
        Run(tmp_path, TINY, Schedule(), torch.device("cpu")).start_from(normal)
    with pytest.raises(ValueError, match="normalised is 1, wanted true or false"):
        Config(normalised=1)  # type: ignore[arg-type]
