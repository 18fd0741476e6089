"""The 8x8 discrete cosine transform in an orthonormal colour space, as initial values of the linear paths.

A transform codec is a good place to start from: it is orthonormal, so that high rates work from the first step, and
its channels come in order of importance. The networks beside it learn what it lacks.
"""

from __future__ import annotations

import torch
from torch import Tensor

SIDE = 8


def basis(channels: int) -> Tensor:
    """The first ``channels`` of the 192 basis functions, (channels, 192), rows orthonormal.

    Columns are ordered as ``pixel_unshuffle(picture, 8)`` orders an RGB picture: colour, row, column. Rows are in
    order of the variance that photographs have in them on average, by the model below.
    """
    cpu = torch.device("cpu")  # on torch's meta device, where models are shaped, arithmetic would import its compiler
    k = torch.arange(SIDE, dtype=torch.float64, device=cpu)
    cosine = torch.cos(torch.pi * k[:, None] * (2 * k[None, :] + 1) / (2 * SIDE)) * (2 / SIDE) ** 0.5
    cosine[0] /= 2**0.5  # (frequency, position)
    colour = torch.tensor([[1, 1, 1], [1, 0, -1], [-1, 2, -1]], dtype=torch.float64, device=cpu)
    colour /= colour.norm(dim=1, keepdim=True)  # brightness, orange to blue, green to purple
    functions = torch.einsum("kc,uy,vx->kuvcyx", colour, cosine, cosine).reshape(3 * SIDE * SIDE, -1)
    # Spectra fall with the square of the frequency; colour differences have about 1/12 and 1/40 of the energy.
    energy = torch.tensor([1, 1 / 12, 1 / 40], dtype=torch.float64, device=cpu)[:, None, None]
    variance = energy / (0.1 + k[:, None] ** 2 + k[None, :] ** 2) ** 1.2
    order = variance.flatten().argsort(descending=True, stable=True)
    return functions[order[:channels]].float()


def luma_contrast(channels: int) -> tuple[Tensor, Tensor]:
    """Which of the first basis functions are luma without the mean, and which are no mean of a block, (channels,)."""
    functions = basis(channels).view(channels, 3, -1)
    contrast = functions.sum(2).abs().amax(1) < 1e-4
    grey = (functions - functions[:, :1]).abs().amax((1, 2)) < 1e-6
    return grey & contrast, contrast
