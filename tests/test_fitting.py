"""What the encoder makes of a post-filter: coefficients that pay for their bits, for what is seen."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks.metrics import psnr
from pillow_cwic import codec, measures, models
from pillow_cwic.codec import fitting, sized
from pillow_cwic.codec.effort import EFFORTS
from pillow_cwic.codec.encoder import Encoder
from pillow_cwic.coding import coefficients
from pillow_cwic.coding.coder import BEST_SIMD
from pillow_cwic.file import container
from pillow_cwic.saving import Options
from pillow_cwic.transforms import native, postfilter

EVERY = fitting.ALLOWED["mse"]


@pytest.mark.parametrize("simd", [0, BEST_SIMD])
@pytest.mark.parametrize("kind", ["photo", "noise", "corners"])
def test_sums_are_those_of_plain_arithmetic(photo: Image.Image, kind: str, simd: int) -> None:
    """Of positions in any order, some twice; the largest there are: squares of red and blue, one beside the other."""
    rng = np.random.default_rng(5)
    if kind == "photo":
        pictures = [np.asarray(photo.crop((x, 40, x + 200, 104))) for x in (64, 70)]
    elif kind == "noise":
        pictures = list(rng.integers(0, 256, (2, 64, 200, 3), np.uint8))
    else:
        checks = (np.indices((64, 200)).sum(0) % 2).astype(np.uint8)[..., None] * np.array([255, 1, 255], np.uint8)
        pictures = [np.where(checks > 0, checks, np.array([0, 255, 0], np.uint8)), np.zeros((64, 200, 3), np.uint8)]
    shown, original = pictures
    where = np.concatenate([rng.permutation(8 * 25)[:60], [3, 3, 199, 0]])
    squares, wanted = np.full((13, 13), 7, np.int64), np.full((13, 3), -7, np.int64)
    native.add_sums(shown, original, where, squares, wanted, simd)
    parts = [each.reshape(8, 8, 25, 8, 3).transpose(4, 0, 2, 1, 3).reshape(3, 200, 8, 8)[:, where] for each in pictures]
    samples, right = (16 * each.astype(np.int64) + 8 for each in parts)
    seen = np.stack(postfilter.features(*postfilter.centred(samples))).reshape(13, -1)
    assert np.array_equal(squares, seen @ seen.T + 7)
    assert np.array_equal(wanted, seen @ (right - samples).reshape(3, -1).T - 7)


def test_sums_of_no_positions_and_of_none_that_are_there() -> None:
    picture = np.zeros((16, 16, 3), np.uint8)
    squares, wanted = np.zeros((13, 13), np.int64), np.zeros((13, 3), np.int64)
    native.add_sums(picture, picture, np.zeros(0, np.intp), squares, wanted)
    assert not squares.any() and not wanted.any()
    for wrong in (4, -1):
        with pytest.raises(ValueError, match=f"places: .*{wrong}, of 4 positions|places: {wrong} to 0, of 4"):
            native.add_sums(picture, picture, np.array([0, wrong]), squares, wanted)
    with pytest.raises(ValueError, match="original"):
        native.add_sums(picture, picture[:8], np.zeros(1, np.intp), squares, wanted)


class Shown:
    """Transforms whose synthesis shows a picture whatever the codes; codes are where they lie."""

    groups = (2,)

    def __init__(self, picture: NDArray[np.uint8], worth: float = 0.05) -> None:
        self.picture, self.worth, self.pixels = picture, worth, 0

    def lagrangian(self, rate: int) -> float:
        return self.worth

    def synthesise(self, codes: NDArray[np.int16], rate: int, height: int, width: int, post: object) -> Any:
        self.pixels += height * width
        top, left = 8 * int(codes[0, 0, 0]), 8 * int(codes[1, 0, 0])
        return self.picture[top : top + height, left : left + width]

    def draft_groups(self, scale: int) -> int:
        return 1

    def draft(self, codes: Any, rate: int, height: int, width: int, scale: int, post: Any) -> Any:
        shown = self.picture if post is None else applied(self.picture, post)
        return shown.reshape(height // 8, 8, width // 8, 8, 3).mean((1, 3)).round().astype(np.uint8)


def places(height: int, width: int) -> NDArray[np.int16]:
    """Codes that say where they lie."""
    grid = np.indices((2 * -(-height // 16), 2 * -(-width // 16)))
    return grid.astype(np.int16)


def fitted(
    original: NDArray[np.uint8], shown: NDArray[np.uint8], where: Any = None, worth: float = 0.05, **how: Any
) -> Any:
    height, width = original.shape[:2]
    full = np.ones((2 * -(-height // 16), 2 * -(-width // 16)), np.bool_) if where is None else where
    padded = np.pad(shown, ((0, -height % 16), (0, -width % 16), (0, 0)), mode="edge")
    networks: Any = Shown(padded, worth)
    seen = np.ones(full.shape, np.bool_) if how.get("all_seen") else full
    return fitting.fitted(networks, places(height, width), 0, original, full, seen, how.get("allowed", EVERY))


def applied(shown: NDArray[np.uint8], post: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Sides are multiples of 8."""
    rows, columns = (side // 8 for side in shown.shape[:2])
    blocks = 16 * shown.astype(np.int32).reshape(rows, 8, columns, 8, 3).transpose(4, 0, 2, 1, 3) + 8
    made = np.stack(postfilter.apply(blocks, post)).transpose(1, 3, 2, 4, 0)
    return made.reshape(shown.shape).astype(np.uint8)


@pytest.fixture(scope="module")
def pixels(photo: Image.Image) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.asarray(photo)[100:356, 200:584])


