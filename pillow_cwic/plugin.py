"""The Pillow plugin, loaded with the first picture. Imports neither torch nor numpy until pixels are needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BytesIO, RawIOBase
from numbers import Integral
from pathlib import Path
from typing import IO, Any

from PIL import Image, ImageFile

from _pillow_cwic_autoload import EXTENSION, FORMAT
from pillow_cwic import models, settings
from pillow_cwic.errors import ContainerError, CwicError, ModelError, quoted
from pillow_cwic.file import atomic, container, limits, pixels, reading, tiles
from pillow_cwic.file import metadata as meta
from pillow_cwic.progress import shown
from pillow_cwic.rate import guess_rate, quality_to_rate, typical_bpp
from pillow_cwic.saving import Options, misnamed, warn_of_slips

DRAFT_SCALES = (8, 4)  # what the codec makes small pictures at

# What each of Pillow's other modes is written as; those that are missing hold more than 8 bits a sample.
CONVERSIONS = {
    "1": "L", "P": "RGB", "PA": "RGBA", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "CMYK": "RGB", "YCbCr": "RGB",
    "HSV": "RGB", "LAB": "RGB",
}  # fmt: skip
EXACTLY_CONVERTED = ("1", "P", "PA", "RGBX")  # of those, what loses no colour
PROFILE_SPACES = {"L": b"GRAY", "LA": b"GRAY", "RGB": b"RGB ", "RGBA": b"RGB "}  # in bytes 16 to 20 of a profile


class CwicImageFile(ImageFile.ImageFile):
    """A ``.cwic`` file: opening reads its header and metadata alone, ``load()`` decodes it.

    ``info`` holds ``model`` and ``tuning``, the ``rate_parameter`` t the file was made with, and ``quality``, the save
    option that would lead to it, or in their place ``lossless``, True; ``bpp``, the file's bits per pixel; and, where
    the file has them, ``exif``, ``icc_profile``, ``xmp`` (bytes each) and ``dpi``. Metadata that is damaged is left
    out; ``verify()`` says so, and so does ``load()`` where a checksum shows it.
    """

    format = FORMAT
    format_description = "Content-weighted image compression"
    fp: IO[bytes] | None = None  # as it stays where a picture is handed to another process without its file
    n_frames = 1
    is_animated = False

    def _open(self) -> None:
        assert self.fp is not None
        try:
            header = container.read_header(reading.take(self.fp, container.HEADER_BYTES))
        except ContainerError as error:
            raise SyntaxError(str(error)) from error  # what makes Image.open try the next format
        self._opened = self._size, self._mode = (header.width, header.height), header.mode
        if (padded := limits.padded(*self._size)) >= 2 * header.width * header.height:
            Image._decompression_bomb_check((padded, 1))  # Image.open looks at the size alone, thin pictures cost more
        if header.lossless:
            self.info["lossless"] = True
        else:
            self._describe_model(header)
        self.info["bpp"] = 8 * reading.file_length(self.fp) / (header.width * header.height)
        self._read_metadata()
        self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]

    def _describe_model(self, header: container.Header) -> None:
        self.info["rate_parameter"] = header.rate / 512
        self.info["quality"] = _nearest_quality(header.rate)
        try:
            model = models.by_id(header.model_id)
            self.info["model"], self.info["tuning"] = model.name, model.tuning
            if model.bpp is not None:  # an operating point, whose rates count from its own
                self.info["quality"] = _nearest_quality(guess_rate(typical_bpp(header.rate, model.bpp), None))
        except ModelError:
            self.info["model"] = header.model_id.hex()  # load() says that it is not installed

    def _read_metadata(self) -> None:
        assert self.fp is not None
        try:
            found = meta.from_chunks(container.read_extra(self.fp))
        except ContainerError:
            return
        self.info.update((field, value) for field, value in found._asdict().items() if value is not None)
        if found.exif is not None:
            self.info["exif"] = b"Exif\0\0" + found.exif  # as Pillow's own plugins have it

    def _data(self) -> bytes:
        if self.fp is None:
            raise ValueError("the file is closed, was verified, or did not come along to this process: open it again")
        self.fp.seek(0)
        data = reading.take(self.fp)
        header = container.read_header(data)
        if (found := ((header.width, header.height), header.mode)) != self._opened:
            (width, height), mode = found
            (before, above), was = self._opened
            raise CwicError(f"file: {width} x {height} {mode} now, {before} x {above} {was} when it was opened")
        return data

    def importance_map(self, size: tuple[int, int] | None = None) -> Image.Image:
        """How much was kept where: the file's importance map as a picture of mode L, before or after ``load()``.

        A sample stands for 16 x 16 pixels, 8 x 8 with ``cwic2018`` (those at the right and lower edge for what is left
        of them), so there are ceil(width / 16) x ceil(height / 16). Level k of L (0 to L - 1; ``cwic1`` has 8) is
        shown as 255 k / (L - 1), rounded; the higher, the more of the code's channel groups were kept there; exact
        blocks, where all is kept, are at 255, and so is all of a lossless file. With ``size``,
        ``im.size`` for one, every pixel of a picture of that size gets the sample it lies in. Only the map is decoded,
        without torch, and the whole one of pictures that ``draft()`` made small. Raises a CwicError if the file is
        damaged; one that is cut short will do if LOAD_TRUNCATED_IMAGES is set.
        """
        if size is not None and not _is_size(size):
            raise ValueError(f"size: {quoted(size)} is not two whole numbers of pixels, 1 and above")
        data = self._data() if self._whole is None else self._whole
        from pillow_cwic.coding import symbols

        levels, count, side = symbols.read_map(data, partial=ImageFile.LOAD_TRUNCATED_IMAGES)
        shown = Image.fromarray(levels).point([min(255, round(255 * k / max(1, count - 1))) for k in range(256)])
        if size is None:
            return shown
        header = container.read_header(data)
        return shown.resize(size, Image.Resampling.NEAREST, box=(0, 0, header.width / side, header.height / side))

    def load(self) -> Any:
        """Decodes the file. Raises a CwicError if it is damaged, or cut short unless LOAD_TRUNCATED_IMAGES is set."""
        if self.tile and not self._decoded:
            from pillow_cwic import codec

            data, partial = self._data(), ImageFile.LOAD_TRUNCATED_IMAGES
            with shown(settings.progress(), "decoding") as progress:
                pixels = codec.decode(data, partial=partial, scale=self._scale, progress=progress)
            before = self.fp if self._exclusive_fp else None
            # At once, so that after an interrupt ``load()`` begins again, with the file or with its pixels.
            self.fp, self._exclusive_fp, self._decoded, self._whole = BytesIO(pixels.tobytes()), True, True, data
            if before:
                before.close()
        return super().load()

    _decoded = False
    _whole: bytes | None = None  # the file, kept for its map when the pixels have taken the place of fp
    _scale = 1

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, tuple[int, int, float, float]] | None:
        """Makes ``load()`` give a picture of a quarter or an eighth of the sides, if that is at least ``size``.

        It takes a fraction of the time, and is what ``thumbnail()`` begins with. ``mode`` is not looked at.
        """
        if size is None or not self.tile or self._decoded or self._scale > 1:
            return None
        wanted = min(side // max(1, least) for side, least in zip(self.size, size, strict=True))
        if not (fitting := [scale for scale in DRAFT_SCALES if scale <= wanted]):
            return None
        self._scale = fitting[0]
        box = (0, 0, self.width / self._scale, self.height / self._scale)
        self._size = -(-self.width // self._scale), -(-self.height // self._scale)
        self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]
        return self.mode, box

    def load_seek(self, pos: int) -> None:
        """Goes to the start of the decoded pixels, which is where an interrupt may not have left them."""
        if self.fp:
            self.fp.seek(pos)

    def verify(self) -> None:
        """Checks structure and every CRC without decoding, and that the file ends where it says.

        Raises a CwicError; the image cannot be used after. ``load()`` ignores bytes behind the end of the file.
        """
        if self.fp is None:
            raise RuntimeError("verify must be called directly after open")
        try:
            parsed = container.read_file(self._data())
            parsed.check_end()
        finally:
            if self._exclusive_fp:
                self.fp.close()
            self.fp = None
        header = parsed.header
        limits.check_pixels(header.width, header.height)
        meta.from_chunks(parsed.extra)
        for n, layer in enumerate(parsed.layers):
            tiles.split_tiles(layer.data, header.tiles, f"layer {n}")
        if parsed.alpha is not None:
            pixels.read(parsed.alpha, header.height, 1, "ALPH")
        if parsed.pixels is not None:
            payload = parsed.pixels if header.lossless else pixels.read_blocks(parsed.pixels)[1]
            pixels.read(payload, header.height, header.channels, "PIXL")


def accept(prefix: bytes) -> bool | str:
    """Whether a file starts like CWIC; for one that only a newer version can read, the warning that says so."""
    if not container.is_cwic(prefix):
        return False
    return container.needs_newer(prefix) or True


def _is_size(value: object) -> bool:
    return (
        isinstance(value, Sequence) and len(value) == 2 and all(isinstance(n, Integral) and int(n) > 0 for n in value)
    )


def _nearest_quality(rate: int) -> int:
    return min(range(1, 101), key=lambda quality: abs(quality_to_rate(quality) - rate))


def _as_written(im: Image.Image, lossless: bool) -> Image.Image:
    """The picture in one of the file's modes. Raises OSError if it cannot be brought there without a silent loss."""
    mode = im.mode if im.mode in container.MODES else CONVERSIONS.get(im.mode)
    if mode is None:
        raise OSError(f"cannot write mode {im.mode} as {FORMAT}, which has 8 bits a sample: convert it first")
    if lossless and im.mode not in (*container.MODES, *EXACTLY_CONVERTED):
        raise OSError(f"cannot write mode {im.mode} as lossless {FORMAT}: convert it to {mode} first")
    if im.mode == "P" and im.has_transparency_data:
        return _with_transparency(im)
    if im.mode == "LAB":
        return _from_lab(im)
    return im if mode == im.mode else im.convert(mode)


