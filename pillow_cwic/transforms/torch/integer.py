"""The integer transforms of docs/FORMAT.md section 6 in torch, the same bits on a CPU and with CUDA.

Values are int32 tensors (N, h, w, channels); N pictures, each at its own rate parameter T. Products of blocks are exact
in float32, since all sums stay below 2^24, those of entrance, exit and fine blocks in float64; the rest is integer
arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pillow_cwic.errors import ModelError
from pillow_cwic.models.config import STRIDE, Config
from pillow_cwic.transforms import layout, postfilter
from pillow_cwic.transforms.layout import EXIT, FINE_BITS, GAIN_FROM, LATENT, OPERAND, PIXEL, Parts, at, is_fine
from pillow_cwic.transforms.protocol import Post

Tensors: TypeAlias = Mapping[str, Tensor]


def sat(x: Tensor) -> Tensor:
    """To 16 bits."""
    return x.clamp(-32768, 32767)


def mul(x: Tensor, m: Tensor) -> Tensor:
    """``(x * m + 16384) >> 15`` of int32 tensors, |x| <= 2^15 and |m| < 2^15, so that 32 bits hold it."""
    return (x * m + 16384) >> 15


def product(x: Tensor, weight: Tensor) -> Tensor:
    """Values (.., inputs) up to 127 by an int8 matrix (inputs, outputs), exact while sums stay below 2^24: int32."""
    rows = x.flatten(0, -2)
    if x.is_cuda and len(rows) > 16 and min(weight.shape) >= 8 and not any(side % 8 for side in weight.shape):
        sums = torch._int_mm(rows.to(torch.int8), weight)
    else:  # CUDA's single precision may be set to less than 24 bits
        kind = torch.float64 if x.is_cuda else torch.float32
        sums = (rows.to(kind) @ weight.to(kind)).to(torch.int32)
    return sums.view(*x.shape[:-1], -1)


def exact(x: Tensor, weight: Tensor) -> Tensor:
    """Values of up to 16 bits (.., inputs) by an int16 matrix (inputs, outputs), sums below 2^31: int32."""
    return (x.double() @ weight.double()).to(torch.int32)


def isqrt(x: Tensor) -> Tensor:
    """The largest integers whose squares are at most ``x``, int64 of 0 to 2^62 + 2^48."""
    root = x.double().sqrt().long()  # off by one at most
    root -= (root * root > x).long()
    return root + ((root + 1) * (root + 1) <= x).long()


def operand(x: Tensor, m: Tensor, limit: int = OPERAND) -> Tensor:
    """The stream as the input of a product."""
    return mul(x, m).clamp(-limit, limit)


def affine(x: Tensor, p: Tensors, name: str, fine: bool = False) -> Tensor:
    """A product of a block with its bias, brought to 16 bits and multiplied; ``fine`` if ``x`` is beyond 8 bits."""
    sums = (exact if fine else product)(x, p[f"{name}.weight"]) + p[f"{name}.bias"]
    return mul(sat(sums >> p[f"{name}.shift"]), p[f"{name}.m"])


def space(h: Tensor, p: Tensors, name: str) -> Tensor:
    """The 3x3 sums of each channel, whose float values are rounded, whatever method found them: below 2^15."""
    weight = p[f"{name}.weight"].permute(2, 0, 1)[:, None].float()
    sums = F.conv2d(h.permute(0, 3, 1, 2).float(), weight, padding=1, groups=len(weight)).round().to(torch.int32)
    return mul(sums.permute(0, 2, 3, 1) + p[f"{name}.bias"], p[f"{name}.m"]).clamp(-OPERAND, OPERAND)


def fine_space(h: Tensor, p: Tensors, name: str) -> Tensor:
    """The 3x3 sums of a fine block, below 2^23."""
    weight = p[f"{name}.weight"].permute(2, 0, 1)[:, None].double()
    sums = F.conv2d(h.permute(0, 3, 1, 2).double(), weight, padding=1, groups=len(weight)).round().to(torch.int32)
    sums = sums.permute(0, 2, 3, 1) + (p[f"{name}.bias"] << FINE_BITS) + (1 << FINE_BITS >> 1)
    return mul(sat(sums >> FINE_BITS), p[f"{name}.m"]).clamp(-EXIT, EXIT)


def block(x: Tensor, p: Tensors, name: str, fine: bool = False) -> Tensor:
    """One block, FORMAT.md section 6.4."""
    reach = EXIT if fine else OPERAND
    h = affine(operand(x, p[f"{name}.operand1"], reach), p, f"{name}.before", fine).clamp(0, reach)
    x = sat(x + affine((fine_space if fine else space)(h, p, f"{name}.space"), p, f"{name}.after", fine))
    w = affine(operand(x, p[f"{name}.operand2"]), p, f"{name}.widen").clamp(0, OPERAND)
    return sat(x + affine(w, p, f"{name}.narrow"))


def energies(y: Tensor, mixture: Tensor, r: Tensor) -> Tensor:
    """E of sections 6.2 and 6.8, int64, up to 2^31."""
    e = ((y * y + (1 << r >> 1)) >> r).clamp(max=32767)
    return exact(e, mixture).long()


class Transform:
    """The half of a model that ``kind`` names, on a device. ``parts`` as ``layout.split`` gives them, checked."""

    kind: layout.Kind

    def __init__(self, config: Config, parts: Parts, device: str | torch.device = "cpu") -> None:
        self.config, self.device = config, torch.device(device)
        self.tables = {name: parts[name] for name in ("gain", "multiplier", "shift", "rate") if name in parts}
        # What stands in products keeps its type, to save memory; all else becomes int32.
        self.parts: dict[str, Tensor] = {}
        for name, value in parts.items():
            if name not in self.tables:
                tensor = torch.from_numpy(np.array(value))
                wide = tensor.dtype == torch.int16 and tensor.ndim < 2
                self.parts[name] = (tensor.int() if wide else tensor).to(self.device)

    def table(self, name: str, rates: Sequence[int]) -> Tensor:
        """A table's values at each of the rates, int64 (N, 1, 1, channels)."""
        gain = name == "gain"
        values = [at(self.tables[name], T, GAIN_FROM) if gain else at(self.tables[name], clamped(T)) for T in rates]
        return torch.from_numpy(np.stack(values)).to(self.device)[:, None, None]

    def features(self, inputs: Tensor, rates: Sequence[int]) -> Tensor:
        """Inputs of the entrance (N, h, w, C) to the last block's stream (N, h, w, wide)."""
        p = self.parts
        sums = exact(inputs, p["enter.weight"]) + p["enter.bias"]
        multiplier, shift = (self.table(name, rates).int() for name in ("multiplier", "shift"))
        x = sat(mul(sat(sums >> p["enter.shift"]), multiplier) + shift)
        for index in range(self.config.blocks):
            x = block(x, p, f"block{index}", is_fine(self.config, self.kind, index))
        return x

    def sums(self, features: Tensor, inputs: Tensor) -> Tensor:
        """The exit's sums, (N, h, w, outputs), of the operands ``features`` and the entrance's inputs."""
        p = self.parts
        return exact(features, p["leave.weight"]) + exact(inputs, p["linear.weight"]) + p["exit.bias"]

    def exit(self, features: Tensor, inputs: Tensor) -> Tensor:
        """The same, shifted."""
        return self.sums(features, inputs) >> self.parts["exit.shift"]


