"""The kinds of models, by the family that a file names: what transforms and entropy model a weights file makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pillow_cwic.coding import Entropy
from pillow_cwic.coding.symbols import entropy_of
from pillow_cwic.device import require_torch
from pillow_cwic.models.weights import Context, Weights, read
from pillow_cwic.transforms.cwic1 import Cwic1
from pillow_cwic.transforms.protocol import Transforms


class Runtime(NamedTuple):
    """One model, ready to use on one device."""

    networks: Transforms
    entropy: Entropy


def _cwic2018(weights: Weights, context: Context, device: str) -> Transforms:
    require_torch("model cwic2018")
    from pillow_cwic.cwic2018.runtime import PaperNetworks

    return PaperNetworks(weights, device)


TRANSFORMS: dict[bytes, Callable[[Weights, Context, str], Transforms]] = {b"cwc1": Cwic1, b"cw18": _cwic2018}


def make(family: bytes, data: bytes, device: str) -> Runtime:
    """A weights file's model on a device. Raises ModelError if its arrays do not fit its config."""
    weights = read(data)
    context = weights.context()
    networks = TRANSFORMS[family](weights, context, device)  # which checks the whole config, and so comes first
    entropy = entropy_of(family, weights.config, context)
    weights.check_empty()
    return Runtime(networks, entropy)
