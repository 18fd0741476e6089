"""What can go wrong with a file: one error type per layer of the codec, all of them ``OSError`` as Pillow expects.

Messages name the field and both values, e.g. ``layer 3: length 912 exceeds the 340 bytes left``.
"""

from __future__ import annotations

LONGEST = 100  # characters of a value in a message


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


def quoted(value: object) -> str:
    """A value in a message: what ``repr`` gives, in one line that is not too long; its type where that fails."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # whole numbers of thousands of digits, which Python refuses to write out, and what others raise
        return f"{type(value).__name__} that cannot be shown"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}.. ({type(value).__name__})"
