"""Training for SSIMULACRA2: the score is that of the benchmarks, has gradients everywhere, and weighs what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import TINY

from pillow_cwic.tools.compare.ssimulacra2 import ssimulacra2
from training import seen
from training.data import Crops
from training.train import Run, Schedule


def batch(*pictures: np.ndarray) -> torch.Tensor:
    return torch.stack([torch.from_numpy(p.astype(np.float32)).permute(2, 0, 1) for p in pictures])


@pytest.mark.parametrize("size", [(192, 192), (61, 130), (9, 20)])
def test_scores_are_those_of_the_benchmarks(photo: Image.Image, size: tuple[int, int]) -> None:
    pixels = np.ascontiguousarray(np.asarray(photo)[100 : 100 + size[0], 200 : 200 + size[1]])
    made = [(pixels // step * step + step // 2).astype(np.uint8) for step in (4, 24)]
    found = seen.score(batch(pixels, pixels), batch(*made))
    assert found.tolist() == pytest.approx([ssimulacra2(pixels, each) for each in made], abs=0.01)


def test_gradients_lead_to_the_original(photo: Image.Image) -> None:
    original = batch(np.asarray(photo)[:64, :64])
    same = original.clone().requires_grad_()
    seen.score(original, same).sum().backward()
    assert same.grad is not None and same.grad.isfinite().all()
    shown = (original // 24 * 24).requires_grad_()
    before = seen.score(original, shown)
    before.sum().backward()
    assert shown.grad is not None and shown.grad.isfinite().all()
    assert seen.score(original, shown.detach() + 100 * shown.grad) > before


def test_a_share_of_the_distortion(tmp_path: Path, photo: Image.Image) -> None:
    losses = []
    for share in (0.0, 0.5, 1.0):
        torch.manual_seed(3)
        schedule = Schedule(batch=2, map_from=0.0, hard_from=0.0, tuning="ssim", seen=share)
        run = Run(tmp_path / f"{share}", TINY, schedule, torch.device("cpu"))
        losses.append(run.train_step(Crops([np.asarray(photo)], size=64, batch=2, seed=5))[0])
    assert losses[1] == pytest.approx((losses[0] + losses[2]) / 2) and losses[0] != losses[2]
    with pytest.raises(ValueError, match=r"schedule: seen is 0\.5, which is for tuning ssim alone, not for mse"):
        Schedule(seen=0.5)
