"""A candidate for a file: layers, the encoder that made them, and what they lose."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pillow_cwic.codec import graphics, search
from pillow_cwic.codec.encoder import Encoder
from pillow_cwic.coding.symbols import Coded
from pillow_cwic.rate import HIGHEST


class Made:
    """Layers that meet the target, and the encoder that made them."""

    def __init__(self, encoder: Encoder, coded: Coded) -> None:
        self.encoder, self.coded = encoder, coded
        self._lost: dict[graphics.Loss, NDArray[np.float64]] = {}

    def lost(self, loss: graphics.Loss) -> NDArray[np.float64]:
        """What the blocks lose, summed over their pixels."""
        if loss not in self._lost:
            self._lost[loss] = loss.of(self.encoder.pixels, self.encoder.shown(self.coded))
        return self._lost[loss]

    @property
    def losses(self) -> NDArray[np.float64]:
        """What they lose of what the tuning keeps low."""
        return self.lost(graphics.LOSSES[self.encoder.model.tuning])

    @property
    def loss(self) -> float:
        """What the whole picture loses, as far as it is important."""
        return float((self.encoder.worth * self.losses).sum())

    @cached_property
    def finest(self) -> bool:
        """Whether more bytes are of no use to the transform, as higher rates are too high for it or for the picture."""
        higher = self.coded.rate + search.COARSE
        return higher > HIGHEST or self.encoder.code(higher, self.encoder.effort.usual) is None

    @property
    def weight(self) -> float:
        """What a unit of loss is worth at a pixel, in bits."""
        return self.encoder.runtime.networks.lagrangian(self.coded.rate)