def _with_transparency(im: Image.Image) -> Image.Image:
    """A picture with a palette as RGBA, or as RGB where ``info["transparency"]`` is none that Pillow understands."""
    try:
        return im.convert("RGBA")
    except (TypeError, ValueError, IndexError, OverflowError):
        im = im.copy()
        del im.info["transparency"]
        return im.convert("RGB")


def _from_lab(im: Image.Image) -> Image.Image:
    try:
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(im, lab, srgb, outputMode="RGB")
    except ImportError as error:
        raise OSError(f"cannot write mode LAB as {FORMAT}: this Pillow lacks LittleCMS") from error
    assert converted is not None  # it is only where the conversion is in place
    return converted


def _metadata(im: Image.Image, mode: str) -> meta.Metadata:
    """What the save options say; the ICC profile alone is taken from ``im.info`` too, as Pillow's plugins do.

    Such a profile is left out if it is for another kind of pixels than the file has. Raises ValueError.
    """
    given: dict[str, Any] = {name: im.encoderinfo.get(name) for name in ("exif", "icc_profile", "xmp", "dpi")}
    if "icc_profile" not in im.encoderinfo:
        carried = im.info.get("icc_profile")
        fits = isinstance(carried, bytes) and carried[16:20] == PROFILE_SPACES[mode]
        given["icc_profile"] = carried if fits else None
    return meta.from_options(**given)


