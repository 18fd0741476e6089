"""Integer transforms that learn (training/rounded.py, rounding.py): their gradients, and what they hand back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pillow_cwic.transforms import layout
from pillow_cwic.transforms.torch import integer
from pillow_cwic.transforms.torch.twin import Twin
from tests.tiny_model import crops, new_model
from training.data import Crops
from training.networks.model import Config, Cwic1
from training.networks.transforms import to_blocks
from training.quantise import encode, quantise
from training.rounded import SCALES, Synthesis
from training.rounding import Tuner

CONFIG = Config(wide=32, blocks=2, groups=(2, 2, 4), context_hidden=16, map_features=8, levels=3, fine=1)


@pytest.fixture(scope="module")
def model() -> Cwic1:
    return new_model(seed=3, config=CONFIG)


@pytest.fixture(scope="module")
def parts(model: Cwic1) -> dict[str, dict[str, np.ndarray]]:
    return quantise(model, crops())


class OneByOne(Synthesis):
    """The same with its blocks operation by operation, whose gradients torch finds."""

    def block(self, x: Tensor, name: str, fine: bool) -> Tensor:
        return Twin.block(self, x, name, fine)


@pytest.mark.parametrize("name", ["block0", "block1"])  # a fine block, and one that is not
def test_written_gradients_are_those_that_torch_finds(parts: dict[str, dict[str, np.ndarray]], name: str) -> None:
    torch.manual_seed(1)
    x, weight = torch.randn(2, 6, 5, CONFIG.wide) * 3000, torch.randn(2, 6, 5, CONFIG.wide)
    found = []
    for kind in (Synthesis, OneByOne):
        transform, stream = kind(CONFIG, parts["synthesis"]), x.clone().requires_grad_()
        (transform.block(stream, name, name == "block0") * weight).sum().backward()
        learned = {name: p.grad for name, p in transform.thetas.items() if p.grad is not None}
        found.append({"x": stream.grad, **learned})
    assert found[0].keys() == found[1].keys() and len(found[0]) == 16
    for part, mine in found[0].items():  # products of the backward pass are in bfloat16, and ties may fall elsewhere
        assert (mine - found[1][part]).norm() < 0.05 * found[1][part].norm(), part


def test_what_did_not_learn_comes_back_as_it_was(parts: dict[str, dict[str, np.ndarray]]) -> None:
    given = parts["synthesis"]
    for name, part in Synthesis(CONFIG, given).integers(given).items():
        assert np.allclose(part, given[name], rtol=2e-7, atol=0), name  # float32 holds biases to 24 bits


def test_scales_undo_themselves(model: Cwic1, parts: dict[str, dict[str, np.ndarray]]) -> None:
    """Coarser operands change what rounding and clipping lose, not what the transform computes."""
    codes, _ = encode(model, to_blocks(crops()[:2]), torch.zeros(2))
    transform = Synthesis(CONFIG, parts["synthesis"])
    with torch.no_grad():
        before = transform(codes, [0, 0])
        for name, theta in transform.thetas.items():
            if name.replace("_", ".").rsplit(".", 1)[-1] in SCALES:
                theta -= 0.1
        after = transform(codes, [0, 0])
        theta_changed = (after - before).square().mean()
        for name in list(transform.thetas):  # without the weights that follow, it is another function
            if name.endswith("_weight"):
                transform.thetas[name] *= 1.1
        wrong = (transform(codes, [0, 0]) - before).square().mean()
    assert 0 < theta_changed < 4 and theta_changed < wrong / 3


def test_tuning_lowers_the_loss_and_gives_valid_parts(model: Cwic1, parts: dict[str, dict[str, np.ndarray]]) -> None:
    torch.manual_seed(2)
    pixels = ((crops() + 0.5) * 255).byte().permute(0, 2, 3, 1).numpy()
    source = Crops(list(pixels), 64, 2, seed=4, vivid=0.5)
    tuner = Tuner(model, parts, "mse", 3e-3)
    losses = [tuner.step(source.next(), k / 40, k) for k in range(40)]
    assert np.mean([loss for loss, _ in losses[-10:]]) < np.mean([loss for loss, _ in losses[:10]])
    tuner.refresh()  # which checks them, in Python and in C
    for kind in ("synthesis", "analysis"):
        made = tuner.parts(kind)  # type: ignore[arg-type]
        layout.check(CONFIG, kind, made)  # type: ignore[arg-type]
        assert any(not np.array_equal(made[name], parts[kind][name]) for name in made)
    codes, _ = encode(model, to_blocks(crops()[:1]), torch.zeros(1))
    exact = integer.Synthesis(CONFIG, tuner.parts("synthesis"))(codes.to(torch.int16), [0]).float()
    twin = tuner.synthesis(codes, [0]).detach().clamp(0, 255)
    assert (exact - twin).square().mean() < 1.0


def test_vivid_crops_have_stronger_colours() -> None:
    pixels = ((crops() + 0.5) * 255).byte().permute(0, 2, 3, 1).numpy()

    def spread(vivid: float) -> float:
        drawn = torch.cat(
            [Crops(list(pixels), 64, 4, seed=7, rendered=0, noisy=0, vivid=vivid).next() for _ in range(2)]
        )
        return float((drawn - drawn.mean(1, keepdim=True)).abs().mean())

    assert spread(1.0) > 1.3 * spread(0.0)
