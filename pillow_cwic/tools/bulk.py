"""One picture file to another, as ``cwic encode``, ``cwic decode`` and ``pillow_cwic.tools.ray`` do by the thousand."""

from __future__ import annotations

import os
from contextlib import suppress
from io import BytesIO
from typing import IO, Any, NamedTuple

from PIL import ExifTags, Image, ImageOps

import pillow_cwic
from pillow_cwic.file import metadata

SUFFIX = ".cwic"
FAILURES = (OSError, ValueError, MemoryError, Image.DecompressionBombError)  # what a picture may do; the rest is a bug
Source = str | os.PathLike[str] | IO[bytes]


class Recipe(NamedTuple):
    """How files are made: ``save`` are options of Image.save, ``format`` among them; the others as in the command."""

    save: dict[str, Any]
    strip: bool = False
    device: str | None = None
    threads: int | None = None


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
    """A picture file in another format, with its metadata. Raises what Image.open, ``load`` and ``save`` do."""
    with Image.open(source) as im, pillow_cwic.options(device=recipe.device, threads=recipe.threads):
        im.load()
        picture = _upright(im) if recipe.strip else im
        data = BytesIO()
        picture.save(data, **_metadata(im, recipe), **recipe.save)
        return Made(data.getvalue(), picture.width, picture.height)


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
    text = " ".join(text.split())
    if not isinstance(error, FAILURES):
        return f"{type(error).__name__}: {text}".removesuffix(": ")
    return text or type(error).__name__


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
        found |= {"exif": im.info.get("exif"), "xmp": im.info.get("xmp")}
        if found["exif"] is None and (orientation := im.getexif().get(ExifTags.Base.Orientation, 1)) != 1:
            exif = Image.Exif()  # said elsewhere in the file, by XMP for one
            exif[ExifTags.Base.Orientation] = orientation
            found["exif"] = exif
        with suppress(ValueError):  # some formats say in numbers that they do not know
            found["dpi"] = metadata.parse_dpi(im.info.get("dpi"))
    return {name: value for name, value in found.items() if value}
