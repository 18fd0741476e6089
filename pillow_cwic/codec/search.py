"""The search for the rate parameter that meets a size or a quality."""

from __future__ import annotations

import math
from collections.abc import Callable

from pillow_cwic.rate import DECIBEL_SLOPE, HIGHEST, LOWEST, TYPICAL_SLOPE

AIM = 0.996  # the share of the wanted size that guesses aim at, to land below it
ENOUGH = 0.99  # a file this close below the wanted size ends the search
SPARED = 0.03  # the share of what layers may take that is left at most, where most of a file is something else
AROUND = 120  # bytes around layers, about
MAX_TRIALS = 16
COARSE = 8  # how near a search comes to a rate that is too high for the picture
PAST = 0.5  # dB by which a higher rate shows less, if the model is beyond what it was trained for, not a ripple


def predict(rate: int, size: int | None, wanted: int, slope: float = TYPICAL_SLOPE, fixed: int = 0) -> int:
    """A better guess after a file of ``size`` bytes at ``rate``; None for the size means that the rate is too high.

    ``slope`` is how log sizes grow with the rate, but for so many bytes that are ``fixed``.
    """
    if size is None:
        return max(LOWEST, rate - 256)
    step = math.log(max(1.0, wanted * AIM - fixed) / max(1, size - fixed)) / slope
    return min(HIGHEST, max(LOWEST, rate + round(step)))


def search(
    measure: Callable[[int], int | None],
    wanted: int,
    start: int,
    slope: float = TYPICAL_SLOPE,
    fixed: int = 0,
    enough: float = ENOUGH,
) -> int | None:
    """The largest rate parameter found whose file has at most ``wanted`` bytes; None if even the lowest has more.

    ``measure(rate)`` gives the size in bytes of a real file, or None where the model cannot work because the rate is
    too high for the picture. Sizes grow with the rate but for small ripples; the search brackets the wanted size and
    interpolates its logarithm, without what is ``fixed`` of it; ``slope`` is how that is expected to grow. A file of
    the share ``enough`` of the wanted size ends it, if it uses nearly all that is left for layers.
    """
    room = math.log(max(1, wanted - fixed))
    spared = min((1 - enough) * wanted, SPARED * max(0, wanted - fixed - AROUND))

    def log_size(rate: int) -> float:
        size = measure(rate)
        return math.inf if size is None else math.log(max(1, size - fixed))

    def below(less: float) -> float:
        return min(-1e-9, math.log(max(1.0, wanted - less - fixed)) - room)

    return _bracket(log_size, room, start, slope, below((1 - AIM) * wanted), below(spared))[0]


def search_quality(measure: Callable[[int], float | None], wanted: float, start: int, enough: float) -> int | None:
    """The smallest rate parameter found whose picture has at least ``wanted`` dB; None if none has.

    ``measure(rate)`` as in ``search``, but gives decibel. A picture at most ``enough`` dB better ends the search. A
    quality that falls again, as that of a model may whose rate is far from the one it was made for, is that of a rate
    too high.
    """
    best = LOWEST, -math.inf

    def decibel(rate: int) -> float:
        nonlocal best
        quality = measure(rate)
        if quality is None or (rate > best[0] and quality < min(wanted, best[1] - PAST)):
            return math.inf
        best = max(best, (rate, quality), key=lambda each: each[1])
        return quality

    _, above = _bracket(decibel, wanted, start, DECIBEL_SLOPE, enough / 2, enough)
    return above


def climb(cost: Callable[[int], float], stride: int, most: int) -> int:
    """The whole number from -most to most of about the least ``cost``, which falls and then rises; from 0 on.

    It may be infinite, most of all where the number is large, and level: steps of ``stride`` go on as long as nothing
    is worse, upwards past one that is, and end with steps of 1.
    """
    best = 0
    missed = 0
    for place in range(stride, most + 1, stride):
        if math.isfinite(cost(place)) and cost(place) <= cost(best):
            best, missed = place, 0
        elif (missed := missed + 1) > 1 or not math.isfinite(cost(best)):
            break
    if best == 0:
        for place in range(-stride, -most - 1, -stride):
            if math.isfinite(cost(best)) and cost(place) > cost(best):
                break
            best = place
    return min((best, *(place for place in (best - 1, best + 1) if abs(place) <= most)), key=cost)


def largest(
    measure: Callable[[int], int], low: tuple[int, int], high: tuple[int, int], wanted: int, enough: int
) -> int:
    """The largest whole number found at which ``measure``, which grows about evenly with it, is at most ``wanted``.

    ``low`` and ``high`` are numbers and what is measured there, at most ``wanted`` and more. A value of ``enough``, or
    more, ends the search.
    """
    while high[0] - low[0] > 1 and low[1] < enough:
        share = (wanted - low[1]) / (high[1] - low[1])
        place = low[0] + round(min(max(share, 0.1), 0.9) * (high[0] - low[0]))
        place = min(max(place, low[0] + 1), high[0] - 1)
        value = measure(place)
        if value <= wanted:
            low = place, value
        else:
            high = place, value
    return low[0]


def _bracket(
    measure: Callable[[int], float], wanted: float, start: int, slope: float, aim: float, enough: float
) -> tuple[int | None, int | None]:
    """Rate parameters on either side of where ``measure``, which grows with the rate, passes ``wanted``.

    ``slope`` is its usual growth with the rate. ``aim`` and ``enough`` are offsets from ``wanted`` on the side that
    matters, below or above: where guesses aim, and how near the search may end. Where ``measure`` is infinite the
    rate is too high, and is no answer.
    """
    below: tuple[int, float] | None = None  # rate and value, at most the wanted one; wanted itself is on either side
    above: tuple[int, float] | None = None
    rate, goal = min(max(start, LOWEST), HIGHEST), wanted + aim
    reach = 1.1  # how far beyond the guess a step goes; doubles while all trials lie on one side
    side, alike = False, 0  # of the last trial, and how many before it were there, too
    straight = True  # between the two, until lines lead astray
    for _ in range(MAX_TRIALS):
        value = measure(rate)
        is_below = value <= wanted if aim < 0 else value < wanted
        side, alike = is_below, alike + 1 if is_below == side else 0
        straight &= alike < 3 or not (below and above)
        if is_below:
            below = rate, value
        else:
            above = rate, value
        if is_below == (aim < 0) and abs(value - wanted) <= abs(enough):
            break
        if rate >= HIGHEST if is_below else rate <= LOWEST:
            break
        if below and above:
            if above[0] - below[0] <= (1 if math.isfinite(above[1]) else COARSE):
                break
            share = (goal - below[1]) / (above[1] - below[1]) if math.isfinite(above[1]) else 0.5
            share = min(max(share, 0.05), 0.95) if straight else 0.5
            rate = round(below[0] + share * (above[0] - below[0]))
            rate = min(max(rate, below[0] + 1), above[0] - 1)
        elif below:
            rate = min(HIGHEST, below[0] + max(4, round((goal - below[1]) / slope * reach)))
            reach *= 2
        elif above and math.isfinite(above[1]):
            rate = max(LOWEST, above[0] - max(4, round((above[1] - goal) / slope * reach)))
            reach *= 2
        else:
            rate = max(LOWEST, rate - 256)
    return below[0] if below else None, above[0] if above and math.isfinite(above[1]) else None
