"""What can go wrong with a file: one error type per layer of the codec, all of them ``OSError`` as Pillow expects.

Messages name the field and both values, e.g. ``layer 3: length 912 exceeds the 340 bytes left``.
"""

from __future__ import annotations


class CwicError(OSError):
    """A CWIC file cannot be read or written."""


class ContainerError(CwicError):
    """The file's structure is wrong: signature, version, chunk order, a length or a chunk's CRC."""


class EntropyError(CwicError):
    """The entropy-coded data is damaged: a stream too short or long, a symbol out of range, another symbol CRC."""


class ModelError(CwicError):
    """The model that a file names is unknown, or its weights are damaged."""


class LimitError(CwicError):
    """The picture is larger than the reader or the format allows."""
