"""CWIC, content-weighted image compression, as a Pillow and imageio format.

``import pillow_cwic`` registers ``.cwic``; from then on ``Image.open('x.cwic')``, ``im.save('x.cwic', rate=0.5)`` and
``imageio.imread('x.cwic')`` work. It costs a few milliseconds: what opens pictures is imported with the first of them,
torch and numpy when one is decoded or encoded, and each public name when it is first asked for.
"""

from typing import TYPE_CHECKING

from pillow_cwic.registration import is_registered, register, unregister

if TYPE_CHECKING:
    from pillow_cwic.arrays import decode, encode
    from pillow_cwic.errors import ContainerError, CwicError, EntropyError, LimitError, ModelError
    from pillow_cwic.plugin import save_atomic
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

_MODULES = {
    "arrays": ["decode", "encode"],
    "errors": ["ContainerError", "CwicError", "EntropyError", "LimitError", "ModelError"],
    "models": [],
    "plugin": ["save_atomic"],
    "settings": ["options"],
}  # those that need no import of their own, with the names that are here, too


def shrink(data: bytes, *, rate: float | None = None, size: int | None = None) -> bytes:
    """A smaller file from the bytes of a ``.cwic`` file, of a photograph without its picture and its networks.

    One of ``rate`` (bits per pixel, above 0 and up to 100) and ``size`` (bytes) says how large the result may be, with
    its alpha, and with ``size`` also its metadata, which both stay as they are. A file that is small enough is returned
    as it is; one that is lossless, or has exact blocks, is encoded anew, unless less is lost by fewer colours there, or
    by coarser codes beside them. Raises ValueError for arguments out of range and a CwicError for a file that is
    damaged, cut short, or of a model that is not installed, and if no file as small as that can be made.
    """
    from pillow_cwic.codec import requantise

    return requantise.shrink(data, rate=rate, size=size)


if not TYPE_CHECKING:  # a type checker sees the imports above instead, and takes no other name for one of these

    def __getattr__(name):
        from importlib import import_module

        for module, names in _MODULES.items():
            if name == module or name in names:
                found = import_module(f"{__name__}.{module}")
                return found if name == module else globals().setdefault(name, getattr(found, name))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})


register()
