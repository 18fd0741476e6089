"""The kinds of models, by the family that a file names: which networks and which entropy model a weights file makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pillow_cwic.entropy import Entropy, EntropyModel, PlaneModel
from pillow_cwic.networks.paper_runtime import PaperNetworks
from pillow_cwic.networks.runtime import Networks

AnyNetworks = Networks | PaperNetworks


class Runtime(NamedTuple):
    """One model, ready to use on one device. All kinds have the same methods."""

    networks: AnyNetworks
    entropy: Entropy


def _cwic1(weights: bytes, device: str) -> Runtime:
    networks = Networks(weights, device)
    c = networks.config
    arrays = networks.context_weights, networks.context_biases
    return Runtime(networks, EntropyModel(*arrays, c.groups, c.context_hidden, c.map_hidden, c.levels))


def _cwic2018(weights: bytes, device: str) -> Runtime:
    networks = PaperNetworks(weights, device)
    c = networks.config
    return Runtime(networks, PlaneModel(networks.context_weights, networks.context_biases, c.groups, c.levels))


FAMILIES: dict[bytes, Callable[[bytes, str], Runtime]] = {b"cwc1": _cwic1, b"cw18": _cwic2018}
