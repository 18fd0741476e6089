"""What the codec asks of a model's transforms, whatever they are made of: numpy arrays in and out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pillow_cwic.progress import Progress

if TYPE_CHECKING:
    import torch


Post: TypeAlias = NDArray[np.int8]  # the coefficients of a post-filter, (3, 13)


class Transforms(Protocol):
    """Both transforms of a model on a device. Read-only; may be shared between threads.

    Pictures are uint8 (H, W, 3), codes int16 (channels, rows, columns), levels int16 (1, rows, columns). ``rate`` is
    the rate parameter T.
    """

    device: str
    refines: bool  # whether effort buys something
    groups: tuple[int, ...]  # channels of each layer of codes
    filters: bool  # whether pictures may pass a post-filter

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the map for a picture of this size."""

    def analyse(self, pixels: NDArray[np.uint8], rate: int) -> Any:
        """What the other methods make codes of, at this rate and those near; a named tuple with ``levels``."""

    def lagrangian(self, rate: int) -> float:
        """What a unit of distortion at a pixel is worth, in bits."""

    def levels(self, analysed: Any, rate: int) -> NDArray[np.int16]:
        """The map's levels; the caller's own."""

    def codes(self, analysed: Any, rate: int) -> NDArray[np.int16]:
        """Codes that are neither rounded nor masked, in 1 / ``EXACT_UNIT``."""

    def refine(self, pixels: NDArray[np.uint8], analysed: Any, rate: int, steps: int, progress: Progress | None) -> Any:
        """What was analysed, after so many steps towards less distortion and bits together."""

    def synthesise(
        self, codes: NDArray[np.int16], rate: int, height: int, width: int, post: Post | None
    ) -> NDArray[np.uint8]:
        """Codes to the picture (height, width, 3), through the post-filter that these coefficients are of, if any.

        Raises ModelError if the model allows none.
        """

    def shown(
        self, codes: NDArray[np.int16], rates: Sequence[int], height: int, width: int, posts: Sequence[Post | None]
    ) -> torch.Tensor:
        """Codes (N, channels, rows, columns), each at its rate, to pictures (N, 3, height, width) on the device."""

    def draft_groups(self, scale: int) -> int | None:
        """How many channel groups a picture of sides divided by ``scale``, 4 or 8, needs; None if it needs all."""

    def draft(
        self, codes: NDArray[np.int16], rate: int, height: int, width: int, scale: int, post: Post | None
    ) -> NDArray[np.uint8]:
        """Codes of the first groups, or all, to a picture of sides divided by ``scale`` and rounded up."""
