"""SOAP, the fields of the schedule that belong to it, and the long runs that ``make train`` keeps going."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training import campaign
from training.data import Crops
from training.networks.model import Config
from training.soap import Soap, suits
from training.train import RECORD, Run, Schedule, configured, train

TINY = Config(wide=16, blocks=1, groups=(2, 2), context_hidden=16, map_features=8, levels=2)


def left_of_loss(kind: str, lr: float, steps: int = 150) -> float:
    """Share of the loss left of fitting W in |A (W - target) B|, whose curvatures span six decades off the axes."""
    torch.manual_seed(0)
    sides = []
    for size in (24, 32):
        turn = torch.linalg.qr(torch.randn(size, size)).Q
        sides.append(turn @ torch.diag(torch.logspace(0, -1.5, size)) @ turn.T)
    target = torch.randn(24, 32)
    weight = torch.nn.Parameter(torch.zeros(24, 32, 1, 1))
    optimiser = Soap([weight], lr) if kind == "soap" else torch.optim.AdamW([weight], lr, weight_decay=0.0)
    losses = []
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = lr * (1 - step / steps)
        optimiser.zero_grad()
        loss = (sides[0] @ (weight.flatten(1) - target) @ sides[1]).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses[-1] / losses[0]


def test_soap_gets_further_than_adamw_where_curvatures_differ() -> None:
    best = min(left_of_loss("adamw", lr) for lr in (0.05, 0.1, 0.2, 0.4))
    assert all(left_of_loss("soap", lr) < 0.5 * best for lr in (0.1, 0.2))


def test_it_is_for_matrices_of_middling_sides() -> None:
    yes = [(160, 160, 1, 1), (16, 16, 1, 1), (400, 16, 5, 5), (320, 160, 1, 1)]
    no = [(160, 1, 3, 3), (64, 64, 3, 3), (8, 64, 1, 1), (401, 160, 1, 1), (160,)]
    assert all(suits(torch.zeros(shape)) for shape in yes)
    assert not any(suits(torch.zeros(shape)) for shape in no)
    with pytest.raises(ValueError, match=r"a parameter of \(8, 64, 1, 1\) has no matrix"):
        Soap([torch.nn.Parameter(torch.zeros(8, 64, 1, 1))], 1e-3)


def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, photo: Image.Image) -> None:
    schedule = Schedule(steps=40, batch=1, map_from=0.0, hard_from=0.0, soap=True, warmup=5)

    def steps(run: Run, seed: int, count: int) -> None:
        crops = Crops([np.asarray(photo)], size=64, batch=1, seed=seed)
        torch.manual_seed(seed)
        for _ in range(count):
            run.train_step(crops)

    first = Run(tmp_path, TINY, schedule, torch.device("cpu"))
    steps(first, 1, 13)
    first.save()
    second = Run(tmp_path, TINY, schedule, torch.device("cpu"))
    second.restore()
    assert second.pixels == first.pixels == 13 * 64 * 64
    for run in (first, second):
        steps(run, 2, 9)  # the bases turn at 11 and 21
    for model in ("model", "average"):
        one, other = (getattr(run, model).state_dict() for run in (first, second))
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(isinstance(optimiser, Soap) for optimiser in first.optimisers)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"soap": 1}, "soap is 1, not true or false"),
        ({"soap": True, "muon": 0.2}, "soap and muon are for the same matrices"),
        ({"warmup": -1}, "warmup is -1, not a number of steps"),
        ({"warmup": 0.5}, r"warmup is 0\.5, not a number of steps"),
    ],
)
def test_wrong_fields_are_named(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        configured({"schedule": fields})


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.zeros(16, 16, 1, 1))
    with pytest.raises(ValueError, match=r"betas are \(0\.95, 1\)"):
        Soap([weight], 1e-3, betas=(0.95, 1))
    with pytest.raises(ValueError, match="every is 0"):
        Soap([weight], 1e-3, every=0)
    with pytest.raises(ValueError, match="no learning parameter suits it"):
        Run(tmp_path, TINY, Schedule(soap=True, only="analysis.leave.bias"), torch.device("cpu"))


def test_the_learning_rate_rises_over_the_warm_up() -> None:
    schedule = Schedule(lr=1.0, warmup=4)
    assert [schedule.learning_rate(0.0, step) for step in (0, 1, 3, 4)] == [0.25, 0.5, 1.0, 1.0]
    assert Schedule(lr=1.0, warmup=0).learning_rate(0.0, 0) == 1.0
    assert Schedule().warmup == 200


def test_the_configs_of_the_long_runs_hold() -> None:
    for name in campaign.names():
        _, schedule = configured(json.loads((campaign.CONFIGS / f"{name}.json").read_text()))
        assert schedule.tuning == name and schedule.minutes


def test_runs_have_cores_of_their_own() -> None:
    assert [campaign.core_of(name, {0, 1}) for name in campaign.names()] == [1, 0]
    assert {campaign.core_of(name, {3}) for name in campaign.names()} == {3}


def test_a_run_writes_its_record_and_the_campaign_keeps_it(tmp_path: Path, photo: Image.Image) -> None:
    folder = tmp_path / "mse"
    folder.mkdir()
    crops = Crops([np.asarray(photo)], size=64, batch=1, seed=1)
    for _ in range(2):
        run = Run(folder, TINY, Schedule(steps=4, batch=1, valid_every=2), torch.device("cpu"))
        if (folder / "state.json").exists():
            run.restore()
        train(run, crops, [np.asarray(photo.resize((64, 48)))], more_steps=2)
    target = tmp_path / "training.csv"
    target.write_text(f"run,{','.join(RECORD)}\nssim,5,{','.join(['1'] * (len(RECORD) - 1))}\n")
    for _ in range(2):
        campaign.gather(target, tmp_path)
    with target.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["run"], row["step"]) for row in rows] == [("mse", "2"), ("mse", "4"), ("ssim", "5")]
    assert all(float(row["train_loss"]) > 0 and float(row["loss_at_-0.5"]) > 0 for row in rows)
    record = folder / "record.csv"
    record.write_text("\n".join(record.read_text().splitlines()[:2]).replace("\n2,", "\n3,"))  # of a run begun anew
    for _ in range(2):
        campaign.gather(target, tmp_path)
    with target.open(newline="") as file:
        found = [(row["run"], row["step"]) for row in csv.DictReader(file)]
    assert found == [("mse", "3"), ("mse-1", "2"), ("mse-1", "4"), ("ssim", "5")]


def test_a_running_process_is_known_by_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert campaign.holder(tmp_path) is None
    fake = tmp_path / "taskset"
    fake.write_text("#!/bin/sh\necho 'step 7 loss 1.5'\nexec sleep 60\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    campaign.start("mse", tmp_path, tmp_path, "mse")
    process = campaign.holder(tmp_path)
    assert process
    try:
        while "step" not in (tmp_path / "out.log").read_text():
            os.kill(process, 0)
        assert campaign.shown("mse", tmp_path) == f"mse: process {process}, step 7 loss 1.5"
    finally:
        os.kill(process, 15)
        os.waitpid(process, 0)
    assert campaign.holder(tmp_path) is None
    assert campaign.shown("mse", tmp_path) == "mse: not running, step 7 loss 1.5"
