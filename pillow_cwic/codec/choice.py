"""Which file a picture becomes: by the transform alone, with exact blocks, or all of it exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pillow_cwic import models
from pillow_cwic.codec import exact, graphics
from pillow_cwic.codec.encoder import ANALYSIS_REACH, EFFORTS, Encoder
from pillow_cwic.codec.exact import Blocks
from pillow_cwic.codec.graphics import Exact
from pillow_cwic.codec.search import ENOUGH
from pillow_cwic.codec.session import Timings, stage
from pillow_cwic.coding.symbols import Coded
from pillow_cwic.errors import CwicError
from pillow_cwic.file import container
from pillow_cwic.progress import Progress
from pillow_cwic.rate import HIGHEST, guess_rate, quality_to_rate, typical_bpp
from pillow_cwic.saving import Options

FAMILY = b"cwc1"  # whose layers may have exact blocks beside them
# How many times as much as at the transform's own rate errors may cost when blocks are chosen: within a bound exact
# blocks leave the rest a higher rate, beyond a quality a lower one.
BOUNDED, BETTER = (4.0, 16.0, 64.0), (0.25,)
FILLING, MOST_DOUBLINGS = 6, 16.0  # trials, and how far they may raise what an error costs


class Source(NamedTuple):
    """What a file is made of.

    ``planes`` (H, W, 1) if all is grey, else (H, W, 3), contiguous; ``alpha`` is the payload of ALPH; ``importance``
    and ``extra`` as ``codec.encode`` takes them.
    """

    planes: NDArray[np.uint8]
    mode: str
    options: Options
    importance: NDArray[np.uint8] | None
    extra: Sequence[tuple[bytes, bytes]]
    alpha: bytes | None


class _Made(NamedTuple):
    """Layers that meet the target, and the encoder that made them."""

    encoder: Encoder
    coded: Coded


def make(source: Source, progress: Progress | None, timings: Timings | None) -> bytes:
    """The file that meets the options' target best. Raises as ``codec.encode`` does."""
    work = _Work(source, progress, timings)
    alone = models.by_name(source.options.model, source.options.tuning).family != FAMILY
    if source.options.lossless:
        data = work.lossless()
        source.options.check_size(work.pixels, work.metadata, len(data) - work.metadata)
        return data
    with stage(timings, "graphics"):
        found = None if alone else graphics.candidates(source.planes)
    return work.lossy() if found is None else work.best(found)


