"""Building blocks shared by the transforms: block of convolutions and conditioning on the rate parameter."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PLACES = 2048  # measured to be fastest with two threads, where fewer leave each too little; with 320 channels 2.6 MB


class MixBlock(nn.Module):
    """A depthwise 3x3 convolution between two pointwise ones, then two pointwise ones, (B, C, H, W) -> same shape.

    Both halves stand beside a skip connection and end at zero, so that the block starts as the identity. Space and
    channels are mixed apart, as in Howard et al., 2017 and Liu et al., 2022 (ConvNeXt): a third of the operations of
    two dense 3x3 convolutions.
    """

    def __init__(self, channels: int, expansion: int = 2) -> None:
        super().__init__()
        self.before = nn.Conv2d(channels, channels, 1)
        self.space = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.after = nn.Conv2d(channels, channels, 1)
        self.widen = nn.Conv2d(channels, expansion * channels, 1)
        self.narrow = nn.Conv2d(expansion * channels, channels, 1)
        for last in (self.after, self.narrow):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            layers = (self.before, self.space, self.after, self.widen, self.narrow)
            out: Tensor = _Mix.apply(x, *(p for layer in layers for p in (layer.weight, layer.bias)))  # type: ignore[no-untyped-call]
            return out
        x = x + self.after(self.space(torch.relu(self.before(x))))
        return x + self.narrow(torch.relu(self.widen(x)))


class Trunk(nn.Sequential):
    """MixBlocks one after another, (B, C, H, W) -> same shape.

    Outside training on a CPU, what is pointwise is done for ``PLACES`` places at a time, in place: these stay in the
    caches, and a block makes one new array instead of nine. The input is then overwritten.
    """

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__(*(MixBlock(channels) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_inference_mode_enabled() or x.device.type != "cpu":
            return super().forward(x)  # type: ignore[no-untyped-call]
        b, c, h, w = x.shape
        places = x.permute(0, 2, 3, 1).reshape(-1, c)
        before = torch.empty_like(places)
        wide = None
        for block in self:
            assert isinstance(block, MixBlock)
            for part, out in zip(torch.split(places, PLACES), torch.split(before, PLACES), strict=True):
                _pointwise(block.before, part, out)
            around = block.space(before.view(b, h, w, c).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).reshape(-1, c)
            if wide is None:
                wide = places.new_empty(PLACES, block.widen.out_channels)
            for part, mixed in zip(torch.split(places, PLACES), torch.split(around, PLACES), strict=True):
                _add_pointwise(block.after, mixed, part)
                _add_pointwise(block.narrow, _pointwise(block.widen, part, wide[: len(part)]), part)
        return places.view(b, h, w, c).permute(0, 3, 1, 2)


class _Mix(torch.autograd.Function):
    """A MixBlock for training, with its gradient written out: products of matrices of places (P, C).

    In bfloat16 under autocast. A step takes a quarter less time than with the layers one by one on a core with AMX,
    8 % less on one without.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.size = b, c, h, w = x.shape
        ctx.kind = torch.bfloat16 if torch.is_autocast_enabled(x.device.type) else x.dtype
        half = [p.to(ctx.kind) for p in parameters]
        space, space_bias = half[2:4]
        (before, before_bias), (after, after_bias), (widen, widen_bias), (narrow, narrow_bias) = (
            (half[k].flatten(1), half[k + 1]) for k in (0, 4, 6, 8)
        )
        x = x.permute(0, 2, 3, 1).reshape(-1, c).to(ctx.kind)
        mixed = F.linear(x, before, before_bias).relu_()
        around = F.conv2d(mixed.view(b, h, w, c).permute(0, 3, 1, 2), space, space_bias, padding=1, groups=c)
        around = around.permute(0, 2, 3, 1).reshape(-1, c)
        middle = F.linear(around, after, after_bias).add_(x)
        wide = F.linear(middle, widen, widen_bias).relu_()
        out = F.linear(wide, narrow, narrow_bias).add_(middle)
        ctx.save_for_backward(x, mixed, around, middle, wide, before, space, after, widen, narrow)
        return out.view(b, h, w, c).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, mixed, around, middle, wide, before, space, after, widen, narrow = ctx.saved_tensors
        b, c, h, w = ctx.size
        below = torch.ops.aten.threshold_backward  # the gradient of a ReLU
        gradient = gradient.permute(0, 2, 3, 1).reshape(-1, c).to(ctx.kind)
        ones = gradient.new_ones(1, len(gradient))
        learns = any(ctx.needs_input_grad[1:])  # they do not where latents are refined

        def of_layer(outputs: Tensor, inputs: Tensor) -> tuple[Tensor | None, Tensor | None]:
            """Gradients of a pointwise layer's weight and bias."""
            if not learns:
                return None, None
            return (outputs.t() @ inputs).float()[:, :, None, None], (ones @ outputs)[0].float()

        of_narrow = of_layer(gradient, wide)
        of_wide = below(gradient @ narrow, wide, 0)
        of_widen = of_layer(of_wide, middle)
        of_middle = torch.addmm(gradient, of_wide, widen)
        of_after = of_layer(of_middle, around)
        of_around = (of_middle @ after).view(b, h, w, c).permute(0, 3, 1, 2)
        of_mixed, of_weight, of_bias = torch.ops.aten.convolution_backward(
            of_around, mixed.view(b, h, w, c).permute(0, 3, 1, 2), space, [c], [1, 1], [1, 1], [1, 1], False, [0, 0], c,
            [True, learns, learns],
        )  # fmt: skip
        of_space = (of_weight.float(), of_bias.float()) if learns else (None, None)
        of_mixed = below(of_mixed.permute(0, 2, 3, 1).reshape(-1, c), mixed, 0)
        of_before = of_layer(of_mixed, x)
        of_x = torch.addmm(of_middle, of_mixed, before).view(b, h, w, c).permute(0, 3, 1, 2)
        return of_x, *of_before, *of_space, *of_after, *of_widen, *of_narrow


def _pointwise(layer: nn.Conv2d, x: Tensor, out: Tensor) -> Tensor:
    """A 1x1 convolution and ReLU of places (P, inputs), into ``out``, (P, outputs)."""
    assert layer.bias is not None
    return torch.mm(x, layer.weight.flatten(1).t(), out=out).add_(layer.bias).relu_()


def _add_pointwise(layer: nn.Conv2d, x: Tensor, out: Tensor) -> None:
    """Adds a 1x1 convolution of places (P, inputs) to ``out``, (P, outputs)."""
    assert layer.bias is not None
    out.addmm_(x, layer.weight.flatten(1).t()).add_(layer.bias)


class RateMLP(nn.Module):
    """Maps the rate parameter t, (B,) in [-1, 1], to (B, outputs). Starts at zero for every t."""

    def __init__(self, outputs: int, hidden: int = 32) -> None:
        super().__init__()
        self.hidden = nn.Linear(2, hidden)
        self.out = nn.Linear(hidden, outputs)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, t: Tensor) -> Tensor:
        return self.out(F.silu(self.hidden(torch.stack([t, t * t], dim=1))))


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
