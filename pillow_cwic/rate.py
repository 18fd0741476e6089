"""Rate control: the search for the rate parameter that meets a size."""

from __future__ import annotations

import math
from collections.abc import Callable

LOWEST, HIGHEST = -2048, 2048  # rate parameters that the format can hold
TYPICAL_SLOPE = 1.3 / 512  # growth of log size with the rate parameter, for the first steps
AIM = 0.996  # the share of the wanted size that guesses aim at, to land below it
ENOUGH = 0.99  # a file this close below the wanted size ends the search
MAX_TRIALS = 16


def quality_to_rate(quality: int) -> int:
    """Quality 1 .. 100 to the rate parameter: linear, 50 in the middle of the trained range, 90 near its end."""
    return round((quality - 50) * 512 * 1.25 / 50)


def guess_rate(bpp: float, at_zero: float) -> int:
    """A first guess for a photograph, from the mean over many: rate parameter 0 gives about ``at_zero`` bpp."""
    return max(-700, min(800, round(math.log(max(bpp, 1e-3) / at_zero) / TYPICAL_SLOPE)))


def typical_bpp(rate: int, at_zero: float) -> float:
    """About what a photograph takes at a rate parameter."""
    return at_zero * math.exp(rate * TYPICAL_SLOPE)


def predict(rate: int, size: int | None, wanted: int) -> int:
    """A better guess after a file of ``size`` bytes at ``rate``; None for the size means that the rate is too high."""
    if size is None:
        return max(LOWEST, rate - 256)
    step = math.log(max(1.0, wanted * AIM) / size) / TYPICAL_SLOPE
    return min(HIGHEST, max(LOWEST, rate + round(step)))


def search(measure: Callable[[int], int | None], wanted: int, start: int) -> int | None:
    """The largest rate parameter found whose file has at most ``wanted`` bytes; None if even the lowest has more.

    ``measure(rate)`` gives the size in bytes of a real file, or None where the model cannot work because the rate is
    too high for the picture. Sizes grow with the rate but for small ripples; the search brackets the wanted size and
    interpolates its logarithm, so that four or five trials usually do.
    """
    below: tuple[int, float] | None = None  # rate and log size, at most the wanted one
    above: tuple[int, float] | None = None
    rate, goal = start, math.log(max(1.0, wanted * AIM))
    reach = 1.1  # how far beyond the guess a step goes; doubles while all trials lie on one side
    for _ in range(MAX_TRIALS):
        size = measure(rate)
        if size is not None and size <= wanted:
            below = (rate, math.log(size))
            if size >= ENOUGH * wanted or rate >= HIGHEST:
                break
        else:
            above = (rate, math.log(size) if size is not None else math.inf)
            if rate <= LOWEST:
                break
        if below and above:
            if above[0] - below[0] <= 1:
                break
            share = (goal - below[1]) / (above[1] - below[1]) if math.isfinite(above[1]) else 0.5
            share = min(max(share, 0.05), 0.95)
            rate = round(below[0] + share * (above[0] - below[0]))
            rate = min(max(rate, below[0] + 1), above[0] - 1)
        elif below:
            rate = min(HIGHEST, below[0] + max(4, round((goal - below[1]) / TYPICAL_SLOPE * reach)))
            reach *= 2
        elif above and math.isfinite(above[1]):
            rate = max(LOWEST, above[0] - max(4, round((above[1] - goal) / TYPICAL_SLOPE * reach)))
            reach *= 2
        else:
            rate = max(LOWEST, rate - 256)
    return below[0] if below else None