class Synthesis(Transform):
    """Codes to pictures."""

    kind = "synthesis"

    def latents(self, codes: Tensor, rates: Sequence[int]) -> Tensor:
        """FORMAT.md section 6.2: codes (N, h, w, C), within +-511, to y, int32."""
        y = ((codes.long() * self.table("gain", rates) + 32768) >> 16).clamp(-LATENT, LATENT)
        if self.config.normalised:
            p = self.parts
            more = (energies(y, p["mixture"], p["r"]) * self.table("rate", rates)) >> p["s"]
            factor = isqrt((p["floor"] + more).clamp(max=2**32 - 1))
            y = ((y * factor + 1024) >> 11).clamp(-LATENT, LATENT)
        return y.int()

    def __call__(self, codes: Tensor, rates: Sequence[int], posts: Sequence[Post | None] = ()) -> Tensor:
        """Codes (N, C, h, w), int16 within +-511, to pictures (N, 3, 8 h, 8 w), uint8, channels last.

        Each may have a post-filter; raises ModelError if one has and the model allows none.
        """
        y = self.latents(codes.to(self.device).permute(0, 2, 3, 1), rates)
        p = operand(self.features(y, rates), self.parts["operand"], EXIT)
        sums, shift = self.sums(p, y), self.parts["exit.shift"]
        samples = (sums >> shift).clamp(0, 255).to(torch.uint8)
        n, h, w, _ = samples.shape
        for picture, own, post in zip(samples, sums, posts, strict=False):
            if post is not None:
                if shift < postfilter.BITS:
                    raise ModelError(f"weights: exit shift is {int(shift)}, a post-filter wants {postfilter.BITS}")
                values = (own >> (shift - postfilter.BITS)).view(h, w, 3, STRIDE, STRIDE).permute(2, 0, 1, 3, 4)
                made = torch.stack(postfilter.apply(values, post), 2)
                picture.copy_(made.view(h, w, -1))
        blocks = samples.view(n, h, w, 3, STRIDE, STRIDE).permute(0, 1, 4, 2, 5, 3)
        return blocks.reshape(n, STRIDE * h, STRIDE * w, 3).permute(0, 3, 1, 2)


