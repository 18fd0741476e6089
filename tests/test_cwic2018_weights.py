"""Weights of ``cwic2018`` in 8 bits: how they are rounded, what is read of them, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from safetensors.torch import load
from test_cwic2018 import released  # noqa: F401  (a fixture)
from tiny_model import changed

from pillow_cwic import models
from pillow_cwic.codec import families, session
from pillow_cwic.errors import ModelError
from pillow_cwic.models.weights import read
from training import paper_rounding

pytestmark = pytest.mark.usefixtures("released")


def test_scales_have_the_least_squared_error_of_those_tried() -> None:
    weight = torch.randn(5, 30_000, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    weight[1, 7] = 9.0  # which is worth clipping
    weight[2], weight[3] = 0.0, 1e-9  # less than any scale
    scale = paper_rounding.best_scale(weight)
    assert scale.dtype == torch.float16 and (scale[:2] > 0).all() and not scale[2:4].any()
    whole = (weight.abs().amax(1) / 127).half()
    error = [
        ((weight / s[:, None]).round().clamp(-127, 127) * s[:, None] - weight)[[0, 1, 4]].square().sum(1)
        for s in (scale.double(), whole.double())
    ]
    assert (error[0] <= error[1]).all() and scale[1] < whole[1] and error[0][0] / weight[0].square().sum() < 1e-3


def test_errors_of_rounding_make_up_for_each_other() -> None:
    """On inputs that are never negative, as those behind a ReLU, far better than rounding to the nearest."""
    torch.manual_seed(2)
    layer = torch.nn.Conv2d(64, 8, 1).requires_grad_(False)
    x = torch.relu(torch.randn(64, 16) @ torch.randn(4, 16, 300) + 1).reshape(4, 64, 15, 20)
    wanted, weight = layer(x), layer.weight.flatten(1).double()
    scale = paper_rounding.best_scale(weight).double()[:, None]
    nearest = ((weight / scale).round() * scale).float().view_as(layer.weight)
    plain = torch.nn.functional.conv2d(x, nearest, layer.bias) - wanted
    arrays = paper_rounding.round_layer(layer, paper_rounding.columns(layer, x, torch.Generator()))
    error = layer(x) - wanted
    assert error.square().mean() < plain.square().mean() / 4
    assert error.mean((0, 2, 3)).abs().max() < 0.1 * plain.mean((0, 2, 3)).abs().max()
    shown = arrays["weight"].float() * arrays["scale"].float()[:, None, None, None]
    assert arrays["weight"].dtype == torch.int8 and torch.equal(shown, layer.weight)
    assert torch.equal(arrays["bias"].float(), layer.bias)


def test_networks_are_those_of_the_file() -> None:
    """Each weight an integer times its output's scale, but for the few layers that stay float16."""
    model = models.by_name("cwic2018")
    arrays, networks = read(model.read()).arrays, session.runtime(model).networks
    eight = {name.removesuffix(".scale") for name in arrays if name.endswith(".scale")}
    layers = {name.removesuffix(".bias") for name in arrays if name.endswith(".bias")}
    assert layers - eight == {
        "encoder.trunk.0.0",
        "encoder.out",
        "importance.out",
        "decoder.trunk.8.0",
        "decoder.trunk.9",
    }
    for name in layers:
        part, _, inside = name.partition(".")
        layer, weight = getattr(networks, part).get_submodule(inside), arrays[f"{name}.weight"]
        assert weight.dtype == (np.int8 if name in eight else np.float16)
        scale = arrays[f"{name}.scale"].astype(np.float32)[:, None, None, None] if name in eight else 1
        assert np.array_equal(layer.weight.numpy(), weight * scale)
        assert np.array_equal(layer.bias.numpy(), arrays[f"{name}.bias"])


LAYER, FLOATS = "decoder.trunk.2.0", "decoder.trunk.9"


def damaged(name: str, change: Callable[[torch.Tensor], torch.Tensor | None]) -> Callable[[bytes], bytes]:
    return lambda data: changed(data, **{name.replace(".", "__"): change(load(data)[name])})


def with_value(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda array: array.index_fill(0, torch.tensor([1]), value)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (f"{LAYER}.weight", lambda x: None, "is missing, wanted int8 (64, 64, 3, 3)"),
        (f"{LAYER}.weight", lambda x: x.half(), "is float16 (64, 64, 3, 3), wanted int8"),  # as it once was
        (f"{LAYER}.weight", lambda x: x.view(torch.uint8), "is uint8 (64, 64, 3, 3), wanted int8"),
        (f"{LAYER}.weight", lambda x: x[:1], "is int8 (1, 64, 3, 3), wanted int8 (64, 64, 3, 3)"),
        (f"{LAYER}.weight", lambda x: x.flatten(), "is int8 (36864,), wanted"),
        (f"{LAYER}.scale", lambda x: None, "is missing, wanted float16 (64,)"),
        (f"{LAYER}.scale", lambda x: x.float(), "is float32 (64,), wanted float16"),
        (f"{LAYER}.scale", lambda x: x[:1], "is float16 (1,), wanted float16 (64,)"),
        (f"{LAYER}.scale", lambda x: x[:, None], "is float16 (64, 1), wanted"),
        (f"{LAYER}.scale", with_value(-0.5), "is down to -0.5, wanted no negative number"),
        (f"{LAYER}.scale", with_value(float("nan")), "does not hold finite numbers alone"),
        (f"{LAYER}.scale", with_value(float("inf")), "does not hold finite numbers alone"),
        (f"{LAYER}.bias", lambda x: None, "is missing, wanted float16 (64,)"),
        (f"{LAYER}.bias", with_value(float("-inf")), "does not hold finite numbers alone"),
        (f"{FLOATS}.weight", lambda x: x.to(torch.int8), "is int8 (3, 4, 1, 1), wanted float16"),
        (f"{FLOATS}.weight", with_value(float("nan")), "does not hold finite numbers alone"),
    ],
)
def test_hostile_arrays_are_named(name: str, change: Callable[[torch.Tensor], torch.Tensor | None], words: str) -> None:
    data = models.by_name("cwic2018").read()
    with pytest.raises(ModelError) as raised:
        families.make(b"cw18", damaged(name, change)(data), "cpu")
    assert str(raised.value).startswith(f"weights: {name} {words}")


def test_arrays_of_no_layer_are_refused() -> None:
    data = models.by_name("cwic2018").read()
    for name in (f"{FLOATS}.scale", "decoder.trunk.10.weight"):
        with pytest.raises(ModelError, match=f"1 arrays belong to no part, the first is {name}"):
            families.make(b"cw18", changed(data, **{name.replace(".", "__"): torch.zeros(3).half()}), "cpu")
