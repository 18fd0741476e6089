"""Models with a part taken away, for the ablation: trained like ``cwic1``, never released."""

from __future__ import annotations

import torch
from torch import Tensor

from pillow_cwic.transforms.torch.context import ContextModel
from training.networks.model import Config, Cwic1


class _Blind(ContextModel):
    """Sees neither codes nor map: each channel has one distribution for each rate."""

    def forward(self, codes: Tensor, level: Tensor, t: Tensor) -> list[tuple[Tensor, Tensor]]:
        return super().forward(torch.zeros_like(codes), torch.full_like(level, self.levels - 1), t)


class WithoutContext(Cwic1):
    """The context model is replaced by one distribution a channel."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.context = _Blind(list(config.groups), config.context_hidden, config.map_hidden, config.levels)


class OneBit(Cwic1):
    """Codes are 0 or 1, as in the paper: ``B(y) = 1 if y > 0.5 else 0``, proxy gradient 1 inside [0, 1]."""

    def quantise(self, latents: Tensor) -> Tensor:
        inside = latents.clamp(0, 1)
        return inside + ((latents > 0.5).to(latents.dtype) - inside).detach()


VARIANTS: dict[str, type[Cwic1]] = {"cwic1": Cwic1, "without-context": WithoutContext, "one-bit": OneBit}
