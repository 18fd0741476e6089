"""The context model's weights as the integers of docs/FORMAT.md section 5, and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pillow_cwic.transforms.torch.context import TAPS, ContextModel, GroupContext

WEIGHT_BITS = 12  # fractional bits of weights
SUM_BITS = 18  # of sums and biases
LARGEST_WEIGHT = 7.99  # that training may reach, so that its integer fits 16 bits


def _spatial(conv: nn.Conv2d) -> Tensor:
    """View of a convolution's weights (O, I, kh, kw) as (kh, kw, I, O)."""
    return conv.weight.detach().permute(2, 3, 1, 0)


def _parts(network: GroupContext) -> tuple[list[Tensor], list[Tensor]]:
    """Views of the weights and biases of one layer's network, in the order of FORMAT.md section 5.1."""
    own = _spatial(network.own).flatten(0, 1)[:TAPS]  # raster order: the causal taps come first
    weights = [network.rate.weight.detach(), *([_spatial(network.dense)] if network.dense is not None else [])]
    weights += [_spatial(network.mix), own, _spatial(network.hidden), _spatial(network.out)]
    biased: list[Any] = [network.rate, network.mix, network.hidden, network.out]
    return weights, [layer.bias.detach() for layer in biased]


def _networks(context: ContextModel) -> Iterator[GroupContext]:
    yield context.map
    for network in context.layers:
        assert isinstance(network, GroupContext)
        yield network


def fixed_point(values: Tensor, bits: int, kind: type[np.signedinteger[Any]], what: str) -> NDArray[Any]:
    """Values times 2**bits, rounded, one dimension. Raises ValueError, naming ``what``, if one is too large."""
    scaled = torch.round(values.double() * 2**bits).cpu().numpy().ravel()
    limit = np.iinfo(kind).max
    if np.abs(scaled).max() > limit:
        raise ValueError(f"{what}: {np.abs(scaled).max() / 2**bits:.2f} exceeds {limit / 2**bits:.2f}")
    return scaled.astype(kind)


def to_integers(context: ContextModel) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
    """Weights and biases, one dimension each. Raises ValueError if a value is too large for the format."""
    weights, biases = [], []
    for index, network in enumerate(_networks(context)):
        more_weights, more_biases = _parts(network)
        weights += [fixed_point(p, WEIGHT_BITS, np.int16, f"layer {index} weights") for p in more_weights]
        biases += [fixed_point(b, SUM_BITS, np.int32, f"layer {index} biases") for b in more_biases]
    return np.concatenate(weights), np.concatenate(biases)


@torch.no_grad()
def from_integers(context: ContextModel, weights: NDArray[np.int16], biases: NDArray[np.int32]) -> None:
    """Gives a float context model the values of released integers."""

    def fill(parts: list[Tensor], values: NDArray[Any], start: int, bits: int) -> int:
        for part in parts:
            end = start + part.numel()
            part.copy_(torch.from_numpy(values[start:end].astype(np.float64) / 2**bits).reshape(part.shape))
            start = end
        return start

    weight, bias = 0, 0
    for network in _networks(context):
        more_weights, more_biases = _parts(network)
        weight = fill(more_weights, weights, weight, WEIGHT_BITS)
        bias = fill(more_biases, biases, bias, SUM_BITS)
