"""Weights files: safetensors bytes to arrays, and arrays into networks."""

from __future__ import annotations

import json
import struct
from typing import Any

import torch
from safetensors.torch import load

from pillow_cwic.errors import ModelError

Tensors = dict[str, torch.Tensor]


def read(weights: bytes) -> tuple[dict[str, str], dict[str, Any], Tensors]:
    """Metadata, config and arrays of a whole safetensors file. Raises ModelError if it is none of ours."""
    try:
        length = struct.unpack_from("<Q", weights)[0]
        metadata = json.loads(weights[8 : 8 + length])["__metadata__"]
        return metadata, json.loads(metadata["config"]), load(weights)
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"weights: not a readable model file: {error}") from error


def fill(part: torch.nn.Module, name: str, tensors: Tensors, device: torch.device) -> None:
    """Gives a network the arrays whose names begin with ``name.``; read-only from then on, on ``device``."""
    prefix = f"{name}."
    own = {k.removeprefix(prefix): v.float() for k, v in tensors.items() if k.startswith(prefix)}
    try:
        part.load_state_dict(own, assign=True)
    except RuntimeError as error:
        raise ModelError(f"weights: {name} does not fit the config: {error}") from error
    part.requires_grad_(False).eval().to(device)
    for parameter in part.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
