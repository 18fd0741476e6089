"""Integer transforms that learn: the twins of ``pillow_cwic`` with the format's rounding in the forward pass.

Straight-through: what the format rounds is rounded, and its gradient passes as if it were not. Everything forward is in
float32, which holds the products of blocks exactly, those of fine ones nearly. What learns are weights, biases, and the
multipliers that say how coarse each channel of an operand is; the latter undo themselves in the layer that follows, so
that what is learned of them is what rounding and clipping lose (Esser et al., Learned step size quantization, 2020).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pillow_cwic.models.config import Config
from pillow_cwic.transforms import layout
from pillow_cwic.transforms.layout import EXIT, FINE_BITS, OPERAND, STREAM, Parts, is_fine
from pillow_cwic.transforms.torch.precision import bfloat16_pays
from pillow_cwic.transforms.torch.twin import SynthesisTwin, Twin
from training.calibrate import FINER

LEARNS = ("weight", "bias", "operand1", "operand2", "m")  # the last names of parts that do
SCALES = ("operand1", "operand2", "m")  # of which these say how coarse an operand is
FOLLOWS = {  # parts of a block and the multiplier whose change they undo
    "before.weight": "operand1", "space.m": "before.m", "space.bias": "before.m", "after.weight": "space.m",
    "widen.weight": "operand2", "narrow.weight": "widen.m",
}  # fmt: skip
FIXED = ("after.m", "narrow.m")  # multipliers whose results are not rounded to 8 bits


def fit(weight: np.ndarray, bias: np.ndarray) -> None:
    """Brings the 3x3 weights (3, 3, C) to where their sums fit 16 bits, by as little as that takes."""
    taps = weight.reshape(9, -1)
    while len(too_large := np.flatnonzero(layout.OPERAND * np.abs(taps).sum(0) + np.abs(bias) >= 2**15)):
        largest = np.abs(taps[:, too_large]).argmax(0)
        taps[largest, too_large] -= np.sign(taps[largest, too_large])


class Round(torch.autograd.Function):
    """To the nearest integer, with the gradient of what was rounded."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient


def rounded(x: Tensor) -> Tensor:
    result: Tensor = Round.apply(x)  # type: ignore[no-untyped-call]
    return result


