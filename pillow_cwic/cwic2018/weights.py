"""Arrays of a weights file into the networks of torch that models without integer transforms need."""

from __future__ import annotations

import torch

from pillow_cwic.models.weights import Weights

# Layers whose weights are float16, not 8 bits: next to pixels, codes and levels, where errors show most; 1 % of all.
FLOAT_LAYERS = ("encoder.trunk.0.0", "encoder.out", "importance.out", "decoder.trunk.8.0", "decoder.trunk.9")


def fill(part: torch.nn.Module, name: str, weights: Weights, device: str) -> None:
    """Gives a network of convolutions the arrays whose names begin with ``name.`` and takes them out of ``weights``.

    It is read-only from then on, on ``device``. Raises ModelError, which names the array, if one is missing or does not
    fit.
    """
    for key, layer in part.named_modules(prefix=name):
        if not isinstance(layer, torch.nn.Conv2d):
            continue
        shape, weight = tuple(layer.weight.shape), f"{key}.weight"
        arrays = {
            "weight": weights.take_floats(weight, shape)
            if key in FLOAT_LAYERS
            else weights.take_scaled(weight, f"{key}.scale", shape),
            "bias": weights.take_floats(f"{key}.bias", shape[:1]),
        }
        layer.load_state_dict({each: torch.from_numpy(array) for each, array in arrays.items()}, assign=True)
    part.requires_grad_(False).eval().to(device)
    for parameter in part.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
