"""A float ``cwic1`` as the integers of docs/FORMAT.md section 6: ``python -m training.quantise --data DIR --out FILE``.

``--run`` takes the averaged model of a run in place of the released one. ``training.calibrate`` makes the blocks, this
module what stands around them. ``training.integer_loss`` measures what is lost.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from pillow_cwic.transforms import layout
from pillow_cwic.transforms.layout import EXIT, GAIN_ENTRIES, LATENT, PIXEL, TABLE_ENTRIES
from pillow_cwic.transforms.torch import integer
from pillow_cwic.transforms.torch.context_weights import to_integers
from training.calibrate import PRIOR, Exporter, apply, largest_shift, rows_of
from training.data import Crops, find_pictures, load_pictures
from training.fit import regress
from training.networks.layers import Gain
from training.networks.model import Config, Cwic1
from training.networks.normalisation import UNIT, Normalisation
from training.networks.quantisers import channel_masks, quantise_map, useful_levels
from training.networks.transforms import ImportanceHead, to_blocks
from training.released import load_released
from training.weights import FINE, canonical, facts_of, load_average

RATES = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5)  # that the calibration sees
CROP = 256
CROPS = 64
RENDERED = 0.25  # share of crops with text and shapes, whose activations reach far
ROOM = 1.5  # how far pictures may go beyond what the calibration gives, where clipping would show

Arrays = dict[str, NDArray[Any]]


def crops(folder: Path, count: int = CROPS, size: int = CROP) -> Tensor:
    """Crops of as many pictures of a folder, (count, 3, size, size) in [-0.5, 0.5]; always the same."""
    files = find_pictures(folder)
    random.Random(0).shuffle(files)
    return Crops(load_pictures(files[: 2 * count], 1), size, count, seed=0, rendered=RENDERED).next()


def last(x: Tensor) -> Tensor:
    """(N, C, h, w) with the channels last."""
    return x.permute(0, 2, 3, 1).contiguous()


def first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def gain_table(gain: Gain, factor: Tensor) -> Tensor:
    """The gain's table over T, times a factor for each channel, (129, C)."""
    return (gain(torch.linspace(-4, 4, GAIN_ENTRIES))[:, :, 0, 0].double() * factor).round().clamp(max=2**31 - 1).int()


def exit_scale(leave: Tensor, linear: Tensor, bias: Tensor, reach: int) -> int:
    """The largest shift with which the exit's matrices (inputs, outputs) fit 16 bits and sums 31."""
    bound = EXIT * leave.abs().sum(0) + reach * linear.abs().sum(0) + bias.abs() + 1
    largest = torch.cat([leave, linear]).abs().amax(0)
    return largest_shift(torch.minimum(32766 / largest, 2**30 / bound))


def leave(export: Exporter, x: Tensor, wanted: Tensor, float_x: Tensor, unit: Tensor | float) -> tuple[Tensor, ...]:
    """The exit's operand of the stream x, and its matrix and bias for ``wanted`` in ``unit``, each (N, h, w, ..)."""
    step = ROOM * float_x.flatten(0, -2).abs().amax(0) / EXIT
    m = (32768 / (export.unit * export.alive(step))).round().clamp(1, 32767)
    export.parts["operand"] = m.int()
    p = integer.operand(x, export.parts["operand"], EXIT)
    prior = (rows_of(export.transform.leave) / (export.unit * m / 32768)[:, None] * unit).double()
    p_mean, y_mean, covariance, cross = export.moments(p.flatten(0, -2).float(), (wanted * unit).flatten(0, -2))
    weight = regress(covariance, cross, prior, PRIOR)
    return p, weight, y_mean - p_mean @ weight


def finish_exit(export: Exporter, weight: Tensor, linear: Tensor, bias: Tensor, reach: int) -> None:
    a = exit_scale(weight, linear, bias, reach)
    export.parts["leave.weight"] = (weight * 2**a).round().to(torch.int16)
    export.parts["linear.weight"] = (linear * 2**a).round().to(torch.int16)
    export.parts["exit.bias"] = ((bias * 2**a).round() + (1 << a >> 1)).int()
    export.parts["exit.shift"] = torch.tensor(a, dtype=torch.int32)


