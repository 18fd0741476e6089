"""What integer transforms lose against the float ones that they were made of, on whole pictures, at equal rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pillow_cwic.coding.symbols import rounded
from pillow_cwic.models.config import CODE_LIMIT, EXACT_UNIT
from pillow_cwic.transforms.torch import integer
from pillow_cwic.transforms.torch.context import logistic_bits
from pillow_cwic.transforms.torch.distortion import distortion, similarities
from training.data import find_pictures, load_pictures
from training.networks.model import Cwic1
from training.networks.quantisers import channel_masks, useful_levels
from training.networks.transforms import to_blocks, to_picture
from training.quantise import unrounded
from training.validate import RATES


def bits(model: Cwic1, codes: Tensor, level: Tensor, t: Tensor) -> float:
    """Ideal code length of codes (1, C, h, w) and levels (1, 1, h/2, w/2)."""
    parameters = model.context(codes, level, t)
    mean, log_scale = (torch.cat([p[k] for p in parameters], dim=1) for k in (0, 1))
    total = (logistic_bits(codes, mean, log_scale) * channel_masks(level, model.config.groups)).sum()
    return float(total + logistic_bits(level, *model.context.map_parameters(level, t)).sum())


def coded(model: Cwic1, exact: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """Codes and levels as an encoder that rounds has them, from unrounded codes (1, C, h, w) in 1/32."""
    codes = torch.from_numpy(rounded(exact.numpy().astype(np.int16))).float().clamp(-CODE_LIMIT, CODE_LIMIT)
    return codes * channel_masks(level, model.config.groups), level


def encode_float(model: Cwic1, picture: Tensor, rate: int) -> tuple[Tensor, Tensor]:
    """Codes and levels of one picture (1, 3, H, W) uint8 by the float analysis."""
    latents, level = unrounded(model, to_blocks(picture.float() / 255 - 0.5), torch.tensor([rate / 512]))
    return coded(model, (EXACT_UNIT * latents).round(), level)


def encode_integer(model: Cwic1, analysis: integer.Analysis, picture: Tensor, rate: int) -> tuple[Tensor, Tensor]:
    """The same by the integer analysis."""
    latents, levels = analysis(picture, [rate])
    exact = analysis.codes(latents, [rate])
    useful = useful_levels(exact.float() / EXACT_UNIT, model.config.groups)
    return coded(model, exact, torch.maximum(levels[:, None].float(), useful))


@torch.inference_mode()
def measure(
    model: Cwic1, parts: dict[str, dict[str, NDArray[Any]]], tuning: str, folder: Path, every: int = 3
) -> list[dict[str, float]]:
    """Means over every so many pictures of a folder, a row for each rate, which it prints.

    ``decoder`` is the loss in dB of PSNR (``decoder_tuned``: of the tuning's distortion) of the integer synthesis on
    the float encoder's codes; ``both`` that of both transforms at equal rate, where bits count as distortion by the
    Lagrangian.
    """
    synthesis = integer.Synthesis(model.config, parts["synthesis"])
    analysis = integer.Analysis(model.config, parts["analysis"]) if "analysis" in parts else None
    rows = []
    for value in RATES:
        t, rate, figures = torch.tensor([value]), round(512 * value), []
        for pixels in load_pictures(find_pictures(folder))[::every]:
            height, width = (side - side % 16 for side in pixels.shape[:2])
            picture = torch.from_numpy(pixels[:height, :width].copy()).permute(2, 0, 1)[None]
            shown = []
            codes, level = encode_float(model, picture, rate)
            shown.append((to_picture(model.synthesis(codes, t)) * 255 + 127.5).round().clamp(0, 255))
            shown.append(synthesis(codes.to(torch.int16), [rate]).float())
            lengths = [bits(model, codes, level, t)]
            if analysis is not None:
                codes, level = encode_integer(model, analysis, picture, rate)
                shown.append(synthesis(codes.to(torch.int16), [rate]).float())
                lengths.append(bits(model, codes, level, t))
            errors = [distortion(tuning, picture.float(), s) for s in shown]
            tuned, mse = ([float(e[k]) for e in errors] for k in (0, 1))
            same = [similarities(picture.float(), s) for s in shown]
            bpp = [length / (height * width) for length in lengths]
            more_bits = (bpp[-1] - bpp[0]) / float(model.config.lagrangian(t))
            figures.append({
                "bpp": bpp[0], "psnr": 10 * np.log10(255**2 / mse[0]),
                "decoder": -decibels(mse[1], mse[0]), "decoder_tuned": -decibels(tuned[1], tuned[0]),
                "bits": 100 * (bpp[-1] / bpp[0] - 1), "both_psnr": -decibels(mse[-1], mse[0]),
                "both": -decibels(tuned[-1] + more_bits, tuned[0]),
                "ssim": float(same[0][0]), "ssim_loss": 1e4 * float(same[0][0] - same[-1][0]),
                "ms_ssim_loss": 1e4 * float(same[0][1] - same[-1][1]),
            })  # fmt: skip
        means = {name: float(np.mean([f[name] for f in figures])) for name in figures[0]}
        rows.append({"t": value, **means})
        print("  ".join(f"{name} {number:.4g}" for name, number in rows[-1].items()), flush=True)
    return rows


def decibels(error: float, reference: float) -> float:
    """How much larger an error is."""
    return float(10 * np.log10(error / reference))
