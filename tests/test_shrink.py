"""Finished files made smaller: the size is met, the picture is close to a freshly encoded one, the rest is kept."""

from __future__ import annotations

import io
import math
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_transform
from click.testing import CliRunner
from PIL import Image, ImageDraw, ImageFont
from test_plugin import psnr, saved

import pillow_cwic
from pillow_cwic import ContainerError, CwicError, EntropyError, codec, models
from pillow_cwic.codec import encoder, graphics, requantise
from pillow_cwic.file import container
from pillow_cwic.models.weights import read
from pillow_cwic.saving import Options
from pillow_cwic.tools import cli

DATA = Path(__file__).parent / "data"


def opened(data: bytes) -> Image.Image:
    im = Image.open(io.BytesIO(data))
    im.load()
    return im


def drawn() -> Image.Image:
    """Text, lines and flat areas, as on a screen."""
    im = Image.new("RGB", (400, 300), "white")
    draw = ImageDraw.Draw(im)
    for y in range(0, 300, 20):
        draw.text((8, y), f"{y:3d}  The quick brown fox jumps over 13 lazy dogs.", "black", ImageFont.load_default(14))
    draw.ellipse((250, 60, 390, 200), fill="orange", outline="navy", width=3)
    draw.rectangle((300, 180, 395, 295), fill=(30, 90, 160))
    return im


def rendered() -> Image.Image:
    """A smooth surface with a fine pattern and a little noise."""
    y, x = np.mgrid[:288, :384] / 64
    light = np.sin(x * 1.3) * np.cos(y * 1.7) + 0.2 * np.sin(30 * x + 9 * np.sin(y))
    light += np.random.default_rng(3).normal(0, 0.05, light.shape)
    return Image.fromarray(np.stack([128 + 80 * light, 110 + 60 * light, 90 + 50 * light**2], 2).astype(np.uint8))


def picture(name: str) -> Image.Image:
    if name in ("drawn", "rendered"):
        return {"drawn": drawn, "rendered": rendered}[name]()
    with Image.open(DATA / name) as im:
        return im.convert("RGB")


def mixed() -> Image.Image:
    """A photograph beside what is drawn."""
    im = picture("kodim23.png").crop((250, 120, 442, 248))
    im.paste(drawn().crop((240, 50, 336, 178)))
    return im


def soft() -> Image.Image:
    """The same, fading into nothing at its top."""
    im = mixed()
    rows = np.arange(128)[:, None].repeat(192, axis=1)
    im.putalpha(Image.fromarray((8 * (rows - 16)).clip(0, 255).astype(np.uint8)))
    return im


PICTURES = ["kodim04.png", "kodim15.png", "kodim23.png", "drawn", "rendered"]


@pytest.mark.parametrize("name", PICTURES)
def test_half_the_rate_costs_little_quality(name: str) -> None:
    im = picture(name)
    whole, fresh = saved(im, rate=0.8), saved(im, rate=0.4)
    small = pillow_cwic.shrink(whole, rate=0.4)
    limit = 0.4 * im.width * im.height / 8
    assert len(small) <= limit and (small == whole or 0.95 * limit < len(small))
    assert small == whole or psnr(opened(small), im) > psnr(opened(fresh), im) - 1.5
    Image.open(io.BytesIO(small)).verify()


@pytest.fixture(scope="module")
def whole(photo: Image.Image) -> bytes:
    return saved(photo.crop((300, 100, 620, 324)), rate=1.2)


@pytest.mark.parametrize("share", [0.03, 0.1, 0.3, 0.5, 0.8, 0.95, 0.99])
def test_any_size_is_met(photo: Image.Image, whole: bytes, share: float) -> None:
    size = int(share * len(whole))
    small = pillow_cwic.shrink(whole, size=size)
    assert 0.93 * size <= len(small) <= size
    assert opened(small).size == (320, 224)
    if share >= 0.3:
        fresh = saved(photo.crop((300, 100, 620, 324)), size=size)
        assert psnr(opened(small), opened(whole)) > psnr(opened(fresh), opened(whole)) - 1.5


