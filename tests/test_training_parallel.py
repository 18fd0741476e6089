"""Data-parallel training: two processes with crops of their own learn the same, from the mean of their gradients."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from training import parallel
from training.data import Crops
from training.networks.model import Config
from training.train import Run, Schedule

TINY = Config(wide=16, blocks=1, groups=(2, 2), context_hidden=16, map_features=8, levels=2)
SCHEDULE = Schedule(steps=4, batch=2, map_from=0.0, hard_from=0.0, clip=1e9)


def fresh(rank: int, folder: Path) -> tuple[Run, Crops]:
    run = Run(folder, TINY, SCHEDULE, torch.device("cpu"))
    torch.manual_seed(rank)
    noise = np.random.default_rng(7).integers(0, 256, (96, 96, 3), np.uint8)
    return run, Crops([noise], size=64, batch=2, seed=rank)


def gradients(run: Run) -> dict[str, torch.Tensor]:
    return {n: p.grad.contiguous() for n, p in run.model.named_parameters() if p.grad is not None}


def work(rank: int, folder: Path) -> None:
    """One of the two processes: a step alone, then three together."""
    torch.set_num_threads(1)
    run, crops = fresh(rank, folder)
    run.train_step(crops)
    save_file(gradients(run), folder / f"alone{rank}")

    run, crops = fresh(rank, folder)
    assert parallel.join(torch.device("cpu")) == rank
    run.train_step(crops)
    save_file(gradients(run), folder / f"first{rank}")
    run.train_step(crops)
    run.train_step(crops)
    seconds = torch.tensor(parallel.mean(1.0 + rank, run.device), dtype=torch.float64)
    parallel.leave()
    weights = {n: p.detach().contiguous() for n, p in run.model.named_parameters()}
    save_file({**weights, "seconds": seconds}, folder / f"end{rank}")


def launched(rank: int, folder: Path, environment: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}.items():
            patch.setenv(name, value)
        work(rank, folder)


def test_processes_learn_the_same_from_the_mean_of_their_gradients(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.multiprocessing.spawn(launched, (tmp_path, environment), nprocs=2)
    read = {path.name: load_file(path) for path in tmp_path.iterdir()}
    differs = False
    for name, gradient in read["first0"].items():
        one, other = read["alone0"][name], read["alone1"][name]
        differs |= not torch.allclose(one, other)
        torch.testing.assert_close(gradient, (one + other) / 2)
    assert differs, "both processes drew the same crops, so that their mean shows nothing"
    assert read["end0"].pop("seconds") == read["end1"].pop("seconds") == 1.5
    for name, weights in read["end0"].items():
        assert torch.equal(weights, read["end1"][name]), name


def test_a_process_alone_is_its_own_mean() -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    parameter.grad = torch.arange(3.0)
    assert parallel.join(torch.device("cpu")) == 0
    parallel.average_gradients([parameter])
    assert parameter.grad.tolist() == [0, 1, 2]
    assert parallel.mean(2.5, torch.device("cpu")) == 2.5
