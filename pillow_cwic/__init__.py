"""CWIC, content-weighted image compression, as a Pillow and imageio format.

``import pillow_cwic`` registers ``.cwic``; from then on ``Image.open('x.cwic')``, ``im.save('x.cwic', rate=0.5)`` and
``imageio.imread('x.cwic')`` work. Neither torch nor numpy is imported before a picture is decoded or encoded.
"""

from pillow_cwic.arrays import decode, encode
from pillow_cwic.errors import ContainerError, CwicError, EntropyError, LimitError, ModelError
from pillow_cwic.plugin import is_registered, register, save_atomic, unregister
from pillow_cwic.settings import options

__version__ = "0.1.0"

__all__ = [
    "ContainerError",
    "CwicError",
    "EntropyError",
    "LimitError",
    "ModelError",
    "decode",
    "encode",
    "is_registered",
    "options",
    "register",
    "save_atomic",
    "shrink",
    "unregister",
]


def shrink(data: bytes, *, rate: float | None = None, size: int | None = None) -> bytes:
    """A smaller file from the bytes of a ``.cwic`` file, without its picture and without its networks.

    One of ``rate`` (bits per pixel, above 0 and up to 100) and ``size`` (bytes) says how large the result may be, with
    its alpha, and with ``size`` also its metadata, which both stay as they are. A file that is small enough is
    returned as it is. Raises ValueError for arguments out of range and a CwicError for a file that is damaged, cut
    short, or of a model that is not installed, and if no file as small as that can be made.
    """
    from pillow_cwic.codec import requantise

    return requantise.shrink(data, rate=rate, size=size)


register()
