"""What ``cwic encode`` and ``cwic decode`` take of a picture: which page, which metadata, where the bits go."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageChops, PngImagePlugin, TiffImagePlugin
from test_cli import cwic

from pillow_cwic.tools import bulk

MAKE, COPYRIGHT, TAKEN = ExifTags.Base.Make, ExifTags.Base.Copyright, ExifTags.Base.DateTimeOriginal


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def some_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[MAKE], exif[COPYRIGHT] = "Maker", "(c) somebody"
    exif[ExifTags.IFD.Exif] = {TAKEN: "2026:01:01 00:00:00"}
    exif[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N"}
    return exif


# Metadata ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.tif", {}),
        ("a.tif", {"big_tiff": True}),
        ("a.tif", {"dpi": (300, 300), "icc_profile": b"profile", "xmp": b"<x/>"}),
        ("a.jpg", {}),
        ("a.png", {}),
        ("a.webp", {}),
        ("a.avif", {}),
    ],
)
def test_exif_and_gps_are_kept(small: Image.Image, name: str, options: dict[str, object]) -> None:
    """04-cli-tiff-exif-lost.py: those of a TIFF, too, and nothing of how it is stored; no resolution is made up."""
    small.save(name, exif=some_exif().tobytes(), **options)
    cwic("encode", name, "-q", "1")
    with Image.open("a.cwic") as im:
        exif = im.getexif()
        assert (exif[MAKE], exif[COPYRIGHT]) == ("Maker", "(c) somebody")
        assert exif.get_ifd(ExifTags.IFD.Exif)[TAKEN] == "2026:01:01 00:00:00"
        assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
        resolution = {282, 283, 296} if "dpi" in options else set()
        assert set(exif) == {MAKE, COPYRIGHT, ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo} | resolution
        assert im.info.get("dpi") == options.get("dpi")
        assert im.info["exif"][:10] in (b"Exif\0\0II*\0", b"Exif\0\0MM\0*")
    cwic("decode", "a.cwic", "-o", "b.jpg")
    assert Image.open("b.jpg").getexif()[MAKE] == "Maker"


def test_exif_of_a_compressed_tiff(small: Image.Image) -> None:
    """Which another library decodes; Pillow cannot write one with EXIF, so this is made by hand."""
    data = zlib.compress(small.tobytes())
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[256], tags[257], tags[258], tags[259], tags[262], tags[277] = small.width, small.height, (8, 8, 8), 8, 2, 3
    tags[273], tags[278], tags[279], tags[MAKE] = 0, small.height, len(data), "Maker"
    tags.tagtype[ExifTags.IFD.Exif] = 4
    tags[ExifTags.IFD.Exif] = {TAKEN: "2026:01:01 00:00:00"}
    with open("a.tif", "wb") as file:
        tags.save(file)
        file.write(data)
    cwic("encode", "a.tif", "-q", "1")
    exif = Image.open("a.cwic").getexif()
    assert set(exif) == {MAKE, ExifTags.IFD.Exif}
    assert exif.get_ifd(ExifTags.IFD.Exif)[TAKEN] == "2026:01:01 00:00:00"


def test_xmp_of_a_tiff_there_and_back(small: Image.Image) -> None:
    small.save("a.tif", tiffinfo={700: b"<x/>", MAKE: "Maker"})
    cwic("encode", "a.tif", "-q", "1")
    with Image.open("a.cwic") as im:
        assert im.info["xmp"] == b"<x/>" and dict(im.getexif()) == {MAKE: "Maker"}
    cwic("decode", "a.cwic", "-o", "b.tif")
    with Image.open("b.tif") as im:
        assert im.info["xmp"] == b"<x/>" and im.getexif()[MAKE] == "Maker"
    small.save("broken.cwic", quality=1, exif=b"rubbish", xmp=b"<x/>")
    cwic("decode", "broken.cwic", "--to", "tif")
    assert Image.open("broken.tif").info["xmp"] == b"<x/>"


def test_a_tiff_without_exif_gets_none(small: Image.Image) -> None:
    small.save("a.tif")
    cwic("encode", "a.tif", "-q", "1")
    assert not {"exif", "dpi", "xmp"} & set(Image.open("a.cwic").info)


def test_tags_of_a_tiff_that_are_of_the_picture(small: Image.Image) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270], tags[274], tags[34377], tags[65000] = "what it shows", 6, b"layers", "one's own"
    small.save("a.tif", tiffinfo=tags)
    cwic("encode", "a.tif", "-q", "1")
    with Image.open("a.cwic") as im:  # which Pillow turned upright
        assert dict(im.getexif()) == {270: "what it shows", 65000: "one's own"} and im.size == (75, 100)


def test_exif_in_a_text_of_png(small: Image.Image) -> None:
    """As ImageMagick writes it."""
    text, block = PngImagePlugin.PngInfo(), some_exif().tobytes()
    text.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{block.hex()}\n", zip=True)
    small.save("a.png", pnginfo=text)
    cwic("encode", "a.png", "-q", "1")
    assert Image.open("a.cwic").getexif()[MAKE] == "Maker"
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n4\nrubbish\n")
    small.save("b.png", pnginfo=text)
    cwic("encode", "b.png", "-q", "1")
    assert "exif" not in Image.open("b.cwic").info


# Pages and frames ---------------------------------------------------------------------------------------------------


def three() -> list[Image.Image]:
    return [Image.new("RGB", (64, 48), colour) for colour in ("red", "lime", "blue")]


@pytest.mark.parametrize("name", ["a.tif", "a.gif", "a.png", "a.webp"])
def test_one_of_several_pages_is_chosen_or_it_is_an_error(name: str) -> None:
    """10-cli-drops-pages.py"""
    first, *others = three()
    first.save(name, save_all=True, append_images=others, duration=100)
    told = f"cwic: {name}: holds 3 pages or frames: choose one with --frame, 0 to 2\n"
    for command in ("encode", "compare"):
        result = cwic(command, name, code=1)
        assert (result.stdout, result.stderr) == ("", told)
    assert not Path("a.cwic").exists() and not Path("a.html").exists()
    for frame, channel in enumerate("RGB"):
        cwic("encode", name, "--frame", frame, "-q", "40", "-f")
        with Image.open("a.cwic") as im:
            means = {band: np.asarray(im.getchannel(band)).mean() for band in "RGB"}
        assert max(means, key=lambda band: means[band]) == channel
    missing = cwic("encode", name, "--frame", "3", "-f", code=1).stderr
    assert missing == f"cwic: {name}: frame: 3 is none of the 3 that it holds, counted from 0\n"
    assert "-1 is not in the range" in cwic("encode", name, "--frame", "-1", code=2).stderr


def test_files_of_one_picture_have_a_first_frame(small: Image.Image) -> None:
    small.save("a.jpg")
    cwic("encode", "a.jpg", "--frame", "0", "-q", "1")
    assert "1 is none of the 1 that it holds" in cwic("encode", "a.jpg", "--frame", "1", "-f", code=1).stderr


def test_previews_are_no_pictures_of_their_own(small: Image.Image) -> None:
    """Cameras put one behind the picture of a JPEG, and programs a small page behind that of a TIFF."""
    preview = small.resize((20, 15))
    small.save("camera.jpg", "MPO", save_all=True, append_images=[preview])
    with TiffImagePlugin.AppendingTiffWriter("scan.tif", new=True) as writer:
        for page, kind in ((preview, 1), (small, 0), (small.convert("1"), 4)):
            page.save(writer, "TIFF", tiffinfo={254: kind, MAKE: f"kind {kind}"})
            writer.newFrame()
    assert Image.open("camera.jpg").n_frames == 2 and Image.open("scan.tif").n_frames == 3
    for name in ("camera.jpg", "scan.tif"):
        cwic("encode", name, "-q", "1", "-o", "out.cwic", "-f")
        assert Image.open("out.cwic").size == small.size
    assert dict(Image.open("out.cwic").getexif()) == {MAKE: "kind 0"}  # of its own page
    cwic("encode", "scan.tif", "--frame", "0", "-q", "1", "-o", "out.cwic", "-f")
    assert Image.open("out.cwic").size == preview.size


def test_an_mpo_of_unknown_kinds_is_told_by_sizes(small: Image.Image) -> None:
    """Pillow's own kinds say nothing: pictures as large as the first were dropped in silence."""
    first, *others = three()
    first.save("a.mpo", save_all=True, append_images=others)
    assert "holds 3 pages or frames: choose one with --frame, 0 to 2" in cwic("encode", "a.mpo", code=1).stderr
    cwic("encode", "a.mpo", "--frame", "1", "-q", "40")
    assert np.asarray(Image.open("a.cwic")).mean((0, 1)).argmax() == 1
    turned = small.transpose(Image.Transpose.ROTATE_90)
    small.save("turned.mpo", save_all=True, append_images=[small.resize((20, 15)), turned])
    assert "holds 2 pages" in cwic("encode", "turned.mpo", code=1).stderr