def test_twice_costs_little_more_than_once(photo: Image.Image, whole: bytes) -> None:
    im = photo.crop((300, 100, 620, 324))
    size = len(whole) // 3
    once = pillow_cwic.shrink(whole, size=size)
    twice = pillow_cwic.shrink(pillow_cwic.shrink(whole, size=2 * size), size=size)
    assert len(twice) <= size
    assert psnr(opened(twice), im) > psnr(opened(once), im) - 1.5


@pytest.mark.parametrize("share", [0.95, 0.9, 0.8, 0.7])
def test_noise_is_shrunk_as_far_as_asked_for(share: float) -> None:
    """Its size falls off a cliff where the codes next to zero become cheap."""
    pixels = np.random.default_rng(3).integers(0, 256, (128, 192, 3), dtype=np.uint8)
    data = pillow_cwic.encode(pixels, quality=90, effort=0)
    size = int(share * len(data))
    assert 0.9 * size <= len(pillow_cwic.shrink(data, size=size)) <= size


KINDS: list[tuple[Callable[[], Image.Image], dict[str, Any]]] = [
    (lambda: picture("kodim23.png").crop((250, 120, 410, 248)), {"quality": 80}),
    (lambda: drawn().crop((200, 20, 360, 148)), {"quality": 60}),
    (lambda: drawn().crop((200, 20, 360, 148)), {"quality": 95, "tuning": "ssim"}),
    (lambda: drawn().convert("L").crop((200, 20, 360, 148)), {"quality": 80}),
    (mixed, {"quality": 95}),
    (mixed, {"quality": 80, "tuning": "ssim"}),
    (mixed, {"lossless": True}),
    (soft, {"quality": 90}),
]


def lost(data: bytes, whole: bytes, tuning: str) -> float:
    """What a pixel of a shrunk file loses, by the tuning, of what the whole one shows."""
    shown, made = (np.asarray(opened(each).convert("RGBA")) for each in (whole, data))
    made = np.where(shown[..., 3:] > 0, made, shown)
    pair = (np.ascontiguousarray(each[..., :3]) for each in (shown, made))
    return float(graphics.LOSSES[tuning].of(*pair).sum() / (shown[..., 3] > 0).sum())


@pytest.mark.parametrize(("made", "options"), KINDS)
def test_a_larger_size_is_used_and_hardly_ever_worse(made: Callable[[], Image.Image], options: dict[str, Any]) -> None:
    """Whatever a file holds: codes, exact blocks, both, or every pixel as it is."""
    data, least = saved(made(), **options), math.inf
    for share in (0.3, 0.4, 0.55, 0.7, 0.8, 0.9, 0.98):
        size = int(share * len(data))
        small = pillow_cwic.shrink(data, size=size)
        loss = lost(small, data, options.get("tuning", models.DEFAULT_TUNING))
        assert len(small) <= size and (len(small) > 0.8 * size or not loss)  # a block may be a tenth
        assert loss < 1.25 * least + 0.05, share
        least = min(least, loss)
    assert least < 5


@pytest.mark.parametrize("tuning", models.TUNINGS)
def test_exact_blocks_show_fewer_colours_before_they_go(tuning: str) -> None:
    """And what is encoded anew is so by the model of the file."""
    data = saved(mixed(), quality=90, tuning=tuning)
    whole = container.read_file(data)
    assert whole.pixels is not None
    close, far = (pillow_cwic.shrink(data, size=int(share * len(data))) for share in (0.97, 0.5))
    kept = container.read_file(close)
    assert kept.layers == whole.layers and kept.pixels is not None and len(kept.pixels) < len(whole.pixels)
    assert psnr(opened(close), opened(data)) > 45
    anew = codec.encode(codec.decode(data), Options(size=int(0.5 * len(data)), tuning=tuning))
    assert psnr(opened(far), opened(data)) >= psnr(opened(anew), opened(data)) - 0.5
    assert container.read_file(far).header.model_id == whole.header.model_id


@pytest.mark.parametrize("data", [None, "x.cwic", io.BytesIO(), 3])
def test_what_is_not_bytes_is_told(data: object) -> None:
    with pytest.raises(ValueError, match=f"data: {type(data).__name__} is not bytes"):
        pillow_cwic.shrink(data, size=5)  # type: ignore[arg-type]


