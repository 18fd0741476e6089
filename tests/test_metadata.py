"""EXIF, ICC profiles, XMP and resolution: the chunks, and Pillow's ways with them."""

from __future__ import annotations

import io
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, ImageOps, features
from PIL.TiffImagePlugin import IFDRational
from test_container import CODE, EXIF, HEAD, HEADER_BYTES, TAIL, chunk, of
from test_plugin import saved

from pillow_cwic.errors import ContainerError, CwicError, LimitError
from pillow_cwic.file import container
from pillow_cwic.file.limits import MAX_METADATA
from pillow_cwic.file.metadata import MAX_DPI, Metadata, from_chunks, to_chunks

FULL = Metadata(b"MM\0*" + bytes(range(50)), bytes(600), b"<x:xmpmeta/>", (300.0, 72.009))
NEEDS_CMS = pytest.mark.skipif(not features.check("littlecms2"), reason="this Pillow has no LittleCMS")


def reopened(im: Image.Image, **options: object) -> Image.Image:
    return Image.open(io.BytesIO(saved(im, quality=20, **options)))


def profile(space: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()


# Chunks


def test_round_trip() -> None:
    for metadata in (FULL, Metadata(), Metadata(dpi=(0.001, MAX_DPI)), Metadata(exif=b""), Metadata(xmp=b"x" * 10**6)):
        assert from_chunks(dict(to_chunks(metadata))) == metadata
    assert to_chunks(Metadata()) == []
    assert from_chunks({b"neWs": b"?"}) == Metadata()


def test_bytes_are_those_of_the_format() -> None:
    chunks = dict(to_chunks(FULL))
    assert list(chunks) == [b"eXIf", b"iCCP", b"xMPp", b"rESo"]
    assert [zlib.decompress(chunks[kind]) for kind in (b"eXIf", b"iCCP", b"xMPp")] == list(FULL[:3])
    assert chunks[b"rESo"] == (300_000).to_bytes(4, "big") + (72_009).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("kind", "payload", "message"),
    [
        (b"eXIf", b"", "its 0 bytes are not one whole zlib stream"),
        (b"eXIf", b"rubbish", "Error -3"),
        (b"xMPp", zlib.compress(b"x" * 99)[:-1], "bytes are not one whole zlib stream"),
        (b"xMPp", zlib.compress(b"x" * 99) + b"\0", "bytes are not one whole zlib stream"),
        (b"iCCP", zlib.compress(bytes(MAX_METADATA + 1)), "more than the 16777216 bytes left of 16777216 when"),
        (b"rESo", bytes(7), "7 bytes instead of 8"),
        (b"rESo", bytes(7) + b"\1", "0 x 1 thousandths"),
    ],
)
def test_damage(kind: bytes, payload: bytes, message: str, small_file: bytes) -> None:
    with pytest.raises(ContainerError, match=f"chunk {kind!r}: .*{message}"):
        from_chunks({kind: payload})
    data = small_file[:HEADER_BYTES] + chunk(kind, payload) + small_file[HEADER_BYTES:]
    im = Image.open(io.BytesIO(data))
    assert not {"exif", "icc_profile", "xmp", "dpi"} & set(im.info)
    im.load()  # the picture itself is whole
    with pytest.raises(ContainerError, match=message):
        Image.open(io.BytesIO(data)).verify()


@given(st.binary(max_size=40), st.integers(0, 30), st.booleans())
def test_any_payload_is_metadata_or_an_error(noise: bytes, at: int, replace: bool) -> None:
    for kind, true in to_chunks(FULL):
        try:
            found = from_chunks({kind: true[:at] + noise + true[at + len(noise) * replace :]})
        except ContainerError:
            continue
        assert sum(value is not None for value in found) == 1


def test_too_much_is_not_written() -> None:
    with pytest.raises(LimitError, match="xmp: 16777217 bytes exceed the limit of 16777216"):
        to_chunks(Metadata(xmp=bytes(MAX_METADATA + 1)))
    with pytest.raises(LimitError, match=r"icc_profile: 16777215 bytes \(16777217 with those before\) exceed the"):
        to_chunks(Metadata(exif=b"ab", icc_profile=bytes(MAX_METADATA - 1)))


