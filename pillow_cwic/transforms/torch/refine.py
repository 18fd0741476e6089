"""Refinement of one picture's latents by gradient descent: what an encoder may do when time matters less than bytes.

Stochastic Gumbel annealing (Yang, Bamler and Mandt, 2020): each latent is replaced by a random mixture of its two
neighbouring integers, which favours the nearer one the more the lower the temperature; the gradient of distortion and
code length moves the latents until rounding loses little. Works window by window, so that memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pillow_cwic.models.config import STRIDE, Config
from pillow_cwic.models.weights import Context
from pillow_cwic.progress import Progress
from pillow_cwic.transforms.layout import Parts
from pillow_cwic.transforms.torch.context import ContextModel, logistic_bits
from pillow_cwic.transforms.torch.context_weights import from_integers
from pillow_cwic.transforms.torch.distortion import distortion
from pillow_cwic.transforms.torch.limit import limited
from pillow_cwic.transforms.torch.precision import bfloat16_pays
from pillow_cwic.transforms.torch.twin import SynthesisTwin
from pillow_cwic.transforms.windows import halved, scaled, windows

WINDOW = 96  # codes along a side: 768 pixels
HALO = 8  # codes around a window that its synthesis sees and that stay as they are
STEP = 0.01  # Adam's
COLD = 0.1  # temperature at the end


def _mask(level: Tensor, groups: Sequence[int]) -> Tensor:
    """Levels (1, 1, h/2, w/2) to 1 where a channel is coded and 0 elsewhere, (1, channels, h, w)."""
    fine = level.repeat_interleave(2, 2).repeat_interleave(2, 3)
    coded = [(fine >= g).expand(-1, count, -1, -1) for g, count in enumerate(groups)]
    return torch.cat(coded, 1).to(level.dtype).contiguous(memory_format=torch.channels_last)


def _mixture(latents: Tensor, temperature: float, random: torch.Generator) -> Tensor:
    """A random mixture of floor and ceiling of each latent, differentiable."""
    low = latents.detach().floor()
    above = (latents - low).clamp(1e-5, 1 - 1e-5)
    noise = torch.rand((2, *latents.shape), generator=random, device=latents.device).clamp(1e-9, 1 - 1e-7)
    gumbel = -torch.log(-torch.log(noise))
    odds = (torch.atanh(above) - torch.atanh(1 - above)) / temperature  # of the ceiling: the closer the likelier
    return low + torch.sigmoid((odds + gumbel[0] - gumbel[1]) / temperature)


class Refiner:
    """What refinement needs of a model: its parts, and its context model in floating point, which codes nothing."""

    def __init__(self, config: Config, tuning: str, parts: Parts, context: Context, on: str) -> None:
        self.config, self.tuning, self.device = config, tuning, torch.device(on)
        twin = ContextModel(list(config.groups), config.context_hidden, config.map_hidden, config.levels)
        from_integers(twin, *context)
        self.context = twin.requires_grad_(False).to(self.device)
        self.synthesis = SynthesisTwin(config, parts, self.device)

    @limited()
    def __call__(
        self,
        pixels: NDArray[np.uint8],
        exact: NDArray[np.int16],
        levels: NDArray[np.int16],
        rate: int,
        steps: int,
        progress: Progress | None,
    ) -> NDArray[np.float32]:
        """Better unrounded codes, (channels, H/8, W/8), than ``exact``, in 1/32, for a picture (H, W, 3) at rate T."""
        rows, columns = exact.shape[1:]
        below, right = STRIDE * rows - pixels.shape[0], STRIDE * columns - pixels.shape[1]
        padded = np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="edge")
        refined = refine(
            torch.from_numpy(exact.astype(np.float32) / 32)[None].to(self.device),
            torch.from_numpy(levels.astype(np.float32))[None].to(self.device),
            torch.from_numpy(padded).permute(2, 0, 1)[None].float().to(self.device),
            rate,
            config=self.config,
            tuning=self.tuning,
            synthesis=self.synthesis,
            context=self.context,
            steps=steps,
            progress=progress,
        )
        codes: NDArray[np.float32] = refined[0].cpu().numpy()
        return codes


def refine(
    latents: Tensor,
    level: Tensor,
    picture: Tensor,
    rate: int,
    *,
    config: Config,
    tuning: str,
    synthesis: SynthesisTwin,
    context: ContextModel,
    steps: int,
    progress: Progress | None = None,
) -> Tensor:
    """Better latents for one picture at rate T.

    ``latents`` (1, channels, H/8, W/8) with the gain applied, ``level`` (1, 1, H/16, W/16), ``picture`` (1, 3, H, W)
    in 0..255. Parameters must not require gradients. Deterministic on one machine; on another the result may differ in
    rounding, which only moves bits within the encoder's freedom.
    """
    out, t = latents.clone(), torch.tensor([rate / 512], device=latents.device)
    mask = _mask(level, config.groups)
    weight = float(config.lagrangian(t))
    random = torch.Generator(latents.device).manual_seed(0)
    hot = COLD + 0.1 + 0.3 * min(1.0, steps / 100)
    half = bfloat16_pays(latents.device)
    parts = list(windows(latents.shape, WINDOW, HALO))
    for index, part in enumerate(parts):
        place, core = (..., *part.outer), (..., *part.inner)
        shown = picture[(..., *scaled(part.outer, STRIDE))]
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
                decoded = synthesis(codes, [rate])
            mean, log_scale = (torch.cat([p[k] for p in parameters], dim=1) for k in (0, 1))
            error, _ = distortion(tuning, shown, decoded.float())
            bits = (logistic_bits(codes, mean, log_scale) * kept).sum()
            loss = bits + weight * error.sum() * shown[0, 0].numel()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if progress:
                progress(index * steps + step + 1, len(parts) * steps)
        out[place][core] = moving.detach()
    return out
