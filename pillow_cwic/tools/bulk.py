"""One picture file to another, as ``cwic encode``, ``cwic decode`` and ``pillow_cwic.tools.ray`` do by the thousand."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

import pillow_cwic
from pillow_cwic.errors import ContainerError
from pillow_cwic.file import container, metadata

SUFFIX = ".cwic"
FAILURES = (OSError, ValueError, MemoryError, Image.DecompressionBombError)  # what a picture may do; the rest is a bug
Source = str | os.PathLike[str] | IO[bytes]

X_RESOLUTION, XMP = 282, 700  # tags of TIFF
FILE_TYPE, DERIVED = 254, 0b101  # another, and its bits for reduced copies and masks of other pages
GAIN_MAPS = (b"hdrgm:", b"HDRGainMap")  # in the XMP of those: of Adobe and Android, of Apple
# What of a TIFF's tags below 1000, where its own storage is described, is about the picture; and what of the others
# is not: XMP and ICC profile, which go their own way, and Photoshop's layers.
ABOUT_PICTURES = {269, 270, 271, 272, 274, 282, 283, 285, 286, 287, 296, 301, 305, 306, 315, 316, 318, 319}
NOT_ABOUT_PICTURES = {34377, 34675, 37724}
# Formats with no place for alpha. Of most Pillow says so in other words; in PPM it leaves it out in silence.
WITHOUT_ALPHA = {"EPS", "JPEG", "MPO", "PCX", "PPM"}
# How a picture that is upright is turned to lie as one of each EXIF orientation is stored.
STORED_AS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}  # fmt: skip


class Recipe(NamedTuple):
    """How files are made: ``save`` are options of Image.save, ``format`` among them; the others as in the command.

    ``mask`` is a picture that ``read_mask`` gave: it lies over the picture as that is seen, upright.
    """

    save: dict[str, Any]
    strip: bool = False
    device: str | None = None
    threads: int | None = None
    frame: int | None = None
    mask: Image.Image | None = None


class Made(NamedTuple):
    """The bytes of a file, and how many pixels they show."""

    data: bytes
    width: int
    height: int


def suffixes() -> set[str]:
    """The suffixes, in lower case, of the formats that Pillow reads."""
    return {suffix for suffix, name in Image.registered_extensions().items() if name in Image.OPEN}


def format_of(suffix: str) -> str | None:
    """Pillow's name of the format that it writes to files with this suffix, in lower case; None if there is none."""
    for know in (Image.preinit, Image.init):  # all plugins take a while to import
        know()
        if (name := Image.EXTENSION.get(suffix)) in Image.SAVE:
            return name
    return None


def convert(source: Source, recipe: Recipe) -> Made:
    """A picture file in another format, with its metadata. One of the two formats is CWIC.

    Raises what ``opened`` and Image.save do, ContainerError if neither is, and OSError if alpha would be lost.
    """
    if recipe.save["format"] != "CWIC":
        source = BytesIO(cwic_bytes(source))
    with opened(source, recipe.frame) as im, pillow_cwic.options(device=recipe.device, threads=recipe.threads):
        im.load()
        picture = _upright(im) if recipe.strip else im
        save = {**_metadata(im, recipe), **recipe.save}
        if recipe.mask is not None:
            turn = None if recipe.strip else STORED_AS.get(_exif_value(im, ExifTags.Base.Orientation))
            save["importance"] = recipe.mask if turn is None else recipe.mask.transpose(turn)
        if save["format"] in WITHOUT_ALPHA and picture.mode in container.ALPHA_MODES:
            picture = _opaque(picture, save["format"])
        data = BytesIO()
        picture.save(data, **save)
        return Made(data.getvalue(), picture.width, picture.height)


@contextmanager
def opened(source: Source, frame: int | None = None) -> Iterator[Image.Image]:
    """A picture file, open at one of its pages or frames, counted from 0.

    Without ``frame`` it is the only one. Raises what Image.open does, and ValueError if there are several or none of
    that number.
    """
    try:
        im = Image.open(source)
    except UnidentifiedImageError as error:
        raise UnidentifiedImageError("is no picture that this Pillow can open") from error
    with im:
        count = 1 if im.format == "PSD" else getattr(im, "n_frames", 1)  # whose layers are one picture together
        if frame is None:
            pictures = _pictures(im, count)
            if len(pictures) > 1:
                raise ValueError(f"holds {len(pictures)} pages or frames: choose one with --frame, 0 to {count - 1}")
            frame = pictures[0]
        elif frame >= count:
            raise ValueError(f"frame: {frame} is none of the {count} that it holds, counted from 0")
        if count > 1:
            im.seek(frame)
        yield im


def _pictures(im: Image.Image, count: int) -> list[int]:
    """The frames that are pictures of their own: no previews, no reduced copies or masks of others."""
    found = list(range(count))
    if count > 1 and im.format == "MPO":  # as many cameras' JPEGs are, with a preview
        kinds = [entry["Attribute"]["MPType"] for entry in getattr(im, "mpinfo", {}).get(0xB002, [])]
        found = [n for n in found if n == 0 or (n < len(kinds) and _is_view(im, n, kinds[n]))]
    if count > 1 and hasattr(im, "tag_v2"):
        found = [n for n in found if not _is_derived(im, n)]
    return found or [0]