def test_nothing_is_fitted_to_what_is_right(pixels: NDArray[np.uint8]) -> None:
    assert fitted(pixels, pixels) is None


def changed(pixels: NDArray[np.uint8], how: str) -> NDArray[np.uint8]:
    x = pixels.astype(np.float64) - 128
    luma = (x @ [0.299, 0.587, 0.114])[..., None]
    made = {
        "darker": x - 3,
        "red": x - [4, 0, 0],
        "grey": luma + 0.9 * (x - luma),
        "flat": 0.95 * x,
        "curved": x - luma * luma / 600,
        "crossed": x + 0.06 * x[..., [1, 2, 0]],
    }[how]
    return np.clip(np.rint(made + 128), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("how", ["darker", "red", "grey", "flat", "curved", "crossed"])
def test_colours_that_are_off_come_back(pixels: NDArray[np.uint8], how: str) -> None:
    """Beside roundings, of samples and of coefficients, nothing is left."""
    shown = changed(pixels, how)
    post = fitted(pixels, shown, worth=1.0)
    assert np.square(applied(shown, post).astype(int) - pixels).mean() < 1.2
    assert len(coefficients.write(post)) < 40


def test_what_is_smoother_becomes_sharper(pixels: NDArray[np.uint8]) -> None:
    x = pixels.astype(np.float64)
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode="edge")
    around = padded[2:, 1:-1] + padded[:-2, 1:-1] + padded[1:-1, 2:] + padded[1:-1, :-2]
    shown = np.rint(0.8 * x + 0.05 * around).astype(np.uint8)
    post = fitted(pixels, shown)
    assert psnr(pixels, applied(shown, post)) > psnr(pixels, shown) + 3
    assert post[0, 10] < 0 and not fitted(pixels, shown, allowed=fitting.ALLOWED["ssim"])[0, 1:].any()


def test_the_less_an_error_is_worth_the_fewer_coefficients(pixels: NDArray[np.uint8]) -> None:
    shown = changed(changed(pixels, "curved"), "red")
    sizes = [
        999 if post is None else len(coefficients.write(post))
        for post in (fitted(pixels, shown, worth=worth) for worth in (0.1, 0.001, 1e-6))
    ]
    assert sizes[1] < sizes[0] < sizes[2] == 999, sizes


def test_what_does_not_count_changes_nothing(pixels: NDArray[np.uint8]) -> None:
    shown = changed(pixels, "red")
    where = np.zeros((32, 48), np.bool_)
    where[4:20, 8:30] = True
    other = shown.copy()
    other[~np.kron(where, np.ones((8, 8), np.bool_))] ^= 255
    post = fitted(pixels, shown, where)
    assert post[2].any() or post[1].any() or post[0].any()
    assert (fitted(pixels, other, where) == post).all()
    assert fitted(pixels, shown, np.zeros_like(where)) is None


