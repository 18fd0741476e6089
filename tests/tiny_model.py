"""Weights files of tiny models for tests: float networks that hardly trained, made into integers."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load, save

from pillow_cwic.models.config import Config
from training.networks.model import Cwic1
from training.quantise import freeze

PHOTO = Path(__file__).parent / "data" / "kodim23.png"
TINY = Config(wide=32, blocks=1, groups=(2, 2), context_hidden=16, map_features=8, levels=2)
CROPS, SIDE = 6, 64


def crops() -> torch.Tensor:
    """A few crops of a photograph, always the same, as the calibration wants them."""
    with Image.open(PHOTO) as im:
        pixels = np.asarray(im.convert("RGB").reduce(2))
    rng = np.random.default_rng(0)
    places = [
        (int(rng.integers(pixels.shape[0] - SIDE)), int(rng.integers(pixels.shape[1] - SIDE))) for _ in range(CROPS)
    ]
    parts = np.stack([pixels[y : y + SIDE, x : x + SIDE] for y, x in places])
    return torch.from_numpy(parts).permute(0, 3, 1, 2).float() / 255 - 0.5


def new_model(seed: int = 0, config: Config = TINY) -> Cwic1:
    """A model that was never trained; its linear paths are a DCT, and its blocks do something."""
    torch.manual_seed(seed)
    model = Cwic1(config)
    with torch.no_grad():
        for transform in (model.analysis, model.synthesis):
            for block in transform.trunk:
                for layer in (block.after, block.narrow):
                    layer.weight.normal_(std=0.1)
            transform.leave.weight.normal_(std=0.002)
    return model


def tiny_weights(facts: dict[str, str], model: Cwic1 | None = None) -> bytes:
    """The weights file of a model, by default a new one; ``facts`` go into its metadata."""
    return freeze(model or new_model(), crops(), facts)


def changed(weights: bytes, metadata: dict[str, Any] | None = None, **arrays: Any) -> bytes:
    """The weights file with other metadata and arrays; None takes one away."""
    length = struct.unpack_from("<Q", weights)[0]
    facts = {**json.loads(weights[8 : 8 + length])["__metadata__"], **(metadata or {})}
    tensors = {**load(weights), **{k.replace("__", "."): v for k, v in arrays.items()}}
    facts, tensors = ({k: v for k, v in each.items() if v is not None} for each in (facts, tensors))
    return save(tensors, facts)


def with_config(weights: bytes, **values: Any) -> bytes:
    return changed(weights, {"config": json.dumps({**TINY.to_dict(), **values})})