def _is_view(im: Image.Image, frame: int, kind: str) -> bool:
    """Whether a frame of an MPO, not the first, is a picture of its own by its kind.

    Where the kind is not told, as in those that Pillow writes, it is one if it has no fewer pixels than the first,
    unlike previews, and is no gain map, which makes the first brighter on some screens.
    """
    if kind != "Undefined":
        return kind.startswith("Multi-Frame")
    im.seek(0)
    first, info = im.width * im.height, im.info
    im.info = {}  # Pillow adds what each frame holds to what those before held
    try:
        im.seek(frame)
        return im.width * im.height >= first and not any(name in im.info.get("xmp", b"") for name in GAIN_MAPS)
    except (OSError, SyntaxError, ValueError):  # cut off, or no JPEG
        return False
    finally:
        im.seek(0)
        im.info = info


def _is_derived(im: Image.Image, page: int) -> bool:
    """Whether a page of a TIFF is a smaller copy, or the mask, of another."""
    try:
        im.seek(page)
    except (OSError, SyntaxError):  # of a kind that Pillow does not read
        return False
    kind = getattr(im, "tag_v2", {}).get(FILE_TYPE, 0)
    return isinstance(kind, int) and bool(kind & DERIVED)


def cwic_bytes(source: Source) -> bytes:
    """The bytes of a CWIC file. Raises OSError, as a ContainerError if it is none or of a newer version."""
    data = Path(source).read_bytes() if isinstance(source, str | os.PathLike) else source.read()
    if not container.is_cwic(data[: container.HEADER_BYTES]):
        raise ContainerError("is no CWIC file")
    container.read_header(data)
    return data


def read_mask(source: Source) -> Image.Image:
    """A picture file as a mask for ``importance``, mode L, upright. Raises what ``opened`` does.

    Where it is transparent it says nothing: there it is 128, as usual.
    """
    with opened(source) as im:
        if im.mode.startswith(("I", "F")):
            raise OSError(f"cannot use mode {im.mode} as a mask, which has more than 8 bits a sample: convert it first")
        im.load()
        mask = _upright(im)
    if mask.has_transparency_data:
        mask = Image.alpha_composite(Image.new("RGBA", mask.size, (128, 128, 128)), mask.convert("RGBA"))
    return mask.convert("L")


def is_whole(source: Source, file_format: str) -> bool:
    """Whether a file is of Pillow's ``file_format`` and undamaged: of CWIC by its checksums, others are decoded."""
    try:
        with Image.open(source, formats=[file_format]) as im:
            if file_format == "CWIC":
                im.verify()
            else:
                im.load()
    except Exception:  # whatever Pillow's plugins raise at a damaged file
        return False
    return True


def reason(error: BaseException) -> str:
    """An error in one line, without the name of the file; what is no usual failure with its type."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = re.sub(r"\bb'(\w+)'", r"\1", " ".join(text.split()))  # the names of chunks are bytes
    if not isinstance(error, FAILURES):
        return f"{type(error).__name__}: {text}".removesuffix(": ")
    return text or ("not enough memory" if isinstance(error, MemoryError) else type(error).__name__)


def _opaque(im: Image.Image, name: str) -> Image.Image:
    """The picture without its alpha, of which there is none to lose. Raises OSError if there is some."""
    if im.getchannel("A").getextrema() != (255, 255):
        raise OSError(f"cannot write mode {im.mode} as {name}, which has no place for alpha: png, webp and tiff have")
    return im.convert(im.mode.removesuffix("A"))


def _upright(im: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(im)
    except SyntaxError:  # EXIF that cannot be read
        return im


def _metadata(im: Image.Image, recipe: Recipe) -> dict[str, Any]:
    """The options of ``save`` that carry over a picture's metadata."""
    found: dict[str, Any] = {}
    if recipe.save["format"] != "CWIC":  # which carries it over itself, if it fits
        found["icc_profile"] = im.info.get("icc_profile")
    if not recipe.strip:
        found |= {"exif": im.info.get("exif") or _exif(im), "xmp": im.info.get("xmp")}
        if recipe.save["format"] == "TIFF":
            found["exif"] = _tags(found["exif"], found["xmp"])
        if not _is_made_up(im):
            with suppress(ValueError):  # some formats say in numbers that they do not know
                found["dpi"] = metadata.parse_dpi(im.info.get("dpi"))
    return {name: value for name, value in found.items() if value}


def _is_made_up(im: Image.Image) -> bool:
    """Whether the file says no resolution, but Pillow: 1 for a TIFF, 72 for a JPEG with EXIF."""
    if hasattr(im, "tag_v2"):
        return X_RESOLUTION not in im.tag_v2
    in_jfif = im.info.get("jfif_unit") in (1, 2)
    return im.format in ("JPEG", "MPO") and not in_jfif and not _exif_value(im, X_RESOLUTION)


def _exif(im: Image.Image) -> bytes | None:
    """EXIF that is not in ``im.info``: the tags of a TIFF, a text of PNG, or the orientation that XMP tells."""
    try:
        exif = im.getexif()
        if hasattr(im, "tag_v2"):
            exif.bigtiff = False  # 64-bit offsets are not for EXIF
            for tag in list(exif):
                if tag in NOT_ABOUT_PICTURES or (tag < 1000 and tag not in ABOUT_PICTURES):
                    del exif[tag]
        return exif.tobytes() if exif else None
    except Exception:  # whatever Pillow raises at EXIF that cannot be read
        return None


def _tags(exif: bytes | None, xmp: bytes | None) -> Image.Exif:
    """EXIF and XMP as tags of a TIFF, in which Pillow takes no XMP by itself; without EXIF that cannot be read."""
    tags = Image.Exif()
    try:
        tags.load(exif or b"")
    except Exception:  # as above
        tags = Image.Exif()
    if xmp:
        tags[XMP] = xmp
    return tags


def _exif_value(im: Image.Image, tag: int) -> Any:
    try:
        return im.getexif().get(tag)
    except Exception:  # as above
        return None
