"""SOAP (Vyas et al., 2024, arXiv 2409.11321): Adam in the slowly turning eigenbasis of Shampoo's preconditioner."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from pillow_cwic.transforms.torch.precision import bfloat16_pays

SIDES = (16, 400)  # matrices with a shorter or longer side are left to another optimiser
KEPT = ("turned_avg", "turned_avg_sq", "left", "right", "left_basis", "right_basis")  # of each parameter, with "step"


def suits(parameter: Tensor) -> bool:
    """Whether a parameter, (out, in, k, k), is for SOAP: as a matrix, (out, in * k * k), it has sides within ``SIDES``.

    Depthwise convolutions, of one input channel, are not.
    """
    low, high = SIDES
    return parameter.ndim == 4 and min(parameter.shape[:2]) >= low and max(matrix(parameter).shape) <= high


def matrix(values: Tensor) -> Tensor:
    """(out, in, k, k) -> (out, in * k * k)."""
    return values.reshape(len(values), -1)


def eigenbasis(square: Tensor) -> Tensor:
    """(n, n) symmetric -> (n, n), eigenvectors as columns, those of the largest eigenvalues first."""
    return torch.linalg.eigh(square).eigenvectors.flip(1).contiguous()


def turned(square: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """One power iteration from ``basis``, (n, n): the new basis, and the order that the columns are taken in first."""
    image = square @ basis
    order = (basis * image).sum(0).argsort(descending=True, stable=True)
    return torch.linalg.qr(image[:, order]).Q.contiguous(), order


class Soap(torch.optim.Optimizer):
    """For parameters that :func:`suits` accepts, of (m, n) as matrices. The first step only finds the bases.

    Products with gradients are in bfloat16 where that is faster, as the gradients themselves are after a backward pass
    under autocast; bases and moments stay in float32.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        every: int = 10,
    ) -> None:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas are {betas}, not from 0 to below 1")
        if every < 1:
            raise ValueError(f"every is {every}, not 1 step or more")
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "every": every})
        for group in self.param_groups:
            for p in group["params"]:
                if not suits(p):
                    raise ValueError(f"a parameter of {tuple(p.shape)} has no matrix with sides of {SIDES}")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, group)

    def _update(self, p: nn.Parameter, group: dict) -> None:
        state = self.state[p]
        first, second = group["betas"]
        kind = torch.bfloat16 if bfloat16_pays(p.device) else torch.float32
        gradient = matrix(p.grad).to(kind)  # (m, n)
        squares = ((gradient @ gradient.mT).float(), (gradient.mT @ gradient).float())  # (m, m), (n, n)
        if "left" not in state:
            state["step"] = torch.tensor(1.0)
            state["left"], state["right"] = (square * (1 - second) for square in squares)
            state["left_basis"], state["right_basis"] = (eigenbasis(square) for square in squares)
            state["turned_avg"], state["turned_avg_sq"] = (torch.zeros(gradient.shape, device=p.device) for _ in "mv")
            return
        state["step"] += 1
        left, right = state["left_basis"].to(kind), state["right_basis"].to(kind)
        seen = (left.mT @ gradient @ right).float()
        average = state["turned_avg"].lerp_(seen, 1 - first)
        variance = state["turned_avg_sq"].lerp_(seen.square_(), 1 - second)
        updates = int(state["step"]) - 1
        scale = (1 - second**updates) ** 0.5
        update = average / (variance.sqrt() / scale).add_(group["eps"])
        update = left @ update.to(kind) @ right.mT
        p.add_(update.float().reshape(p.shape), alpha=-group["lr"] / (1 - first**updates))
        # The preconditioner last, so that no gradient is seen in a basis of its own making.
        for side, square in zip(("left", "right"), squares, strict=True):
            state[side].lerp_(square, 1 - second)
        if updates % group["every"] == 0:
            self._renew(state)

    def _renew(self, state: dict) -> None:
        """Turns the bases by one power iteration and the moments with them, the second as if only their order did."""
        left, left_order = turned(state["left"], state["left_basis"])
        right, right_order = turned(state["right"], state["right_basis"])
        back = state["left_basis"] @ state["turned_avg"] @ state["right_basis"].mT
        state["turned_avg"] = left.mT @ back @ right
        state["turned_avg_sq"] = state["turned_avg_sq"][left_order][:, right_order]
        state["left_basis"], state["right_basis"] = left, right
