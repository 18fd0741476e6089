"""Data-parallel training: one process a device or core, each with its own crops, all with the mean of the gradients.

``torchrun --nproc-per-node 2 -m -- training.train ..`` starts the processes; a batch is then that of the schedule times
their number. Without torchrun there is one process, and everything here does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist


def join(device: torch.device) -> int:
    """Meets the other processes that torchrun started; returns this one's rank, 0 if it is alone."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        if device.type == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return dist.get_rank()
    return 0


def leave() -> None:
    """Ends what :func:`join` began."""
    if dist.is_initialized():
        dist.destroy_process_group()


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Gives every parameter that has a gradient the mean of the processes' gradients."""
    if not dist.is_initialized():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    joined = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(joined)
    joined /= dist.get_world_size()
    for gradient, mean in zip(gradients, joined.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view(gradient.shape))


def mean(value: float, device: torch.device) -> float:
    """The mean of the processes' values, the same number in each: what all decide by must not differ."""
    if not dist.is_initialized():
        return value
    total = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return total.item() / dist.get_world_size()
