"""What a bound leaves over when the transform can use no more: more colours in exact blocks, then more such blocks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pillow_cwic.codec import exact, search
from pillow_cwic.codec.graphics import ITSELF, Exact, Graphics
from pillow_cwic.file import container

ENOUGH = 0.99  # the share of the bytes that ends a search


def filled(picture: Graphics, made: Exact | None, losses: NDArray[np.float64], room: int) -> Exact | None:
    """``made`` with as much more that is exact as takes ``room`` bytes; None if nothing fits.

    ``losses`` is what each block of the whole picture loses with ``made``. Those that gain most come first.
    """
    filling = _Filling(picture, made, losses, room)
    found = filling.coloured(made) if made is not None and made.colours != ITSELF else filling.extended(made)
    return None if _size(found) == _size(made) else found


def _size(made: Exact | None) -> int:
    """Bytes in a file."""
    return 0 if made is None else container.exact_size(made.payload)


class _Filling:
    """Exact blocks that may take so many more bytes."""

    def __init__(self, picture: Graphics, made: Exact | None, losses: NDArray[np.float64], room: int) -> None:
        self.picture, self.losses = picture, losses
        self.blocks: exact.Blocks = np.zeros(losses.shape, np.bool_) if made is None else made.blocks
        self.bound, self.enough = _size(made) + room, _size(made) + int(ENOUGH * room)

    def coloured(self, made: Exact) -> Exact | None:
        """The blocks of ``made`` in as many colours as fit, some of them in more."""
        base = made
        for colours in self.picture.finer(made.colours):
            finer = self.picture.made(self.blocks, self.picture.shown(colours), None, colours)
            if _size(finer) > self.bound:
                return self._mixed(base, finer)
            base = finer
        return self.extended(base)

    def _mixed(self, coarse: Exact, finer: Exact) -> Exact | None:
        """Some of the blocks as in ``finer``, the others as in ``coarse``."""
        channels = self.picture.planes.shape[2]
        gains = np.where(self.blocks, self.picture.losses(coarse) - self.picture.losses(finer), 0)

        def make(chosen: exact.Blocks) -> Exact:
            where = exact.spread(chosen, *self.picture.planes.shape[:2])
            shown = np.where(where[..., None], finer.shown, coarse.shown)[..., :channels]
            return self.picture.made(self.blocks, shown, None, coarse.colours)

        return self._most(make, gains, coarse, _size(finer))

    def extended(self, base: Exact | None) -> Exact | None:
        """Some more blocks, all as they are."""

        def make(chosen: exact.Blocks) -> Exact:
            return self.picture.made(self.blocks | chosen, self.picture.planes, None, ITSELF)

        return self._most(
            make, np.where(self.blocks, 0, self.losses), base, container.exact_size(self.picture.lossless)
        )

    def _most(
        self, make: Callable[[exact.Blocks], Exact], gains: NDArray[np.float64], base: Exact | None, size: int
    ) -> Exact | None:
        """What is made of as many blocks as fit, from ``base`` with none to ``size`` bytes with all that gain."""
        order = np.argsort(-gains, axis=None, kind="stable")
        found: dict[int, Exact | None] = {0: base}

        def measure(n: int) -> int:
            chosen = np.zeros(gains.shape, np.bool_)
            chosen.ravel()[order[:n]] = True
            found[n] = make(chosen)
            return _size(found[n])

        low = 0, _size(base)
        high = int((gains > 0).sum()), max(size, self.bound + 1)
        return found[search.largest(measure, low, high, self.bound, self.enough)]