def test_frames_behind_a_picture_leave_its_metadata_alone(small: Image.Image) -> None:
    """A gain map as large as the picture is none of its own, and a preview's metadata is not the picture's."""
    for name, size, xmp in (("gain", small.size, b"<hdrgm:Version/>"), ("preview", (20, 15), b"<x/>")):
        behind = small.resize(size)
        behind.encoderinfo = {"xmp": xmp, "dpi": (300, 300)}  # what Pillow saves it with
        small.save(f"{name}.jpg", "MPO", save_all=True, append_images=[behind])
        with Image.open(f"{name}.jpg") as im:
            im.seek(1)
            assert im.info["xmp"] == xmp
        cwic("encode", f"{name}.jpg", "-q", "1")
        with Image.open(f"{name}.cwic") as im:
            assert im.size == small.size and not {"xmp", "dpi"} & set(im.info)


def test_an_mpo_whose_previews_were_cut_off(small: Image.Image) -> None:
    small.save("whole.jpg", "MPO", save_all=True, append_images=[small])
    with Image.open("whole.jpg") as im:
        size = im.mpinfo[0xB002][0]["Size"]
    Path("a.jpg").write_bytes(Path("whole.jpg").read_bytes()[:size])
    cwic("encode", "a.jpg", "-q", "1")
    assert Image.open("a.cwic").size == small.size


