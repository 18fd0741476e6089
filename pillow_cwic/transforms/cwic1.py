"""Model ``cwic1`` as the codec runs it: its transforms on one device, numpy arrays in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pillow_cwic.device import require_torch
from pillow_cwic.errors import ModelError
from pillow_cwic.models.config import EXACT_UNIT, MAP_STRIDE, RATE_UNIT, Config
from pillow_cwic.models.weights import Context, Weights
from pillow_cwic.progress import Progress
from pillow_cwic.transforms import draft, layout, native, postfilter
from pillow_cwic.transforms.protocol import Post

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

LATENT_GAIN_BITS = 24  # of the analysis gains, FORMAT.md section 6.8


class Analysed(NamedTuple):
    """A picture after the analysis transform at one rate; valid for codes at rates nearby."""

    latents: NDArray[np.int16]  # (channels, H/8, W/8), before the gain
    levels: NDArray[np.int16]  # (1, H/16, W/16)
    rate: int


class Cwic1:
    """Both transforms of one weights file on one device. Read-only; may be shared between threads.

    Takes its arrays out of ``weights``; ``context`` are those of the context model, which refinement needs. Raises
    ModelError if they do not fit the config or could overflow.
    """

    refines = True  # effort buys something

    def __init__(self, weights: Weights, context: Context, device: str) -> None:
        self.tuning, self.device = weights.tuning, device
        try:
            config = self.config = Config.from_dict(weights.config)
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"weights: not those of cwic1: {error}") from error
        kinds = layout.TYPES.items()
        arrays = {f"{k}.{a}": weights.take(f"{k}.{a}", t.type) for k in ("analysis", "synthesis") for a, t in kinds}
        self._native = native.Transforms(config, arrays)
        self._parts = layout.split(config, "synthesis", *(arrays[f"synthesis.{a}"] for a in layout.TYPES))
        self._gain = layout.split(config, "analysis", *(arrays[f"analysis.{a}"] for a in layout.TYPES))["gain"]
        self._context = context
        self.groups = config.groups
        self.filters = int(self._parts["exit.shift"]) >= postfilter.BITS
        self._engine: Any = self._native
        if device != "cpu":
            from pillow_cwic.transforms.torch.engine import Engine

            self._engine = Engine(config, arrays, device)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the map for a picture of this size."""
        return -(-height // MAP_STRIDE), -(-width // MAP_STRIDE)

    def analyse(self, pixels: NDArray[np.uint8], rate: int) -> Analysed:
        """(H, W, 3) uint8 to latents and importance levels at the rate parameter T.

        No level masks codes that pay for their bits, however the head errs; below the rates that it was trained for it
        is not asked.
        """
        latents, levels = self._engine.analyse(pixels, rate)
        asked = levels if rate >= -RATE_UNIT else np.zeros_like(levels)
        return Analysed(latents, self._native.useful_levels(self._native.exact_codes(latents, rate), asked), rate)

    def lagrangian(self, rate: int) -> float:
        """What a unit of distortion at a pixel is worth at rate T, in bits."""
        return float(self.config.lagrangian(rate / RATE_UNIT))

    def levels(self, analysed: Analysed, rate: int) -> NDArray[np.int16]:
        """The map's levels at rate T, (1, H/16, W/16); the caller's own."""
        return analysed.levels.copy()

    def codes(self, analysed: Analysed, rate: int) -> NDArray[np.int16]:
        """Latents with the gain of rate T, (channels, H/8, W/8), in 1 / ``EXACT_UNIT``."""
        return self._native.exact_codes(analysed.latents, rate)

    def refine(
        self, pixels: NDArray[np.uint8], analysed: Analysed, rate: int, steps: int, progress: Progress | None
    ) -> Analysed:
        """Latents that give less distortion and bits together at rate T, after ``steps`` steps of gradient descent.

        Raises CwicError if torch, which finds gradients, is not installed.
        """
        require_torch("an effort of 5 or more, which refines by gradients,")
        from pillow_cwic.transforms.torch.refine import Refiner

        refiner = Refiner(self.config, self.tuning, self._parts, self._context, self.device)
        exact = refiner(pixels, self.codes(analysed, rate), analysed.levels, rate, steps, progress)
        gain = layout.at(self._gain, rate, layout.GAIN_FROM)[:, None, None]
        latents = np.rint(exact * (2.0**LATENT_GAIN_BITS * EXACT_UNIT) / np.maximum(gain, 1))
        return analysed._replace(latents=latents.clip(-32768, 32767).astype(np.int16))

    def synthesise(
        self, codes: NDArray[np.int16], rate: int, height: int, width: int, post: Post | None = None
    ) -> NDArray[np.uint8]:
        """Codes (channels, H/8, W/8) at rate T to the picture (height, width, 3), through a post-filter if any."""
        made: NDArray[np.uint8] = self._engine.synthesise(codes, rate, height, width, post)
        return made

    def shown(
        self, codes: NDArray[np.int16], rates: Sequence[int], height: int, width: int, posts: Sequence[Post | None]
    ) -> torch.Tensor:
        """Codes (N, channels, H/8, W/8), each at its rate T, to pictures (N, 3, height, width) uint8 on the device."""
        made: torch.Tensor = self._engine.shown(codes, rates, height, width, posts)
        return made

    def draft_groups(self, scale: int) -> int | None:
        """How many channel groups a picture of sides divided by ``scale``, 4 or 8, needs; None if it needs all."""
        return draft.groups_for(self.config, scale)

    def draft(
        self, codes: NDArray[np.int16], rate: int, height: int, width: int, scale: int, post: Post | None = None
    ) -> NDArray[np.uint8]:
        """Codes of the first groups, or all, at rate T to a picture of sides divided by ``scale`` and rounded up."""
        return draft.synthesise(self.config, self._parts, codes, rate, height, width, scale, post)