def largest(x: Tensor) -> Tensor:
    """The largest magnitude in each channel of (N, h, w, C)."""
    return x.flatten(0, -2).abs().amax(0)


def room(x: Tensor) -> Tensor:
    """How large the channels of (N, h, w, C) may become in other pictures; none much less than the others."""
    reach = ROOM * largest(x)
    return reach.clamp(min=0.25 * float(reach.max()))


def synthesis(model: Cwic1, codes: Tensor, rates: list[int]) -> Exporter:
    """Parts of the synthesis, calibrated on codes (N, C, h, w) at rates T."""
    transform, t = model.synthesis, torch.tensor(rates) / 512
    export = Exporter(transform, rates, codes.shape[2:], model.config.fine)
    scaled = codes * transform.gain(t)
    y = transform.latents(codes, t)
    before = unit = LATENT / room(last(y))
    if transform.normalisation is not None:
        before = LATENT / room(last(scaled))
        expansion(export, transform.normalisation, before, unit)
    export.parts["gain"] = gain_table(transform.gain, before * 65536)
    twin = integer.Synthesis(model.config, {k: v.numpy() for k, v in export.parts.items()})
    whole = twin.latents(last(codes).int(), rates)
    export.note("latents", whole / unit, last(y))
    entered = last(transform.film(transform.enter(y), t.clamp(-1, 1)))
    x, float_x = export.trunk(whole, unit, entered)
    wanted = apply(transform.leave, float_x)
    _, weight, bias = leave(export, x, wanted, float_x, 255.0)
    linear = (rows_of(transform.linear) / unit[:, None] * 255).double()
    finish_exit(export, weight, linear, bias + 127.5, LATENT)
    return export


def expansion(export: Exporter, normalisation: Normalisation, before: Tensor, after: Tensor) -> None:
    """The decoder's normalisation, of latents in 1 / ``before`` to those in 1 / ``after``, (C,) each."""
    r, ratio = 11, (2048 * after / before).double()  # the square root of F is 2048 where nothing changes
    mixture_parts(export, normalisation, before, r, UNIT * ratio.square(), 24)
    export.parts["r"] = torch.tensor(r, dtype=torch.int32)
    export.parts["floor"] = (normalisation.floor.clamp(min=0.1).double() * ratio.square()).round().int()


def mixture_parts(export: Exporter, normalisation: Normalisation, unit: Tensor, r: int, factor: Tensor | float,
                  most: int) -> None:  # fmt: skip
    """Mixture, rate table and their shift s for energies of latents in 1 / ``unit``, results times ``factor``."""
    mixture = torch.relu(normalisation.mixture).t().double() * (2.0**r / unit.double().square())[:, None]
    scale = torch.minimum(60000 / mixture.sum(0).clamp(min=1e-12), 32700 / mixture.amax(0).clamp(min=1e-12))
    rate = torch.exp(normalisation.rate(torch.linspace(-1, 1, TABLE_ENTRIES))).double() * factor / scale
    rate[:, mixture.sum(0) == 0] = 0
    s = int(torch.log2((2**31 - 2) / rate.max()).floor().clamp(0, most))
    export.parts["mixture"] = (mixture * scale).round().to(torch.int16)
    export.parts["rate"] = (rate * 2**s).round().int()
    export.parts["s"] = torch.tensor(s, dtype=torch.int32)