def test_all_blocks_together_are_bounded() -> None:
    """A small file must not make ``Image.open`` hold three large blocks."""
    half = zlib.compress(bytes(MAX_METADATA // 2))
    found = from_chunks({b"eXIf": half, b"xMPp": half})
    assert found.exif == found.xmp == bytes(MAX_METADATA // 2)
    with pytest.raises(ContainerError, match="chunk b'xMPp': more than the 0 bytes left of 16777216 when decompressed"):
        from_chunks({b"eXIf": half, b"iCCP": half, b"xMPp": zlib.compress(b"x")})


# Reading them without the rest of the file


def test_chunks_are_read_without_the_rest() -> None:
    extra = of(HEAD, EXIF, chunk(b"neWs", b"some"))
    for rest in (CODE[:8], chunk(b"ALPH", b"\0\1"), TAIL, chunk(b"NEWs", b"")):
        assert container.read_extra(io.BytesIO(extra + rest)) == {b"eXIf": b"x", b"neWs": b"some"}
    for size in range(HEADER_BYTES, len(extra) + 7):
        with pytest.raises(ContainerError):
            container.read_extra(io.BytesIO((extra + CODE)[:size]))
    for bit in range(8 * HEADER_BYTES, 8 * len(extra)):
        damaged = bytearray(extra + CODE)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            found = container.read_extra(io.BytesIO(damaged))
        except ContainerError:
            continue
        assert len(found) < 2  # a capital letter makes a type critical, and reading stops there


@pytest.mark.parametrize("length", [2, 100, 2**32 - 1])
def test_a_hostile_length_is_not_read(length: int) -> None:
    class Stream(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert size is not None and 0 <= size <= 8
            return super().read(size)

    with pytest.raises(ContainerError, match=r"chunk b'eXIf': end: .* is outside 0 to 59"):
        container.read_extra(Stream(of(HEAD, chunk(b"eXIf", b"x", length))))


# As Pillow's users meet them


def test_saved_and_opened(small: Image.Image) -> None:
    back = reopened(small, exif=FULL.exif, icc_profile=FULL.icc_profile, xmp=FULL.xmp, dpi=(300, 72.009))
    assert back.info["exif"] == b"Exif\0\0" + (FULL.exif or b"")
    assert (back.info["icc_profile"], back.info["xmp"], back.info["dpi"]) == FULL[1:]
    assert np.array_equal(np.asarray(back), np.asarray(reopened(small)))


def test_nothing_costs_nothing(small: Image.Image) -> None:
    plain = saved(small, quality=20)
    assert saved(small, quality=20, exif=None, icc_profile=None, xmp="", dpi=None) == plain
    assert saved(small, quality=20, exif=Image.Exif()) == plain
    assert saved(small, quality=20, exif=b"", icc_profile=b"", xmp=b"") == plain


def test_size_counts_metadata(small: Image.Image) -> None:
    xmp = np.random.default_rng(1).bytes(300)
    assert 0.95 * 1200 < len(saved(small, size=1200, xmp=xmp)) <= 1200


def test_metadata_does_not_eat_the_rate(small: Image.Image) -> None:
    """03-metadata-eats-rate.py: a rate bounds the picture, a size all of the file."""
    xmp = np.random.default_rng(1).bytes(1000)
    bound = small.width * small.height // 8
    plain, more = saved(small, rate=1), saved(small, rate=1, xmp=xmp)
    assert 0.98 * bound < len(plain) <= bound
    assert Image.open(io.BytesIO(more)).info["xmp"] == xmp
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(more))), np.asarray(Image.open(io.BytesIO(plain))))
    assert len(plain) + 1000 < len(more) <= len(plain) + 1030
    assert bound < len(saved(small, size=bound + 900, xmp=xmp)) <= bound + 900
    with pytest.raises(CwicError, match="size: 1100 bytes are too few, the smallest file found has") as caught:
        saved(small, size=1100, xmp=xmp)
    least = int(str(caught.value).split()[-1])
    assert len(saved(small, size=least, xmp=xmp)) == least > 1100


def test_orientation_is_respected(small: Image.Image) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Artist] = "somebody"
    im = reopened(small, exif=exif)
    assert im.getexif()[ExifTags.Base.Artist] == "somebody"
    upright = ImageOps.exif_transpose(im)
    assert upright.size == (75, 100)
    assert np.array_equal(np.asarray(upright), np.rot90(np.asarray(im), -1))
    assert ExifTags.Base.Orientation not in upright.getexif()
    again = reopened(upright, exif=upright.getexif())
    assert dict(again.getexif()) == {ExifTags.Base.Artist: "somebody"}


def test_orientation_in_xmp(small: Image.Image) -> None:
    im = reopened(small, xmp='<rdf:Description tiff:Orientation="3"/>')
    assert np.array_equal(np.asarray(ImageOps.exif_transpose(im)), np.asarray(im)[::-1, ::-1])


def test_carried_over_as_png_does(small: Image.Image) -> None:
    """Pillow's plugins carry over the ICC profile; the rest has to be passed on."""
    png, icc = io.BytesIO(), b"\0" * 16 + b"RGB " + b"\0" * 108
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "somebody"
    small.save(png, format="PNG", icc_profile=icc, exif=exif, dpi=(100, 100))
    source = Image.open(png)
    source.load()
    assert {"icc_profile", "exif", "dpi"} <= set(source.info)
    back = reopened(source)
    assert back.info["icc_profile"] == icc
    assert not {"exif", "dpi"} & set(back.info)
    assert "icc_profile" not in reopened(source, icc_profile=None).info
    kept = reopened(source, exif=source.info["exif"], dpi=source.info["dpi"])
    assert kept.getexif()[ExifTags.Base.Artist] == "somebody"
    assert kept.info["dpi"] == pytest.approx((100, 100), abs=0.01)


