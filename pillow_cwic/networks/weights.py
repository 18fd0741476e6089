"""Weights files: safetensors bytes to arrays, and arrays into networks. They may come from anywhere: all is checked."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load

from pillow_cwic import models
from pillow_cwic.errors import ModelError

Tensors = dict[str, torch.Tensor]


def read(weights: bytes) -> tuple[dict[str, str], dict[str, Any], Tensors]:
    """Metadata, config and arrays of a whole safetensors file. Raises ModelError if it is none of ours."""
    try:
        metadata = models.read_metadata(BytesIO(weights), len(weights))
        config = json.loads(metadata["config"])
        if not isinstance(config, dict):
            raise ValueError(f"config: {type(config).__name__} is not an object")
        tensors = load(weights)
    except (ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise ModelError(f"weights: not a readable model file: {error}") from error
    if (tuning := metadata.get("tuning")) not in models.TUNINGS:
        raise ModelError(f"weights: tuning {tuning!r} is none of {', '.join(models.TUNINGS)}")
    return metadata, config, tensors


def take_integers(tensors: Tensors, name: str, kind: torch.dtype) -> NDArray[Any]:
    """Takes an array of one dimension out of ``tensors``. Raises ModelError if it is missing or of another kind."""
    found = tensors.pop(name, torch.empty(0))
    if found.dtype != kind or found.ndim != 1:
        raise ModelError(f"weights: {name} is {found.dtype} {tuple(found.shape)}, wanted {kind} of one dimension")
    return found.numpy()


def fill(part: torch.nn.Module, name: str, tensors: Tensors, device: torch.device) -> None:
    """Gives a network the arrays whose names begin with ``name.`` and takes them out of ``tensors``.

    It is read-only from then on, on ``device``. Raises ModelError if they do not fit or are not finite.
    """
    prefix = f"{name}."
    own = {key.removeprefix(prefix): tensors.pop(key) for key in list(tensors) if key.startswith(prefix)}
    for key, value in own.items():
        if not value.is_floating_point() or not torch.isfinite(value).all():
            raise ModelError(f"weights: {prefix}{key}, {value.dtype}, does not hold finite numbers alone")
    try:
        part.load_state_dict({key: value.float() for key, value in own.items()}, assign=True)
    except RuntimeError as error:
        raise ModelError(f"weights: {name} does not fit the config: {error}") from error
    part.requires_grad_(False).eval().to(device)
    for parameter in part.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def check_empty(tensors: Tensors) -> None:
    """Raises ModelError if an array was not taken."""
    if tensors:
        raise ModelError(f"weights: {len(tensors)} arrays belong to no part, the first is {min(tensors)}")
