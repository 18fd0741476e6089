"""What a file is made of: the picture in parts, its options, its metadata."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pillow_cwic.saving import Options


class Source(NamedTuple):
    """A picture and what is to become of it.

    ``planes`` (H, W, 1) if all is grey, else (H, W, 3), contiguous; ``original`` (H, W, C), with what alpha hides;
    ``alpha`` is the payload of ALPH; ``importance`` and ``extra`` as ``codec.encode`` takes them. ``seen`` (H, W) is
    where alpha is not 0, None if that is everywhere.
    """

    planes: NDArray[np.uint8]
    original: NDArray[np.uint8]
    mode: str
    options: Options
    importance: NDArray[np.uint8] | None
    extra: Sequence[tuple[bytes, bytes]]
    alpha: bytes | None
    seen: NDArray[np.bool_] | None