class Block(torch.autograd.Function):
    """A block of FORMAT.md section 6.4 on places (N, h, w, C), with its gradients written out.

    Three to four times as fast as operation by operation, most of which are passes over memory. Matrices are (inputs,
    outputs) with a bias and a factor for each output; ``space`` is (3, 3, C). ``reach`` is the largest operand of the
    upper half, which a fine block has more of.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, reach: int, q1: Tensor, before: Tensor, before_bias: Tensor, before_m: Tensor,
                space: Tensor, space_bias: Tensor, space_m: Tensor, after: Tensor, after_bias: Tensor, after_m: Tensor,
                q2: Tensor, widen: Tensor, widen_bias: Tensor, widen_m: Tensor, narrow: Tensor, narrow_bias: Tensor,
                narrow_m: Tensor) -> Tensor:  # fmt: skip
        n, rows, columns, c = ctx.size = x.shape
        ctx.reach = reach
        x = x.reshape(-1, c)
        taps = space.permute(2, 0, 1)[:, None].contiguous()
        operand1 = (x * q1).round_().clamp_(-reach, reach)
        pre_h = torch.addmm(before_bias, operand1, before).mul_(before_m)
        h = pre_h.round().clamp_(0, reach)
        planes = h.view(n, rows, columns, c).permute(0, 3, 1, 2)
        sums = F.conv2d(planes, taps, space_bias, padding=1, groups=c).permute(0, 2, 3, 1).reshape(-1, c)
        pre_g = sums * space_m
        g = pre_g.round().clamp_(-reach, reach)
        middle = torch.addmm(after_bias, g, after).mul_(after_m).add_(x).clamp_(-STREAM, STREAM - 1)
        operand2 = (middle * q2).round_().clamp_(-OPERAND, OPERAND)
        pre_w = torch.addmm(widen_bias, operand2, widen).mul_(widen_m)
        w = pre_w.round().clamp_(0, OPERAND)
        out = torch.addmm(narrow_bias, w, narrow).mul_(narrow_m).add_(middle).clamp_(-STREAM, STREAM - 1)
        ctx.save_for_backward(
            x, q1, operand1, before, before_m, pre_h, h, taps, space_m, pre_g, g, after, after_m, middle, q2, operand2,
            widen, widen_m, pre_w, w, narrow, narrow_m,
        )  # fmt: skip
        return out.view(n, rows, columns, c)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (x, q1, operand1, before, before_m, pre_h, h, taps, space_m, pre_g, g, after, after_m, middle, q2, operand2,
         widen, widen_m, pre_w, w, narrow, narrow_m) = ctx.saved_tensors  # fmt: skip
        (n, rows, columns, c), reach = ctx.size, ctx.reach
        gradient = gradient.reshape(-1, c)

        quick = torch.bfloat16 if bfloat16_pays(x.device) else torch.float32
        upper = quick if reach == OPERAND else torch.float32  # holds operands exactly

        def product(of_sums: Tensor, inputs: Tensor, weight: Tensor, kind: torch.dtype) -> tuple[Tensor, ...]:
            """Gradients of a product's inputs, weight and bias."""
            half = of_sums.to(kind)
            of_weight = (inputs.to(kind).t() @ half).float()
            return (half @ weight.to(kind).t()).float(), of_weight, of_sums.sum(0)

        def inside(of_rounded: Tensor, pre: Tensor, factor: Tensor, lowest: int, most: int) -> tuple[Tensor, Tensor]:
            """Gradients of the sums, in place, and of their factor, where clipping took nothing away."""
            of_rounded.mul_((pre > lowest - 0.5) & (pre < most + 0.5))
            of_factor = torch.linalg.vecdot(of_rounded, pre, dim=0) / factor
            return of_rounded.mul_(factor), of_factor

        def operand(of_operand: Tensor, stream: Tensor, factor: Tensor, most: int) -> tuple[Tensor, Tensor]:
            """Gradients of the stream and of the factor that made it an operand."""
            of_operand.mul_((stream * factor).abs_() < most + 0.5)
            return of_operand * factor, torch.linalg.vecdot(of_operand, stream, dim=0)

        of_w, of_narrow, of_narrow_bias = product(gradient * narrow_m, w, narrow, quick)
        of_sums, of_widen_m = inside(of_w, pre_w, widen_m, 0, OPERAND)
        of_operand2, of_widen, of_widen_bias = product(of_sums, operand2, widen, quick)
        of_middle, of_q2 = operand(of_operand2, middle, q2, OPERAND)
        of_middle += gradient
        of_g, of_after, of_after_bias = product(of_middle * after_m, g, after, upper)
        of_sums, of_space_m = inside(of_g, pre_g, space_m, -reach, reach)
        of_h, of_taps, of_space_bias = torch.ops.aten.convolution_backward(
            of_sums.view(n, rows, columns, c).permute(0, 3, 1, 2), h.view(n, rows, columns, c).permute(0, 3, 1, 2),
            taps, [c], [1, 1], [1, 1], [1, 1], False, [0, 0], c, [True, True, True],
        )  # fmt: skip
        of_sums, of_before_m = inside(of_h.permute(0, 2, 3, 1).reshape(-1, c), pre_h, before_m, 0, reach)
        of_operand1, of_before, of_before_bias = product(of_sums, operand1, before, upper)
        of_x, of_q1 = operand(of_operand1, x, q1, reach)
        of_x += of_middle
        return (
            of_x.view(n, rows, columns, c), None, of_q1, of_before, of_before_bias, of_before_m,
            of_taps[:, 0].permute(1, 2, 0), of_space_bias, of_space_m, of_after, of_after_bias, None,
            of_q2, of_widen, of_widen_bias, of_widen_m, of_narrow, of_narrow_bias, None,
        )  # fmt: skip