def analysis(model: Cwic1, blocks: Tensor, rates: list[int]) -> Exporter:
    """Parts of the analysis and the importance head, calibrated on blocks of pixels (N, 192, h, w) at rates T."""
    transform, t = model.analysis, torch.tensor(rates) / 512
    export = Exporter(transform, rates, blocks.shape[2:])
    whole = (last(blocks) * 255 + 127.5).round().int() - PIXEL
    seen = first(whole.float() + PIXEL) / 255 - 0.5  # noisy crops are no whole samples
    entered = last(transform.film(transform.enter(seen), t.clamp(-1, 1)))
    # v = 255 * pixel - 1/2, so that half a grey level goes to the biases.
    halved = [integer_bias(layer) for layer in (rows_of(transform.enter), rows_of(transform.linear))]
    x, float_x = export.trunk(whole, torch.full((layout.PIXELS,), 255.0), entered, halved[0])
    linear_part = last(transform.linear(seen))
    wanted = apply(transform.leave, float_x)
    raw = wanted + linear_part
    # What the linear path can give at most; a channel that leaps beyond, for a rare picture, is cut off.
    most = rows_of(transform.linear).abs().sum(0) / 2
    unit = 32767 / room(raw.clamp(-most, most))
    p, weight, bias = leave(export, x, wanted, float_x, unit)
    linear = (rows_of(transform.linear) / 255 * unit).double()
    finish_exit(export, weight, linear, bias + halved[1].double() * unit, PIXEL)
    if transform.normalisation is not None:
        compression(export, transform.normalisation, unit)
    export.parts["gain"] = gain_table(transform.gain, 32 / unit * 2**24)
    head(export, model.importance, float_x, model.config)
    twin = integer.Analysis(model.config, {k: v.numpy() for k, v in export.parts.items()})
    latents = integer.sat(twin.exit(p, whole))
    export.note("latents before normalisation", latents / unit, raw)
    if transform.normalisation is not None:
        export.note("latents", twin.compress(latents, rates) / unit, last(transform.normalisation(first(raw), t)))
    levels = quantise_map(model.importance(first(float_x)), model.config.levels)[:, 0]
    export.errors["levels that differ"] = float((twin.levels(p) != levels).float().mean())
    return export


def integer_bias(matrix: Tensor) -> Tensor:
    """What samples of v + 1/2 give more than v, for a matrix (192, outputs) of pixels in [-0.5, 0.5]."""
    return matrix.sum(0) * 0.5 / 255


def compression(export: Exporter, normalisation: Normalisation, unit: Tensor) -> None:
    """The encoder's normalisation, of latents in 1 / ``unit``, (C,), to such."""
    r = 14
    mixture_parts(export, normalisation, unit, r, UNIT * 2.0**16, 24)
    export.parts["r"], export.parts["n"] = (torch.tensor(k, dtype=torch.int32) for k in (r, 15))
    export.parts["floor"] = (normalisation.floor.clamp(min=0.1).double() * 2**16).round().clamp(max=2**24).int()


def head(export: Exporter, importance: ImportanceHead, float_x: Tensor, config: Config) -> None:
    """The importance head on the exit's operands; calibrated on the float stream (N, h, w, wide)."""
    h = torch.relu(importance.down(first(float_x)))
    operand_unit = export.unit * export.parts["operand"] / 32768
    weight = importance.down.weight.detach().permute(2, 3, 1, 0).double() / operand_unit[:, None]
    assert importance.down.bias is not None and importance.out.bias is not None
    bias = importance.down.bias.double()
    # One that is hardly ever positive has large sums behind it, for which there must be room, too.
    unit = EXIT / export.alive(ROOM * largest(last(h))).double()
    unit = torch.minimum(unit, 2**26 / (EXIT * weight.abs().sum((0, 1, 2)) + bias.abs()))
    weight, bias = weight * unit, bias * unit
    bound = EXIT * weight.abs().sum((0, 1, 2)) + bias.abs()
    a = largest_shift(torch.minimum(32766 / weight.abs().amax((0, 1, 2)), 2**30 / bound))
    export.parts["head.weight"] = (weight * 2**a).round().to(torch.int16)
    export.parts["head.bias"] = ((bias * 2**a).round() + (1 << a >> 1)).int()
    export.parts["head.shift"] = torch.tensor(a, dtype=torch.int32)
    out = importance.out.weight.detach().flatten().double() / unit
    thresholds = [math.log(k / (config.levels - k)) for k in range(1, config.levels)]
    others = max(abs(value) for value in (*thresholds, float(importance.out.bias)))
    scale = min(32766 / float(out.abs().max()), 2**30 / (EXIT * float(out.abs().sum()) + others))
    export.parts["out.weight"] = (out * scale).round().to(torch.int16)
    export.parts["out.bias"] = (importance.out.bias.double() * scale).round().int()
    export.parts["thresholds"] = torch.tensor([math.ceil(value * scale) for value in thresholds], dtype=torch.int32)


