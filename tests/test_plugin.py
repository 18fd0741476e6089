"""The plugin as a Pillow or imageio user meets it."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from PIL import Image, ImageFile, UnidentifiedImageError

import pillow_cwic
from pillow_cwic import CwicError

SUBPROCESS = "import sys, pillow_cwic; from PIL import Image\n"


def run(code: str, *args: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def psnr(a: Image.Image, b: Image.Image) -> float:
    difference = np.asarray(a, float) - np.asarray(b, float)
    return float(10 * np.log10(255**2 / np.mean(difference**2)))


def saved(im: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    im.save(out, format="CWIC", **options)
    return out.getvalue()


def test_save_and_open_a_photograph(photo: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / "photo.cwic"
    photo.save(path, rate=0.4)
    assert path.stat().st_size * 8 <= 0.4 * photo.width * photo.height
    with Image.open(path) as im:
        assert (im.format, im.mode, im.size) == ("CWIC", "RGB", photo.size)
        assert im.info["model"] == "cwic1" and im.info["tuning"] == "ssim"
        assert im.info["bpp"] == path.stat().st_size * 8 / (photo.width * photo.height)
        assert psnr(im, photo) > 32


def test_without_a_tuning_what_is_seen_counts_and_for_psnr_the_pixels(small: Image.Image) -> None:
    for name, value in (("quality", 30), ("rate", 0.9), ("size", 900), ("ssim", 0.9), ("psnr", 28)):
        found = Image.open(io.BytesIO(saved(small, **{name: value}))).info["tuning"]
        assert found == ("mse" if name == "psnr" else "ssim")
    assert Image.open(io.BytesIO(saved(small, psnr=28, tuning="ssim"))).info["tuning"] == "ssim"


@pytest.mark.parametrize(("name", "meant"), [("lossles", "lossless"), ("qualty", "quality"), ("tunning", "tuning")])
def test_slips_in_names_of_options_are_told(small: Image.Image, tmp_path: Path, name: str, meant: str) -> None:
    with pytest.warns(UserWarning, match=f"{name}: no option of CWIC, and ignored; there is {meant}") as found:
        saved(small, **{name: 30})
        pillow_cwic.save_atomic(small, tmp_path / "out.cwic", **{name: 30})
    assert [each.filename for each in found] == [__file__] * 2  # where the slip is


def test_options_of_other_formats_are_ignored(small: Image.Image) -> None:
    others = ("optimize", "progressive", "subsampling", "method", "compress_level", "quality_mode", "lossy", "speed")
    with warnings.catch_warnings(action="error"):
        assert saved(small, quality=20, **dict.fromkeys(others, 1)) == saved(small, quality=20)


def test_grey_stays_grey(small: Image.Image) -> None:
    grey = small.convert("L")
    im = Image.open(io.BytesIO(saved(grey, rate=1.5)))
    assert im.mode == "L"
    assert psnr(im, grey) > 24


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (15, 17), (16, 16), (33, 8), (129, 65)])
def test_any_size(photo: Image.Image, size: tuple[int, int]) -> None:
    im = photo.resize(size)
    back = Image.open(io.BytesIO(saved(im)))
    assert back.size == size
    assert psnr(back, im) > 18


def test_opening_loads_neither_torch_nor_numpy(small_file: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.cwic"
    path.write_bytes(small_file)
    code = SUBPROCESS + (
        "im = Image.open(sys.argv[1]); im.size, im.mode, im.info; Image.open(sys.argv[1]).verify()\n"
        "print([m for m in ('torch', 'numpy', 'cffi', 'imageio') if m in sys.modules])"
    )
    assert run(code, str(path)) == "[]"


def test_importing_the_package_is_what_registers(small_file: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.cwic"
    path.write_bytes(small_file)
    code = SUBPROCESS + "im = Image.open(sys.argv[1]); im.load(); print(im.size, im.get_format_mimetype())"
    assert run(code, str(path)) == "(100, 75) image/x-cwic"


def test_register_is_idempotent_and_can_be_undone(small_file: bytes) -> None:
    pillow_cwic.register()
    assert pillow_cwic.is_registered() and Image.ID.count("CWIC") == 1
    pillow_cwic.unregister()
    pillow_cwic.unregister()
    assert not pillow_cwic.is_registered()
    assert ".cwic" not in Image.registered_extensions()
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(small_file))
    pillow_cwic.register()
    assert Image.open(io.BytesIO(small_file)).size == (100, 75)


MIME_TYPES = """
mimetypes = __import__("mimetypes") if sys.argv[1] == "loaded" else None
for call in pillow_cwic.register, pillow_cwic.unregister, pillow_cwic.unregister, pillow_cwic.register:
    call()
    if sys.argv[1] == "used":
        import mimetypes
        mimetypes.guess_type("a.png")
