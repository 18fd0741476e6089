"""Training of model ``cwic2018``: stages, plateaus, budgets, predictors; and its benchmark, from a tiny model."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load, save_file
from test_cwic2018 import TINY, lively, released  # noqa: F401  (a fixture)

from benchmarks import paper as benchmark
from pillow_cwic import models
from pillow_cwic.cwic2018.networks import Paper, PaperConfig
from pillow_cwic.file import container
from training import paper_context, paper_export, paper_master
from training.data import Crops
from training.networks import cuboid
from training.networks.cuboid import CuboidModel
from training.paper import PaperRun, PaperSchedule, counted_dead, fallen, initialise, load_average, train


@pytest.fixture
def crops(photo: Image.Image) -> Crops:
    return Crops([np.asarray(photo.resize((192, 128)))], 64, 2, seed=1)


def test_the_plateau_test() -> None:
    assert not fallen([5, 4, 3], 3, 0.01)
    assert fallen([5, 4, 3, 3.0, 2.99, 3.1], 3, 0.01)
    assert not fallen([5, 4, 3, 3.0, 2.9, 3.1], 3, 0.01)


def test_it_begins_with_signals_of_one_size_and_no_dead_unit(photo: Image.Image) -> None:
    torch.manual_seed(1)
    model = Paper(PaperConfig(width=32))
    picture = torch.from_numpy(np.asarray(photo.resize((128, 128)), np.float32)).permute(2, 0, 1)[None] / 255 - 0.5

    def spread() -> tuple[float, float]:
        with torch.no_grad(), counted_dead(model) as dead:
            model(picture, use_map=False)
            return float(model.encoder.features(picture).square().mean().sqrt()), dead()

    faded, _ = spread()
    initialise(model)
    kept, dead = spread()
    assert dead < 0.1 and kept > 3 * faded and 0.3 < kept / float((2 * picture).square().mean().sqrt()) < 3
    with torch.no_grad():
        model.decoder.get_submodule("trunk")[1].first.bias[:8] = -1e9
    assert spread()[1] > dead


def test_training_goes_through_the_stages_and_resumes(tmp_path: Path, photo: Image.Image, crops: Crops) -> None:
    schedule = PaperSchedule(batch=2, crop=64, valid_every=10, patience=2, falls=0.5)
    valid = [torch.from_numpy(np.asarray(photo.resize((64, 64)), np.float32)).permute(2, 0, 1)[None] / 255 - 0.5]
    first = PaperRun(tmp_path / "first", TINY, schedule, torch.device("cpu"))
    first.folder.mkdir()
    train(first, crops, valid)
    assert first.current is None and "falls no more" in first.ended[0]
    assert min(first.losses[0]) < first.losses[0][0] + 1e-9

    run = PaperRun(tmp_path / "second", TINY, replace(schedule, r=0.3), torch.device("cpu"))
    run.folder.mkdir()
    run.start_from_run(first.folder)
    assert run.current is not None and run.current.use_map and run.current.lr == 1e-4
    loss, mse, kept = run.train_step(crops)
    assert 0.25 < kept < 0.35 and loss >= mse
    run.save()
    again = PaperRun(run.folder, TINY, replace(schedule, r=0.3), torch.device("cpu"))
    again.restore()
    train(again, crops, valid)
    assert [e.split(":")[0] for e in again.ended] == ["map 0.0001", "map 1e-05", "map 1e-06"]
    average = load_average(run.folder)[0]
    assert all(torch.isfinite(p).all() for p in average.parameters())

    lower = PaperRun(tmp_path / "lower", TINY, replace(schedule, r=0.1), torch.device("cpu"))
    lower.start_from_run(run.folder)
    assert torch.equal(lower.model.importance.out.weight, average.importance.out.weight)  # the map keeps its shape
    moved = lower.model.importance.out.bias - average.importance.out.bias
    assert moved.item() == pytest.approx(math.log(0.1 / 0.9) - math.log(0.3 / 0.7), abs=1e-5)


def test_a_first_stage_goes_on_from_what_was_kept_of_it(tmp_path: Path, crops: Crops) -> None:
    run = PaperRun(tmp_path / "first", TINY, PaperSchedule(batch=2, crop=64), torch.device("cpu"))
    run.folder.mkdir()
    for _ in range(3):
        run.train_step(crops)
        run.step += 1
    run.save()
    paper_master.keep(run.folder, tmp_path / "kept")
    again = PaperRun(tmp_path / "more", TINY, run.schedule, torch.device("cpu"))
    again.start_from_run(tmp_path / "kept")
    assert again.current is not None and not again.current.use_map
    for name, value in again.model.state_dict().items():
        assert torch.equal(value, run.average.state_dict()[name].half().float()), name


def test_a_warm_stage_comes_before_those_of_the_paper() -> None:
    stages = PaperSchedule(r=0.3, warm=1e-3).stages()
    assert [s.lr for s in stages] == [1e-3, 1e-4, 1e-5, 1e-6] and all(s.use_map for s in stages)
    assert sum(s.share for s in stages) == pytest.approx(1)
    assert [s.lr for s in PaperSchedule(r=0.3).stages()] == [1e-4, 1e-5, 1e-6]


def test_a_budget_ends_a_stage_and_more_of_it_reopens_it(tmp_path: Path, photo: Image.Image, crops: Crops) -> None:
    schedule = PaperSchedule(batch=2, crop=64, minutes=1e-4)
    valid = [torch.zeros(1, 3, 64, 64)]
    run = PaperRun(tmp_path, TINY, schedule, torch.device("cpu"))
    train(run, crops, valid)
    assert "budget" in run.ended[0]
    again = PaperRun(tmp_path, TINY, replace(schedule, minutes=60.0), torch.device("cpu"))
    again.restore()
    again.reopen()
    assert again.current is not None and again.step == run.step and not again.ended


def test_predictors_learn_and_are_released(tmp_path: Path, photo: Image.Image, crops: Crops) -> None:
    torch.manual_seed(0)
    model = Paper(TINY).eval().requires_grad_(False)
    with torch.no_grad():
        model.encoder.out.weight.mul_(20)
    context, steps = paper_context.fit(model, crops, 0.03)
    assert steps > 3
    fresh = CuboidModel(TINY.planes, TINY.channels)
    pictures = [np.asarray(photo.crop((200, 100, 584, 356)))]
    trained, untrained = (paper_context.compare(model, c, pictures) for c in (context, fresh))
    assert trained["bpp"] < untrained["bpp"]
    assert abs(trained["excess"]) < 0.01
    assert trained["bits_kept"] < trained["bits_all"] == TINY.channels / 64


def test_released_predictors_are_floats_again() -> None:
    context, again = lively(), CuboidModel(TINY.planes, TINY.channels)
    integers = cuboid.to_integers(context)
    cuboid.from_integers(again, *integers)
    assert all(np.array_equal(a, b) for a, b in zip(cuboid.to_integers(again), integers, strict=True))


def test_runs_become_operating_points(tmp_path: Path, photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    photo.crop((0, 0, 272, 264)).save(pictures / "one.png")
    monkeypatch.setattr(paper_export, "CROPS", 1)
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setattr(models, "FOLDER", folder)
    models.released.cache_clear()
    figures = {"bpp": 0.0, "map_real": 0.1, "codes_real": 0.1, "bits_kept": 0.3, "excess": 0.001}
    runs = []
    for r in (0.2, 0.4):
        run = PaperRun(tmp_path / f"r{r}", TINY, PaperSchedule(r=r), torch.device("cpu"))
        run.folder.mkdir()
        run.save()
        save_file(lively().state_dict(), run.folder / "context.safetensors")
        found = {**figures, "bpp": r / 2, "steps": 1, "minutes": 1}
        (run.folder / "context.json").write_text(json.dumps(found))
        runs.append(str(run.folder))
    try:
        for _ in range(2):  # the second time in place of the first
            monkeypatch.setattr("sys.argv", ["paper_export", "--data", str(pictures), "--runs", *runs])
            paper_export.main()
        assert [(m.point, m.bpp) for m in models.points("cwic2018", "mse")] == [("r0.2", 0.1), ("r0.4", 0.2)]
        assert len(list(folder.glob("*.safetensors"))) == 2
        assert "| 0.4 | 0.2000 |" in (folder / "cwic2018-mse.md").read_text()
        monkeypatch.setattr("sys.argv", ["paper_export", "--data", str(pictures), "--runs", runs[1]])  # others go
        paper_export.main()
        models.released.cache_clear()
        (only,) = models.points("cwic2018", "mse")
        assert only.point == "r0.4" and len(list(folder.glob("*.safetensors"))) == 1

        context = {name: array for name, array in load(only.read()).items() if name.startswith("context.")}
        old = {name: array.half() for name, array in load_average(Path(runs[1]))[0].state_dict().items()} | context
        facts = {"config": json.dumps(TINY.to_dict()), "tuning": "mse", "r": "0.4", "step": "0"}
        save_file(old, tmp_path / "old.safetensors", facts)
        more = ["--valid", str(pictures), "--convert", str(tmp_path / "old.safetensors")]
        monkeypatch.setattr("sys.argv", ["paper_export", "--data", str(pictures), *more])
        paper_export.main()
        models.released.cache_clear()
        (again,) = models.points("cwic2018", "mse")
        assert again.point == "r0.4" and len(list(folder.glob("*.safetensors"))) == 1
        arrays = load(again.read())
        assert all(torch.equal(arrays[name], array) for name, array in context.items())
        card = (folder / "cwic2018-mse.md").read_text()
        assert f"`{again.file}`" in card and f"| 0.4 | {again.bpp:.4f} |" in card and again.bpp != 0.2
    finally:
        models.released.cache_clear()


def test_the_benchmark_reports_points_savings_and_maps(
    released: Path,  # noqa: F811
    photo: Image.Image,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photo.crop((300, 100, 480, 270)).save(tmp_path / "one.png")
    out = tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["paper", "--pictures", str(tmp_path), "--out", str(out)])
    benchmark.main()
    text = (out / "paper.md").read_text()
    assert "| cwic2018 r0.2 |" in text and "| cwic2018 r0.5 |" in text and "SSIM of JPEG 2000" in text
    assert (out / "paper.png").exists() and (out / "paper_maps.png").exists()
    data = benchmark.trained()[0].encode(photo.crop((300, 100, 480, 270)), 0)
    spent = benchmark.bits_per_position(data)
    stored = sum(len(layer.data) for layer in container.read_file(data).layers[1:])
    assert 8 * stored == pytest.approx(float(spent.sum()), rel=0.05)
