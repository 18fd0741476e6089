"""The search for the best layers that fit a file of a given size."""

from __future__ import annotations

from pillow_cwic.codec import sample, search
from pillow_cwic.codec.encoder import DOWN, UP, Encoder
from pillow_cwic.codec.grounds import NEAR
from pillow_cwic.coding.symbols import Coded
from pillow_cwic.rate import HIGHEST, LOWEST, guess_rate

FAR = 96  # how far the rate may be from that of the analysis in the end, which is far only where sizes are unusual
SLOPE, STEEP = 1.3 / 512, 1.55 / 512  # growth of log size with the rate with one analysis, and with one that follows
MIDDLE = 0.32  # bpp of the usual photograph at rate parameter 0
UNLIKE = 2.0  # how many times as busy parts of a picture, or all of it, may be for the parts to tell of the whole
ROOM = 40  # bytes of the usual post-filter, which the search leaves free where that is next to nothing
NOTICED = 1 / 50  # the share of a size that a post-filter may take without a look at what it gives
FREE = 1 / 100  # and that may be left free for one beforehand
ALIKE = 24  # how far the rate may be from that which a post-filter was fitted at


def within(encoder: Encoder, size: int, near: int | None = None) -> Coded:
    """The best layers of a file of at most ``size`` bytes; if there are none, those at the lowest rate.

    The analysis follows the rate first; then it stays, so that the search sees sizes that grow with the rate. The rate
    is sought ``near`` another, if one is known.
    """
    bound = _Bound(encoder, max(1, size))
    return bound.best(bound.foreseen() if near is None else near)