def test_small_enough_is_returned_as_it_is(small_file: bytes) -> None:
    assert pillow_cwic.shrink(small_file, size=len(small_file)) == small_file
    assert pillow_cwic.shrink(small_file, rate=1.0) == small_file
    assert pillow_cwic.shrink(memoryview(small_file), rate=1.0) == small_file


def test_out_of_reach_names_the_smallest(small: Image.Image, small_file: bytes) -> None:
    with pytest.raises(CwicError, match=r"size: 1 bytes are too few, the smallest file found has \d+$") as caught:
        pillow_cwic.shrink(small_file, size=1)
    least = int(str(caught.value).split()[-1])
    made = pillow_cwic.shrink(small_file, size=least)
    assert container.HEADER_BYTES < len(made) == least < 250
    assert opened(made).size == small.size
    with pytest.raises(CwicError, match=f"the smallest file found has {least}"):
        pillow_cwic.shrink(made, size=least - 1)
    with pytest.raises(CwicError, match=f"rate: 0.001 bits per pixel are 0 bytes, the smallest .* {least} beside its"):
        pillow_cwic.shrink(small_file, rate=0.001)


def test_metadata_does_not_eat_the_rate(small: Image.Image) -> None:
    xmp = np.random.default_rng(1).bytes(1000)
    made = pillow_cwic.shrink(saved(small, rate=1.2, xmp=xmp), rate=0.6)
    assert 0.93 * 562 < len(made) - 1000 < 562 + 30
    assert opened(made).info["xmp"] == xmp
    assert len(pillow_cwic.shrink(saved(small, rate=1.2, xmp=xmp), size=1600)) <= 1600


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (33, 70), (130, 65)])
def test_modes_sizes_and_metadata(photo: Image.Image, mode: str, size: tuple[int, int]) -> None:
    im = photo.resize(size).convert(mode)
    if mode.endswith("A"):
        im.putalpha(photo.resize(size).convert("L"))
    exif = Image.Exif()
    exif[0x013B] = "somebody"
    data = saved(im, quality=90, exif=exif, xmp=b"<x/>", dpi=(300, 150), icc_profile=b"a profile")
    if size == (1, 1):  # which has little to lose
        with pytest.raises(CwicError, match="the smallest file found has") as caught:
            pillow_cwic.shrink(data, size=len(data) // 2)
        made = pillow_cwic.shrink(data, size=int(str(caught.value).split()[-1]))
    else:
        made = pillow_cwic.shrink(data, size=len(data) - len(data) // 20)
        assert len(made) < len(data)
    before, after = opened(data), opened(made)
    assert (after.mode, after.size) == (mode, size)
    names = "exif", "xmp", "dpi", "icc_profile", "model"
    assert all(after.info.get(name) == before.info.get(name) for name in names)
    if mode.endswith("A"):
        assert after.getchannel("A").tobytes() == im.getchannel("A").tobytes()
    assert list(container.read_file(made).extra) == list(container.read_file(data).extra)


def test_tiles(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "TILE_EXPONENT", 6)
    im = photo.resize((190, 100))
    data = saved(im, rate=2.0)
    made = pillow_cwic.shrink(data, rate=1.2)
    assert len(made) <= 1.2 * 190 * 100 / 8
    assert container.read_file(made).header.tile_exponent == 6
    assert psnr(opened(made), im) > 24
    for threads in (1, 3):
        with pillow_cwic.options(threads=threads):
            assert pillow_cwic.shrink(data, rate=1.2) == made


@pytest.mark.parametrize("model", [m for m in models.released() if m.family == b"cwc1"], ids=lambda model: model.tuning)
def test_the_gain_is_that_of_the_weights_file(model: models.Model) -> None:
    """By the reference's reading of the table."""
    weights, loaded = read(model.read()), requantise._load(model)
    table = reference_transform.Transform(weights.config, "analysis", weights.arrays).gain
    for rate in (-2048, -2047, -700, -512, -100, 0, 37, 512, 513, 2048):
        assert np.array_equal(loaded.logarithm(rate), np.log(reference_transform.at(table, rate, -2048)))


def test_neither_torch_nor_a_picture_is_needed(small: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / "x.cwic"
    path.write_bytes(saved(small, rate=1.5))
    code = "import sys, pillow_cwic; data = open(sys.argv[1], 'rb').read(); size = len(data) // 2\n"
    code += "assert 0 < len(pillow_cwic.shrink(data, size=size)) <= size; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr


def test_fast(photo: Image.Image) -> None:
    """Beside encoding, which runs the networks; the clock is the process's own, so that others do not disturb it."""
    data = saved(photo, rate=0.8)
    start = time.process_time()
    pillow_cwic.shrink(data, rate=0.4)
    middle = time.process_time()
    codec.encode(np.asarray(photo), Options(rate=0.4))
    assert middle - start < 2 * (time.process_time() - middle)  # encoding runs its transforms in C: little is saved


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "neither rate nor size is given"),
        ({"rate": 0.5, "size": 9}, "options rate and size: only one of the two can be given$"),
        ({"rate": 0}, "rate: 0 is not a number of bits per pixel above 0 and up to 100"),
        ({"rate": "1"}, "rate: '1' is not"),
        ({"size": 0}, "size: 0 is not a whole number of bytes above 0"),
        ({"size": 1.5}, "size: 1.5 is not"),
    ],
)
def test_wrong_options(small_file: bytes, options: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pillow_cwic.shrink(small_file, **options)


def test_cut_and_damaged_files_raise(small_file: bytes) -> None:
    for length in range(0, len(small_file), 11):
        with pytest.raises(ContainerError):
            pillow_cwic.shrink(small_file[:length], size=1)
    for at in range(0, len(small_file), 7):
        damaged = bytearray(small_file)
        damaged[at] ^= 4
        with pytest.raises(CwicError):
            pillow_cwic.shrink(bytes(damaged), size=1)


def test_damage_that_was_made_to_fit_raises(small_file: bytes) -> None:
    parsed = container.read_file(small_file)
    layers = list(parsed.layers)
    layers[1] = container.Layer(layers[2].data, layers[1].crc)
    with pytest.raises(EntropyError):
        pillow_cwic.shrink(container.write_file(parsed.header, layers), size=1)
    with pytest.raises(ContainerError, match="layers: the file has 3, its model 9"):
        pillow_cwic.shrink(container.write_file(parsed.header, parsed.layers[:3]), size=1)
    unknown = replace(parsed.header, model_id=b"nobody")
    with pytest.raises(pillow_cwic.ModelError, match=b"nobody".hex()):
        pillow_cwic.shrink(container.write_file(unknown, parsed.layers), size=1)


def test_command(small: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for name in ("a", "b"):
        Path(f"in/{name}.cwic").write_bytes(saved(small, rate=2.0))
    before = Path("in/a.cwic").read_bytes()
    Path("in/bad.cwic").write_bytes(before[:-1])

    def cwic(*arguments: str, code: int = 0) -> tuple[str, str]:
        result = CliRunner().invoke(cli.main, ["shrink", *arguments])
        assert result.exit_code == code, (result.output, result.exception)
        return result.stdout, result.stderr

    out, err = cwic("in", "-o", "out", "--rate", "1", code=1)
    assert len(out.splitlines()) == 2 and out.startswith("in/a.cwic -> out/a.cwic: ")
    assert err.startswith("cwic: in/bad.cwic: ") and err.count("\n") == 1
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.cwic", "b.cwic"]
    assert Path("out/a.cwic").read_bytes() == pillow_cwic.shrink(before, rate=1.0)
    out, err = cwic("in/a.cwic", "-o", "out/a.cwic", "--size", "300", code=1)
    assert err == "cwic: out/a.cwic: exists already, --force overwrites it\n"
    assert cwic("in/a.cwic", "-o", "out/a.cwic", "--size", "300", "--force", "--quiet") == ("", "")
    assert Path("out/a.cwic").stat().st_size <= 300
    assert cwic("in/a.cwic", "-o", "in/a.cwic", "--size", "300", "-f")[0].startswith("in/a.cwic -> in/a.cwic: ")
    cwic("in/a.cwic", "-o", "x.cwic", code=2)
    cwic("in/a.cwic", "-o", "x.cwic", "--rate", "0", code=2)
    cwic("in/a.cwic", "--rate", "1", code=2)