def encode(model: Cwic1, blocks: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """What the float encoder makes of blocks (N, 192, h, w) at rates t: codes (N, C, h, w), levels (N, 1, h/2, w/2)."""
    latents, level = unrounded(model, blocks, t)
    return model.quantise(latents) * channel_masks(level, model.config.groups), level


def unrounded(model: Cwic1, blocks: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """As ``encode``, but the codes neither rounded nor masked."""
    features = model.analysis.features(blocks, t)
    latents = model.analysis.latents(blocks, features, t) * model.analysis.gain(t)
    level = torch.maximum(quantise_map(model.importance(features), model.config.levels),
                          useful_levels(latents, model.config.groups))  # fmt: skip
    return latents, level


@torch.no_grad()
def quantise(model: Cwic1, pictures: Tensor, log: bool = False) -> dict[str, dict[str, NDArray[Any]]]:
    """Parts of both transforms, checked; calibrated on pictures (N, 3, H, W) in [-0.5, 0.5]."""
    blocks = to_blocks(pictures)
    rates = [round(512 * RATES[k % len(RATES)]) for k in range(len(blocks))]
    codes = encode(model, blocks, torch.tensor(rates) / 512)[0]
    made = {}
    for kind, export in (("synthesis", synthesis(model, codes, rates)), ("analysis", analysis(model, blocks, rates))):
        if log:
            print(kind, *(f"{name} {value:.1f}" for name, value in export.errors.items()), sep="\n  ", flush=True)
        values = {name: value.numpy() for name, value in export.parts.items()}
        arrays = layout.join(model.config, kind, values)
        made[kind] = layout.split(model.config, kind, *arrays.values())
        layout.check(model.config, kind, made[kind])
    return made


def weights_file(model: Cwic1, parts: dict[str, dict[str, NDArray[Any]]], facts: dict[str, str]) -> bytes:
    """The weights file of integer transforms and the model's context model; ``facts`` go into its metadata."""
    weights, biases = to_integers(model.context)
    arrays: dict[str, NDArray[Any]] = {"context.weights": weights, "context.biases": biases}
    for kind, values in parts.items():
        for name, array in layout.join(model.config, kind, values).items():
            arrays[f"{kind}.{name}"] = array
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    return canonical(save(tensors, {"config": json.dumps(model.config.to_dict()), **facts}))


def freeze(model: Cwic1, pictures: Tensor, facts: dict[str, str]) -> bytes:
    """The weights file of a float model, calibrated on pictures (N, 3, H, W) in [-0.5, 0.5]."""
    return weights_file(model, quantise(model, pictures), facts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of training pictures, for the calibration")
    parser.add_argument("--run", type=Path, help="folder of a run, in place of the released model")
    parser.add_argument("--tuning", default="mse")
    parser.add_argument("--fine", type=int, default=FINE, help="fine blocks of the synthesis, FORMAT.md section 6.4")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--measure", type=Path, help="folder of pictures on which the loss is measured")
    parser.add_argument("--every", type=int, default=3, help="of which every so many is taken")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, facts = load_average(args.run) if args.run else (load_released(tuning=args.tuning), {"step": 0})
    model.config = replace(model.config, fine=args.fine)
    parts = quantise(model, crops(args.data), log=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_bytes(weights_file(model, parts, facts_of("cwic1", args.tuning, facts)))
    if args.measure:
        from training.integer_loss import measure

        measure(model, parts, args.tuning, args.measure, args.every)


if __name__ == "__main__":
    main()