class _Bound:
    """What was coded on the way to a size."""

    def __init__(self, encoder: Encoder, size: int) -> None:
        self.encoder, self.size = encoder, size
        self.left = ROOM if encoder.filters and FREE * size > ROOM else 0  # for a post-filter
        self.room = size - self.left  # that layers are sought for
        self.sizes: dict[tuple[int, float], int] = {}  # by rate and weight, of the last analysis
        self.kept: dict[float, Coded] = {}  # by weight: what had the highest rate of all that was found to fit

    def best(self, t: int) -> Coded:
        """The layers, sought from rate t on."""
        encoder, effort = self.encoder, self.encoder.effort
        usual = effort.usual
        for _ in range(effort.analyses + (effort.analyses > 1)):  # the first may be far off
            self.analyse(min(HIGHEST, t + (DOWN - UP) // 2))  # so that it reaches as far either way
            measured = self.measure(encoder.analysed_for, usual)
            better = search.predict(encoder.analysed_for, measured, self.size, STEEP, encoder.inserted)
            if encoder.reaches(better):
                break
            t = better
        t = encoder.analysed_for
        best = self.found(self.predicted(t, usual, self.room), usual, self.room)
        for _ in range(effort.analyses):
            if best is None or abs(best.rate - encoder.analysed_for) <= FAR:
                break
            before = encoder.analysed, encoder.analysed_for
            self.analyse(best.rate)
            again = self.found(best.rate, usual, self.room)
            if again is None or encoder.error(again) >= encoder.error(best):
                encoder.analysed, encoder.analysed_for = before
                self.forget()
                break
            best = again
        if best is not None and effort.steps:
            encoder.refine(best.rate)
            self.forget()
            best = self.found(self.predicted(best.rate, usual, self.room), usual, self.room)
        if best is None:  # what was analysed for a higher rate takes more
            self.analyse(LOWEST)
            best = self.found(LOWEST, usual, self.size)
            if best is None:
                if (least := encoder.code(LOWEST, usual)) is None:
                    raise encoder.useless()
                return least
        candidates = [(usual, best)]
        for weight in effort.weights:
            if weight != usual and (other := self.found(best.rate, weight, self.room)):
                candidates.append((weight, other))
        if len(candidates) > 1:
            candidates.sort(key=lambda each: encoder.error(each[1]))
        weight, best = candidates[0]
        return self.grounded(self.filtered(best, weight), best.rate, weight)

    def foreseen(self) -> int:
        """About the rate that meets the size: that of a photograph, or what parts of the picture tell."""
        encoder, (height, width) = self.encoder, self.encoder.pixels.shape[:2]
        bpp = 8 * max(1, self.size - encoder.inserted) / (height * width)
        t = guess_rate(bpp, encoder.model.bpp or MIDDLE)
        part = encoder.sample() if encoder.effort.analyses > 1 else None
        if part is None:
            return t
        ours, theirs = (sample.activity(each.transformed) for each in (encoder, part))
        if not theirs / UNLIKE < ours < theirs * UNLIKE:
            return t
        part.analyse(t)
        if (made := part.code(t, encoder.effort.usual)) is None:
            return t
        layers = sum(map(len, made.streams))
        scale = encoder.transformed.size * ours / (part.transformed.size * theirs)
        return search.predict(t, round(made.size - layers + layers * scale), self.size, STEEP, encoder.inserted)

    def analyse(self, t: int) -> None:
        """Runs the analysis transform; what was coded before is forgotten."""
        self.encoder.analyse(t)
        self.forget()

    def forget(self) -> None:
        self.sizes.clear()
        self.kept.clear()

    def measure(self, t: int, weight: float) -> int | None:
        """The bytes of a file at rate t; None if that is too high for the picture."""
        if (t, weight) not in self.sizes:
            if (made := self.encoder.code(t, weight)) is None:
                return None
            self.sizes[t, weight] = made.size
            kept = self.kept.get(weight)
            if made.size <= self.room and (kept is None or kept.rate < t):
                self.kept[weight] = made
        return self.sizes[t, weight]

    def predicted(self, t: int, weight: float, size: int) -> int:
        return search.predict(t, self.measure(t, weight), size, SLOPE, self.encoder.inserted)

    def found(self, start: int, weight: float, size: int) -> Coded | None:
        """What has the highest rate of all that were found to fit this size, which is not above that of the search."""
        self.room = size
        encoder = self.encoder
        search.search(lambda t: self.measure(t, weight), size, start, SLOPE, encoder.inserted, encoder.effort.enough)
        fit = [t for (t, used), taken in self.sizes.items() if used == weight and taken <= size]
        if not fit:
            return None
        kept = self.kept.get(weight)
        return kept if kept is not None and kept.rate == max(fit) else encoder.code(max(fit), weight)

    def grounded(self, best: Coded, rate: int, weight: float) -> Coded:
        """The best so far or, if that is better, what a rate below it makes that shows even colours better."""
        encoder = self.encoder
        if (t := encoder.grounded(rate, 2 * NEAR, 0)) == rate or (other := encoder.code(t, weight)) is None:
            return best
        tried = [other] if (through := encoder.filtered(other)) is other else [other, through]
        return min([best, *(each for each in tried if each.size <= self.size)], key=encoder.error)

    def filtered(self, best: Coded, weight: float) -> Coded:
        """The same through a post-filter, if that pays; layers make room for it, or take what was left for one."""
        encoder, size = self.encoder, self.size
        made = encoder.filtered(best)
        extra = made.size - best.size
        if made.size <= size and (not self.left or made.size >= search.ENOUGH * size):
            return made
        room = size - extra
        other = encoder.code(self.predicted(best.rate, weight, room), weight)
        if other is None or not search.ENOUGH * room <= other.size <= room:
            other = self.found(best.rate, weight, room)
        if other is None:
            return best
        if made.post is None:
            return other
        through = other.through(made.post)
        if extra <= NOTICED * size and abs(other.rate - best.rate) <= ALIKE:
            return through
        fit = [each for each in (best, through, other, encoder.filtered(other)) if each.size <= size]
        return min(fit, key=encoder.error)
