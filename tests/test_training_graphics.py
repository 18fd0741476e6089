"""Training on graphics: crops with exact blocks, and what the model is taught by them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from tiny_model import TINY

from training.data import Crops
from training.graphics import left
from training.networks.transforms import to_blocks
from training.train import Run, Schedule


def test_crops_of_graphics_begin_with_a_block_and_say_what_is_exact(photo: Image.Image) -> None:
    ramp = np.zeros((96, 128, 4), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(128), np.arange(96)[:, None]
    ramp[:48, :, 3] = 255
    source = Crops([np.asarray(photo)], size=32, batch=8, seed=5, graphics=[ramp], drawn=0.5)
    drawn, learnt = 0, 0
    for _ in range(20):
        batch, exact = source.draw()
        assert exact.shape == (8, 1, 2, 2) and exact.dtype == torch.bool
        for picture, blocks in zip(((batch + 0.5) * 255).round().int(), exact[:, 0], strict=True):
            if picture[2].any():
                assert not blocks.any()  # a photograph
                continue
            drawn += 1
            across, down = sorted((picture[:2, 0, 0] % 16).tolist())  # of a crop that may be mirrored and turned
            assert (across, down) in {(0, 0), (0, 15)}
            y = picture[1]
            assert torch.equal(blocks, y[::16, ::16] >= 48)
            learnt += not blocks.all()
    assert 40 < drawn < 120 and learnt > 0.95 * drawn


def test_what_is_exact_teaches_nothing_but_to_be_cheap(tmp_path: Path, photo: Image.Image) -> None:
    pixels = np.asarray(photo)[:64, :64]
    run = Run(tmp_path, TINY, Schedule(batch=2, map_from=0.0, hard_from=0.0), torch.device("cpu"))
    hidden = np.dstack([pixels, np.zeros(pixels.shape[:2], np.uint8)])
    source = Crops([pixels], size=64, batch=2, seed=1, graphics=[hidden], drawn=1.0)
    _, bpp, mse = run.train_step(source)
    assert mse == 0 and bpp > 0
    blocks, exact = to_blocks(source.next()), torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    exact[:, :, 1:3] = True
    out = run.model(blocks, torch.zeros(2), use_map=True, hard_rate=True, exact=exact)
    assert not out.level[exact].any() and out.level.any()


def test_graphics_are_kept_as_the_encoder_leaves_them(photo: Image.Image) -> None:
    screen = Image.new("RGB", (512, 384), "white")
    for line in range(16):
        ImageDraw.Draw(screen).text((8 + 3 * line, 4 + 24 * line), "exact text " * 8, fill="black")
    screen.paste(photo.crop((320, 176, 560, 400)), (96, 48))
    kept = left(screen, 50)
    assert kept is not None and kept.mode == "RGBA"
    pixels, seen = np.asarray(kept)[..., :3], np.asarray(kept)[..., 3]
    assert (
        set(np.unique(seen)) == {0, 255}
        and (seen[:48] == 0).mean() > 0.9
        and (seen[48:272, 96:336] == 255).mean() > 0.9
    )
    assert np.array_equal(pixels[seen == 255], np.asarray(screen)[seen == 255])
    white = (np.asarray(screen).reshape(24, 16, 32, 16, 3) == 255).all(axis=(1, 3, 4))  # blocks
    assert white.any() and (pixels.reshape(24, 16, 32, 16, 3).transpose(0, 2, 1, 3, 4)[white] == 255).all()
    assert left(Image.new("RGB", (256, 192), "white"), 50) is None