@NEEDS_CMS
def test_a_profile_for_other_pixels_is_not_carried_over(small: Image.Image) -> None:
    srgb = profile("sRGB")
    for im, kept in ((small.copy(), True), (small.convert("L"), False), (small.quantize(9), True)):
        im.info["icc_profile"] = srgb
        assert ("icc_profile" in reopened(im).info) is kept
    cmyk = small.convert("CMYK")
    cmyk.info["icc_profile"] = srgb[:16] + b"CMYK" + srgb[20:]
    assert "icc_profile" not in reopened(cmyk).info
    assert reopened(small.convert("L"), icc_profile=srgb).info["icc_profile"] == srgb  # told to


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


def unwritable() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = "up"
    return exif


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"exif": 5}, "^exif: 5 is not bytes or a PIL.Image.Exif$"),
        ({"exif": "x" * 1000}, r"^exif: 'x{99}\.\. \(str\) is not bytes or a PIL.Image.Exif$"),
        ({"exif": unwritable()}, r"^exif: tags \{.*274.*: 'up'\} are none that Pillow can write: "),
        ({"icc_profile": "sRGB"}, "^icc_profile: 'sRGB' is not bytes$"),
        ({"icc_profile": np.zeros((9, 99))}, r"^icc_profile: array\(\[\[0\., 0\., .*\.\. \(ndarray\) is not bytes$"),
        ({"xmp": ["x"]}, r"^xmp: \['x'\] is not bytes or str$"),
        ({"xmp": "<\ud800>"}, r"^xmp: '<\\ud800>' is no text that UTF-8 can hold$"),
        ({"xmp": Unspeakable()}, "^xmp: Unspeakable that cannot be shown is not bytes or str$"),
        ({"dpi": 10**5000}, "^dpi: int that cannot be shown is not a pair of numbers$"),
        ({"dpi": ("300", "300")}, r"dpi: \('300', '300'\) is not a pair of numbers"),
        ({"dpi": bytearray(b"72")}, r"dpi: bytearray\(b'72'\) is not a pair of numbers"),
        ({"dpi": memoryview(np.zeros((2, 2)))}, "dpi: <memory at .*> is not a pair of numbers"),
        ({"dpi": 300}, "dpi: 300 is not a pair of numbers"),
        ({"dpi": (1, 2, 3)}, r"dpi: \(1, 2, 3\) is not a pair"),
        ({"dpi": "72"}, "dpi: '72' is not a pair of numbers"),
        ({"dpi": b"72"}, "dpi: b'72' is not a pair of numbers"),
        ({"dpi": (-1, 300)}, r"dpi: -1.0 is outside 0.001 to 4294967.295"),
        ({"dpi": (300, float("inf"))}, "dpi: inf is outside"),
        ({"dpi": (300, 1e9)}, "dpi: 1000000000.0 is outside"),
    ],
)
def test_bad_options_name_themselves(small: Image.Image, options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        saved(small, **options)


@pytest.mark.parametrize("dpi", [(0, 0), (0.0, 300), (float("nan"), 300), (IFDRational(0, 0), IFDRational(0, 0))])
def test_a_resolution_that_says_nothing_is_left_out(small: Image.Image, dpi: tuple[float, ...]) -> None:
    """08-zero-dpi.py: what other formats' ``info`` has where none is known."""
    assert "dpi" not in reopened(small, dpi=dpi).info


def test_reading_them_loads_neither_torch_nor_numpy(small: Image.Image, tmp_path: Path) -> None:
    im = small.copy()
    im.putalpha(small.convert("L"))
    im.save(tmp_path / "x.cwic", exif=FULL.exif, xmp=FULL.xmp, dpi=(5, 5), quality=20)
    code = (
        "import sys, pillow_cwic; from PIL import Image; im = Image.open(sys.argv[1])\n"
        "print(sorted(im.info)); im.getexif(); Image.open(sys.argv[1]).verify()\n"
        "print([m for m in ('torch', 'numpy', 'cffi', 'imageio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "x.cwic"], capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "['bpp', 'dpi', 'exif', 'model', 'quality', 'rate_parameter', 'tuning', 'xmp']",
        "[]",
    ], done.stderr


def test_a_file_cut_in_its_metadata_is_told(small: Image.Image) -> None:
    data = saved(small, quality=1, exif=FULL.exif, xmp=FULL.xmp)
    for length in range(HEADER_BYTES, data.index(b"CODE")):
        for use in ("load", "verify"):
            with pytest.raises(CwicError):
                getattr(Image.open(io.BytesIO(data[:length])), use)()
