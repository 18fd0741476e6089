"""Muon (Jordan et al., 2024): momentum whose update is made orthogonal, for the convolutions' weight matrices."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """Nearest semi-orthogonal matrix, roughly: five quintic Newton-Schulz steps, (rows, columns) -> same.

    A step multiplies by a polynomial of the Gram matrix, which the next Gram matrix commutes with, so all steps are
    taken on that, whose side is the shorter one, and their product is applied once.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    gram = x.mT @ x if tall else x @ x.mT
    product = None
    for step in range(steps):
        factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal().add_(a)
        product = factor if product is None else factor @ product
        if step < steps - 1:
            gram = factor @ gram @ factor
    return x @ product if tall else product @ x


class Muon(torch.optim.Optimizer):
    """For parameters of two or more dimensions, seen as matrices (first dimension, rest).

    The update has the root mean square ``lr * scale`` whatever the shape, so that ``lr`` can follow the schedule that
    AdamW has (Liu et al., 2025, find that a scale of 0.2 matches AdamW's steps).
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, scale: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "scale": scale, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "exp_avg" not in state:
                    state["exp_avg"] = torch.zeros_like(p)
                average = state["exp_avg"].lerp_(p.grad, 1 - group["momentum"])
                matrix = p.grad.lerp(average, group["momentum"]).reshape(p.shape[0], -1)
                size = max(matrix.shape) ** 0.5  # an orthogonal matrix of this shape has entries of RMS 1 / size
                p.add_(orthogonal(matrix).reshape(p.shape), alpha=-group["lr"] * group["scale"] * size)
