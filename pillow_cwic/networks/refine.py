"""Refinement of one picture's latents by gradient descent: what an encoder may do when time matters less than bytes.

Stochastic Gumbel annealing (Yang, Bamler and Mandt, 2020): each latent is replaced by a random mixture of its two
neighbouring integers, which favours the nearer one the more the lower the temperature; the gradient of distortion and
code length moves the latents until rounding loses little. Works window by window, so that memory stays bounded.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pillow_cwic.networks.context import ContextModel, logistic_bits
from pillow_cwic.networks.distortion import distortion
from pillow_cwic.networks.model import Config
from pillow_cwic.networks.quantisers import channel_masks
from pillow_cwic.networks.transforms import Synthesis, to_picture
from pillow_cwic.networks.windows import halved, windows
from pillow_cwic.progress import Progress

WINDOW = 96  # codes along a side: 768 pixels
HALO = 8  # codes around a window that its synthesis sees and that stay as they are
STEP = 0.01  # Adam's
COLD = 0.1  # temperature at the end


def _mixture(latents: Tensor, temperature: float, random: torch.Generator) -> Tensor:
    """A random mixture of floor and ceiling of each latent, differentiable."""
    low = latents.detach().floor()
    above = (latents - low).clamp(1e-5, 1 - 1e-5)
    noise = torch.rand((2, *latents.shape), generator=random, device=latents.device).clamp(1e-9, 1 - 1e-7)
    gumbel = -torch.log(-torch.log(noise))
    odds = (torch.atanh(above) - torch.atanh(1 - above)) / temperature  # of the ceiling: the closer the likelier
    return low + torch.sigmoid((odds + gumbel[0] - gumbel[1]) / temperature)


def refine(
    latents: Tensor,
    level: Tensor,
    blocks: Tensor,
    t: Tensor,
    *,
    config: Config,
    tuning: str,
    synthesis: Synthesis,
    context: ContextModel,
    steps: int,
    progress: Progress | None = None,
) -> Tensor:
    """Better latents for one picture at rate parameter ``t``, (1,).

    ``latents`` (1, channels, H/8, W/8) with the gain applied, ``level`` (1, 1, H/16, W/16), ``blocks`` the picture,
    (1, 192, H/8, W/8) in [-0.5, 0.5]. The networks' parameters must not require gradients. Deterministic on one
    machine; on another the result may differ in rounding, which only moves bits within the encoder's freedom.
    """
    out = latents.clone()
    mask = channel_masks(level, config.groups)
    weight = float(config.lagrangian(t))
    random = torch.Generator(latents.device).manual_seed(0)
    hot = COLD + 0.1 + 0.3 * min(1.0, steps / 100)
    half = latents.is_cuda or (latents.device.type == "cpu" and torch.cpu._is_avx512_bf16_supported())
    parts = list(windows(latents.shape, WINDOW, HALO))
    for index, part in enumerate(parts):
        place, core = (..., *part.outer), (..., *part.inner)
        shown = torch.clamp(255 * (to_picture(blocks[place]) + 0.5), 0, 255)
        kept = mask[place]
        part_level = level[(..., *halved(part.outer))]
        around = out[place].round() * kept
        moving = out[place][core].clone().requires_grad_()
        optimiser = torch.optim.Adam([moving], lr=STEP)
        for step in range(steps):
            done = step / steps
            optimiser.param_groups[0]["lr"] = STEP * (1 - done) + 1e-4
            codes = around.clone()
            codes[core] = _mixture(moving, hot * (COLD / hot) ** done, random) * kept[core]
            with torch.autocast(latents.device.type, torch.bfloat16, enabled=half):
                parameters = context(codes, part_level, t)
                made = synthesis(codes, t)
            mean, log_scale = (torch.cat([p[k] for p in parameters], dim=1) for k in (0, 1))
            decoded = 255 * (to_picture(made.float()) + 0.5)
            error, _ = distortion(tuning, shown, decoded)
            bits = (logistic_bits(codes, mean, log_scale) * kept).sum()
            loss = bits + weight * error.sum() * shown[0, 0].numel()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if progress:
                progress(index * steps + step + 1, len(parts) * steps)
        out[place][core] = moving.detach()
    return out
