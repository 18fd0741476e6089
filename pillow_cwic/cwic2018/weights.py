"""Arrays of a weights file into the networks of torch that models without integer transforms need."""

from __future__ import annotations

import numpy as np
import torch

from pillow_cwic.errors import ModelError
from pillow_cwic.models.weights import Weights


def fill(part: torch.nn.Module, name: str, weights: Weights, device: str) -> None:
    """Gives a network the arrays whose names begin with ``name.`` and takes them out of ``weights``.

    It is read-only from then on, on ``device``. Raises ModelError if they do not fit or are not finite.
    """
    prefix, arrays = f"{name}.", weights.arrays
    own = {key.removeprefix(prefix): arrays.pop(key) for key in list(arrays) if key.startswith(prefix)}
    for key, value in own.items():
        if value.dtype.kind != "f" or not np.isfinite(value).all():
            raise ModelError(f"weights: {prefix}{key}, {value.dtype}, does not hold finite numbers alone")
    try:
        values = {key: torch.from_numpy(value.astype(np.float32)) for key, value in own.items()}
        part.load_state_dict(values, assign=True)
    except RuntimeError as error:
        raise ModelError(f"weights: {name} does not fit the config: {error}") from error
    part.requires_grad_(False).eval().to(device)
    for parameter in part.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
