"""Validation during training: code lengths and PSNR on whole pictures, and the curve drawn from the log."""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from pillow_cwic.models.config import MAP_STRIDE
from pillow_cwic.transforms.torch.distortion import similarities
from training import seen
from training.networks.model import Cwic1, Output
from training.networks.transforms import to_blocks, to_picture
from training.precision import mixed

RATES = (-1.0, -0.5, 0.0, 0.5, 1.0)


def _integer_model(model: Cwic1) -> Callable[[Output, int], int] | None:
    """Counts the bytes of real streams; None where the C coder is not built, as on a machine that only trains."""
    try:
        from training import agree
    except ImportError:
        return None
    return partial(agree.stream_bytes, agree.integer_model(model))


@torch.no_grad()
def validate(model: Cwic1, pictures: list[np.ndarray], *, use_map: bool, every: int = 3) -> list[dict[str, float]]:
    """Mean figures over every ``every``-th picture, a row for each of the rates t.

    ``bpp`` is the ideal code length of the rounded codes and the map, ``real_bpp`` the streams that the integer
    context model makes of them; NaN before the map is trained, or where the C coder is not built.
    """
    rows = []
    coder = _integer_model(model) if use_map else None
    device = next(model.parameters()).device
    for value in RATES:
        figures = []
        for pixels in pictures[::every]:
            height, width = (side - side % MAP_STRIDE for side in pixels.shape[:2])
            picture = torch.from_numpy(pixels[:height, :width].astype(np.float32)).permute(2, 0, 1)[None].to(device)
            t = torch.full((1,), value, device=device)
            with mixed(device):
                out = model(to_blocks(picture / 255 - 0.5), t, use_map=use_map, hard_rate=True)
            shown = ((to_picture(out.blocks.float()) + 0.5) * 255).round().clamp(0, 255)
            mse = (shown - picture).square().mean().item()
            ssim, ms_ssim = similarities(picture, shown)
            bits, map_bits = out.hard_bits.item(), out.map_bits.item()
            real = 8 * coder(out, round(512 * value)) if coder else float("nan")
            loss = (bits + map_bits) / (height * width) + model.config.lagrangian(t).item() * mse
            figures.append(
                (
                    loss / model.config.lagrangian(t).sqrt().item(),
                    (bits + map_bits) / (height * width),
                    real / (height * width),
                    10 * np.log10(255**2 / mse),
                    map_bits / (bits + map_bits),
                    ssim.item(),
                    ms_ssim.item(),
                    seen.score(picture, shown).item(),
                )
            )
        names = ("loss", "bpp", "real_bpp", "psnr", "map_share", "ssim", "ms_ssim", "ssimulacra2")
        row = {"t": value, **dict(zip(names, np.mean(figures, axis=0), strict=True))}
        rows.append({k: round(float(v), 5) for k, v in row.items()})
        print("   valid", rows[-1], flush=True)
    return rows


def draw_curve(log: Path, target: Path) -> None:
    """Curves of the first, middle and last validation in the log; does nothing where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    with log.open(newline="") as f:
        rows = list(csv.DictReader(f))
    steps = sorted({int(r["step"]) for r in rows})
    axes = (figure := Figure(figsize=(7, 5))).add_subplot()
    for step in sorted({steps[0], steps[len(steps) // 2], steps[-1]}):
        points = [(float(r["bpp"]), float(r["psnr"])) for r in rows if int(r["step"]) == step]
        axes.plot(*zip(*points, strict=True), marker="o", label=f"step {step}")
    axes.set(xlabel="bits per pixel (ideal code length)", ylabel="PSNR-RGB / dB", title="Validation split")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(target, dpi=110)