class _Work:
    """One picture on its way to a file."""

    def __init__(self, source: Source, progress: Progress | None, timings: Timings | None) -> None:
        self.source, self.progress, self.timings = source, progress, timings
        height, width, channels = source.planes.shape
        self.grey = channels == 1
        self.colour = np.repeat(source.planes, 3, axis=2) if self.grey else source.planes
        self.pixels = width * height
        self.metadata = len(container.between(source.extra))
        self.inserted = len(container.between((), source.alpha))
        self.bound = source.options.bytes_for(self.pixels, self.metadata)

    def lossless(self) -> bytes:
        """The file of the very pixels."""
        source = self.source
        with stage(self.timings, "entropy"):
            held = exact.encode(source.planes)
        height, width = source.planes.shape[:2]
        header = container.Header.without_model(width, height, source.mode, self.grey)
        return container.write_file(header, [], source.extra, source.alpha, held)

    def lossy(self) -> bytes:
        """The file of the transform alone."""
        made = self._coded(None)
        self.source.options.check_size(self.pixels, self.metadata, made.coded.size)
        return self._written(made)

    def best(self, found: Blocks) -> bytes:
        """The best of all kinds of files, for graphics: ``found`` are the blocks that may be exact."""
        options = self.source.options
        whole = self.lossless() if found.mean() >= graphics.MOSTLY else None
        if whole:
            smaller = container.file_size([0], self.inserted)  # than any with layers
            if len(whole) - self.metadata <= (smaller if self.bound is None else self.bound):
                return whole
        try:
            tried = self._tried(found)
        except CwicError:  # no quality of the transform is enough
            if whole and self.bound is None:
                return whole
            raise
        made = min(tried, key=self._cost)
        if whole and self.bound is None and self._cost(made) >= self._cost_of(len(whole) - self.metadata, 0.0, made):
            return whole
        least = made.coded.size if whole is None else min(made.coded.size, len(whole) - self.metadata)
        options.check_size(self.pixels, self.metadata, least)
        return self._written(made)

    def _tried(self, found: Blocks) -> list[_Made]:
        """Layers without exact blocks, and with them: at a bound, where the rate moves, at most twice."""
        tried = [self._coded(None)]
        encoder, coded = tried[0]
        for _ in range(2 if self.bound is not None else 1):
            chosen = list(self._chosen(found, encoder, coded))
            if not chosen:
                break
            tried += map(self._coded, chosen)
            rate = tried[-1].coded.rate
            if abs(rate - coded.rate) <= ANALYSIS_REACH:
                break
            encoder.analyse(rate)
            again = encoder.code(rate, encoder.effort.usual)
            if again is None:
                break
            coded = again
        for more in BOUNDED if self.bound is not None else BETTER if self.source.options.quality is None else ():
            tried += [
                self._coded(blocks)
                for blocks in self._chosen(found, encoder, coded, more)
                if self.bound is None or self.inserted + container.exact_size(blocks.payload) < self.bound
            ]
        if self.bound is not None and tried[-1].coded.rate >= HIGHEST:
            tried += self._filled(tried[0].encoder, coded, self.bound)
        return tried

    def _filled(self, encoder: Encoder, coded: Coded, bound: int) -> list[_Made]:
        """With more exact blocks, of any kind, where the transform cannot use all bytes: few trials of the weight."""
        made, low, high = [], 0.0, MOST_DOUBLINGS
        for _ in range(FILLING):
            more = 2.0 ** ((low + high) / 2)
            blocks = next(self._chosen(graphics.every(self.source.planes), encoder, coded, more), None)
            if blocks is None:
                break
            made.append(self._coded(blocks))
            if made[-1].coded.size > bound:
                high = (low + high) / 2
            elif made[-1].coded.size >= ENOUGH * bound:
                break
            else:
                low = (low + high) / 2
        return made

    def _chosen(self, found: Blocks, encoder: Encoder, coded: Coded, more: float = 1.0) -> Iterator[Exact]:
        """What is better exact than as the transform coded it, then what is better in fewer colours.

        Errors are shared out by their squares; they cost ``more`` than usual.
        """
        lagrangian = encoder.runtime.networks.lagrangian(coded.rate)
        if lagrangian is None:
            return
        made, planes = encoder.shown(coded), self.source.planes
        squares = graphics.errors(self.colour, made)
        scale = encoder.error(coded) * self.pixels / squares.sum() if squares.any() else 1.0
        weight = more * lagrangian * scale
        lost = graphics.spent(coded) + weight * squares
        with stage(self.timings, "graphics"):
            if blocks := graphics.chosen(planes, planes, found, lost, weight):
                yield blocks
            shown = graphics.fewer_colours(planes, found, weight)
            if shown is not None and (blocks := graphics.chosen(planes, shown, found, lost, weight)):
                yield blocks

    def _cost(self, made: _Made) -> float:
        """What the target leaves to be made small: of those within a bound the error; else size, or size and error."""
        if self.bound is not None and made.coded.size > self.bound:
            return float(made.coded.size) * 1e9
        cost = self._cost_of(made.coded.size, made.encoder.error(made.coded), made)
        blocks = made.encoder.exact
        return cost if blocks is None else cost / blocks.share

    def _cost_of(self, size: int, error: float, made: _Made) -> float:
        if self.source.options.quality is None:
            return error if self.bound is not None else float(size)
        weight = made.encoder.runtime.networks.lagrangian(made.coded.rate) or 0.0
        cost: float = 8 * size + weight * error * self.pixels
        return cost

    def _written(self, made: _Made) -> bytes:
        source, coded, model = self.source, made.coded, made.encoder.model
        height, width = source.planes.shape[:2]
        held = None if made.encoder.exact is None else made.encoder.exact.payload
        with stage(self.timings, "container"):
            header = container.Header(
                width, height, source.mode, coded.exponent, coded.rate, model.id, model.family, self.grey
            )
            return container.write_file(header, coded.layers(), source.extra, source.alpha, held)

    def _coded(self, blocks: Exact | None) -> _Made:
        """The layers that meet the target, of the operating point that suits it best.

        If the target is a bound and no point is within it, the smallest.
        """
        source, options, bound = self.source, self.source.options, self.bound

        def encoder(model: models.Model) -> Encoder:
            effort = EFFORTS[options.effort]
            return Encoder(
                self.colour, self.grey, model, effort, self.progress, self.timings, source.importance, self.inserted,
                blocks,
            )  # fmt: skip

        def made(model: models.Model, work: Callable[[Encoder], Coded]) -> _Made:
            of_model = encoder(model)
            return _Made(of_model, work(of_model))

        if bound is not None:
            usual = models.by_name(options.model, options.tuning, 8 * max(1, bound - self.inserted) / self.pixels)
            tried: list[_Made] = []
            others = (model for model in reversed(models.points(options.model, options.tuning)) if model != usual)
            for model in (usual, *others):
                tried.append(made(model, lambda each: each.within(bound)))
                if tried[-1].coded.size <= bound:
                    return tried[-1]
            return min(tried, key=lambda each: each.coded.size)
        if options.quality is not None:
            t = quality_to_rate(options.quality)
            bpp = typical_bpp(t, None)
            model = models.by_name(options.model, options.tuning, bpp)
            return made(model, lambda each: each.at(guess_rate(bpp, model.bpp) if model.bpp else t))
        name = "psnr" if options.psnr is not None else "ssim"
        reached: list[_Made] = []
        for model in (points := models.points(options.model, options.tuning)):
            try:
                reached.append(made(model, lambda each: each.reaching(name, getattr(options, name))))
            except CwicError:
                if model is points[-1] and not reached:
                    raise
        return min(reached, key=lambda each: each.coded.size)
