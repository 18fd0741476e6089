"""Building blocks shared by the transforms: residual block and conditioning on the rate parameter."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a skip connection, ``x + conv(relu(conv(x)))``, (B, C, H, W) -> same shape.

    The second convolution starts at zero, so that the block starts as the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(torch.relu(self.first(torch.relu(x))))


class RateMLP(nn.Module):
    """Maps the rate parameter t, (B,) in [-1, 1], to (B, outputs). Starts at zero for every t."""

    def __init__(self, outputs: int, hidden: int = 32) -> None:
        super().__init__()
        self.hidden = nn.Linear(2, hidden)
        self.out = nn.Linear(hidden, outputs)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, t: Tensor) -> Tensor:
        return self.out(torch.nn.functional.silu(self.hidden(torch.stack([t, t * t], dim=1))))


class FiLM(nn.Module):
    """Feature-wise linear modulation by t (Perez et al., 2018): ``x * (1 + scale(t)) + shift(t)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mlp = RateMLP(2 * channels)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        scale, shift = self.mlp(t)[:, :, None, None].chunk(2, dim=1)
        return x * (1 + scale) + shift


class Gain(nn.Module):
    """Positive gain per channel as a function of t, ``exp(offset + slope * t + MLP(t))``, (B,) -> (B, C, 1, 1).

    Inside [-1, 1] the function is learned. Outside, where no training took place, the learned value at the
    nearest end is continued with the slope that the Lagrangian implies: the quantiser step falls as
    ``lambda ** -0.5``, so log gain changes by half of d(log lambda)/dt.
    """

    def __init__(self, channels: int, offset: float, slope: float) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.full((channels,), offset))
        self.slope = nn.Parameter(torch.full((channels,), slope))
        self.mlp = RateMLP(channels)
        self.beyond = slope

    def forward(self, t: Tensor) -> Tensor:
        inside = t.clamp(-1, 1)
        log_gain = self.offset + self.slope * inside[:, None] + self.mlp(inside) + self.beyond * (t - inside)[:, None]
        return torch.exp(log_gain)[:, :, None, None]
