"""A small picture straight from the codes, by the linear path of the synthesis transform alone.

The mean of that path over squares of pixels is one 1x1 convolution, and the first few channels carry nearly all of
it; the trunk, which takes most of the time, only adds detail.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pillow_cwic.networks.model import STRIDE
from pillow_cwic.networks.paper_runtime import PaperNetworks
from pillow_cwic.networks.runtime import RATE_UNIT, Networks

SCALES = (8, 4)  # pixels of the picture per pixel of the small one
REDUNDANCY = 3  # channels, which come in order of importance, for each number of the small picture's block


def _weights(networks: Networks, scale: int) -> Tensor:
    """(3 * side * side, channels) for a block of side = 8 / scale small pixels, colour by colour."""
    side = STRIDE // scale
    weight = networks.synthesis.linear.weight.reshape(3, side, scale, side, scale, -1)
    return weight.mean((2, 4)).flatten(0, 2)


def groups_for(networks: Networks | PaperNetworks, scale: int) -> int | None:
    """How many channel groups a small picture needs; None if it needs all."""
    if isinstance(networks, PaperNetworks):
        return None
    channels = REDUNDANCY * 3 * (STRIDE // scale) ** 2
    return int(np.searchsorted(np.cumsum(networks.config.groups[:-1]), channels)) + 1


@torch.inference_mode()
def synthesise(
    networks: Networks | PaperNetworks, codes: NDArray[np.int16], rate: int, height: int, width: int, scale: int
) -> NDArray[np.uint8]:
    """Codes (channels, H/8, W/8), the first groups or all, at rate T to (ceil(height/scale), ceil(width/scale), 3).

    A model without a linear path makes the whole picture, and the small one from its squares.
    """
    if isinstance(networks, PaperNetworks):
        return networks.synthesise(codes, rate, height, width, scale)
    t = torch.tensor([rate / RATE_UNIT], dtype=torch.float32, device=networks.device)
    missing = (0, 0, 0, 0, 0, networks.config.channels - len(codes))
    all_codes = torch.nn.functional.pad(torch.from_numpy(codes).to(networks.device).float()[None], missing)
    latents = networks.synthesis.latents(all_codes, t)
    blocks = torch.nn.functional.conv2d(latents, _weights(networks, scale)[:, :, None, None])
    picture = torch.nn.functional.pixel_shuffle(blocks, STRIDE // scale)[0]
    shown = picture[:, : -(-height // scale), : -(-width // scale)].add(0.5).mul(255).round().clamp(0, 255)
    return shown.to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
