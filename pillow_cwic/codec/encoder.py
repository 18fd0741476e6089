"""The encoder's search: one picture on its way to layers that meet a size or a quality, with more or less effort."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pillow_cwic import measures, models
from pillow_cwic.codec import fitting, quality, sample, search
from pillow_cwic.codec.effort import PLAIN, Effort, code_weight
from pillow_cwic.codec.graphics import Exact, block_sums
from pillow_cwic.codec.grounds import NEAR, Grounds
from pillow_cwic.codec.session import Timings, runtime, stage
from pillow_cwic.coding import coefficients
from pillow_cwic.coding.symbols import Coded, encode_symbols, join, rounded, split
from pillow_cwic.errors import CwicError, ModelError
from pillow_cwic.file import container
from pillow_cwic.models.config import CODE_LIMIT, EXACT_UNIT, STRIDE
from pillow_cwic.progress import Progress
from pillow_cwic.rate import DECIBEL_SLOPE, HIGHEST, LOWEST, decibel

TILE_EXPONENT = 10  # tiles of 1024 pixels: small enough to decode in parallel, large enough to lose little at edges
LEAD = 16  # by how much, in 1/512, the analysis is for a higher rate than codes that are chosen for their bits
UP, DOWN = 36, 60  # how far the rate may move before the analysis transform runs again; a higher one loses more by it
DIGITS, UNITS = {"psnr": 100, "ssim": 100_000}, {"psnr": " dB", "ssim": ""}  # for what a message says of them
MIDDLE = {"psnr": 35.0, "ssim": 13.0}  # what a photograph has in the middle of the range, in dB
CLOSE = 0.08  # how far above the wanted quality the search may end, in dB: some 1 % of the bytes, of SSIM 2 %
LEAST_WORTH = 0.5  # of errors in blocks that a post-filter is fitted to
UNSEEN = 0.02  # what an error costs in exact blocks, as a share: next to nothing
SHIFT, DOUBLINGS = 0.25, 3.0  # share of the levels, and factors of 2 in bits, between importance 255, or 0, and 128
LEAST = 0.25  # share of the levels below which importance shifts none, because what is even must stay smooth
MOST_DECIBEL = 120.0  # of any quality, in a search
FORESEEN = 64  # the largest code that the context model is used to; beyond, it may be sure of what is not so
MOVED, MOST_MOVED = 2.0, 1 / 8  # steps that only it moves codes by, and what share of squared errors may be due to it
SPOILT = 5.0  # steps by which a code is moved that shows: squares of another colour


class UnreachedError(CwicError):
    """No file has the ``psnr`` or ``ssim`` that was wanted; ``best`` is the most that was found."""

    def __init__(self, name: str, wanted: float, best: float) -> None:
        digits, unit = DIGITS[name], UNITS[name]
        said = f"{math.floor(best * digits) / digits:.12g}"  # never what was wanted, as rounding up might say
        super().__init__(f"{name}: {wanted:.12g}{unit} is not reached, the best that was found is {said}{unit}")
        self.best = best


class Encoder:
    """One picture on its way to layers: runs the analysis transform as seldom as the search allows.

    ``pixels`` (H, W, 3); a ``grey`` picture has three equal channels. ``inserted`` are the bytes of alpha, which
    sizes count. In ``exact`` blocks the transform works on something smooth, and codes it as cheaply as it can. Errors
    count where pixels are ``seen`` (H, W), by default everywhere.
    """

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        grey: bool,
        model: models.Model,
        effort: Effort,
        progress: Progress | None = None,
        timings: Timings | None = None,
        importance: NDArray[np.uint8] | None = None,
        inserted: int = 0,
        exact: Exact | None = None,
        seen: NDArray[np.bool_] | None = None,
    ) -> None:
        self.pixels, self.grey, self.model, self.timings, self.seen = pixels, grey, model, timings, seen
        self.effort, self.progress, self.inserted, self.exact = effort, progress, inserted, exact
        self.transformed = pixels
        if exact is not None:
            self.transformed, self.inserted = exact.pixels, inserted + container.chunk_size(exact.payload)
        with stage(timings, "load"):
            self.runtime = runtime(model)
        if not self.runtime.networks.refines:
            self.effort = PLAIN
        self.filters = self.effort.filters and self.runtime.networks.filters
        self.importance = None if importance is None else self._relative(importance)
        if self.importance is not None and not self.importance.any():  # all alike: as without
            self.importance = None
        self.analysed: Any = None  # what the networks' own ``analyse`` gives, for this rate parameter
        self.analysed_for = 0

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
        """Runs the analysis transform for codes at rate parameter t, or near it."""
        lead = LEAD if self.effort.usual else 0
        with stage(self.timings, "analysis"):
            self.analysed, self.analysed_for = self._analysed(t + lead), t
        if self.exact is not None:
            levels = np.where(self.exact.blocks, 0, self.analysed.levels).astype(np.int16)
            self.analysed = self.analysed._replace(levels=levels)
        if self.importance is not None:
            levels, count = self.analysed.levels, self.runtime.entropy.levels
            shifted = levels + np.round(SHIFT * count * self.importance).astype(np.int16)
            shifted = np.maximum(shifted, int(LEAST * count))
            self.analysed = self.analysed._replace(levels=np.minimum(levels, shifted))

    def _analysed(self, t: int) -> Any:
        networks = self.runtime.networks
        if not self.wholly_exact:
            return networks.analyse(self.transformed, t)
        side = self.runtime.entropy.level_pixels  # one colour is left, of which a block says all
        block = networks.analyse(self.transformed[:side, :side], t)
        times = (1, *networks.grid(*self.pixels.shape[:2]))
        return block._replace(latents=np.tile(block.latents, times), levels=np.tile(block.levels, times))

    @property
    def wholly_exact(self) -> bool:
        """Whether nothing is left to the transform."""
        return self.exact is not None and bool(self.exact.blocks.all())

    def reaches(self, t: int) -> bool:
        """Whether what was analysed last is for codes at rate parameter t as well."""
        return -DOWN <= t - self.analysed_for <= UP

    def sample(self) -> Encoder | None:
        """One whose ``analyse`` and ``code`` are about parts of the picture; None if that is small.

        Their layers take about their share of what those of the whole take.
        """
        n = self.runtime.entropy.level_pixels
        places = sample.parts(*(side // n for side in self.pixels.shape[:2]))
        if not places:
            return None
        part = copy.copy(self)
        part.grounds = None
        part.transformed = sample.stacked(self.transformed, places, n)
        if self.exact is not None:
            part.exact = self.exact._replace(blocks=sample.stacked(self.exact.blocks, places))
        if self.importance is not None:
            part.importance = sample.stacked(self.importance, places)
        return part

    def _weights(self, t: int, weight: float) -> float | NDArray[np.float64]:
        """Bits for a squared step, one for all codes or, (rows, columns), by how important each place is."""
        if not self.uneven:
            return weight * code_weight(self.model.tuning, t)
        # It is by weights that bits move, whatever the effort.
        usual = (weight or 1.0) * code_weight(self.model.tuning, t)
        n = self.runtime.entropy.codes_per_level
        cells: Any = self.worth
        if self.exact is not None:
            cells = cells * np.where(self.exact.blocks, UNSEEN, 1.0)
        weights: NDArray[np.float64] = usual * np.kron(cells, np.ones((n, n)))
        return weights

    @property
    def uneven(self) -> bool:
        """Whether places differ in what their errors cost."""
        return self.importance is not None or self.exact is not None

    @property
    def worth(self) -> float | NDArray[np.float64]:
        """How much errors count in each block, (rows, columns), 1 where it is most important; 1 if all are alike."""
        return 1.0 if self.importance is None else np.exp2(DOUBLINGS * self.importance)

    @cached_property
    def grounds(self) -> Grounds | None:
        """The even colours that are left to the transform and seen, if its family may show them better or worse."""
        if not self.runtime.networks.refines or self.wholly_exact:
            return None
        worth = self.worth * np.ones(self.runtime.networks.grid(*self.pixels.shape[:2]))
        if self.exact is not None:
            worth[self.exact.blocks] = 0
        if self.seen is not None:
            worth[block_sums(self.seen.astype(np.int32)) == 0] = 0
        return Grounds(self.model, self.transformed, worth)

    def grounded(self, t: int, down: int = NEAR, up: int = NEAR) -> int:
        """The rate nearest to t, at most so far from it, of those at which even colours come out best."""
        return self.grounds.best_rate(t, max(LOWEST, t - down), min(HIGHEST, t + up)) if self.grounds else t

    def refine(self, t: int) -> None:
        """Moves the latents to better ones for rate parameter t, if the effort asks for it."""
        if not self.effort.steps or self.wholly_exact:
            return
        with stage(self.timings, "refinement"):
            self.analysed = self.runtime.networks.refine(
                self.transformed, self.analysed, t, self.effort.steps, self.progress
            )

    def code(self, t: int, weight: float, most_moved: float = MOST_MOVED) -> Coded | None:
        """The layers at rate parameter t, from the last analysis; None if that is too high for the picture.

        So it is if codes would pass the format's limit, or the context model does not let them be what they are, by
        more than this share of their squared errors.
        """
        networks, entropy = self.runtime
        with stage(self.timings, "analysis"):
            exact = networks.codes(self.analysed, t)
            if self.grounds:
                self.grounds.shift(exact, self.analysed_for, t)
            codes = rounded(exact)
            largest = max(int(codes.max()), -int(codes.min()))
        if largest > CODE_LIMIT:
            return None
        symbols = [networks.levels(self.analysed, t), *split(codes, entropy.groups)]
        chosen = weight or self.uneven
        choices = [None, *split(exact, entropy.groups)] if chosen else [None] * len(symbols)
        with stage(self.timings, "entropy"):
            weights = self._weights(t, weight)
            coded = encode_symbols(entropy, symbols, choices, weights, t, TILE_EXPONENT, self.inserted)
        if largest <= FORESEEN:
            return coded
        moved, spoilt = self._moved(coded, exact)
        return None if moved > most_moved else coded._replace(spoilt=spoilt if spoilt.any() else None)

    def _moved(self, coded: Coded, exact: NDArray[np.int16]) -> tuple[float, NDArray[np.bool_]]:
        """The share of codes' squared error, where they are coded and count, by those moved farther than by choice.

        And the blocks where one is moved so far that it shows.
        """
        levels, *groups = coded.symbols
        n = self.runtime.entropy.codes_per_level
        reach = levels[0] if self.exact is None else np.where(self.exact.blocks, -1, levels[0])
        reach = reach.repeat(n, axis=0).repeat(n, axis=1)
        moved = every = 0.0
        far = np.zeros(reach.shape, np.bool_)
        for index, (codes, wanted) in enumerate(zip(groups, split(exact, self.runtime.entropy.groups), strict=True)):
            errors = np.square(codes[:, reach >= index] - wanted[:, reach >= index] / np.float32(EXACT_UNIT))
            every += float(errors.sum())
            moved += float(errors[errors > MOVED**2].sum())
            far[reach >= index] |= (errors > SPOILT**2).any(axis=0)
        cells = far.reshape(far.shape[0] // n, n, far.shape[1] // n, n)
        return moved / every if every else 0.0, np.logical_or.reduce(cells, axis=(1, 3))

    def useless(self) -> ModelError:
        name = f"{self.model.name}/{self.model.tuning}"
        return ModelError(f"model {name}: its codes pass the limit of {CODE_LIMIT} even at the lowest rate")

    def error(self, coded: Coded) -> float:
        """What the tuning minimises at equal size: the distortion of the decoded picture."""
        return self._compared(coded, lambda *pair: measures.distortion(self.model.tuning, *pair))

    def reaching(self, name: str, wanted: float) -> Coded:
        """The layers of the smallest file whose picture has at least the wanted ``psnr`` or ``ssim``.

        Raises UnreachedError, which names both values, if none has.
        """
        if name == "ssim" and min(self.pixels.shape[:2]) < measures.WINDOW:
            height, width = self.pixels.shape[:2]
            said = f"a picture of {width} x {height} is smaller than the window of {measures.WINDOW}"
            raise CwicError(f"ssim: {said}, and {wanted:.12g} is nothing that it can have")
        similar = name == "ssim"
        goal = decibel(wanted) if similar else wanted
        found: list[Coded] = []  # the smallest that reaches the goal
        reached: list[float] = []
        known: list[Coded] = []  # through a post-filter, before any search for those

        def value(t: int, weight: float, follow: bool, through: bool = False) -> float | None:
            if follow and not (through and self.reaches(t)):
                self.analyse(t)
            made = next((each for each in known if through and each.rate == t), None)
            if made is None:
                if (made := self.code(t, weight)) is None:
                    return None
                made = self.filtered(made) if through else made
            reached.append(self.measured(name, made))
            shown = min(decibel(reached[-1]) if similar else reached[-1], MOST_DECIBEL)  # equal pictures have infinite
            if shown >= goal and (not found or made.size < found[0].size):
                found[:] = [made]
            return shown

        def smallest(weight: float, start: int, *how: bool) -> int | None:
            return search.search_quality(lambda t: value(t, weight, *how), goal, start, CLOSE)

        usual = self.effort.usual
        # An operating point is best where it was trained, at 0.
        t = smallest(usual, 0 if self.model.point else round((goal - MIDDLE[name]) / DECIBEL_SLOPE), True)
        if not reached:
            raise self.useless()
        if found and (lower := self.grounded(found[0].rate, 2 * NEAR, 0)) != found[0].rate:
            value(lower, usual, True)
        known += map(self.filtered, found if self.filters else [])
        if self.filters and (not known or known[0].post is not None):
            again = smallest(usual, found[0].rate if found else HIGHEST, True, True)
            t = t if again is None else again
        known.clear()
        if not found:
            raise UnreachedError(name, wanted, max(reached))
        t = found[0].rate if t is None else t
        if self.effort.steps or len(self.effort.weights) > 1:
            self.analyse(t)
            self.refine(t)
            for weight in self.effort.weights:
                if weight != usual or self.effort.steps:
                    for through in (False, True)[: 1 + self.filters]:
                        smallest(weight, t, False, through)
        return found[0]

    def measured(self, name: str, coded: Coded) -> float:
        """The ``psnr`` or ``ssim`` of the decoded picture, where it is seen."""
        share = 1.0 if self.seen is None else float(self.seen.mean()) or 1.0
        measure: Callable[..., float] = getattr(quality, name)
        return self._compared(coded, lambda *pair: measure(*pair, share))

    def _compared(self, coded: Coded, measure: Callable[[NDArray[np.uint8], NDArray[np.uint8]], float]) -> float:
        """What a measure says of the original and the decoded picture."""
        with stage(self.timings, "comparison"):
            return measure(self.pixels, self.shown(coded))

    @cached_property
    def _filtered_where(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """The positions, (rows, columns) of codes, that a post-filter is for, and those that are seen through it."""
        blocks = np.ones(self.runtime.networks.grid(*self.pixels.shape[:2]), np.bool_)
        if self.exact is not None:
            blocks &= ~self.exact.blocks
        where: NDArray[np.bool_] = blocks.repeat(2, axis=0).repeat(2, axis=1)
        if self.seen is not None:
            rows, columns = where.shape
            sides = zip((STRIDE * rows, STRIDE * columns), self.seen.shape, strict=True)
            seen = np.pad(self.seen, [(0, whole - side) for whole, side in sides], mode="edge")
            where &= seen.reshape(rows, STRIDE, columns, STRIDE).all(axis=(1, 3))
        if self.importance is None:
            return where, where
        important = np.asarray(self.worth >= LEAST_WORTH)
        return where & important.repeat(2, axis=0).repeat(2, axis=1), where

    def filtered(self, coded: Coded) -> Coded:
        """The same through a post-filter, if the effort asks for it and where that pays."""
        if not self.filters:
            return coded
        with stage(self.timings, "fitting"):
            allowed = (fitting.GREY if self.grey else fitting.ALLOWED)[self.model.tuning]
            codes = join(coded.symbols[1:])
            post = fitting.fitted(self.runtime.networks, codes, coded.rate, self.pixels, *self._filtered_where, allowed)
        return coded if post is None else coded.through(coefficients.write(post))

    def shown(self, coded: Coded) -> NDArray[np.uint8]:
        """The decoded picture (H, W, 3); of one that is grey, all channels are the same. What is not seen is right."""
        shown = self.exact.shown if self.exact is not None and self.wholly_exact else self._synthesised(coded)
        return shown if self.seen is None else np.where(self.seen[..., None], shown, self.pixels)

    def _synthesised(self, coded: Coded) -> NDArray[np.uint8]:
        height, width = self.pixels.shape[:2]
        post = None if coded.post is None else coefficients.read(coded.post)
        made = self.runtime.networks.synthesise(join(coded.symbols[1:]), coded.rate, height, width, post)
        shown = np.repeat(quality.grey(made)[..., None], 3, axis=2) if self.grey else made
        return shown if self.exact is None else self.exact.over(shown)

    def at(self, t: int, most_moved: float = MOST_MOVED) -> Coded:
        """The layers at rate parameter t, or at the highest below it that is not too high, as ``code`` says."""
        self.analyse(t)
        self.refine(t)
        while (made := self.code(t, self.effort.usual, most_moved)) is None:
            if t == LOWEST:
                raise self.useless()
            t = max(LOWEST, t - 32)
        return self.filtered(made)
