"""What a bound leaves over when the transform can use no more: more colours in exact blocks, then more such blocks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pillow_cwic.codec import exact, search
from pillow_cwic.codec.graphics import ITSELF, Exact, Graphics
from pillow_cwic.file import container

ENOUGH = 0.99  # the share of the bytes that ends a search


def filled(picture: Graphics, made: Exact, losses: NDArray[np.float64], room: int) -> Exact | None:
    """``made`` with as much more that is exact as takes ``room`` bytes; None if nothing fits.

    ``losses`` is what each block of the whole picture loses with ``made``. Those that gain most come first.
    """
    filling = _Filling(picture, made, room)
    base: Exact = made
    for colours in picture.finer(made.colours):
        finer = picture.made(made.blocks, picture.shown(colours), None, colours)
        if container.exact_size(finer.payload) > filling.bound:
            base = filling.mixed(base, finer)
            break
        base = finer
    else:
        base = filling.extended(base, losses)
    return None if base.payload == made.payload else base


class _Filling:
    """Exact blocks that may take so many more bytes."""

    def __init__(self, picture: Graphics, made: Exact, room: int) -> None:
        self.picture, self.blocks = picture, made.blocks
        before = container.exact_size(made.payload)
        self.bound, self.enough = before + room, before + int(ENOUGH * room)

    def mixed(self, coarse: Exact, finer: Exact) -> Exact:
        """Some of the blocks as in ``finer``, the others as in ``coarse``."""
        channels = self.picture.planes.shape[2]
        gains = np.where(self.blocks, self.picture.losses(coarse) - self.picture.losses(finer), 0)

        def make(chosen: exact.Blocks) -> Exact:
            where = exact.spread(chosen, *self.picture.planes.shape[:2])
            shown = np.where(where[..., None], finer.shown, coarse.shown)[..., :channels]
            return self.picture.made(self.blocks, shown, None, coarse.colours)

        return self._most(make, gains, coarse, container.exact_size(finer.payload))

    def extended(self, base: Exact, losses: NDArray[np.float64]) -> Exact:
        """Some more blocks, all as they are."""

        def make(chosen: exact.Blocks) -> Exact:
            return self.picture.made(self.blocks | chosen, self.picture.planes, None, ITSELF)

        return self._most(make, np.where(self.blocks, 0, losses), base, container.exact_size(self.picture.lossless))

    def _most(self, make: Callable[[exact.Blocks], Exact], gains: NDArray[np.float64], base: Exact, size: int) -> Exact:
        """What is made of as many blocks as fit, from ``base`` with none to ``size`` bytes with all that gain."""
        order = np.argsort(-gains, axis=None, kind="stable")
        found = {0: base}

        def measure(n: int) -> int:
            chosen = np.zeros(gains.shape, np.bool_)
            chosen.ravel()[order[:n]] = True
            found[n] = make(chosen)
            return container.exact_size(found[n].payload)

        low = 0, container.exact_size(base.payload)
        high = int((gains > 0).sum()), max(size, self.bound + 1)
        return found[search.largest(measure, low, high, self.bound, self.enough)]
