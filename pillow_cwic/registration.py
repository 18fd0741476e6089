"""Makes Pillow, imageio and mimetypes know ``.cwic``, by names and small functions alone.

Every program that imports Pillow pays for this module, so the plugin, and with it the package, comes at first use.
Pillow is imported within functions: when another thread has them called right after it, they must be there.
"""

from __future__ import annotations

import sys
from typing import IO, TYPE_CHECKING

import _pillow_cwic_autoload as hook
from _pillow_cwic_autoload import EXTENSION, FORMAT, MIME

if TYPE_CHECKING:
    from PIL import Image

    from pillow_cwic.plugin import CwicImageFile


def _accept(prefix: bytes) -> bool | str:
    if not prefix.startswith(b"\x89CWIC"):
        return False
    from pillow_cwic import plugin

    return plugin.accept(prefix)


def _open(fp: IO[bytes], filename: str | bytes) -> CwicImageFile:
    from pillow_cwic import plugin

    return plugin.CwicImageFile(fp, filename)


def _save(im: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    from pillow_cwic import plugin

    plugin.save(im, fp, filename)


def _save_all(im: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    from pillow_cwic import plugin

    plugin.save_all(im, fp, filename)


def register() -> None:
    """Makes Pillow, imageio and mimetypes know ``.cwic``. May be called any number of times."""
    from PIL import Image

    Image.register_open(FORMAT, _open, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_save_all(FORMAT, _save_all)
    Image.register_extension(FORMAT, EXTENSION)
    Image.register_mime(FORMAT, MIME)
    hook.after(hook.IMAGEIO, hook.tell_imageio)  # without importing it
    hook.after(hook.MIMETYPES, hook.tell_mimetypes)


def unregister() -> None:
    """Undoes ``register()``; without effect if it was not called."""
    from PIL import Image

    for table in (Image.OPEN, Image.SAVE, Image.SAVE_ALL, Image.MIME):
        table.pop(FORMAT, None)
    Image.EXTENSION.pop(EXTENSION, None)
    if FORMAT in Image.ID:
        Image.ID.remove(FORMAT)
    hook.forget(hook.IMAGEIO)
    hook.forget(hook.MIMETYPES)
    if (imageio := sys.modules.get(hook.IMAGEIO)) is not None:
        for entry in imageio.known_extensions.pop(EXTENSION, []):
            if entry in imageio.extension_list:
                imageio.extension_list.remove(entry)
    if (mimetypes := sys.modules.get(hook.MIMETYPES)) is not None:
        mimetypes.types_map.pop(EXTENSION, None)


def is_registered() -> bool:
    """Whether Pillow opens and saves ``.cwic`` now."""
    from PIL import Image

    return FORMAT in Image.OPEN and FORMAT in Image.SAVE