def test_two_views_of_a_stereo_camera_are_two_pictures(small: Image.Image) -> None:
    small.save("a.mpo", save_all=True, append_images=[small])
    with Image.open("a.mpo") as im:
        second = im.mpinfo[0xB002][1]
    entry = struct.pack("<LL", second["Size"], second["DataOffset"])
    data = Path("a.mpo").read_bytes()
    at = data.index(entry) - 4
    Path("a.mpo").write_bytes(data[:at] + struct.pack("<L", 0x020002) + data[at + 4 :])
    assert "holds 2 pages or frames" in cwic("encode", "a.mpo", code=1).stderr


# Where the bits go, and quality of others ----------------------------------------------------------------------------


def test_importance(photo: Image.Image) -> None:
    im = photo.crop((200, 100, 456, 228))
    im.save("a.png")
    mask = Image.new("L", (64, 32), 0)
    mask.paste(255, (0, 0, 32, 32))
    mask.save("mask.png")
    cwic("encode", "a.png", "--rate", "0.3", "--importance", "mask.png")
    im.save("b.cwic", rate=0.3, importance=mask)
    assert Path("a.cwic").read_bytes() == Path("b.cwic").read_bytes()
    cwic("encode", "a.png", "-o", "plain.cwic", "--rate", "0.3")
    assert Path("a.cwic").read_bytes() != Path("plain.cwic").read_bytes()
    Path("no.png").write_bytes(b"rubbish")
    for name, words in (("no.png", "is no picture that this Pillow can open"), ("none.png", "No such file")):
        told = cwic("encode", "a.png", "-f", "--importance", name, code=1).stderr
        assert told.startswith(f"cwic: {name}: ") and words in told
    assert "an empty name" in cwic("encode", "a.png", "--importance", "", code=2).stderr


