"""The benchmarks' own arithmetic: metrics against known values, BD-rate, and files that keep to a size."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("scipy", reason="needs the extra `bench`")
pytest.importorskip("skimage", reason="needs the extra `bench`")
pytest.importorskip("rich", reason="needs the extra `bench`")

from benchmarks import contact_sheet, graphics, metrics, per_image, rate_distortion, readme, rows, speed, timing
from benchmarks.codecs import TUNINGS, SizedCodec, SizeError, available
from benchmarks.demo import busiest
from benchmarks.metrics import Curve, bd_rate
from benchmarks.rows import Row
from pillow_cwic.tools.compare.ssimulacra2 import ssimulacra2

PICTURE = Path(__file__).parent / "data" / "kodim23.png"
CODECS = [codec for name, codec in available().items() if name != "AVIF" and "CWIC" not in name]  # those have own tests


@pytest.fixture(scope="module")
def im() -> Image.Image:
    with Image.open(PICTURE) as file:
        return file.crop((400, 70, 592, 246)).convert("RGB")


@pytest.fixture(scope="module")
def pixels(im: Image.Image) -> np.ndarray:
    return np.asarray(im)


def coarse(pixels: np.ndarray) -> np.ndarray:
    return pixels // 24 * 24 + 8


def test_equal_pictures(pixels: np.ndarray) -> None:
    assert metrics.psnr(pixels, pixels) == math.inf
    assert metrics.ssim(pixels, pixels) == pytest.approx(1)
    assert metrics.decibel(1.0) == math.inf


def test_psnr_known() -> None:
    black = np.zeros((4, 5, 3), np.uint8)
    assert metrics.psnr(black, black + 255) == pytest.approx(0)
    one_channel = black.copy()
    one_channel[..., 1] = 30
    assert metrics.psnr(black, one_channel) == pytest.approx(10 * math.log10(255**2 / 300))
    assert metrics.psnr(one_channel, black) == metrics.psnr(black, one_channel)


def test_similarities_known(pixels: np.ndarray) -> None:
    """Values of another implementation, in NumPy: correlation with the window as it stands in the papers."""
    pytest.importorskip("pytorch_msssim")
    assert metrics.ssim(pixels, coarse(pixels)) == pytest.approx(0.910474, abs=2e-6)
    assert metrics.ms_ssim(pixels, coarse(pixels)) == pytest.approx(0.958991, abs=1e-5)


def test_ms_ssim_small(pixels: np.ndarray) -> None:
    assert metrics.ms_ssim(pixels[:160], pixels[:160]) is None


def noise(side: int, seed: int) -> np.ndarray:
    """A picture of one linear congruential generator's bytes."""
    found = []
    for _ in range(side * side * 3):
        seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
        found.append(seed >> 33 & 255)
    return np.array(found, np.uint8).reshape(side, side, 3)


