"""Small pictures: fast, close to the large one made small, and as Pillow's draft() and thumbnail() want them."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from random_transforms import random_arrays
from reference_transform import Transform
from test_plugin import psnr, saved

from pillow_cwic import codec, plugin
from pillow_cwic.codec import exact
from pillow_cwic.coding import symbols
from pillow_cwic.models.config import Config
from pillow_cwic.transforms import draft, layout
from pillow_cwic.transforms.cwic1 import Cwic1


@pytest.fixture(scope="module")
def file(photo: Image.Image) -> bytes:
    return saved(photo, quality=60)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_scales_of_plugin_and_codec_agree() -> None:
    assert plugin.DRAFT_SCALES == draft.SCALES


@pytest.mark.parametrize("scale", draft.SCALES)
def test_close_to_the_whole_picture_made_small(photo: Image.Image, file: bytes, scale: int) -> None:
    small = Image.fromarray(codec.decode(file, scale=scale))
    assert small.size == (768 // scale, 512 // scale)
    assert psnr(small, opened(file).reduce(scale)) > 35
    assert psnr(small, photo.reduce(scale)) > 34


@pytest.mark.parametrize(
    "config", [Config(wide=32, blocks=1, groups=(2, 4, 6), levels=3, normalised=n) for n in (False, True)]
)
def test_the_mean_of_the_linear_path_exactly(config: Config) -> None:
    """By the reference's latents and exact fractions; of codes that are there, in one group or in all."""
    arrays = random_arrays(config, 3)
    reference = Transform(config.to_dict(), "synthesis", arrays)
    parts = layout.split(config, "synthesis", *(arrays[f"synthesis.{name}"] for name in layout.TYPES))
    rng = np.random.default_rng(3)
    for groups, scale, rate in ((1, 8, -2048), (2, 4, 77), (3, 8, 0), (3, 4, 2048)):
        channels = sum(config.groups[:groups])
        codes = rng.integers(-20, 21, (config.channels, 4, 6)).astype(np.int16)
        codes[channels:] = 0
        sums = reference.latents(codes.astype(np.int64).reshape(config.channels, -1).T, rate) @ reference.linear
        side = 8 // scale
        squares = sums.reshape(4, 6, 3, side, scale, side, scale).sum((4, 6)).transpose(0, 3, 1, 4, 2)
        places = scale * scale << reference.exit_shift
        means = [math.floor(Fraction(int(s), places) + 128) for s in squares.ravel()]  # 127.5, and rounded
        wanted = np.clip(means, 0, 255).reshape(4 * side, 6 * side, 3)[: -(-27 // scale), : -(-41 // scale)]
        made = draft.synthesise(config, parts, codes[:channels], rate, 27, 41, scale)
        assert np.array_equal(made, wanted) and 0 < made.mean() < 255


def test_only_the_first_layers_are_decoded(file: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    crc = symbols._symbol_crc
    monkeypatch.setattr(symbols, "_symbol_crc", lambda plane, index: read.append(index) or crc(plane, index))
    monkeypatch.delattr(Cwic1, "synthesise")
    codec.decode(file, scale=8)
    codec.decode(file, scale=4)
    assert read == [*range(4), *range(6)]  # of 9; 16 and 40 channels of 128


@pytest.mark.parametrize("size", [(1, 1), (9, 33), (100, 75)])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_any_size_and_mode(photo: Image.Image, size: tuple[int, int], mode: str) -> None:
    im = photo.resize(size).convert(mode)
    if mode.endswith("A"):
        im.putalpha(photo.resize(size).convert("L"))
    data = saved(im, quality=60)
    for scale in draft.SCALES:
        small = Image.fromarray(codec.decode(data, scale=scale))
        assert (small.size, small.mode) == (im.reduce(scale).size, mode)
        if mode.endswith("A"):
            exact = np.asarray(im.getchannel("A").crop((0, 0, size[0] // scale * scale, size[1] // scale * scale)))
            means = exact.reshape(size[1] // scale, scale, size[0] // scale, scale).mean((1, 3))
            inner = np.asarray(small.getchannel("A"), float)[: size[1] // scale, : size[0] // scale]
            assert np.abs(inner - means).max(initial=0) <= 0.5


def test_alpha_at_the_edge_is_repeated() -> None:
    plane = np.uint8([[0, 0, 0, 0, 80], [0, 0, 0, 0, 80]])
    assert exact.reduced(plane[..., None], 4)[..., 0].tolist() == [[0, 80]]


def test_other_scales_are_refused(file: bytes) -> None:
    for scale in (0, 2, 16):
        with pytest.raises(ValueError, match=f"scale: {scale} is none of 1, 4 and 8"):
            codec.decode(file, scale=scale)


@pytest.mark.parametrize(
    ("size", "made"),
    [
        ((768, 512), None), ((192, 129), None), ((192, 128), (192, 128)), ((97, 1), (192, 128)), ((96, 64), (96, 64)),
        ((1, 1), (96, 64)), ((0, 0), (96, 64)), (None, None),
    ],
)  # fmt: skip
def test_draft(file: bytes, size: tuple[int, int] | None, made: tuple[int, int] | None) -> None:
    im = opened(file)
    result = im.draft(None, size)
    assert result == (made and ("RGB", (0, 0, *made)))
    assert im.size == (made or (768, 512))
    assert im.draft(None, (1, 1)) is None or made is None  # a second one changes nothing
    im.load()
    assert np.asarray(im).shape[1::-1] == im.size


def test_draft_after_load_does_nothing(file: bytes) -> None:
    im = opened(file)
    im.load()
    assert im.draft(None, (10, 10)) is None
    assert im.size == (768, 512)


def test_draft_box_of_a_picture_that_does_not_divide(small: Image.Image) -> None:
    im = opened(saved(small, quality=60))
    assert im.draft("RGB", (12, 9)) == ("RGB", (0, 0, 12.5, 9.375))
    assert im.size == (13, 10)
    im.load()


def test_thumbnail(photo: Image.Image, file: bytes) -> None:
    im = opened(file)
    im.thumbnail((64, 64))
    assert im.size == (64, 43) and im._scale == 4
    wanted = photo.copy()
    wanted.thumbnail((64, 64))
    assert psnr(im, wanted) > 35


def best(work: Callable[[], object]) -> float:
    def timed() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return min(timed() for _ in range(2))


@pytest.mark.long
def test_a_thumbnail_of_12_megapixels_is_several_times_faster(photo: Image.Image) -> None:
    data = saved(photo.resize((4000, 3000), Image.Resampling.LANCZOS), quality=50)
    assert best(lambda: opened(data).load()) > 2.5 * best(lambda: opened(data).thumbnail((256, 256)))