class Rounded(nn.Module):
    """Mixed into a twin: parts that learn, in units of their own size, and the rounding of blocks."""

    config: Config
    parts: dict[str, Tensor]
    kind: layout.Kind

    def learn(self) -> None:
        """Makes parameters of what learns."""
        self.units, self.limits, thetas = {}, {}, {}
        parts = layout.parts(self.config, self.kind)
        for (array, shapes), dtype in zip(parts.items(), layout.TYPES.values(), strict=True):
            for name in shapes:
                ending = name.rsplit(".", 1)[-1]
                if ending in LEARNS and not name.startswith("out") and not name.endswith(FIXED):
                    value = self.parts[name]
                    self.limits[name] = 127 if array == "bytes" else np.iinfo(dtype).max
                    if ending in SCALES:  # the logarithm of the change
                        thetas[name] = torch.zeros_like(value)
                    else:
                        self.units[name] = self.unit(name, value, array)
                        thetas[name] = value / self.units[name]
        self.thetas = nn.ParameterDict({name.replace(".", "_"): nn.Parameter(value) for name, value in thetas.items()})

    def is_fine(self, name: str) -> bool:
        """Whether a part of a block is that of a fine one."""
        return is_fine(self.config, self.kind, int(name.partition(".")[0].removeprefix("block")))

    def unit(self, name: str, value: Tensor, array: str) -> Tensor:
        """What a step of one stands for: the size of a matrix, or about the effect of one on what a bias leads to."""
        if array != "words":
            return value.square().mean().sqrt().clamp(min=1.0)
        fine = name.partition(".")[2].startswith("before") and self.is_fine(name)
        shift = self.parts.get(name.replace(".bias", ".shift"), torch.zeros(()))
        m = self.parts.get(name.replace(".bias", ".m"))
        return (10 * FINER if fine else 10) * 2.0**shift * (1.0 if m is None else 32768 / m.clamp(min=1).mean())

    def change(self, name: str) -> Tensor:
        """By what factor a multiplier has changed, but for what it undoes of another's change."""
        return torch.exp(self.thetas[name.replace(".", "_")])

    def part(self, name: str) -> Tensor:
        """The values of a part, as whole numbers if it learns."""
        if name.rsplit(".", 1)[-1] in SCALES and name in self.limits:
            value = self.parts[name] * self.change(name)
        elif name in self.units:
            value = self.thetas[name.replace(".", "_")] * self.units[name]
        else:
            return self.parts[name]
        block, _, ending = name.partition(".")
        if ending in FOLLOWS:
            change = self.change(f"{block}.{FOLLOWS[ending]}")
            if ending == "space.bias":
                value = value * change
            else:
                value = value / (change[:, None] if value.dim() == 2 else change)
        limit = self.limits[name]
        return rounded(value).clamp(1 if name.rsplit(".", 1)[-1] in SCALES else -limit, limit)

    def rounded(self, x: Tensor) -> Tensor:
        return rounded(x)

    def block(self, x: Tensor, name: str, fine: bool) -> Tensor:
        """One block, FORMAT.md section 6.4."""

        def layer(step: str) -> tuple[Tensor, Tensor, Tensor]:
            """Weight, bias and factor; a shift rounds down, for which half a unit of its result is taken off."""
            shift = float(self.parts[f"{name}.{step}.shift"])
            bias = self.part(f"{name}.{step}.bias") - (2**shift / 2 if shift else 0)
            return self.part(f"{name}.{step}.weight"), bias, self.part(f"{name}.{step}.m") / 2 ** (15 + shift)

        weight, bias, m = (self.part(f"{name}.space.{part}") for part in ("weight", "bias", "m"))
        if fine:  # whose sums are shifted before they meet the multiplier
            bias, m = bias * 2**FINE_BITS, m / 2**FINE_BITS
        out: Tensor = Block.apply(  # type: ignore[no-untyped-call]
            x, EXIT if fine else OPERAND, self.part(f"{name}.operand1") / 32768, *layer("before"), weight, bias,
            m / 32768, *layer("after"),
            self.part(f"{name}.operand2") / 32768, *layer("widen"), *layer("narrow"),
        )  # fmt: skip
        return out

    def integers(self, given: Parts) -> dict[str, np.ndarray]:
        """The parts with what was learned, as whole numbers."""
        with torch.no_grad():
            learned = {name: self.part(name).long().numpy() for name in self.limits}
        for name in learned:
            if name.endswith("space.weight") and not self.is_fine(name):
                fit(learned[name], learned[name.replace("weight", "bias")])
        return {name: learned.get(name, value) for name, value in given.items()}


class Synthesis(Rounded, SynthesisTwin):
    def __init__(self, config: Config, parts: Parts) -> None:
        SynthesisTwin.__init__(self, config, parts)
        self.learn()


class Analysis(Rounded, Twin):
    def __init__(self, config: Config, parts: Parts) -> None:
        Twin.__init__(self, config, parts)
        self.learn()

    def forward(self, v: Tensor, rates: list[int]) -> tuple[Tensor, Tensor]:
        """Samples less 128, (N, h, w, 192), to latents before any normalisation, (N, h, w, C), in their units, and z.

        z, (N, h / 2, w / 2), is what the thresholds of the map's levels are for.
        """
        features = self.features(v, rates)
        operands = self.operand(features, "operand", EXIT).permute(0, 3, 1, 2)
        sums = F.conv2d(operands, self.part("head.weight").permute(3, 2, 0, 1), self.part("head.bias"), 2, 1)
        h = (sums / 2 ** self.parts["head.shift"] - 0.5).clamp(0, EXIT)
        return self.exit(features, v), torch.einsum("nfyx,f->nyx", h, self.part("out.weight")) + self.part("out.bias")