class Analysis(Transform):
    """Pictures to latents and importance levels."""

    kind = "analysis"

    def __call__(self, pictures: Tensor, rates: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Pictures (N, 3, H, W), uint8 with sides that are multiples of 16, at rates T.

        Returns latents before the gain, int16 (N, C, H/8, W/8), and the head's levels, int16 (N, H/16, W/16).
        """
        n, _, height, width = pictures.shape
        blocks = pictures.to(self.device).view(n, 3, height // STRIDE, STRIDE, width // STRIDE, STRIDE)
        v = blocks.permute(0, 2, 4, 1, 3, 5).reshape(n, height // STRIDE, width // STRIDE, -1).int() - PIXEL
        p = operand(self.features(v, rates), self.parts["operand"], EXIT)
        latents = sat(self.exit(p, v))
        if self.config.normalised:
            latents = self.compress(latents, rates)
        return latents.permute(0, 3, 1, 2).to(torch.int16), self.levels(p)

    def compress(self, latents: Tensor, rates: Sequence[int]) -> Tensor:
        """The normalisation of section 6.8, (N, h, w, C) int32 of 16 bits to the same."""
        p = self.parts
        scaled = energies(latents, p["mixture"], p["r"]) * self.table("rate", rates)
        floor = p["floor"].long()
        divisor = floor + isqrt(floor * floor + ((scaled >> p["s"]).clamp(max=2**44) << 18))
        root = isqrt(2**47 // divisor)
        return sat((latents * root + (1 << p["n"] >> 1)) >> p["n"]).int()

    def levels(self, features: Tensor) -> Tensor:
        """The head: operands of the exit (N, h, w, wide), even h and w, to levels, int16 (N, h/2, w/2)."""
        p = self.parts
        weight = p["head.weight"].permute(3, 2, 0, 1).double()
        sums = F.conv2d(features.permute(0, 3, 1, 2).double(), weight, stride=2, padding=1).round().to(torch.int32)
        h = ((sums.permute(0, 2, 3, 1) + p["head.bias"]) >> p["head.shift"]).clamp(0, EXIT)
        z = exact(h, p["out.weight"][:, None]) + p["out.bias"]
        return (z >= p["thresholds"]).sum(-1).to(torch.int16)

    def codes(self, latents: Tensor, rates: Sequence[int]) -> Tensor:
        """Latents (N, C, h, w) with the gain of rates T, unrounded, int16 in 1/32."""
        gain = self.table("gain", rates).permute(0, 3, 1, 2)
        return ((latents.long() * gain + 2**23) >> 24).clamp(-32000, 32000).to(torch.int16)


def clamped(rate: int) -> int:
    """T as all tables but that of the gain see it."""
    return max(-512, min(rate, 512))