import mimetypes
print(mimetypes.guess_type("a.cwic"), mimetypes.guess_extension("image/x-cwic"))
pillow_cwic.unregister()
print(mimetypes.guess_type("a.cwic"))
"""


@pytest.mark.parametrize("when", ["later", "loaded", "used"])
def test_mime_types_are_registered_and_undone(when: str) -> None:
    assert run(SUBPROCESS + MIME_TYPES, when) == "('image/x-cwic', None) .cwic\n(None, None)"


def test_file_objects_that_cannot_seek(small: Image.Image, small_file: bytes) -> None:
    class Sink:
        def __init__(self) -> None:
            self.parts: list[bytes] = []

        def write(self, data: bytes) -> int:
            self.parts.append(data)
            return len(data)

    sink = Sink()
    small.save(sink, format="CWIC", rate=0.6)
    assert sink.parts == [small_file]  # one write, after encoding ended


class WithoutResult(io.BytesIO):
    def seek(self, *where: int) -> None:  # type: ignore[override]
        super().seek(*where)


class OneArgument:
    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)
        self.read, self.tell = self._file.read, self._file.tell

    def seek(self, position: int) -> int:
        return self._file.seek(position)


@pytest.mark.parametrize("kind", [WithoutResult, OneArgument])
def test_file_objects_whose_seek_does_little(kind: Callable[[bytes], IO[bytes]], small: Image.Image) -> None:
    """11-file-objects-seek.py and seek-returns-none.py: Pillow's own formats open them."""
    data = saved(small, rate=0.6, xmp=b"<x/>")
    im = Image.open(kind(data), formats=["CWIC"])
    assert im.info["xmp"] == b"<x/>" and im.info["bpp"] == 8 * len(data) / 7500
    assert im.tobytes() == Image.open(io.BytesIO(data)).tobytes()
    assert im.importance_map().size == (7, 5)


def test_bytes_behind_the_end_are_ignored(small_file: bytes, tmp_path: Path) -> None:
    """05-trailing-bytes-refused.py: a file written over a larger one, padding, a trailer. ``verify()`` stays strict."""
    pixels = Image.open(io.BytesIO(small_file)).tobytes()
    for more in (b"\n", bytes(512), small_file):
        data = small_file + more
        assert Image.open(io.BytesIO(data)).tobytes() == pillow_cwic.decode(data).tobytes() == pixels
        assert pillow_cwic.shrink(data, size=len(small_file)) == small_file
        size = len(small_file) - 1
        assert pillow_cwic.shrink(data, size=size) == pillow_cwic.shrink(small_file, size=size)
        with pytest.raises(CwicError, match=f"end of file: {len(more)} bytes follow the TAIL chunk"):
            Image.open(io.BytesIO(data)).verify()
    path = tmp_path / "x.cwic"
    Image.effect_noise((64, 64), 50).save(path, quality=90)
    with path.open("r+b") as file:
        Image.new("RGB", (20, 10), "teal").save(file, "CWIC")
    assert path.stat().st_size > 500 and Image.open(path).convert("RGB").size == (20, 10)


@pytest.mark.parametrize(("size", "mode"), [((75, 100), "RGB"), ((100, 75), "L"), ((200, 75), "RGBA")])
def test_a_file_changed_since_it_was_opened(
    small_file: bytes, tmp_path: Path, size: tuple[int, int], mode: str
) -> None:
    """changed-between-open-and-load.py: not a scrambled picture."""
    path = tmp_path / "x.cwic"
    path.write_bytes(small_file)
    first, same = Image.open(path), Image.open(path)
    path.write_bytes(saved(Image.new(mode, size), effort=0))
    words = f"file: {size[0]} x {size[1]} {mode} now, 100 x 75 RGB when it was opened"
    for use in (first.importance_map, first.load, first.verify):
        with pytest.raises(CwicError, match=words):
            use()
    path.write_bytes(saved(Image.new("RGB", (100, 75)), effort=0))
    assert same.getpixel((50, 50))[0] < 20  # another picture of its kind is shown as it is


