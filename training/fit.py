"""What an export to integers is made of: ranges of activations, and rounding whose errors make up for each other.

Rounding input by input, with the error of each passed on to those that follow by the inputs' second moments: Frantar et
al., GPTQ, 2022, after Hassibi and Stork's optimal brain surgeon, 1993.
"""

from __future__ import annotations

import torch
from torch import Tensor

TAILS = (0.0, 1e-4, 1e-3, 5e-3)  # shares of values that a range may leave out on each side
FRACTIONS = (1.0, 0.8, 0.63, 0.5, 0.4, 0.32, 0.25, 0.2, 0.16, 0.1, 0.06, 0.03)  # of the largest value, likewise


def _error(values: Tensor, middle: Tensor, step: Tensor, low: int, high: int, weights: Tensor) -> Tensor:
    """Weighted squared error of columns (P, C) as integers low .. high in ``step`` from ``middle``: (C,)."""
    shown = ((values - middle) / step).round_().clamp_(low, high).mul_(step).add_(middle)
    return weights @ shown.sub_(values).square_()


def symmetric_span(values: Tensor, weights: Tensor, levels: int = 127) -> tuple[Tensor, Tensor]:
    """Centre and step of each column of (P, C), with which integers in +-levels represent it best."""
    few = values[:: max(1, len(values) // 8000)].t().contiguous().sort(1).values
    places = [round(share * (few.shape[1] - 1)) for share in TAILS[1:]]
    lows = [values.amin(0), *few[:, places].t()]
    highs = [values.amax(0), *few[:, [few.shape[1] - 1 - place for place in places]].t()]
    tried = [((low + high) / 2, ((high - low) / (2 * levels)).clamp(min=1e-9)) for low in lows for high in highs]
    errors = torch.stack([_error(values, middle, step, -levels, levels, weights) for middle, step in tried])
    best = errors.argmin(0)[None]
    centre, step = (torch.stack(some).gather(0, best)[0] for some in zip(*tried, strict=True))
    return centre, step


def positive_span(values: Tensor, weights: Tensor, levels: int = 127) -> Tensor:
    """Step of each column of (P, C), not negative, with which integers in 0 .. levels represent it best."""
    tried = (values.amax(0) / levels).clamp(min=1e-9) * torch.tensor(FRACTIONS)[:, None]
    zero = torch.zeros(values.shape[1])
    errors = torch.stack([_error(values, zero, step, 0, levels, weights) for step in tried])
    return tried.gather(0, errors.argmin(0)[None])[0]


def regress(moments: Tensor, cross: Tensor, prior: Tensor, strength: float) -> Tensor:
    """Least squares near a prior: moments (.., I, I) and cross (.., I, O) of centred inputs; prior, result (.., I, O).

    ``strength`` is that of the pull to the prior, over the mean of the inputs' variances.
    """
    size = moments.shape[-1]
    eye = torch.eye(size, dtype=moments.dtype)
    ridge = strength * moments.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None] + 1e-9
    return prior + torch.linalg.solve(moments + ridge * eye, cross - moments @ prior)


def compensated(moments: Tensor, weight: Tensor, limit: int = 127, damping: float = 0.01) -> Tensor:
    """Weights (B, I, O) as integers within +-limit that keep the outputs, given the inputs' moments (B, I, I).

    The inputs with the largest variance come first.
    """
    batch, size, _ = weight.shape
    order = moments.diagonal(dim1=1, dim2=2).argsort(1, descending=True)
    rows = torch.arange(batch)[:, None]
    left = weight.double()[rows, order]
    moments = moments.double()[rows[..., None], order[:, :, None], order[:, None, :]]
    ridge = damping * moments.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] + 1e-9
    inverse = torch.linalg.inv(moments + ridge * torch.eye(size, dtype=torch.float64))
    upper = torch.linalg.cholesky((inverse + inverse.mT) / 2, upper=True)
    rounded = torch.empty_like(left)
    for i in range(size):
        rounded[:, i] = left[:, i].round().clamp(-limit, limit)
        error = (left[:, i] - rounded[:, i]) / upper[:, i, i, None]
        left[:, i + 1 :] -= upper[:, i, i + 1 :, None] * error[:, None]
    result = torch.empty_like(rounded)
    result[rows, order] = rounded
    return result