@pytest.mark.parametrize("size", [(1, 1), (7, 40), (8, 8), (9, 17), (33, 25), (16, 300)])
def test_any_size(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(60, 200, (*size, 3), dtype=np.uint8)
    post = fitted(pixels, pixels - 5, worth=100.0)
    assert post[0, 0] in range(38, 43), "an eighth each"


def test_of_a_large_picture_windows_are_looked_at(pixels: NDArray[np.uint8]) -> None:
    large = np.tile(pixels, (8, 6, 1))
    networks: Any = Shown(changed(large, "crossed"))
    where = np.ones((large.shape[0] // 8, large.shape[1] // 8), np.bool_)
    post = fitting.fitted(networks, places(*large.shape[:2]), 0, large, where, where, EVERY)
    assert 1 << 19 < networks.pixels < 1.3 * (1 << 20) and post is not None
    whole = fitted(pixels, changed(pixels, "crossed"))
    for each in (post, whole):
        assert psnr(pixels, applied(changed(pixels, "crossed"), each)) > 46
    # Whatever lies elsewhere, each side of the picture is looked at.
    for half in (np.s_[: len(where) // 2], np.s_[len(where) // 2 :], np.s_[:, :144], np.s_[:, 144:]):
        some = np.zeros_like(where)
        some[half] = True
        assert fitting.fitted(networks, places(*large.shape[:2]), 0, large, some, some, EVERY) is not None


def test_what_is_not_looked_at_is_not_spoilt(pixels: NDArray[np.uint8]) -> None:
    """Coefficients for what is nearly grey that would wreck a vivid corner are none."""
    x = pixels.astype(np.float64)
    luma = (x @ [0.299, 0.587, 0.114])[..., None]
    pale, paler = (np.rint(luma + share * (x - luma)).clip(0, 255).astype(np.uint8) for share in (0.3, 0.15))
    assert fitted(pale, paler) is not None
    where = np.ones((32, 48), np.bool_)
    where[24:, 40:] = False
    for array in (pale, paler):
        array[192:, 320:] = (200, 60, 70)
    assert fitted(pale, paler, where) is not None, "where it is not seen it does not matter"
    assert fitted(pale, paler, where, all_seen=True) is None


# In files


def parsed(data: bytes) -> container.Parsed:
    return container.read_file(data)


def off(photo: Image.Image) -> NDArray[np.uint8]:
    """A picture whose colours no photograph has."""
    x = np.asarray(photo.crop((200, 100, 456, 292))).astype(np.float64)
    return np.clip(np.stack([x[..., 0] ** 2 / 200, 220 - 0.6 * x[..., 2], 0.5 * x[..., 1] + 90], 2), 0, 255).astype(
        np.uint8
    )


@pytest.mark.parametrize("tuning", ["mse", "ssim"])
def test_colours_that_no_photograph_has_are_nearer(photo: Image.Image, tuning: str) -> None:
    pixels = off(photo)
    data = codec.encode(pixels, Options(quality=25, tuning=tuning))
    found = parsed(data)
    assert found.post is not None and len(found.post) < 50
    bare = container.write_file(found.header, found.layers)
    assert len(data) - len(bare) == 12 + len(found.post)
    gained = psnr(pixels, codec.decode(data)) - psnr(pixels, codec.decode(bare))
    assert gained > 0.1
    assert not coefficients.read(found.post)[0, 1:].any() or tuning == "mse"


def test_a_bound_is_kept_and_worth_more(photo: Image.Image) -> None:
    pixels = off(photo)
    for size in (2000, 5000):
        data = codec.encode(pixels, Options(size=size))
        assert parsed(data).post is not None and 0.97 * size < len(data) <= size
        quick = Encoder(pixels, False, models.by_name("cwic1"), EFFORTS[2]._replace(filters=False))
        assert psnr(pixels, codec.decode(data)) > psnr(pixels, quick.shown(sized.within(quick, size)))


@pytest.mark.parametrize(("name", "wanted"), [("psnr", 30.0), ("ssim", 0.9)])
def test_a_quality_is_reached_with_fewer_bytes(photo: Image.Image, name: str, wanted: float) -> None:
    pixels = off(photo)
    data = codec.encode(pixels, Options(**{name: wanted, "tuning": "mse"}))
    quick = Encoder(pixels, False, models.by_name("cwic1", "mse"), EFFORTS[3]._replace(filters=False))
    assert len(data) <= quick.reaching(name, wanted).size
    measure = {"psnr": measures.psnr, "ssim": measures.ssim}[name]
    assert measure(pixels, codec.decode(data)) >= wanted


def collage(photo: Image.Image, size: tuple[int, int], place: tuple[int, int]) -> NDArray[np.uint8]:
    """Grey, but for a vivid part at a place."""
    picture = photo.convert("L").convert("RGB").resize(size)
    picture.paste(photo.crop((260, 100, 420, 260)), place)
    return np.asarray(picture)


@pytest.mark.parametrize(("tuning", "quality"), [("ssim", 10), ("mse", 60)])
def test_vivid_parts_of_grey_pictures_keep_their_colour(photo: Image.Image, tuning: str, quality: int) -> None:
    """Also in windows of a large picture that are not looked at, in a narrow stripe, and where it is not important."""
    large = collage(photo, (1536, 1024), (1340, 10))
    stripe = np.asarray(photo.convert("L").convert("RGB").crop((0, 0, 512, 384))).copy()
    stripe[:, 136:144] = (220, 30, 40)
    half = collage(photo, (512, 384), (340, 100))
    importance = np.full(half.shape[:2], 255, np.uint8)
    importance[:, 256:] = 0
    options = Options(quality=quality, tuning=tuning)
    for pixels, part, how in (
        (large, np.s_[10:170, 1340:1500], {}),
        (stripe, np.s_[:, 136:144], {}),
        (half, np.s_[100:260, 340:500], {"importance": importance}),
    ):
        data = codec.encode(pixels, options, **how)
        found = parsed(data)
        with_it, without = (
            codec.decode(each)
            for each in (data, container.write_file(found.header, found.layers, (), None, found.pixels))
        )
        assert psnr(pixels[part], with_it[part]) > psnr(pixels[part], without[part]) - 1
        assert psnr(pixels, with_it) > psnr(pixels, without) - 0.05


def test_within_few_bytes_a_filter_is_no_loss(photo: Image.Image) -> None:
    for size, bound in (((1000, 16), 160), ((4000, 1), 240), ((16, 1000), 300)):
        pixels = np.asarray(photo.resize(size))
        data = codec.encode(pixels, Options(size=bound))
        quick = Encoder(pixels, False, models.by_name("cwic1"), EFFORTS[3]._replace(filters=False))
        assert psnr(pixels, codec.decode(data)) > psnr(pixels, quick.shown(sized.within(quick, bound))) - 0.2


def test_low_efforts_look_for_none(photo: Image.Image) -> None:
    for effort in (0, 1):
        assert parsed(codec.encode(off(photo), Options(quality=25, effort=effort))).post is None


def test_grey_stays_grey(photo: Image.Image) -> None:
    grey = np.asarray(Image.fromarray(off(photo)).convert("L"))
    data = codec.encode(grey, Options(quality=10, tuning="mse"))
    post = parsed(data).post
    assert post is None or not coefficients.read(post)[1:].any()
    assert codec.decode(data).shape == grey.shape


def test_what_is_transparent_does_not_count(photo: Image.Image) -> None:
    """Hidden colours, however they differ, leave the file as it is."""
    pixels = np.dstack([off(photo), np.full((192, 256), 255, np.uint8)])
    pixels[:, 100:, 3] = 0
    other = pixels.copy()
    other[:, 100:, :3] = 7
    assert codec.encode(pixels, Options(quality=25)) == codec.encode(other, Options(quality=25))
    assert parsed(codec.encode(pixels, Options(quality=25))).post is not None


def test_a_saved_file_says_so(photo: Image.Image) -> None:
    data = BytesIO()
    Image.fromarray(off(photo)).save(data, "CWIC", quality=25)
    with Image.open(data) as im:
        im.load()
        assert im.size == (256, 192)
    assert parsed(data.getvalue()).post is not None
