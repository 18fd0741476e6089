"""Which number format networks are trained in."""

from __future__ import annotations

import torch


def bfloat16_pays(device: torch.device) -> bool:
    """Whether products in bfloat16 are faster than in float32: on a CPU only with matrix units for them (AMX)."""
    return device.type == "cuda" or torch.cpu._is_amx_tile_supported()


def mixed(device: torch.device) -> torch.autocast:
    """A context in which networks compute in bfloat16 where that is faster."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bfloat16_pays(device))
