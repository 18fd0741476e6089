"""The integer transforms as differentiable functions, for the refinement of codes and for training.

Values keep the units of docs/FORMAT.md section 6, as floating point. ``Twin.rounded`` decides what becomes of a value
that the format rounds: nothing here, so that gradients are smooth; training puts a rounding with a gradient in place.
A shift right rounds down, which takes half a unit off on average; the biases hold that half, so it is taken off here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pillow_cwic.models.config import STRIDE, Config
from pillow_cwic.transforms import layout
from pillow_cwic.transforms.layout import EXIT, FINE_BITS, GAIN_FROM, LATENT, OPERAND, STREAM, Parts, at, is_fine
from pillow_cwic.transforms.torch.integer import clamped

TABLES = ("gain", "multiplier", "shift", "rate")


def last(x: Tensor) -> Tensor:
    """(N, C, h, w) with the channels last."""
    return x.permute(0, 2, 3, 1)


class Twin(nn.Module):
    """What both transforms share: entrance, blocks and exit, on places (N, h, w, channels)."""

    kind: layout.Kind = "analysis"

    def __init__(self, config: Config, parts: Parts, device: str | torch.device = "cpu") -> None:
        super().__init__()
        self.config, self.device = config, torch.device(device)
        self.tables = {name: parts[name] for name in TABLES if name in parts}
        others = {name: torch.from_numpy(np.array(part, np.float32)) for name, part in parts.items()}
        self.parts = {name: part.to(self.device) for name, part in others.items() if name not in TABLES}

    def part(self, name: str) -> Tensor:
        """The values of a part."""
        return self.parts[name]

    def rounded(self, x: Tensor) -> Tensor:
        """What becomes of a value that the format rounds to the nearest integer."""
        return x

    def table(self, name: str, rates: Sequence[int]) -> Tensor:
        """A table's values at each of the rates, (N, 1, 1, channels)."""
        gain = name == "gain"
        values = [at(self.tables[name], T, GAIN_FROM) if gain else at(self.tables[name], clamped(T)) for T in rates]
        return torch.from_numpy(np.stack(values).astype(np.float32)).to(self.device)[:, None, None]

    def shifted(self, sums: Tensor, name: str) -> Tensor:
        """Sums of a layer with its bias, shifted right."""
        shift = self.parts[f"{name}.shift"]
        return (sums.float() + self.part(f"{name}.bias")) / 2**shift - 0.5 * (shift > 0)

    def operand(self, x: Tensor, name: str, limit: int = OPERAND) -> Tensor:
        """The stream as the input of a product."""
        return self.rounded(x * self.part(name) / 32768).clamp(-limit, limit)

    def product(self, x: Tensor, name: str) -> Tensor:
        """A product of a block, multiplied."""
        sums = F.linear(x, self.part(f"{name}.weight").t())
        return self.rounded(self.shifted(sums, name) * self.part(f"{name}.m") / 32768)

    def block(self, x: Tensor, name: str, fine: bool) -> Tensor:
        """One block, FORMAT.md section 6.4."""
        reach, unit = (EXIT, 2.0**FINE_BITS) if fine else (OPERAND, 1.0)
        h = self.product(self.operand(x, f"{name}.operand1", reach), f"{name}.before").clamp(0, reach)
        weight = self.part(f"{name}.space.weight").permute(2, 0, 1)[:, None]
        sums = last(F.conv2d(h.permute(0, 3, 1, 2), weight, padding=1, groups=self.config.wide)).float()
        g = self.rounded((sums / unit + self.part(f"{name}.space.bias")) * self.part(f"{name}.space.m") / 32768)
        x = (x + self.product(g.clamp(-reach, reach), f"{name}.after")).clamp(-STREAM, STREAM - 1)
        wide = self.product(self.operand(x, f"{name}.operand2"), f"{name}.widen").clamp(0, OPERAND)
        return (x + self.product(wide, f"{name}.narrow")).clamp(-STREAM, STREAM - 1)

    def features(self, inputs: Tensor, rates: Sequence[int]) -> Tensor:
        """Inputs of the entrance (N, h, w, C) to the last block's stream (N, h, w, wide)."""
        sums = F.linear(inputs, self.part("enter.weight").t())
        entered = self.shifted(sums, "enter") * self.table("multiplier", rates) / 32768 + self.table("shift", rates)
        x = self.rounded(entered).clamp(-STREAM, STREAM - 1)
        for index in range(self.config.blocks):
            x = self.block(x, f"block{index}", is_fine(self.config, self.kind, index))
        return x

    def exit(self, features: Tensor, inputs: Tensor) -> Tensor:
        """The exit's sums of the stream and the entrance's inputs, shifted, (N, h, w, outputs)."""
        operands = self.operand(features, "operand", EXIT)
        sums = F.linear(operands, self.part("leave.weight").t()) + F.linear(inputs, self.part("linear.weight").t())
        return self.shifted(sums, "exit")


class SynthesisTwin(Twin):
    """Codes (N, C, h, w) at rates T to samples (N, 3, 8 h, 8 w), about 0..255, neither clipped nor rounded."""

    kind = "synthesis"

    def latents(self, codes: Tensor, rates: Sequence[int]) -> Tensor:
        """FORMAT.md section 6.2, (N, h, w, C)."""
        y = self.rounded(last(codes) * self.table("gain", rates) / 65536).clamp(-LATENT, LATENT)
        if not self.config.normalised:
            return y
        energy = (y.square() / 2 ** self.parts["r"]).clamp(max=32767).float() @ self.part("mixture")
        root = torch.sqrt(self.part("floor") + energy * self.table("rate", rates) / 2 ** self.parts["s"])
        return self.rounded(y * root / 2048).clamp(-LATENT, LATENT)

    def forward(self, codes: Tensor, rates: Sequence[int]) -> Tensor:
        y = self.latents(codes, rates)
        return F.pixel_shuffle(self.exit(self.features(y, rates), y).permute(0, 3, 1, 2), STRIDE)
