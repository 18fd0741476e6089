"""The encoder's search: one picture on its way to a file that meets a size, with more or less effort."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pillow_cwic import measures, models
from pillow_cwic import rate as rate_control
from pillow_cwic.codec import quality
from pillow_cwic.codec.picture import reconstruct
from pillow_cwic.codec.search import predict, search, search_quality
from pillow_cwic.codec.session import Timings, runtime, stage
from pillow_cwic.coding.symbols import Symbols, encode_symbols, split
from pillow_cwic.errors import CwicError, ModelError
from pillow_cwic.file import container
from pillow_cwic.models.config import CODE_LIMIT
from pillow_cwic.progress import Progress
from pillow_cwic.transforms.cwic1 import EXACT_UNIT

TILE_EXPONENT = 10  # tiles of 1024 pixels: small enough to decode in parallel, large enough to lose little at edges
ANALYSIS_REACH = 64  # how far the rate may move, in 1/512, before the analysis transform runs again
MIDDLE = {"psnr": 35.0, "ssim": 13.0}  # what a photograph has in the middle of the range, in dB
CLOSE = {"psnr": 0.08, "ssim": 0.0015}  # how far above the wanted quality the search may end
SHIFT, DOUBLINGS = 0.25, 3.0  # share of the levels, and factors of 2 in bits, between importance 255, or 0, and 128
LEAST = 0.25  # share of the levels below which importance shifts none, because what is even must stay smooth


class Effort(NamedTuple):
    """What the encoder does at one level of effort."""

    weights: tuple[float, ...]  # multiples of ``code_weight``; the best of several is kept; 0 rounds
    analyses: int  # how often the analysis transform may follow the rate
    steps: int  # of gradient descent on the latents


def code_weight(t: int) -> float:
    """What a squared error of one code step costs, in bits, when a code is weighed against its cheaper neighbour.

    At high rate a quantiser whose step suits its Lagrangian has 6 / ln 2 = 8.7; the analysis transform has learned to
    leave less to gain, the more so the lower the rate. Fitted to the best constants at equal rate (validation split).
    """
    return 72 * math.exp(-0.35 * min(max(t / 512, -1.5), 1.5))


_WEIGHT, _WEIGHTS = (1.0,), (0.5, 1.0, 2.0)
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
        importance: NDArray[np.uint8] | None = None,
    ) -> None:
        self.pixels, self.mode, self.model, self.timings = pixels, mode, model, timings
        self.effort, self.progress = effort, progress
        with stage(timings, "load"):
            self.runtime = runtime(model)
        if not self.runtime.networks.refines:
            self.effort = PLAIN
        self.importance = None if importance is None else self._relative(importance)
        self.analysed: Any = None  # what the networks' own ``analyse`` gives
        self.files: dict[tuple[int, float], bytes] = {}

    def _relative(self, importance: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Importance (H, W), 0 to 255, to one value for each map level, 0 for the most important and down to -2."""
        rows, columns = self.runtime.networks.grid(*importance.shape)
        side = self.runtime.entropy.level_pixels
        below, right = side * rows - importance.shape[0], side * columns - importance.shape[1]
        padded = np.pad(importance, ((0, below), (0, right)), mode="edge")
        mean = padded.reshape(rows, side, columns, side).mean(axis=(1, 3))
        relative: NDArray[np.float64] = (mean - mean.max()) / 127.5
        return relative

    def analyse(self, t: int) -> None:
        """Runs the analysis transform for rate parameter t; files made before are forgotten."""
        with stage(self.timings, "analysis"):
            self.analysed = self.runtime.networks.analyse(self.pixels, t)
        if self.importance is not None:
            levels, count = self.analysed.levels, self.runtime.entropy.levels
            shifted = levels + np.round(SHIFT * count * self.importance).astype(np.int16)
            shifted = np.maximum(shifted, int(LEAST * count))
            self.analysed = self.analysed._replace(levels=np.minimum(levels, shifted))
        self.files.clear()

    def _weights(self, t: int, weight: float) -> float | NDArray[np.float64]:
        """Bits for a squared step, one for all codes or, (rows, columns), by how important each place is."""
        usual = weight * code_weight(t)
        if self.importance is None:
            return usual
        n = self.runtime.entropy.codes_per_level
        weights: NDArray[np.float64] = usual * np.exp2(DOUBLINGS * np.kron(self.importance, np.ones((n, n))))
        return weights

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
            codes = (exact + np.int16(EXACT_UNIT // 2)) // np.int16(EXACT_UNIT)
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
        choices = [None, *exact] if weight or self.importance is not None else [None] * len(symbols)
        with stage(self.timings, "entropy"):
            layers = encode_symbols(self.runtime.entropy, symbols, choices, self._weights(t, weight), t, TILE_EXPONENT)
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
        return search(lambda t: self.measure(t, weight), size, start)

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
            better = predict(t, self.measure(t, usual), size)
            if abs(better - t) <= ANALYSIS_REACH:
                break
            t = better
        found = self._search(size, better, usual)
        if found is None:
            return self._smallest()
        if self.effort.steps:
            self.refine(found)
            found = self._search(size, predict(found, self.measure(found, usual), size), usual)
            if found is None:
                return self._smallest()
        made = [self.files[found, usual]]
        for weight in weights:
            other = self._search(size, found, weight) if weight != usual else None
            if other is not None:
                made.append(self.files[other, weight])
        return made[0] if len(made) == 1 else min(made, key=self._error)

    def _smallest(self) -> bytes:
        if not self.files:
            raise self._useless()
        return min(self.files.values(), key=len)

    def _useless(self) -> ModelError:
        name = f"{self.model.name}/{self.model.tuning}"
        return ModelError(f"model {name}: its codes pass the limit of {CODE_LIMIT} even at the lowest rate")

    def _error(self, file: bytes) -> float:
        """What the tuning minimises at equal size: the distortion of the decoded file."""
        shown = self._shown(file)
        with stage(self.timings, "comparison"):
            return measures.distortion(self.model.tuning, *shown)

    def reaching(self, name: str, wanted: float) -> bytes:
        """The smallest file whose picture has at least the wanted ``psnr`` or ``ssim``.

        Raises CwicError, which names both values, if none has.
        """
        measure, goal, enough = getattr(quality, name), wanted, CLOSE[name]
        if name == "ssim":
            goal, enough = (rate_control.decibel(x) for x in (wanted, min(wanted + enough, (1 + wanted) / 2)))
            enough -= goal
        found: dict[int, tuple[bytes, float]] = {}

        def decibel(t: int, weight: float, follow: bool) -> float | None:
            if follow:
                self.analyse(t)
            if (made := self.file(t, weight)) is None:
                return None
            reached = measure(*self._shown(made))
            found[t] = made, reached
            return min(rate_control.decibel(reached), 120.0) if name == "ssim" else reached

        def smallest(weight: float, start: int, follow: bool) -> int | None:
            return search_quality(lambda t: decibel(t, weight, follow), goal, start, enough)

        weights = self.effort.weights
        usual = weights[len(weights) // 2]
        t = smallest(usual, round((goal - MIDDLE[name]) / rate_control.DECIBEL_SLOPE), True)
        if not found:
            raise self._useless()
        if t is None:
            best = max(reached for _, reached in found.values())
            raise CwicError(f"{name}: {wanted:g} is not reached, the best that the model can make is {best:.4g}")
        made = [found[t][0]]
        if self.effort.steps or len(weights) > 1:
            self.analyse(t)
            self.refine(t)
            for weight in weights if self.effort.steps else [w for w in weights if w != usual]:
                other = smallest(weight, t, False)
                made += [found[other][0]] if other is not None else []
        return min(made, key=len)

    def _shown(self, file: bytes) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The original and the picture that a file shows, the same for a grey file as for its three equal channels."""
        with stage(self.timings, "comparison"):
            made = reconstruct(self.runtime, container.read_file(file))
        return self.pixels, np.repeat(quality.grey(made)[..., None], 3, axis=2) if self.mode == "L" else made

    def at(self, t: int) -> bytes:
        """The file at rate parameter t, or at the highest below it at which all codes are within the limit."""
        self.analyse(t)
        self.refine(t)
        weight = self.effort.weights[len(self.effort.weights) // 2]
        while (made := self.file(t, weight)) is None:
            if t == rate_control.LOWEST:
                raise self._useless()
            t = max(rate_control.LOWEST, t - 32)
        return made
