"""The float weights that a released model was made of, as training sees them: to go on from, and to compare with.

``masters/`` holds them, with 16 bits each; releases hold integers alone, which are made of them (quantise.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from pillow_cwic.models.config import Config
from pillow_cwic.models.weights import read
from pillow_cwic.transforms.torch.context_weights import from_integers
from training.networks.model import Cwic1
from training.weights import with_fine

MASTERS = Path(__file__).with_name("masters")


def load_released(name: str = "cwic1", tuning: str = "mse") -> Cwic1:
    """The float model of a release; its context model has the values of the released integers."""
    weights = read((MASTERS / f"{name}-{tuning}.safetensors").read_bytes())
    context = weights.take("context.weights", np.int16), weights.take("context.biases", np.int32)
    model = Cwic1(with_fine(Config.from_dict(weights.config)))
    floats = {key: torch.from_numpy(value.astype(np.float32)) for key, value in weights.arrays.items()}
    missing, unexpected = model.load_state_dict(floats, strict=False)
    if unexpected or any(not key.startswith("context.") for key in missing):
        raise ValueError(f"masters: {name}-{tuning} lacks {missing} and has {unexpected} besides")
    with torch.no_grad():
        from_integers(model.context, *context)
    return model