def test_ssimulacra2_is_that_of_libjxl() -> None:
    """Scores of libjxl's own program for pictures of 64x64, five scales of them: a ramp, and noise, against grey."""
    grey = np.full((64, 64, 3), 128, np.uint8)
    ramp = np.broadcast_to((np.arange(64) * 255 // 63).astype(np.uint8)[None, :, None], grey.shape)
    assert ssimulacra2(ramp, grey) == pytest.approx(-64.568721, abs=0.01)
    assert ssimulacra2(noise(64, 42), grey) == pytest.approx(-47.335726, abs=0.01)
    shifted = np.full((256, 256, 3), 148, np.uint8)  # all six scales; flat, so that rounding counts for much
    assert ssimulacra2(np.full_like(shifted, 128), shifted) == pytest.approx(59.778929, abs=0.15)


def test_ssimulacra2_of_equal_odd_and_small_pictures(pixels: np.ndarray) -> None:
    assert ssimulacra2(pixels, pixels) == 100
    assert ssimulacra2(pixels[:7], pixels[:7]) is None
    odd = pixels[:91, :133]
    fine, rough = (ssimulacra2(odd, odd // step * step) for step in (4, 24))
    assert 100 > (fine or 0) > (rough or 0)


def test_decibel() -> None:
    assert metrics.decibel(0.9) == pytest.approx(10)
    assert metrics.decibel(0.99) == pytest.approx(20)


RATE = np.array([0.1, 0.2, 0.4, 0.8, 1.6])
ANCHOR = Curve(RATE, np.array([27.0, 29.0, 31.5, 34.5, 38.0]))


def test_bd_rate_known() -> None:
    assert bd_rate(ANCHOR, ANCHOR) == pytest.approx(0)
    assert bd_rate(ANCHOR, Curve(RATE / 2, ANCHOR.quality)) == pytest.approx(-50)
    assert bd_rate(Curve(RATE / 2, ANCHOR.quality), ANCHOR) == pytest.approx(100)


def test_bd_rate_in_rate_range() -> None:
    """The test curve saves half the bits below 30 dB and costs double above; low rates see the saving alone."""
    factor = np.where(ANCHOR.quality < 30, 0.5, 2)
    test = Curve(RATE * factor, ANCHOR.quality)
    assert bd_rate(ANCHOR, test, (0.05, 0.2)) == pytest.approx(-50, abs=8)
    assert ANCHOR.quality_range((0.2, 0.8)) == pytest.approx((29.0, 34.5))
    assert metrics.common_range(ANCHOR, Curve(RATE / 2, ANCHOR.quality), (0.1, 0.8)) == pytest.approx((29.0, 34.5))


def test_bd_rate_without_overlap() -> None:
    assert bd_rate(ANCHOR, Curve(RATE, ANCHOR.quality + 20)) is None
    assert bd_rate(ANCHOR, Curve(RATE[:1], ANCHOR.quality[:1])) is None
    assert bd_rate(ANCHOR, Curve.of([])) is None


def test_curve_leaves_out_what_a_cheaper_point_beats() -> None:
    curve = Curve.of([(0.4, 31.0), (0.1, 27.0), (0.2, 29.0), (0.3, 28.5), (0.2, 28.0)])
    assert curve.rate.tolist() == [0.1, 0.2, 0.4]
    assert curve.quality.tolist() == [27.0, 29.0, 31.0]
    assert curve.quality_at(0.2) == pytest.approx(29.0)
    assert curve.quality_at(0.5) is None


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_encode_to_size(codec, im: Image.Image) -> None:
    for size in (3000, 5001):
        data = codec.encode_to_size(im, size)
        assert 0.8 * size < len(data) <= size
        assert codec.decode(data).size == im.size
    with pytest.raises(SizeError, match="at most 20 bytes"):
        codec.encode_to_size(im, 20)


def row(codec: str, picture: str, setting: float, bpp: float, psnr: float, **changes: Any) -> Row:
    values = Row(codec, picture, setting, "1", round(bpp * 1000), bpp, psnr, 0.9, None, 0.1, 0.1)
    return replace(values, **changes)


def shifted(codec: str, picture: str, factor: float) -> list[Row]:
    """The rows of a codec that needs ``factor`` of the bits of one common curve."""
    points = zip((0.1, 0.2, 0.4, 0.8, 1.6), (27.0, 29.0, 31.5, 34.5, 38.0), strict=True)
    return [row(codec, picture, n, factor * rate, quality) for n, (rate, quality) in enumerate(points)]


def test_rows_survive_the_file_and_give_their_curves(tmp_path: Path) -> None:
    found = [
        row("JPEG", name, setting, bpp, psnr)
        for name, shift in (("a", 0.0), ("b", 2.0))
        for setting, bpp, psnr in ((10, 0.25, 28.0 + shift), (20, 0.5, 31.0 + shift))
    ]
    rows.write_rows(tmp_path / "rows.csv", found)
    assert rows.read_rows(tmp_path / "rows.csv") == found
    curves = rows.mean_curves(found)
    assert curves["JPEG"]["psnr"] == [(0.25, 29.0), (0.5, 32.0)]
    assert "ms_ssim" not in curves["JPEG"]  # a picture is too small for it


def test_run_measures_only_what_is_not_known(im: Image.Image, tmp_path: Path) -> None:
    im.save(tmp_path / "x.png")
    (first,) = rate_distortion.run(["JPEG"], [tmp_path / "x.png"], {}, jobs=1)
    assert [r.setting for r in first] == list(available()["JPEG"].settings)
    assert all(r.bpp == pytest.approx(r.bytes * 8 / (im.width * im.height), abs=1e-5) for r in first)
    known = {r.key: r for r in first[1:]}
    (again,) = rate_distortion.run(["JPEG"], [tmp_path / "x.png"], known, jobs=1)
    assert [r.setting for r in again] == [first[0].setting]


def test_a_run_completes_what_lacks_the_measure_that_came_last(im: Image.Image, tmp_path: Path) -> None:
    im.save(tmp_path / "x.png")
    (found,) = rate_distortion.run(["JPEG"], [tmp_path / "x.png"], {}, jobs=1)
    assert None not in [r.ssimulacra2 for r in found]
    old = [replace(found[0], ssimulacra2=None, encode_s=7.0), replace(found[1], ssimulacra2=None, bytes=1), *found[2:]]
    rows.write_rows(tmp_path / "rows.csv", old)
    known = {r.key: r for r in rows.read_rows(tmp_path / "rows.csv")}
    (again,) = rate_distortion.run(["JPEG"], [tmp_path / "x.png"], known, jobs=1)
    assert [r.setting for r in again] == [r.setting for r in found[:2]]
    assert again[0] == replace(found[0], encode_s=7.0)  # the same file: its times are kept
    assert (again[1].bytes, again[1].psnr, again[1].ssim) == (found[1].bytes, found[1].psnr, found[1].ssim)  # another


def test_reuse_keeps_all_but_what_is_asked() -> None:
    version = available()["JPEG"].version
    jpeg, old, ours = (row(name, "a", 1, 1, 30) for name in ("JPEG", "WebP", "CWIC mse"))
    jpeg = replace(jpeg, version=version)
    assert rate_distortion.reusable([jpeg, old, ours], None) == [jpeg]  # CWIC may change at every commit
    assert rate_distortion.reusable([jpeg, old, ours], ["JPEG"]) == [old, ours]


def test_report_leaves_out_pictures_that_a_codec_lacks() -> None:
    pairs = (("CWIC mse", "a"), ("JPEG", "b"), ("JPEG", "a"), ("of old", "c"))
    found = [row for name, picture in pairs for row in shifted(name, picture, 1)]
    assert {(r.codec, r.picture) for r in rate_distortion.comparable(found)} == {("JPEG", "a"), ("CWIC mse", "a")}


def test_report_holds_a_part_for_each_tuning(tmp_path: Path) -> None:
    found = [*shifted("JPEG", "a", 1.0), *shifted("CWIC mse", "a", 0.5), *shifted("CWIC ssim", "a", 2.0)]
    parts = rate_distortion.report(found, {}).split("### ")
    assert [part.splitlines()[0] for part in parts[1:]] == ["CWIC mse", "CWIC ssim"]
    assert "| JPEG | -50.0 | " in parts[1]
    assert "| JPEG | +100.0 | " in parts[2]
    assert "### " not in rate_distortion.report(shifted("JPEG", "a", 1.0), {})
    rate_distortion.draw(found, {}, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as plot:
        assert plot.width > 1000


def test_tunings_are_offered_once_released(im: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    from pillow_cwic import models

    asked = []
    monkeypatch.setattr(Image.Image, "save", lambda self, file, format, **options: asked.append(options))
    for tunings in (("mse",), ("mse", "ssim")):
        monkeypatch.setattr(models, "released", lambda tunings=tunings: [SimpleNamespace(tuning=t) for t in tunings])
        assert [name for name in available() if name in TUNINGS] == [f"CWIC {tuning}" for tuning in tunings]
    available()["CWIC ssim"].encode(im, 40)
    assert asked == [{"tuning": "ssim", "quality": 40}]


def test_rate_of_a_quality_is_the_inverse_of_the_quality_at_a_rate() -> None:
    curve = Curve.of(zip(RATE, ANCHOR.quality, strict=True))
    assert curve.rate_at(31.5) == pytest.approx(0.4)
    assert 0.2 < curve.rate_at(30.0) < 0.4
    assert curve.rate_at(26.9) is None


def test_per_image_gives_each_picture_and_the_mean() -> None:
    found = [*shifted("JPEG", "a", 1), *shifted("CWIC mse", "a", 0.5), *shifted("JPEG", "b", 1)]
    lines = "\n".join(per_image.report([*found, *shifted("CWIC mse", "b", 0.7)], 31.5, 0.97)).splitlines()
    assert [line for line in lines if line.startswith(("| a ", "| b ", "| **mean"))][:3] == [
        "| a | -50.0 |",
        "| b | -30.0 |",
        "| **mean** | -40.0 |",
    ]
    assert "| a | 0.2 | 0.4 |" in lines  # kB: a row's bytes are 1000 times its bpp, hence 8000 pixels; 0.4 bpp
    assert "| **mean** | – | – |" in lines  # no MS-SSIM


def test_contact_sheet_shows_equal_bytes(im: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    im.save(tmp_path / "x.png")
    peers = [available()["JPEG"], available()["WebP"]]
    monkeypatch.setattr(contact_sheet, "codecs", lambda: peers)
    original, *found = contact_sheet.panels(tmp_path / "x.png", rate=1.0, side=64)
    left, top = busiest(im, 64)
    box = left, top, left + 64, top + 64
    assert original.crop.tobytes() == im.crop(box).tobytes()
    size = im.width * im.height // 8
    for codec, shown in zip(peers, found, strict=True):
        data = codec.encode_to_size(im, size)
        assert shown.lines[:2] == (codec.name, f"{len(data):,} bytes")
        assert shown.crop.tobytes() == codec.decode(data).convert("RGB").crop(box).tobytes()
    (_, none, _) = contact_sheet.panels(tmp_path / "x.png", rate=0.001, side=64)
    assert none.crop is None
    sheet = contact_sheet.sheet([[original, *found], [original, none]], 64, 2, "title")
    rows = [
        at
        for at in range(0, sheet.height - 64)
        if sheet.crop((8, at, 72, at + 64)).tobytes() == original.crop.tobytes()
    ]
    assert len(rows) == 2  # three panels take two rows, and the second picture begins a third


def test_busiest_finds_the_only_edge() -> None:
    im = Image.new("RGB", (160, 128), "white")
    im.paste("black", (104, 72, 112, 80))
    left, top = busiest(im, 32)
    assert left <= 104 <= 112 <= left + 32
    assert top <= 72 <= 80 <= top + 32


def test_codecs_of_the_contact_sheet_meet_a_size_with_each_tuning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact_sheet, "available", lambda: dict.fromkeys(["CWIC mse", "CWIC ssim", "JPEG"]))
    found = {codec.name: codec for codec in contact_sheet.codecs()}
    assert list(found) == ["CWIC mse", "CWIC ssim", "JPEG"]
    assert found["CWIC ssim"].fixed == {"tuning": "ssim"}
    assert isinstance(found["CWIC ssim"], SizedCodec)


def test_readme_has_one_picture_and_one_table_with_losses_in_it(tmp_path: Path) -> None:
    folder, images = tmp_path / "docs" / "results", tmp_path / "docs" / "images"
    folder.mkdir(parents=True)
    found = [*shifted("AVIF", "a", 1.0), *shifted("JPEG XL", "a", 0.8), *shifted("HEIC", "a", 1.0)]
    found += [*shifted("CWIC mse", "a", 0.5), *shifted("CWIC ssim", "a", 1.25)]
    rows.write_rows(folder / "rate_distortion.csv", found)
    timed = (
        "| CWIC | 0.497 | 30.0 | 1.0 | 2.0 | 1.00 | 1.0 |\n| AVIF | 0.499 | 4.0 | 1.0 | 2.0 | 7.54 | 1.0 |\n"
        "| JPEG 2000 | 0.5 | 14.4 | 2.0 | 2.0 | 2.08 | 0.5 |\n"
    )
    (folder / "speed.md").write_text(f"# Speed\n\nkodim23, 0.5 bpp; a machine; warm process.\n\n{timed}")
    rows.write_rows(folder / "graphics.csv", [*shifted("AVIF", "s", 1.0), *shifted("CWIC mse", "s", 0.25)])
    sizes = [
        graphics.Size("screens", "s", codec, 800, size, 1.0, 1.0) for codec, size in (("WebP", 100), ("CWIC", 200))
    ]
    (folder / "graphics_lossless.json").write_text(json.dumps([asdict(size) for size in sizes]))
    text = readme.results(folder, images, tmp_path)
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    assert lines == [
        "| `ssim` against AVIF | **+25.0** | – | – | – | 7.5 times |",
        "| `ssim` against JPEG XL | **+56.2** | – | – | – | – |",
        "| `mse` against AVIF | -50.0 | – | – | – | 7.5 times |",
        "| `mse` against JPEG XL | -37.5 | – | – | – | – |",
        "| `mse` against AVIF, screenshots | -75.0 | – | – | – | – |",
    ]
    assert "Screenshots are 1 on which" in text and "bits per pixel: screens: WebP 1.00, CWIC 2.00 ([the" in text
    assert text.count("](docs/images/rate_distortion.png)") == 1 and (images / "rate_distortion.png").exists()
    assert "Decoding kodim23, 0.5 bpp; a machine: CWIC 30.0 ms, AVIF 4.0 ms." in text


def test_rounds_take_turns_and_count_every_second_call() -> None:
    said: list[str] = []
    taken = timing.rounds({name: lambda name=name: said.append(name) for name in "ab"}, 3)
    assert said == list("aabbaabbaabb")
    assert [len(times) for times in taken.values()] == [3, 3] and min(min(times) for times in taken.values()) >= 0


def test_speed_compares_with_peers_of_the_same_rounds(im: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed.stages, "report", lambda *args: "the stages")
    monkeypatch.setattr(speed, "PEERS", ("JPEG",))
    slow = speed.Timed(b"", None, lambda: time.sleep(0.02), lambda: time.sleep(0.01))
    monkeypatch.setattr(speed, "learned", lambda im: {"autoregressive": slow, "hyperprior": slow})
    text = speed.report(im.crop((0, 0, 96, 96)), "a crop", 1.5, 2)
    assert "a crop, 96x96, 1.5 bpp" in text and text.endswith("the stages\n")
    rows = {line.split(" | ")[0]: line.split(" | ") for line in text.splitlines() if line.startswith("| ")}
    assert rows["| CWIC"][5:] == ["1.00", "1.00", "1.00 |"]
    assert float(rows["| JPEG"][5]) > 1
    for name in ("| autoregressive", "| hyperprior"):
        assert float(rows[name][1]) >= 20 and float(rows[name][2]) >= 10  # ms
