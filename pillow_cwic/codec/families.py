"""The kinds of models, by the family that a file names: what transforms and entropy model a weights file makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pillow_cwic.coding import Entropy
from pillow_cwic.coding.symbols import entropy_of
from pillow_cwic.device import require_torch
from pillow_cwic.models.weights import Weights, read
from pillow_cwic.transforms.cwic1 import Cwic1

if TYPE_CHECKING:
    from pillow_cwic.cwic2018.runtime import PaperNetworks


class Runtime(NamedTuple):
    """One model, ready to use on one device. All kinds have the same methods."""

    networks: Cwic1 | PaperNetworks
    entropy: Entropy


def _cwic2018(weights: Weights, device: str) -> PaperNetworks:
    require_torch("model cwic2018")
    from pillow_cwic.cwic2018.runtime import PaperNetworks

    return PaperNetworks(weights, device)


def make(family: bytes, data: bytes, device: str) -> Runtime:
    """A weights file's model on a device. Raises ModelError if its arrays do not fit its config."""
    weights = read(data)
    context = weights.context()
    # Which checks the whole config, and so comes first.
    networks = _cwic2018(weights, device) if family == b"cw18" else Cwic1(weights, context, device)
    entropy = entropy_of(family, weights.config, context)
    weights.check_empty()
    return Runtime(networks, entropy)
