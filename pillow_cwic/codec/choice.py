"""Which file a picture becomes: by the transform alone, with exact blocks, or all of it exact."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pillow_cwic import measures, models
from pillow_cwic.codec import exact, graphics, search, sized
from pillow_cwic.codec.effort import EFFORTS
from pillow_cwic.codec.encoder import MOST_MOVED, Encoder, UnreachedError
from pillow_cwic.codec.filling import Filling
from pillow_cwic.codec.graphics import Exact, Look
from pillow_cwic.codec.made import Made
from pillow_cwic.codec.session import Timings, stage
from pillow_cwic.codec.source import Source
from pillow_cwic.coding.symbols import Coded
from pillow_cwic.errors import CwicError, ModelError
from pillow_cwic.file import container
from pillow_cwic.progress import Progress
from pillow_cwic.rate import HIGHEST, guess_rate, quality_to_rate, typical_bpp

FAMILY = b"cwc1"  # whose layers may have exact blocks beside them
SMALL = 1 << 12  # pixels of a picture that may be smaller without loss, which is found in a few milliseconds
SCANNED = 1 << 14  # pixels of graphics for which everything is tried
# How many times as much as usual errors may cost when blocks are chosen: for a quality to be reached, and for small
# graphics; within a bound powers of two, and how far apart they are at first.
BETTER, WIDE = (1 / 64, 1 / 16, 1 / 4, 1), (1 / 64, 1 / 16, 1 / 4, 1, 4, 16)
MOST_DOUBLINGS, STRIDE = 10, 2
RISEN = 64  # the rate that exact blocks must have given to the rest for blocks to be chosen once more
NEARLY = 2.0  # the size of the picture without loss, in bounds, for what is nearly exact to be tried
CHOICES = 3  # times that exact blocks are chosen for a quality, until they stay
OTHER = 1 / 200  # the share of blocks chosen otherwise than before below which they stay
MENDINGS = 3  # as others may be spoilt beside those that are exact then
BOLD = 0.9  # the share of what is usually expected, below which a rate is taken that is too high for some blocks
LOWER = (0, 16, 48)  # by how much the rate may go down for blocks that become exact
LOOKS = 3  # of a picture that is exact as a whole, which are tried until one is within the bound
BETTER_WHOLLY = 0.98  # the share of the cost at which a picture that is exact as a whole will hardly be beaten
EMPTIEST = -448  # the rate at which layers that hold nothing are smallest
CLOSE = 0.98  # the share of a bound that is used, if bytes can make a picture better


def make(source: Source, progress: Progress | None, timings: Timings | None) -> bytes:
    """The file that meets the options' target best. Raises as ``codec.encode`` does."""
    work = _Work(source, progress, timings)
    model = work.model()
    if source.options.lossless:
        with stage(timings, "entropy"):
            data = work.lossless(exact.encode(source.planes))
        source.options.check_size(work.pixels, work.metadata, len(data) - work.metadata)
        return data
    if model.family != FAMILY:
        return work.alone()
    mixed = work.drawn or work.falls_short
    return work.best(graphics.LOSSES[model.tuning], mixed) if mixed or work.pixels <= SMALL else work.alone()


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
        self.known: dict[bytes, Made | None] = {}  # beside exact blocks, by their payload; within a bound trials of it

    @cached_property
    def points(self) -> list[models.Model]:
        """The operating points of the model. Without a tuning: PSNR is what ``mse`` has most of."""
        options = self.source.options
        usual = models.DEFAULT_TUNING if options.psnr is None else "mse"
        return models.points(options.model, options.tuning, usual)

    def model(self, bpp: float | None = None) -> models.Model:
        """The point nearest to a rate, by default the lowest."""
        return models.nearest(self.points, bpp)

    def lossless(self, held: bytes) -> bytes:
        """The file of the very pixels, which are ``held`` by this payload."""
        source = self.source
        height, width = source.planes.shape[:2]
        header = container.Header.without_model(width, height, source.mode, self.grey)
        return container.write_file(header, [], source.extra, source.alpha, held)

    @cached_property
    def drawn(self) -> bool:
        """Whether it is graphics."""
        with stage(self.timings, "graphics"):
            return graphics.is_graphics(self.source.planes)

    @cached_property
    def _plain(self) -> Made | CwicError:
        """What the transform alone makes, or why it makes nothing: if it does not reach the quality that is wanted."""
        try:
            return self._coded(None)
        except CwicError as error:
            return error

    @property
    def falls_short(self) -> bool:
        """Whether the transform alone reaches less than is asked for, or than the bound allows. Raises ModelError."""
        if isinstance(plain := self._plain, ModelError):
            raise plain
        if isinstance(plain, CwicError):
            return True
        return self._leaves(plain)

    def _leaves(self, *made: Made) -> bool:
        """Whether one of these leaves much of the bound, as its transform has no use for more."""
        return self.bound is not None and any(m.coded.size < CLOSE * self.bound and m.finest for m in made)

    def alone(self) -> bytes:
        """The file of the transform alone."""
        if isinstance(plain := self._plain, CwicError):
            raise plain
        made = self._mended(plain, graphics.Graphics(self.source.planes, graphics.LOSSES[plain.encoder.model.tuning]))
        self.source.options.check_size(self.pixels, self.metadata, made.coded.size)
        return self._written(made)

    def best(self, loss: graphics.Loss, mixed: bool) -> bytes:
        """The best of all kinds of files: lossless, by the transform alone, and ``mixed``, of both kinds of blocks."""
        with stage(self.timings, "graphics"):
            picture = graphics.Graphics(self.source.planes, loss)
            whole = self.lossless(min([picture.lossless, *self._hidden()], key=len))
        size = len(whole) - self.metadata
        smaller = container.file_size([0], self.inserted)  # than any with layers
        if size <= (smaller if self.bound is None else self.bound):
            return whole
        wanted = self.source.options.psnr is not None or self.source.options.ssim is not None
        candidates: list[Made] = []
        if isinstance(plain := self._plain, ModelError):  # which no quality and no block would mend
            return whole
        if isinstance(plain, CwicError) and not wanted:
            raise plain
        if isinstance(plain, Made):
            candidates += [plain, *(self._with_blocks(plain, picture) if mixed else [])]
        if wanted and mixed and 8 * size < NEARLY * min(map(self._cost, candidates), default=math.inf):
            candidates += self._beyond(picture)
        if not candidates:
            return whole
        made = self._mended(min(candidates, key=self._cost), picture)
        if self.bound is None and 8 * size <= self._cost(made):
            return whole
        self.source.options.check_size(self.pixels, self.metadata, min(size, made.coded.size))
        return self._written(made)

    def _hidden(self) -> list[bytes]:
        """The payload of the whole picture with what alpha hides, if that might be cheaper than what hides it."""
        original = self.source.original
        if self.source.alpha is None or (self.grey and (original[..., :1] != original[..., 1:]).any()):
            return []
        return [exact.encode(original[..., : self.source.planes.shape[2]])]

    def _among(self, alone: Made, picture: graphics.Graphics) -> Callable[[float], Made | None]:
        """What comes of errors that cost so many times as much as at the rate of ``alone``: layers and exact blocks."""
        spent, usual = graphics.spent(alone.coded), alone.weight
        near, most = (None, math.inf) if self.bound is None else (alone.coded.rate, 8.0 * self.bound)

        def made(more: float) -> Made | None:
            nonlocal near
            weight = more * usual
            with stage(self.timings, "graphics"):
                blocks = picture.chosen(spent + weight * alone.losses, weight, most)
            if blocks is None:
                return None
            if blocks.payload not in self.known:
                self.known[blocks.payload] = self._beside(blocks, near)
            found = self.known[blocks.payload]
            near = found.coded.rate if found and self.bound is not None else near
            return found

        return made

    def _with_blocks(self, plain: Made, picture: graphics.Graphics) -> list[Made]:
        """Layers beside exact blocks that are chosen as if errors cost more, or less, than at the rate of ``plain``."""
        made = self._among(plain, picture)
        if self.bound is None:
            settled = [] if self.source.options.quality is None else self._settled(plain, picture)
            wanted = WIDE if self.pixels <= SCANNED else BETTER if self.source.options.quality is None else ()
            return [*settled, *(each for more in wanted if (each := made(more)))]
        if self._leaves(plain) and not self.drawn:  # more bits are of no use to the transform
            return self._filled(plain, picture)
        found = self._climbed(made)
        # Exact blocks leave the rest a higher rate, at which it is to be weighed against them.
        if found and (rate := found.coded.rate) - plain.coded.rate > RISEN:
            again = self._climbed(self._among(self._finest(None, rate), picture))
            found = min((each for each in (found, again) if each), key=self._cost)
        if found and found.encoder.exact:
            found = self._beside(found.encoder.exact, found.coded.rate, quick=False)  # no longer as a trial
        coded = [plain, *([found] if found else [])]
        beyond = self._leaves(*coded) or len(picture.lossless) < NEARLY * self.bound
        return [*coded, *self._wholly(picture), *(self._filled(plain, picture) if beyond else [])]

    def _wholly(self, picture: graphics.Graphics) -> list[Made]:
        """All blocks exact, as well as the bound allows."""
        assert self.bound is not None
        room, missed = 8 * (self.bound - container.file_size([0], self.inserted)), list[Look]()
        while len(missed) < LOOKS and (look := picture.best_wholly(room, missed)):
            missed.append(look)
            made = self._finest(picture.wholly(look), EMPTIEST)  # no search: nothing is left to be better at another
            if made.coded.size <= self.bound:
                return [made]
        return []

    def _settled(self, plain: Made, picture: graphics.Graphics) -> list[Made]:
        """For a quality of the scale: blocks are exact where that pays, beside what is left beside them; or all are."""
        weight, spent, losses = plain.weight, graphics.spent(plain.coded), plain.losses
        found: list[Made] = []
        chosen: Exact | None = None
        for _ in range(CHOICES):
            with stage(self.timings, "graphics"):
                blocks = picture.chosen(spent + weight * losses, weight)
            if blocks is None or (chosen and (blocks.blocks != chosen.blocks).mean() < OTHER):
                break
            if (made := self._finest(blocks, EMPTIEST) if blocks.blocks.all() else self._beside(blocks)) is None:
                break
            found.append(made)
            _, cost, off = picture.cheapest_wholly(weight)
            if cost < BETTER_WHOLLY * self._cost(made) and (made.encoder.worth * off).sum() < made.loss:
                break
            chosen = blocks
            spent = np.where(blocks.blocks, spent, graphics.spent(made.coded))
            losses = np.where(blocks.blocks, losses, made.losses)
        best, (look, cost, _) = min((plain, *found), key=self._cost), picture.cheapest_wholly(weight)
        if cost < self._cost(best):
            with stage(self.timings, "graphics"):
                blocks = picture.wholly(look)
            if (made := self._finest(blocks, EMPTIEST)).loss < best.loss:
                found.append(made)  # in bands of few colours a photograph looks worse than it is measured to
        return found

    def _filled(self, plain: Made, picture: graphics.Graphics) -> list[Made]:
        """Beside the transform's finest as much that is exact as the bound allows."""
        assert self.bound is not None
        room = 8 * (self.bound - container.file_size([0], self.inserted))
        tried = self._tried(picture, picture.loss, plain, room, by_bits=True)
        best = min(tried, key=lambda made: (self._cost(made), made.coded.size))
        blocks, rate = best.encoder.exact, best.coded.rate
        exactly = None if blocks is None else self._beside(blocks, rate, quick=False)
        return [best, *([exactly] if exactly else [])]

    def _beyond(self, picture: graphics.Graphics) -> list[Made]:
        """What reaches a quality that the transform alone does not: its finest, and as little that is exact as does."""
        options, (height, width) = self.source.options, self.source.planes.shape[:2]
        name, wanted = ("psnr", options.psnr) if options.ssim is None else ("ssim", options.ssim)
        assert wanted is not None
        margin = measures.WINDOW - 1 if name == "ssim" else 0
        if min(height, width) <= margin:
            return []  # an exact picture alone can be said to have it
        places = (height - margin) * (width - margin) * (1.0 if self.source.seen is None else self.source.seen.mean())
        allowed = float(places) * (255**2 / 10 ** (wanted / 10) if name == "psnr" else 1 - wanted)
        plain = self._finest(None)
        tried = self._tried(picture, graphics.MEASURED[name], plain, allowed, by_bits=False)
        found = [made for made in tried if made.encoder.measured(name, made.coded) >= wanted]
        blocks = min(found, key=self._cost).encoder.exact if found else None
        others = [] if blocks is None else [self._beside(blocks)]  # which a coarser transform may reach, too
        others += [self._among(plain, picture)(more) for more in WIDE] if self.pixels <= SCANNED else []
        return [*found, *(made for made in others if made)]

    def _tried(
        self, picture: graphics.Graphics, loss: graphics.Loss, plain: Made, goal: float, by_bits: bool
    ) -> list[Made]:
        """What came of the trials of ``Filling.search`` with the transform's finest, which is ``plain`` alone."""
        tried: list[Made] = []
        least, moved = container.file_size([0], self.inserted), MOST_MOVED

        def beside(made: Made) -> Filling:
            return Filling(picture, loss, graphics.spent(made.coded), made.lost(loss), made.encoder.worth)

        def code(blocks: Exact | None) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
            rate = tried[-1].coded.rate if tried and by_bits else HIGHEST
            tried.append(made := self._finest(blocks, rate, moved))
            return 8.0 * (made.coded.size - least), graphics.spent(made.coded), made.lost(loss)

        filling = beside(plain)
        if plain.coded.rate < HIGHEST:  # beyond is what is too high for some blocks, which had better be exact
            bold = beside(self._finest(None, HIGHEST, 1.0))
            if bold.expected(goal, by_bits) < BOLD * filling.expected(goal, by_bits):
                filling, moved = bold, 1.0
        filling.search(goal, by_bits, code)
        return tried

    def _finest(self, blocks: Exact | None, rate: int = HIGHEST, moved: float = MOST_MOVED) -> Made:
        """What the transform makes at this rate parameter, or near it, beside exact blocks."""
        encoder = self._encoder(self.model(), blocks)
        return Made(encoder, encoder.at(rate, moved))

    def _climbed(self, made: Callable[[float], Made | None]) -> Made | None:
        """The best of what is ``made`` of powers of two."""
        powers: dict[int, Made | None] = {}

        def cost(power: int) -> float:
            if power not in powers:
                powers[power] = made(2.0**power)
            found = powers[power]
            return math.inf if found is None else self._cost(found)

        every = range(-MOST_DOUBLINGS, MOST_DOUBLINGS + 1)
        return powers[min(every, key=cost) if self.pixels <= SCANNED else search.climb(cost, STRIDE, MOST_DOUBLINGS)]

    def _beside(self, blocks: Exact, near: int | None = None, quick: bool = True) -> Made | None:
        """Layers that meet the target beside exact blocks, as ``_coded`` finds them; None if none do."""
        if self.bound and self.inserted + container.chunk_size(blocks.payload) >= self.bound:
            return None
        try:
            return self._coded(blocks, near, quick)
        except CwicError:  # a quality that blocks in so few colours do not let the picture reach
            return None

    def _mended(self, made: Made, picture: graphics.Graphics) -> Made:
        """The same with blocks exact that would show something else: those where the context model is too sure."""
        for _ in range(MENDINGS):
            if made.coded.spoilt is None or made.encoder.model.family != FAMILY:
                break
            with stage(self.timings, "graphics"):
                blocks = picture.extended(made.encoder.exact, made.coded.spoilt)
            mended = None
            if self.source.options.quality is not None:
                mended = self._finest(blocks, made.coded.rate)
            elif self.bound is not None:  # a rate that is too high for those blocks alone may stay
                near = (self._finest(blocks, made.coded.rate - less, 1.0) for less in LOWER)
                mended = next((each for each in near if each.coded.size <= self.bound), None)
            mended = mended or self._beside(blocks)
            if mended is None or mended.coded.size > (self.bound or math.inf):
                break
            made = mended
        return made

    def _cost(self, made: Made) -> float:
        """What the target leaves to be made small: of those within a bound the loss; else bits, or bits and loss."""
        if self.bound is not None:
            return math.inf if made.coded.size > self.bound else made.loss
        bits = 8 * made.coded.size
        if self.source.options.quality is None or isinstance(self._plain, CwicError):
            return bits
        return bits + self._plain.weight * made.loss

    def _written(self, made: Made) -> bytes:
        source, coded, model = self.source, made.coded, made.encoder.model
        height, width = source.planes.shape[:2]
        held = None if made.encoder.exact is None else made.encoder.exact.payload
        with stage(self.timings, "container"):
            header = container.Header(
                width, height, source.mode, coded.exponent, coded.rate, model.id, model.family, self.grey
            )
            return container.write_file(header, coded.layers(), source.extra, source.alpha, held, coded.post)

    def _encoder(self, model: models.Model, blocks: Exact | None, quick: bool = False) -> Encoder:
        effort = EFFORTS[self.source.options.effort]
        return Encoder(
            self.colour, self.grey, model, effort.quick if quick else effort, self.progress, self.timings,
            self.source.importance, self.inserted, blocks, self.source.seen,
        )  # fmt: skip

    def _coded(self, blocks: Exact | None, near: int | None = None, quick: bool = True) -> Made:
        """The layers that meet the target, of the operating point that suits it best.

        If the target is a bound and no point is within it, the smallest. ``near`` a rate a bound is met in less time,
        and, if ``quick``, less well.
        """
        options, bound = self.source.options, self.bound

        def made(model: models.Model, work: Callable[[Encoder], Coded]) -> Made:
            of_model = self._encoder(model, blocks, quick and near is not None)
            return Made(of_model, work(of_model))

        if bound is not None:
            tried = [made(model, lambda each: sized.within(each, bound, near)) for model in self.points]
            # Not always the nearest point: quality falls fast where a rate is far from what a point was made for.
            within = [each for each in tried if each.coded.size <= bound]
            if len(within) > 1:
                return min(within, key=lambda each: each.loss)
            return within[0] if within else min(tried, key=lambda each: each.coded.size)
        if options.quality is not None:
            t = quality_to_rate(options.quality)
            bpp = typical_bpp(t, None)
            model = self.model(bpp)
            return made(model, lambda each: each.at(guess_rate(bpp, model.bpp) if model.bpp else each.grounded(t)))
        name = "psnr" if options.psnr is not None else "ssim"
        reached: list[Made] = []
        missed: list[CwicError] = []
        for model in self.points:
            try:
                reached.append(made(model, lambda each: each.reaching(name, getattr(options, name))))
            except CwicError as error:
                missed.append(error)
        if not reached:
            raise max(missed, key=lambda error: error.best if isinstance(error, UnreachedError) else -math.inf)
        return min(reached, key=lambda each: each.coded.size)
