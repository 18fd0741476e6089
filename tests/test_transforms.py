"""The transforms in C against the plain reference, at every SIMD level, in any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from pillow_cwic import settings
from pillow_cwic.models.config import Config
from pillow_cwic.transforms.native import Transforms
from tests.random_transforms import random_arrays
from tests.reference_transform import Transform

CONFIGS = [
    Config(wide=32, blocks=2, groups=(2, 4, 6), map_features=5, levels=4, fine=1),
    Config(wide=96, blocks=3, groups=(4, 10), map_features=32, levels=8, normalised=True, fine=2),
    Config(wide=32, blocks=0, groups=(2,), map_features=1, levels=1),
    Config(wide=160, blocks=1, groups=(4, 4, 8, 8, 16, 24, 32, 32), levels=8, normalised=True),
]
SIZES = [(1, 1), (16, 16), (17, 40), (130, 23), (3, 700), (1100, 20)]
LEVELS = [0, 1, 2, 3, 4]


@pytest.mark.parametrize("simd", LEVELS)
@pytest.mark.parametrize("index", range(len(CONFIGS)))
def test_equal_to_the_reference(index: int, simd: int) -> None:
    config = CONFIGS[index]
    arrays = random_arrays(config, index)
    native = Transforms(config, arrays, simd)
    assert native.simd <= simd
    analysis = Transform(config.to_dict(), "analysis", arrays)
    synthesis = Transform(config.to_dict(), "synthesis", arrays)
    rng = np.random.default_rng(index)
    for rate, (height, width) in zip((-2048, -300, 0, 77, 512, 2048), SIZES, strict=True):
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        for threads in (1, 3):
            with settings.options(threads=threads):
                latents, levels = native.analyse(pixels, rate)
            wanted_latents, wanted_levels = analysis.analyse(pixels, rate)
            assert (latents == wanted_latents).all() and (levels[0] == wanted_levels).all()
            codes = rng.integers(-30, 31, latents.shape).astype(np.int16)
            codes[rng.random(codes.shape) < 0.6] = 0
            with settings.options(threads=threads):
                shown = native.synthesise(codes, rate, height, width)
            assert (shown == synthesis.synthesise(codes, rate, height, width)).all()
        assert (native.exact_codes(latents, rate) == analysis.exact(latents, rate)).all()