def test_a_pickled_picture(small_file: bytes) -> None:
    """12-pickle-importance-map.py"""
    im = pickle.loads(pickle.dumps(Image.open(io.BytesIO(small_file))))
    assert im.tobytes() == Image.open(io.BytesIO(small_file)).tobytes() and im.info["model"] == "cwic1"
    with pytest.raises(ValueError, match="the file is closed, was verified, or did not come along"):
        im.importance_map()
    with pytest.raises(RuntimeError, match="verify must be called directly after open"):
        im.verify()


def test_copies_and_convenience(small_file: bytes) -> None:
    im = Image.open(io.BytesIO(small_file))
    copy = im.copy()
    assert np.array_equal(np.asarray(copy), np.asarray(im.convert("RGB")))
    im.thumbnail((32, 32))
    assert im.size == (32, 24)


def test_size_is_an_upper_bound(small: Image.Image) -> None:
    for size in (300, 700, 2000):
        assert len(saved(small, size=size)) <= size


def test_quality_grows_the_file_and_the_psnr(small: Image.Image) -> None:
    files = [saved(small, quality=q) for q in (1, 25, 50, 75, 100)]
    assert [len(f) for f in files] == sorted(len(f) for f in files)
    figures = [psnr(Image.open(io.BytesIO(f)), small) for f in files]
    assert figures[0] < figures[2] < figures[3]
    assert saved(small) == files[2]  # 50 is the default


