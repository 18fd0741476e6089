"""How much the encoder does for a picture, and what errors of codes cost."""

from __future__ import annotations

import math
from typing import NamedTuple

from pillow_cwic.codec import search

ROUGHLY = 0.975  # enough of a bound in trials
CODE_WEIGHTS = {"mse": 72.0, "ssim": 36.0}  # of squared errors in the middle of the range, see code_weight


class Effort(NamedTuple):
    """What the encoder does at one level of effort."""

    weights: tuple[float, ...]  # multiples of ``code_weight``; the best of several is kept; 0 rounds
    analyses: int  # how often the analysis transform may follow the rate
    steps: int  # of gradient descent on the latents
    filters: bool = True  # whether a post-filter is looked for
    enough: float = search.ENOUGH  # the share of a bound of bytes that ends the search for it

    @property
    def usual(self) -> float:
        """The weight that searches begin with."""
        return self.weights[len(self.weights) // 2]

    @property
    def quick(self) -> Effort:
        """For trials, of which only how they compare is of interest."""
        return Effort((self.usual,), min(self.analyses, 2), 0, False, ROUGHLY)


def code_weight(tuning: str, t: int) -> float:
    """What a squared error of one code step costs, in bits, when a code is weighed against its cheaper neighbour.

    At high rate a quantiser whose step suits its Lagrangian has 6 / ln 2 = 8.7; the analysis transform has learned to
    leave less to gain, the more so the lower the rate. Fitted to the best constants at equal rate (validation split).
    """
    return CODE_WEIGHTS[tuning] * math.exp(-0.35 * min(max(t / 512, -1.5), 1.5))


_WEIGHT, _WEIGHTS = (1.0,), (0.5, 1.0, 2.0)
EFFORTS = (
    Effort((0.0,), 2, 0, False),
    Effort((0.0,), 3, 0, False),
    Effort(_WEIGHT, 2, 0),
    Effort(_WEIGHT, 3, 0),
    Effort(_WEIGHTS, 3, 0),
    Effort(_WEIGHTS, 3, 12),
    Effort(_WEIGHTS, 3, 25),
    Effort(_WEIGHTS, 3, 60),
    Effort(_WEIGHTS, 3, 150),
    Effort(_WEIGHTS, 3, 400),
)

PLAIN = Effort((0.0,), 1, 0, False)  # for models that have nothing to choose
