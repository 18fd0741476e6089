"""The encoder's search: one picture on its way to a file that meets a size, with more or less effort."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pillow_cwic import container, models
from pillow_cwic import rate as rate_control
from pillow_cwic.codec.layers import Symbols, encode_symbols, reconstruct, split
from pillow_cwic.codec.session import Timings, runtime, stage
from pillow_cwic.networks.runtime import EXACT_UNIT
from pillow_cwic.progress import Progress

CODE_LIMIT = 511
TILE_EXPONENT = 10  # tiles of 1024 pixels: small enough to decode in parallel, large enough to lose little at edges
ANALYSIS_REACH = 64  # how far the rate may move, in 1/512, before the analysis transform runs again


class Effort(NamedTuple):
    """What the encoder does at one level of effort."""

    weights: tuple[float, ...]  # multiples of ``code_weight``; the best of several is kept; 0 rounds
    analyses: int  # how often the analysis transform may follow the rate
    steps: int  # of gradient descent on the latents


def code_weight(t: int) -> float:
    """What a squared error of one code step costs, in bits, when a code is weighed against its cheaper neighbour.

    At high rate a quantiser whose step suits its Lagrangian has 6 / ln 2 = 8.7; the analysis transform has learned to
    leave less to gain, the more so the lower the rate. Fitted to the best constants on the validation split.
    """
    return 24 * math.exp(-0.55 * min(max(t / 512, -1.5), 1.5))


_WEIGHT, _WEIGHTS = (1.0,), (0.65, 1.0, 1.5)
EFFORTS = (
    Effort((0.0,), 2, 0),
    Effort((0.0,), 3, 0),
    Effort(_WEIGHT, 2, 0),
    Effort(_WEIGHT, 3, 0),
    Effort(_WEIGHTS, 3, 0),
    Effort(_WEIGHTS, 3, 12),
    Effort(_WEIGHTS, 3, 25),
    Effort(_WEIGHTS, 3, 60),
    Effort(_WEIGHTS, 3, 150),
    Effort(_WEIGHTS, 3, 400),
)

PLAIN = Effort((0.0,), 1, 0)  # for models that have nothing to choose


class Encoder:
    """One picture on its way to a file: runs the analysis transform as seldom as the search allows."""

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        mode: str,
        model: models.Model,
        effort: Effort,
        progress: Progress | None,
        timings: Timings | None,
    ) -> None:
        self.pixels, self.mode, self.model, self.timings = pixels, mode, model, timings
        self.effort, self.progress = effort, progress
        with stage(timings, "load"):
            self.runtime = runtime(model)
        if not self.runtime.networks.refines:
            self.effort = PLAIN
        self.analysed: Any = None  # what the networks' own ``analyse`` gives
        self.files: dict[tuple[int, float], bytes] = {}

    def analyse(self, t: int) -> None:
        """Runs the analysis transform for rate parameter t; files made before are forgotten."""
        with stage(self.timings, "analysis"):
            self.analysed = self.runtime.networks.analyse(self.pixels, t)
        self.files.clear()

    def refine(self, t: int) -> None:
        """Moves the latents to better ones for rate parameter t, if the effort asks for it."""
        if not self.effort.steps:
            return
        assert self.analysed is not None
        with stage(self.timings, "refinement"):
            self.analysed = self.runtime.networks.refine(
                self.pixels, self.analysed, t, self.effort.steps, self.progress
            )
        self.files.clear()

    def _symbols(self, t: int) -> tuple[Symbols, Symbols] | None:
        """Symbols of the last analysis and their unrounded values in 1/32; None if one would pass the limit."""
        assert self.analysed is not None
        with stage(self.timings, "analysis"):
            exact = self.runtime.networks.codes(self.analysed, t)
            codes = ((exact.astype(np.int32) + EXACT_UNIT // 2) // EXACT_UNIT).astype(np.int16)
        if max(int(codes.max()), -int(codes.min())) > CODE_LIMIT:
            return None
        groups = self.runtime.entropy.groups
        return [self.runtime.networks.levels(self.analysed, t), *split(codes, groups)], split(exact, groups)

    def file(self, t: int, weight: float) -> bytes | None:
        """The whole file at rate parameter t, from the last analysis; None if codes would pass the format's limit."""
        made = self._symbols(t)
        if made is None:
            return None
        symbols, exact = made
        choices = [None, *exact] if weight else [None] * len(symbols)
        with stage(self.timings, "entropy"):
            layers = encode_symbols(self.runtime.entropy, symbols, choices, weight * code_weight(t), t, TILE_EXPONENT)
        with stage(self.timings, "container"):
            height, width = self.pixels.shape[:2]
            header = container.Header(width, height, self.mode, TILE_EXPONENT, t, self.model.id, self.model.family)
            return container.write_file(header, layers)

    def measure(self, t: int, weight: float) -> int | None:
        """Size of the file at t; the file is kept."""
        key = t, weight
        if key not in self.files:
            made = self.file(t, weight)
            if made is None:
                return None
            self.files[key] = made
        return len(self.files[key])

    def _search(self, size: int, start: int, weight: float) -> int | None:
        return rate_control.search(lambda t: self.measure(t, weight), size, start)

    def within(self, size: int) -> bytes:
        """The best file of at most ``size`` bytes; if there is none, the smallest that the model can make.

        The analysis follows the rate first; then it stays, so that the search sees sizes that grow with the rate.
        """
        height, width = self.pixels.shape[:2]
        weights = self.effort.weights
        usual = weights[len(weights) // 2]
        t = rate_control.guess_rate(size * 8 / (height * width), self.model.bpp)
        for _ in range(self.effort.analyses):
            self.analyse(t)
            better = rate_control.predict(t, self.measure(t, usual), size)
            if abs(better - t) <= ANALYSIS_REACH:
                break
            t = better
        found = self._search(size, better, usual)
        if found is None:
            return min(self.files.values(), key=len)
        if self.effort.steps:
            self.refine(found)
            found = self._search(size, rate_control.predict(found, self.measure(found, usual), size), usual)
            if found is None:
                return min(self.files.values(), key=len)
        made = [self.files[found, usual]]
        for weight in weights:
            other = self._search(size, found, weight) if weight != usual else None
            if other is not None:
                made.append(self.files[other, weight])
        return made[0] if len(made) == 1 else min(made, key=self._error)

    def _error(self, file: bytes) -> float:
        """What the tuning minimises at equal size: the distortion of the decoded file."""
        with stage(self.timings, "comparison"):
            made = reconstruct(self.runtime, container.read_file(file))
            return self.runtime.networks.distortion(self.pixels, made)

    def at(self, t: int) -> bytes:
        """The file at rate parameter t, or at the highest below it at which all codes are within the limit."""
        self.analyse(t)
        self.refine(t)
        weight = self.effort.weights[len(self.effort.weights) // 2]
        while (made := self.file(t, weight)) is None:
            t = max(rate_control.LOWEST, t - 32)
        return made
