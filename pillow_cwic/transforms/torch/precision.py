"""In which number format networks are quickest."""

from __future__ import annotations

import torch


def bfloat16_pays(device: torch.device) -> bool:
    """Whether products in bfloat16 are faster than in float32: on a CPU only with matrix units for them (AMX)."""
    return device.type == "cuda" or torch.cpu._is_amx_tile_supported()