def test_a_bound_out_of_reach_names_the_smallest_file(small: Image.Image, tmp_path: Path) -> None:
    """03-metadata-eats-rate.py: never a file beyond its bound, and none is left."""
    path = tmp_path / "x.cwic"
    with pytest.raises(CwicError, match=r"size: 100 bytes are too few, the smallest file found has \d+$") as caught:
        small.save(path, size=100)
    assert not path.exists()
    least = int(str(caught.value).split()[-1])
    assert len(saved(small, size=least)) == least
    words = f"rate: 0.01 bits per pixel are 9 bytes, the smallest file found has {least} beside its metadata, at"
    with pytest.raises(CwicError, match=words) as caught:
        saved(small, rate=0.01)
    assert len(saved(small, rate=float(str(caught.value).split()[-1]))) == least
    assert len(saved(small, rate=50)) > len(saved(small, quality=90))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate": 0}, "rate: 0 is not"),
        ({"rate": float("nan")}, "rate: nan is not"),
        ({"rate": "1"}, "rate: '1' is not"),
        ({"size": 0}, "size: 0 is not"),
        ({"size": 10.5}, "size: 10.5 is not"),
        ({"quality": 0}, "quality: 0 is not .* 1 to 100"),
        ({"quality": 101}, "quality: 101 is not .* 1 to 100"),
        ({"quality": True}, "quality: True is not"),
        ({"rate": 1, "quality": 5}, "only one of rate, size, quality, psnr, ssim"),
        ({"model": "none"}, "model: none is none of"),
        ({"effort": 10}, "effort: 10 is not .* 0 to 9"),
        ({"progress": 7}, "progress: 7 is neither"),
        ({"tuning": "none"}, "tuning: none is none of mse, ssim, which model cwic1 has"),
    ],
)
def test_bad_options_name_themselves(small: Image.Image, options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        saved(small, **options)


def test_rubbish_is_not_identified(small_file: bytes) -> None:
    rng = np.random.default_rng(0)
    signature = small_file[:16]
    for data in (b"", b"x", rng.bytes(500), signature, signature + rng.bytes(500), small_file[:40]):
        with pytest.raises(UnidentifiedImageError):
            Image.open(io.BytesIO(data))


def test_a_newer_version_is_said_to_be_newer(small_file: bytes) -> None:
    data = small_file[:8] + b"\x00\x09" + small_file[10:]
    with warnings.catch_warnings(record=True) as caught, pytest.raises(UnidentifiedImageError):
        warnings.simplefilter("always")
        Image.open(io.BytesIO(data))
    assert any("needs a newer pillow_cwic" in str(w.message) for w in caught)


def test_every_cut_file_is_told(small_file: bytes) -> None:
    for length in range(46, len(small_file)):
        im = Image.open(io.BytesIO(small_file[:length]))
        with pytest.raises(CwicError):
            im.load()
        with pytest.raises(CwicError):
            Image.open(io.BytesIO(small_file[:length])).verify()


@pytest.mark.filterwarnings("ignore:.*needs a newer pillow_cwic")
def test_every_flipped_bit_is_told(small_file: bytes) -> None:
    """No single-bit error shows a picture."""
    for bit in range(8 * len(small_file)):
        data = bytearray(small_file)
        data[bit // 8] ^= 1 << bit % 8
        try:
            im = Image.open(io.BytesIO(bytes(data)))
        except UnidentifiedImageError:
            continue
        with pytest.raises(CwicError):
            im.load()


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*needs a newer pillow_cwic")
def test_random_edits_are_told(small_file: bytes) -> None:
    """Bytes overwritten, removed, inserted, swapped: 20,000 times no other picture in silence."""
    picture = np.asarray(Image.open(io.BytesIO(small_file)))
    rng = np.random.default_rng(11)
    for _ in range(20_000):
        data, where = bytearray(small_file), int(rng.integers(len(small_file)))
        length = int(rng.integers(1, 9))
        edit = rng.integers(4)
        if edit == 0:
            data[where : where + length] = rng.bytes(length)
        elif edit == 1:
            del data[where : where + length]
        elif edit == 2:
            data[where:where] = rng.bytes(length)
        else:
            data[where : where + 2 * length] = data[where + length : where + 2 * length] + data[where : where + length]
        try:
            shown = np.asarray(Image.open(io.BytesIO(bytes(data))))
        except (UnidentifiedImageError, CwicError):
            continue
        assert bytes(data) == small_file or np.array_equal(shown, picture)


def test_truncated_files_show_the_layers_that_arrived(
    small: Image.Image, small_file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    whole = psnr(Image.open(io.BytesIO(small_file)), small)
    cut = psnr(Image.open(io.BytesIO(small_file[: len(small_file) * 9 // 10])), small)
    assert 15 < cut <= whole


def test_verify_accepts_an_intact_file(small_file: bytes) -> None:
    Image.open(io.BytesIO(small_file)).verify()


def test_imageio(small: Image.Image, small_file: bytes, tmp_path: Path) -> None:
    iio = pytest.importorskip("imageio.v3")
    path = tmp_path / "x.cwic"
    pixels = np.asarray(small)
    iio.imwrite(path, pixels, rate=0.6)
    assert path.read_bytes() == small_file
    expected = np.asarray(Image.open(path))
    assert np.array_equal(iio.imread(path), expected)
    assert np.array_equal(iio.imread(small_file, extension=".cwic"), expected)
    assert np.array_equal(iio.imread(io.BytesIO(small_file), extension=".cwic"), expected)
    assert iio.imwrite("<bytes>", pixels, extension=".cwic", rate=0.6) == small_file
    stream = io.BytesIO()
    iio.imwrite(stream, pixels, extension=".cwic", rate=0.6)
    assert stream.getvalue() == small_file
    assert iio.improps(path).shape == (75, 100, 3)


def test_imageio_version_2(small: Image.Image, small_file: bytes, tmp_path: Path) -> None:
    imageio = pytest.importorskip("imageio.v2")
    path = tmp_path / "x.cwic"
    imageio.imwrite(path, np.asarray(small), rate=0.6)
    assert path.read_bytes() == small_file
    assert np.array_equal(imageio.imread(path), np.asarray(Image.open(path)))
    assert np.array_equal(imageio.imread(small_file, format=".cwic"), np.asarray(Image.open(path)))


@pytest.mark.parametrize("first", ["imageio", "pillow_cwic"])
def test_imageio_in_either_order_of_import(first: str) -> None:
    pytest.importorskip("imageio")
    second = {"imageio": "pillow_cwic", "pillow_cwic": "imageio"}[first]
    code = f"import {first}, {second}, imageio.config\nprint('.cwic' in imageio.config.known_extensions)"
    assert run(code) == "True"


def test_progress_is_shown(small: Image.Image, capsys: pytest.CaptureFixture[str]) -> None:
    steps: list[tuple[int, int]] = []
    plain = saved(small, rate=0.6, effort=5)
    assert saved(small, rate=0.6, effort=5, progress=lambda *done: steps.append(done)) == plain
    assert steps[-1] == (12, 12)
    assert capsys.readouterr() == ("", "")
    assert saved(small, rate=0.6, effort=5, progress=True) == plain
    shown = capsys.readouterr()
    assert shown.out == "" and "encoding" in shown.err