def _importance(mask: object, size: tuple[int, int]) -> Image.Image | None:
    """The mask in the picture's size. Raises ValueError if it is no picture of a sample a pixel, or has no pixels."""
    if mask is None:
        return None
    if not isinstance(mask, Image.Image) or mask.mode not in ("1", "L"):
        said = f"mode {mask.mode}, {mask.width} x {mask.height}" if isinstance(mask, Image.Image) else quoted(mask)
        raise ValueError(f"importance: {said} is not a picture of mode L, or 1")
    if not mask.width or not mask.height:
        raise ValueError(f"importance: {mask.width} x {mask.height} pixels, wanted 1 x 1 and above")
    return mask.convert("L").resize(size, Image.Resampling.BILINEAR)


def save(im: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    given: dict[str, Any] = im.encoderinfo
    warn_of_slips(given)
    options = Options.of(given)
    if not im.width or not im.height:
        raise CwicError(f"cannot write an empty picture of {im.width} x {im.height} pixels")
    picture = _as_written(im, options.lossless)
    importance = _importance(given.get("importance"), im.size)
    extra = meta.to_chunks(_metadata(im, picture.mode))

    import numpy as np

    from pillow_cwic import codec

    mask = None if importance is None else np.asarray(importance)
    with shown(settings.progress(given.get("progress")), "encoding") as progress:
        data = codec.encode(np.asarray(picture), options, importance=mask, extra=extra, progress=progress)
    _write(fp, data)  # after encoding ended: a failed encoding writes nothing


def _write(fp: IO[bytes], data: bytes) -> None:
    """Writes all in one call; an unbuffered file, which may take less, gets the rest in more. Raises OSError."""
    taken = fp.write(data)
    if isinstance(fp, RawIOBase):
        left = memoryview(data)
        while (left := left[taken or 0 :]).nbytes:
            if not taken:
                raise OSError(f"cannot write: the file took {taken} of the {left.nbytes} bytes left")
            taken = fp.write(left)
    if hasattr(fp, "flush"):
        fp.flush()  # so that a full disk is noticed here, where Pillow can still remove the file


def save_all(im: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    more = im.encoderinfo.get("append_images")
    try:
        pictures = [im, *(() if more is None else more)]
    except TypeError:
        raise ValueError(f"append_images: {quoted(more)} is not a list of pictures") from None
    frames = sum(getattr(each, "n_frames", 1) for each in pictures)
    if frames > 1:
        raise OSError(f"cannot write {frames} pictures with save_all: {FORMAT} holds one")
    save(im, fp, filename)


def save_atomic(im: Image.Image, path: str | os.PathLike[str], *, overwrite: bool = True, **options: Any) -> None:
    """``im.save(path, **options)`` as CWIC, but an error or a crash leaves the file that was there before.

    Without ``overwrite`` a file that exists raises FileExistsError; a name that ends as those of another format, or a
    ``format`` other than CWIC, ValueError.
    """
    named, wanted = Path(os.fsdecode(path)), options.pop("format", None)
    if wanted is not None and str(wanted).upper() != FORMAT:
        raise ValueError(f"format: {quoted(wanted)} is not {FORMAT}, which save_atomic writes")
    if (suffix := named.suffix.lower()) not in ("", EXTENSION) and suffix in Image.registered_extensions():
        raise ValueError(f"path: {misnamed(named)}")
    data = BytesIO()
    im.save(data, format=FORMAT, **options)
    atomic.write(path, data.getvalue(), overwrite=overwrite)
