"""Which number format networks are trained in."""

from __future__ import annotations

import torch

from pillow_cwic.transforms.torch.precision import bfloat16_pays


def mixed(device: torch.device) -> torch.autocast:
    """A context in which networks compute in bfloat16 where that is faster."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bfloat16_pays(device))
