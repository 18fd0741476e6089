"""What trained models are written as: the float masters, which training goes on from, in canonical safetensors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from pillow_cwic.models.config import Config
from pillow_cwic.transforms.torch.context_weights import to_integers
from training.networks.model import Cwic1

FINE = 1  # first blocks of a synthesis that integers hold finer, docs/decisions/0016-fine-blocks.md
FAMILIES = {"cwic1": "cwc1", "cwic2018": "cw18"}


def masters(model: Cwic1, facts: dict[str, str]) -> bytes:
    """The float weights of a model, 16 bits each, with ``facts`` as metadata. Raises ValueError if they do not fit."""
    weights, biases = to_integers(model.context)
    tensors = {"context.weights": torch.from_numpy(weights), "context.biases": torch.from_numpy(biases)}
    for name, value in model.state_dict().items():
        if not name.startswith("context."):
            tensors[name] = value.to(torch.float16).contiguous()
            if not torch.isfinite(tensors[name]).all():
                raise ValueError(f"{name}: values of up to {value.abs().max().item():.3g} do not fit 16 bits")
    return canonical(save(tensors, {"config": json.dumps(model.config.to_dict()), **facts}))


def canonical(data: bytes) -> bytes:
    """The same safetensors file with its header in order: the library's differs from call to call, and so would ids."""
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # so that the arrays stay aligned
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def facts_of(name: str, tuning: str, facts: dict) -> dict[str, str]:
    """What a weights file says of itself in its metadata, by which it is found on the model path."""
    return {"name": name, "tuning": tuning, "family": FAMILIES["cwic1"], "step": str(facts["step"])}


def with_fine(config: Config) -> Config:
    """The config of the integers to be made of a float model, which knows nothing of fine blocks."""
    return replace(config, fine=config.fine or min(FINE, config.blocks))


def load_average(run: Path) -> tuple[Cwic1, dict]:
    """The averaged model of a run and the facts in its ``state.json``."""
    facts = json.loads((run / "state.json").read_text())
    model = Cwic1(with_fine(Config.from_dict(facts["config"])))
    tensors = load_file(run / "state.safetensors")
    prefix = "average."
    model.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    return model, facts
