"""The Pillow plugin: the only module that knows Pillow. Imports neither torch nor numpy until pixels are needed."""

from __future__ import annotations

from io import BytesIO
from typing import IO, Any

from PIL import Image, ImageFile

from pillow_cwic import container, imageio_support, models
from pillow_cwic.errors import ContainerError, CwicError, ModelError
from pillow_cwic.target import parse_target

FORMAT = "CWIC"
EXTENSION = ".cwic"
MIME = "image/x-cwic"


class CwicImageFile(ImageFile.ImageFile):
    """A ``.cwic`` file: opening reads its header alone, ``load()`` decodes it.

    ``info`` holds ``model`` and ``tuning``, the ``rate_parameter`` t the file was made with and, where the file's
    size is known, ``bpp``, its bits per pixel.
    """

    format = FORMAT
    format_description = "Content-weighted image compression"

    def _open(self) -> None:
        assert self.fp is not None
        try:
            header = container.read_header(self.fp.read(container.HEADER_BYTES))
        except ContainerError as error:
            raise SyntaxError(str(error)) from error  # what makes Image.open try the next format
        self._size = header.width, header.height
        self._mode = header.mode
        self.info["rate_parameter"] = header.rate / 512
        try:
            model = models.by_id(header.model_id)
            self.info["model"], self.info["tuning"] = model.name, model.tuning
        except ModelError:
            self.info["model"] = header.model_id.hex()  # load() says that it is not installed
        if self.fp.seekable():
            self.info["bpp"] = 8 * self.fp.seek(0, 2) / (header.width * header.height)
        self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]

    def _data(self) -> bytes:
        assert self.fp is not None
        self.fp.seek(0)
        return self.fp.read()

    def load(self) -> Any:
        """Decodes the file. Raises a CwicError if it is damaged, or cut short unless LOAD_TRUNCATED_IMAGES is set."""
        if self.tile and not self._decoded:
            from pillow_cwic import codec

            pixels = codec.decode(self._data(), partial=ImageFile.LOAD_TRUNCATED_IMAGES)
            if self._exclusive_fp and self.fp:
                self.fp.close()
            self.fp = BytesIO(pixels.tobytes())
            self._exclusive_fp = True
            self._decoded = True
        return super().load()

    _decoded = False

    def load_seek(self, pos: int) -> None:
        """The decoded pixels are read from their start; there is nothing to seek."""

    def verify(self) -> None:
        """Checks structure and every CRC without decoding. Raises ContainerError; the image cannot be used after."""
        if self.fp is None:
            raise RuntimeError("verify must be called directly after open")
        try:
            container.read_file(self._data())
        finally:
            if self._exclusive_fp:
                self.fp.close()
            self.fp = None


def _accept(prefix: bytes) -> bool | str:
    """Whether a file starts like CWIC; for one that only a newer version can read, the warning that says so."""
    if not container.is_cwic(prefix):
        return False
    return container.needs_newer(prefix) or True


def _save(im: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    options: dict[str, Any] = im.encoderinfo
    if im.mode not in container.MODES:
        raise OSError(f"cannot write mode {im.mode} as {FORMAT}")
    wanted = parse_target(options.get("rate"), options.get("size"), options.get("quality"))
    if not im.width or not im.height:
        raise CwicError(f"cannot write an empty picture of {im.width} x {im.height} pixels")

    import numpy as np

    from pillow_cwic import codec

    model, tuning = options.get("model", "cwic1"), options.get("tuning", "mse")
    data = codec.encode(np.asarray(im), **wanted._asdict(), model=model, tuning=tuning)
    fp.write(data)  # once, after encoding ended: a failed encoding writes nothing


def register() -> None:
    """Makes Pillow and imageio know ``.cwic``. May be called any number of times."""
    Image.register_open(FORMAT, CwicImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, EXTENSION)
    Image.register_mime(FORMAT, MIME)
    imageio_support.register(EXTENSION, FORMAT)


def unregister() -> None:
    """Undoes ``register()``; without effect if it was not called."""
    for table in (Image.OPEN, Image.SAVE, Image.MIME):
        table.pop(FORMAT, None)
    Image.EXTENSION.pop(EXTENSION, None)
    if FORMAT in Image.ID:
        Image.ID.remove(FORMAT)
    imageio_support.unregister(EXTENSION)


def is_registered() -> bool:
    """Whether Pillow opens and saves ``.cwic`` now."""
    return FORMAT in Image.OPEN and FORMAT in Image.SAVE
