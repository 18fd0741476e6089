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
    "unregister",
]

register()
