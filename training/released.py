"""A released model as training sees it: to go on from, and to compare with."""

from __future__ import annotations

import torch

from pillow_cwic import models
from pillow_cwic.networks.integers import from_integers
from pillow_cwic.networks.model import Cwic1
from pillow_cwic.networks.runtime import Networks


def load_released(name: str = "cwic1", tuning: str = "mse") -> Cwic1:
    """The float model of a released weights file; its context model has the values of the released integers."""
    networks = Networks(models.by_name(name, tuning).read(), "cpu")
    model = Cwic1(networks.config)
    for part in ("analysis", "importance", "synthesis"):
        getattr(model, part).load_state_dict(getattr(networks, part).state_dict())
    with torch.no_grad():
        from_integers(model.context, networks.context_weights, networks.context_biases)
    return model
