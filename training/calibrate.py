"""Calibration of one transform's entrance and blocks: a float layer becomes integers on crops of training pictures.

Each layer's matrix is fitted to give what the float layer gives, from the integers that it will see, and rounded so
that errors make up for each other (``training.fit``). Whatever is constant in the stream and in the operands is moved
into biases, so that 8 bits lie around each channel's values.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pillow_cwic.transforms import layout
from pillow_cwic.transforms.layout import EXIT, FINE_BITS, LATENT, OPERAND, TABLE_ENTRIES
from pillow_cwic.transforms.torch import integer
from training.fit import compensated, positive_span, regress, symmetric_span
from training.networks.layers import MixBlock, Trunk
from training.networks.transforms import Analysis, Synthesis

IMPORTANCE = 0.9  # how fast a position's weight grows with t: errors show where there are few others
STREAM_PEAK = 10000  # the largest magnitude in the stream that the calibration may give
FINER = 8  # steps of fine blocks for one of others: the limits leave room for four times the range
ROOM, FINE_ROOM = 240.0, 8.0  # how much more than a ReLU's result the 16 bits before its multiplier hold
LEAST_SCALE = 5.0  # of sums to results up to 127: so that four times these fit the 16 bits before the multiplier
LEAST_GROWTH = 1.1  # by how much the 3x3 sums may grow at least, for the rounding of their weights
PRIOR = 0.1  # strength of the pull of a fitted matrix to the float one


def rows_of(layer: nn.Conv2d) -> Tensor:
    """The weights of a pointwise layer as a matrix (inputs, outputs)."""
    return layer.weight.detach().flatten(1).t()


def apply(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """A pointwise layer on (.., inputs)."""
    return F.linear(x, layer.weight.flatten(1), layer.bias)


def largest_shift(scale_limits: Tensor) -> int:
    """The largest shift, 0 to 24, whose power of two is within all limits."""
    return int(torch.log2(scale_limits.min()).floor().clamp(0, 24))


class Exporter:
    """What the export of one transform knows: its parts so far, the weights of positions, and a log of errors."""

    def __init__(self, transform: Analysis | Synthesis, rates: list[int], grid: tuple[int, int], fine: int = 0) -> None:
        """Calibration is on ``len(rates)`` crops, each of ``grid`` positions at its rate; the first blocks are fine."""
        self.transform, self.rates, self.fine = transform, rates, fine
        self.parts: dict[str, Tensor] = {}
        self.unit = torch.empty(0)  # of the stream, for each channel: what 1 of a float stream is
        weight = torch.exp(IMPORTANCE * torch.tensor(rates).clamp(-512, 512) / 512)
        self.weights = weight.repeat_interleave(grid[0] * grid[1])
        self.weights /= self.weights.sum()
        self.errors: dict[str, float] = {}

    def note(self, name: str, made: Tensor, wanted: Tensor) -> None:
        """Logs the error of a layer's result over its variance, in dB, worst and mean over channels."""
        w, made, wanted = self.weights[:, None], made.flatten(0, -2).float(), wanted.flatten(0, -2)
        error = (w * (made - wanted).square()).sum() / (w * (wanted - (w * wanted).sum(0)).square()).sum()
        self.errors[name] = 10 * math.log10(float(error) + 1e-12)

    def moments(self, q: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Means of inputs (P, I) and outputs (P, O), the inputs' covariance and that with the outputs; in double."""
        w = self.weights[:, None]
        q_mean, y_mean = (w * q).sum(0), (w * y).sum(0)
        q, y = q - q_mean, y - y_mean
        scaled = (w * q).t()
        return q_mean.double(), y_mean.double(), (scaled @ q).double(), (scaled @ y).double()

    def fit(
        self, name: str, q: Tensor, wanted: Tensor, prior: Tensor, room: Tensor | float, fine: bool = False
    ) -> Tensor:
        """A product of a block: from operands q to ``wanted``, both (N, h, w, channels), near the matrix ``prior``.

        ``room`` is how much the sum before the multiplier may hold more than the result; returns the result.
        """
        q_mean, y_mean, covariance, cross = self.moments(q.flatten(0, -2).float(), wanted.flatten(0, -2))
        weight = regress(covariance, cross, prior.double(), PRIOR)
        top = 0.98 * OPERAND / weight.abs().amax(0).clamp(min=1e-9)
        offset = y_mean - q_mean @ weight
        top = torch.minimum(top, 2.0**22 / offset.abs().clamp(min=1e-9))
        shift = largest_shift(top)
        most = torch.as_tensor(room, dtype=top.dtype) * 2.0**shift
        multiplier = (2.0 ** (15 + shift) / torch.minimum(top, most)).ceil().clamp(1, 32767)
        scale = 2.0 ** (15 + shift) / multiplier
        rounded = compensated(covariance[None], (weight * scale)[None])[0]
        bias = (y_mean * scale - q_mean @ rounded).round() + (1 << shift >> 1)
        self.parts[f"{name}.weight"] = rounded.to(torch.int8)
        self.parts[f"{name}.bias"] = bias.to(torch.int32)
        self.parts[f"{name}.m"] = multiplier.to(torch.int32)
        self.parts[f"{name}.shift"] = torch.tensor(shift, dtype=torch.int32)
        return integer.affine(q, self.parts, name, fine)

    def space(self, name: str, h: Tensor, wanted: Tensor, prior: Tensor, fine: bool) -> Tensor:
        """The 3x3 sums: from h to ``wanted``, both (N, h, w, C), near ``prior``, (C, 9)."""
        _, height, width, channels = h.shape
        around = F.pad(h.float(), (0, 0, 1, 1, 1, 1))
        taps = [
            around[:, dy : dy + height, dx : dx + width].reshape(-1, channels) for dy in range(3) for dx in range(3)
        ]
        w, y = self.weights[:, None], wanted.flatten(0, -2)
        y_mean = (w * y).sum(0)
        weighted = [w * tap for tap in taps]
        means = torch.stack([tap.sum(0) for tap in weighted], 1).double()  # (C, 9)
        covariance = torch.empty(channels, 9, 9, dtype=torch.float64)
        for i in range(9):
            for j in range(i + 1):
                covariance[:, i, j] = covariance[:, j, i] = (weighted[i] * taps[j]).sum(0)
        covariance -= means[:, :, None] * means[:, None]
        cross = torch.stack([(tap * (y - y_mean)).sum(0) for tap in weighted], 1).double()[..., None]
        y_mean = y_mean.double()
        weight = regress(covariance, cross, prior.double()[..., None], PRIOR)[..., 0]
        one = 2.0**FINE_BITS if fine else 1.0  # of the sums for one of what meets the multiplier

        def most() -> Tensor:
            """By how much weights and biases may grow."""
            bias = y_mean - (means * weight).sum(1)
            return one * 32700 / (torch.full_like(bias, EXIT) if fine else OPERAND * weight.abs().sum(1) + bias.abs())

        # Of inputs that are hardly ever above 0 little can be learned, and multipliers make nothing smaller.
        weight = torch.where((most() < LEAST_GROWTH)[:, None], prior.double(), weight)
        weight *= (most() / LEAST_GROWTH).clamp(max=1)[:, None]
        highest = torch.minimum(OPERAND / weight.abs().amax(1), most())
        slack = torch.ones_like(highest)
        for _ in range(20):
            multiplier = (one * 2.0**15 / (slack * highest)).ceil().clamp(1, 32767)
            scale = one * 2.0**15 / multiplier
            rounded = compensated(covariance, (weight * scale[:, None])[..., None])[..., 0]
            whole_bias = ((y_mean * scale - (means * rounded).sum(1)) / one).round()
            excess = (0 if fine else OPERAND * rounded.abs().sum(1)) + whole_bias.abs() >= 2**15
            if not excess.any():
                break
            slack = torch.where(excess, 0.97 * slack, slack)
        self.parts[f"{name}.weight"] = rounded.t().reshape(3, 3, channels).to(torch.int8)
        self.parts[f"{name}.bias"], self.parts[f"{name}.m"] = whole_bias.to(torch.int32), multiplier.to(torch.int32)
        return (integer.fine_space if fine else integer.space)(h, self.parts, name)

    def entrance(self, inputs: Tensor, unit: Tensor, centre: Tensor, more: Tensor | float) -> Tensor:
        """Inputs (N, h, w, C) in 1 / ``unit`` (C,) to the stream less ``centre``. ``more`` adds to the bias."""
        layer, film, p = self.transform.enter, self.transform.film, self.parts
        t = torch.linspace(-1, 1, TABLE_ENTRIES)
        scale, shift = film.mlp(t).chunk(2, dim=1)
        before = self.unit * (1 + scale).abs().amax(0) * 1.001  # units of the sum, so that the multipliers fit
        weight = (rows_of(layer) / unit[:, None] * before).double()
        assert layer.bias is not None
        reach = LATENT if isinstance(self.transform, Synthesis) else layout.PIXEL
        bias = ((layer.bias + more) * before).double()
        bound = reach * weight.abs().sum(0) + bias.abs()
        a = largest_shift(torch.minimum(32766 / weight.abs().amax(0), 2**30 / bound))
        p["enter.weight"] = (weight * 2**a).round().to(torch.int16)
        p["enter.bias"] = ((bias * 2**a).round() + (1 << a >> 1)).to(torch.int32)
        p["enter.shift"] = torch.tensor(a, dtype=torch.int32)
        p["multiplier"] = ((1 + scale) * self.unit / before * 32768).round().to(torch.int16)
        p["shift"] = ((shift - centre) * self.unit).round().to(torch.int16)
        sums = (integer.exact(inputs, p["enter.weight"]) + p["enter.bias"]) >> a
        tables = [torch.from_numpy(np.stack([layout.at(p[k].numpy(), integer.clamped(T)) for T in self.rates])).int()
                  for k in ("multiplier", "shift")]  # fmt: skip
        return integer.sat(integer.mul(integer.sat(sums), tables[0][:, None, None]) + tables[1][:, None, None])

    def trunk(self, inputs: Tensor, unit: Tensor, entered: Tensor, more: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
        """From the entrance's inputs, and the float stream behind it: the last stream and the float one.

        ``more`` adds to the entrance's bias.
        """
        trunk = self.transform.trunk
        streams = self.float_streams(trunk, entered)
        spans = [symmetric_span(x.flatten(0, -2), self.weights) for x in streams[:-1]]
        centres = [centre for centre, _ in spans] + [torch.zeros(entered.shape[-1])]
        peak = torch.stack([(x - c).flatten(0, -2).abs().amax(0) for x, c in zip(streams, centres, strict=True)])
        self.unit = STREAM_PEAK / peak.amax(0).clamp(min=1e-6)
        x = self.entrance(inputs, unit, centres[0], more)
        self.note("enter", x / self.unit + centres[0], streams[0])
        for index, block in enumerate(trunk):
            assert isinstance(block, MixBlock)
            name = f"block{index}"
            start, middle, end = streams[2 * index : 2 * index + 3]

            fine = index < self.fine
            finer, reach, room = (FINER, EXIT, FINE_ROOM) if fine else (1, OPERAND, ROOM)
            q, q_unit = self.operand(f"{name}.operand1", x, spans[2 * index][1] / finer, reach)
            before = apply(block.before, start)
            prior = rows_of(block.before) / q_unit[:, None]
            h_step = self.relu_step(before, prior * finer) / finer
            h = self.fit(f"{name}.before", q, before / h_step, prior / h_step, room, fine).clamp(0, reach)
            self.note(f"{name}.before", h * h_step, before.relu())

            around = block.space(before.relu().permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            g_centre, g_step = symmetric_span(around.flatten(0, -2), self.weights)
            g_step = self.alive(g_step) / finer
            prior = block.space.weight.detach().flatten(1) * (h_step / g_step)[:, None]
            g = self.space(f"{name}.space", h, (around - g_centre) / g_step, prior, fine)
            self.note(f"{name}.space", g * g_step + g_centre, around)

            wanted = (middle - centres[2 * index + 1]) * self.unit
            x = self.add(f"{name}.after", block.after, g, g_step, x, wanted, fine)
            self.note(f"{name}.after", x / self.unit + centres[2 * index + 1], middle)

            q, q_unit = self.operand(f"{name}.operand2", x, spans[2 * index + 1][1])
            widen = apply(block.widen, middle)
            prior = rows_of(block.widen) / q_unit[:, None]
            w_step = self.relu_step(widen, prior)
            w = self.fit(f"{name}.widen", q, widen / w_step, prior / w_step, ROOM).clamp(0, OPERAND)
            self.note(f"{name}.widen", w * w_step, widen.relu())

            x = self.add(f"{name}.narrow", block.narrow, w, w_step, x, (end - centres[2 * index + 2]) * self.unit)
            self.note(f"{name}.narrow", x / self.unit + centres[2 * index + 2], end)
        return x, streams[-1]

    def float_streams(self, trunk: Trunk, x: Tensor) -> list[Tensor]:
        """The stream before the first block and after each half of every block, (N, h, w, wide) each."""
        streams = [x]
        for block in trunk:
            assert isinstance(block, MixBlock)
            h = apply(block.before, x).relu().permute(0, 3, 1, 2)
            middle = x + apply(block.after, block.space(h).permute(0, 2, 3, 1))
            x = middle + apply(block.narrow, apply(block.widen, middle).relu())
            streams += [middle, x]
        return streams

    def alive(self, step: Tensor) -> Tensor:
        """Steps that are not next to nothing where a channel hardly moves, so that no weight overflows."""
        return step.clamp(min=0.05 * float(step.mean()))

    def relu_step(self, values: Tensor, prior: Tensor) -> Tensor:
        """Steps of the positive ones of (N, h, w, C), made with the matrix ``prior``.

        Not so small that the matrix over the step allows no shift: such channels hardly ever are positive.
        """
        step = positive_span(values.flatten(0, -2).relu(), self.weights)
        return torch.maximum(self.alive(step), prior.abs().amax(0) * LEAST_SCALE / OPERAND)

    def operand(self, name: str, x: Tensor, step: Tensor, reach: int = OPERAND) -> tuple[Tensor, Tensor]:
        """The stream as an operand, and how much of it there is to 1 of the float stream."""
        m = (32768 / (self.unit * self.alive(step))).round().clamp(1, 32767)
        self.parts[name] = m.to(torch.int32)
        return integer.operand(x, self.parts[name], reach), self.unit * m / 32768

    def add(
        self, name: str, layer: nn.Conv2d, g: Tensor, step: Tensor, x: Tensor, wanted: Tensor, fine: bool = False
    ) -> Tensor:
        """A layer that adds to the stream x what it lacks of ``wanted``; g in ``step``."""
        lacking = wanted - x
        prior = rows_of(layer) * step[:, None] * self.unit
        room = 0.9 * 32767 / lacking.flatten(0, -2).abs().amax(0).clamp(min=1).double()
        return integer.sat(x + self.fit(name, g, lacking, prior, room, fine))