def test_masks_of_other_modes() -> None:
    grey = Image.linear_gradient("L")
    grey.save("L.png")
    grey.convert("RGB").save("RGB.png")
    grey.quantize(256).save("P.png")
    clear = Image.new("RGBA", grey.size, (255, 255, 255, 255))
    clear.paste((0, 0, 0, 0), (0, 0, 256, 128))
    clear.save("RGBA.png")
    Image.new("I;16", (9, 9)).save("I.png")
    for name in ("L", "RGB", "P"):
        mask = bulk.read_mask(f"{name}.png")
        assert mask.mode == "L" and max(ImageChops.difference(mask, grey).getextrema()) <= 1
    assert np.unique(np.asarray(bulk.read_mask("RGBA.png"))).tolist() == [128, 255]
    with pytest.raises(OSError, match="cannot use mode I;16 as a mask"):
        bulk.read_mask("I.png")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_lies_over_the_picture_as_it_is_seen(orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """So with --strip, by which the stored picture becomes the one that is seen, too."""
    from PIL import ImageOps

    from pillow_cwic import codec

    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored = Image.fromarray(np.arange(48 * 32, dtype=np.uint16).reshape(48, 32).astype(np.uint8))
    stored.save("a.png", exif=exif)
    ImageOps.exif_transpose(Image.open("a.png")).save("mask.png")  # the picture itself
    seen = []

    def encode(pixels: np.ndarray, *_: object, importance: np.ndarray, **__: object) -> bytes:
        seen.append((pixels, importance))
        return b"x"

    monkeypatch.setattr(codec, "encode", encode)
    cwic("encode", "a.png", "--importance", "mask.png")
    cwic("encode", "a.png", "--importance", "mask.png", "--strip", "-f")
    assert len(seen) == 2 and all(np.array_equal(*pair) for pair in seen)


@pytest.mark.parametrize("to", ["jpg", "ppm", "eps"])
def test_alpha_is_lost_in_no_format(small: Image.Image, to: str) -> None:
    """PPM was written without it; of others the errors named no way out. What is opaque all over loses nothing."""
    for name, alpha in (("seen", 255), ("glass", 90)):
        for mode in ("L", "RGB"):
            im = small.convert(mode)
            im.putalpha(alpha)
            im.save(f"{name}-{mode}.cwic", quality=1)
    told = cwic("decode", "*.cwic", "--to", to, code=1).stderr.splitlines()
    kind = "JPEG" if to == "jpg" else to.upper()
    why = f"as {kind}, which has no place for alpha: png, webp and tiff have"
    assert told == [f"cwic: glass-{mode}.cwic: cannot write mode {mode}A {why}" for mode in ("L", "RGB")]
    assert sorted(path.name for path in Path().glob(f"*.{to}")) == [f"seen-L.{to}", f"seen-RGB.{to}"]
    assert Image.open(f"seen-RGB.{to}").mode == "RGB"


@pytest.mark.parametrize("to", ["jpg", "webp", "avif"])
def test_quality_of_the_other_format(to: str, small: Image.Image) -> None:
    small.save("a.cwic", quality=60)
    sizes = []
    for quality in (10, 90):
        cwic("decode", "a.cwic", "-f", "--to", to, "--quality", quality)
        sizes.append(Path(f"a.{to}").stat().st_size)
        with Image.open("a.cwic") as im:
            im.save(f"b.{to}", quality=quality)
        assert Path(f"a.{to}").read_bytes() == Path(f"b.{to}").read_bytes()
    assert sizes[0] < 0.7 * sizes[1]
    for arguments, suffix in ((["-q", "50"], ".png"), (["--to", to, "-o", "c.bmp", "-q", "50"], ".bmp")):
        assert f"--quality: {suffix} has none" in cwic("decode", "a.cwic", *arguments, code=2).stderr
    assert "101 is not in the range" in cwic("decode", "a.cwic", "--to", to, "-q", "101", code=2).stderr
