"""Training end to end at toy size: data, resuming, staging, export, and a file made with the exported model."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import reference_decoder
import torch
from PIL import Image
from tiny_model import TINY, tiny_weights

from pillow_cwic import codec, models
from pillow_cwic.codec import session
from pillow_cwic.saving import Options
from pillow_cwic.transforms.torch.context import ContextModel, logistic_bits
from pillow_cwic.transforms.torch.context_weights import to_integers
from training import agree, export
from training.data import Crops, find_pictures
from training.muon import orthogonal
from training.networks.quantisers import channel_masks
from training.networks.transforms import to_blocks
from training.released import load_released
from training.train import Run, Schedule, train, until_terminated
from training.validate import draw_curve
from training.variants import VARIANTS
from training.weights import load_average


@pytest.fixture
def crops(photo: Image.Image) -> Crops:
    return Crops([np.asarray(photo)], size=64, batch=2, seed=1)


def test_crops_are_seeded_and_in_range(photo: Image.Image) -> None:
    def source() -> Crops:
        return Crops([np.asarray(photo)], size=32, batch=4, seed=9, rendered=0.5, noisy=0.5)

    first, second = source(), source()
    for _ in range(5):
        batch = first.next()
        assert batch.shape == (4, 3, 32, 32) and batch.dtype == torch.float32
        assert batch.min() >= -0.5 and batch.max() <= 0.5
        assert torch.equal(batch, second.next())


def test_no_pictures_is_an_error(tmp_path: Path, photo: Image.Image) -> None:
    with pytest.raises(FileNotFoundError, match="no pictures below"):
        find_pictures(tmp_path)
    with pytest.raises(ValueError, match="at least 1000 pixels"):
        Crops([np.asarray(photo)], size=1000, batch=1, seed=1)


@pytest.mark.parametrize("muon", [0.0, 0.2])
def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path, photo: Image.Image, muon: float) -> None:
    schedule = Schedule(steps=8, batch=2, map_from=0.25, hard_from=0.5, muon=muon)

    def run() -> Run:
        return Run(tmp_path, TINY, schedule, torch.device("cpu"))

    def steps(run: Run, seed: int) -> list[float]:
        crops = Crops([np.asarray(photo)], size=64, batch=2, seed=seed)
        torch.manual_seed(seed)
        return [run.train_step(crops)[0] for _ in range(3)]

    first = run()
    steps(first, 1)
    first.save()
    second = run()
    second.restore()
    assert second.step == 3
    assert steps(second, 2) == pytest.approx(steps(first, 2), rel=1e-4)


def test_a_run_that_is_terminated_saves_its_steps(tmp_path: Path, crops: Crops) -> None:
    run = Run(tmp_path, TINY, Schedule(steps=10**6, batch=2), torch.device("cpu"))
    with until_terminated() as terminated:
        assert not terminated()

        def enough() -> bool:
            if run.step == 2:
                signal.raise_signal(signal.SIGTERM)
            return terminated()

        train(run, crops, [], terminated=enough)
    assert run.step == 2 and json.loads((tmp_path / "state.json").read_text())["step"] == 2
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_run_can_start_from_a_released_model(tmp_path: Path) -> None:
    released = load_released()
    run = Run(tmp_path, released.config, Schedule(), torch.device("cpu"))
    run.start_from(released)
    assert run.step == 0
    for model in (run.model, run.average):
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), released.parameters(), strict=True))


def test_a_run_can_start_from_another(tmp_path: Path) -> None:
    first = Run(tmp_path, TINY, Schedule(), torch.device("cpu"))
    with torch.no_grad():
        first.average.analysis.leave.bias += 1
    first.save()
    second = Run(tmp_path, TINY, Schedule(), torch.device("cpu"))
    second.start_from(load_average(tmp_path)[0])
    assert torch.equal(second.model.analysis.leave.bias, first.average.analysis.leave.bias)


def test_a_wider_context_model_starts_with_the_same_predictions(tmp_path: Path, crops: Crops) -> None:
    small = Run(tmp_path, TINY, Schedule(), torch.device("cpu"))
    wide = Run(tmp_path, replace(TINY, context_hidden=48), Schedule(), torch.device("cpu"))
    blocks, t = to_blocks(crops.next()), torch.zeros(2)
    with torch.no_grad():
        for parameter in small.model.context.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        wide.start_from(small.model)
        torch.manual_seed(3)
        before = small.model(blocks, t, use_map=True, hard_rate=True)
        torch.manual_seed(3)
        after = wide.model(blocks, t, use_map=True, hard_rate=True)
    assert torch.allclose(before.hard_bits, after.hard_bits, rtol=1e-5)
    assert before.hard_bits.min() > 0


def test_a_part_can_learn_alone(tmp_path: Path, crops: Crops) -> None:
    run = Run(tmp_path, TINY, Schedule(batch=2, map_from=0.0, hard_from=0.0, only="context."), torch.device("cpu"))
    before = {name: parameter.clone() for name, parameter in run.model.named_parameters()}
    for _ in range(3):
        run.train_step(crops)
    changed = {name for name, p in run.model.named_parameters() if not torch.equal(p, before[name])}
    assert {"context.layers.1.dense.weight", "context.layers.0.out.bias", "context.map.out.bias"} <= changed
    assert all(name.startswith("context.") for name in changed)
    with pytest.raises(ValueError, match="only is 'nothing'"):
        Run(tmp_path, TINY, Schedule(only="nothing"), torch.device("cpu"))


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_variants_train_and_lack_what_they_say(tmp_path: Path, name: str, crops: Crops) -> None:
    schedule = Schedule(steps=4, batch=2, map_from=0.5, tuning="ssim", rates=(0.2, 0.2))
    run = Run(tmp_path, TINY, schedule, torch.device("cpu"), VARIANTS[name])
    assert all(torch.isfinite(torch.tensor(run.train_step(crops))).all() for _ in range(4))
    pixels = torch.rand(1, 192, 8, 8) - 0.5
    out = run.model(pixels, torch.zeros(1), use_map=False, hard_rate=True)
    assert (set(out.codes.unique().tolist()) <= {0.0, 1.0}) == (name == "one-bit")
    other = run.model.context(out.codes.roll(1, dims=3), out.level, torch.zeros(1))
    same = run.model.context(out.codes, out.level, torch.zeros(1))
    assert torch.equal(other[1][0], same[1][0]) == (name == "without-context")


def test_the_map_is_pulled_less_and_less() -> None:
    schedule = Schedule(map_from=0.5, map_pull=(0.2, 0.02))
    assert [round(schedule.pull(p), 3) for p in (0.5, 0.75, 1.0)] == [0.2, 0.065, 0.02]


def test_training_lowers_the_loss_through_all_stages(tmp_path: Path, photo: Image.Image, crops: Crops) -> None:
    schedule = Schedule(steps=60, batch=2, lr=2e-3, map_from=0.5, hard_from=0.4, valid_every=30)
    run = Run(tmp_path, TINY, schedule, torch.device("cpu"))
    valid = [np.asarray(photo.resize((64, 48)))]
    train(run, crops, valid)
    assert run.step == 60 and run.progress == 1
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines[0] == "step,minutes,t,loss,bpp,real_bpp,psnr,map_share,ssim,ms_ssim,ssimulacra2"
    assert all(float(line.split(",")[5]) > 0 for line in lines[-5:])  # real streams were made
    loss = [float(line.split(",")[3]) for line in lines[1:]]
    assert sum(loss[-5:]) < sum(loss[:5])
    draw_curve(tmp_path / "log.csv", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").exists()


def test_an_exported_model_makes_files(tmp_path: Path, small: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, TINY, Schedule(), torch.device("cpu"))
    run.save()
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setattr(models, "FOLDER", folder)
    models.released.cache_clear()
    try:
        model, facts = load_average(tmp_path)
        first = export.release(tiny_weights({"tuning": "mse", "step": "0"}, model), "cwic1", "mse")
        with torch.no_grad():
            model.synthesis.leave.bias += 0.01
        second = export.release(tiny_weights({"tuning": "mse", "step": str(facts["step"])}, model), "cwic1", "mse")
        assert second.exists() and not first.exists()  # new weights replace the old ones
        assert [e["file"] for e in json.loads((folder / "registry.json").read_text())] == [second.name]
        data = codec.encode(np.asarray(small), Options(quality=50))
        assert codec.decode(data).shape == (75, 100, 3)
        assert data[36:42] == models.by_name("cwic1", "mse").id
    finally:
        models.released.cache_clear()


def test_weights_too_large_for_the_format_are_refused() -> None:
    model = ContextModel([2], hidden=16, map_hidden=16, levels=2)
    with torch.no_grad():
        model.layers[0].out.weight[0, 0] = 9.0
    with pytest.raises(ValueError, match=r"layer 1 weights: 9\.00 exceeds 8\.00"):
        to_integers(model)


def test_training_keeps_weights_within_the_format(tmp_path: Path, crops: Crops) -> None:
    run = Run(tmp_path, TINY, Schedule(batch=2, map_from=0.0, hard_from=0.0), torch.device("cpu"))
    with torch.no_grad():
        run.model.context.map.out.weight.fill_(20.0)
    run.average.load_state_dict(run.model.state_dict())
    with pytest.raises(ValueError, match="exceeds"):
        to_integers(run.model.context)
    run.train_step(crops)
    weights, _ = to_integers(run.model.context)
    assert np.abs(weights).max() > 7 * 4096


def test_the_released_integer_model_agrees_with_its_twin(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within 1 %: code lengths by the integer model's predictions, before adaptation, and by the float twin's."""
    predicted: list[tuple[float, float, float]] = []

    class Noting(reference_decoder.CodeDecoder):
        def code(self, mean: int, scale: int, channel: int, neighbourhood: int) -> int:
            c = super().code(mean, scale, channel, neighbourhood)
            predicted.append((c, mean / 16, (scale - 26) / 8))
            return c

    monkeypatch.setattr(reference_decoder, "CodeDecoder", Noting)
    model = load_released().eval()
    weights = reference_decoder.read_weights(models.FOLDER / models.by_name("cwic1", "mse").file)
    for quality in (30, 70):
        predicted.clear()
        data = codec.encode(np.asarray(photo.crop((300, 200, 364, 264))), Options(quality=quality, tuning="mse"))
        levels, codes, header = reference_decoder.decode_symbols(data, weights)
        level, c = torch.tensor([levels])[None].float(), torch.tensor(codes)[None].float()
        t = torch.tensor([header["rate"] / 512])
        with torch.no_grad():
            means, scales = (torch.cat(p, 1) for p in zip(*model.context(c, level, t), strict=True))
            mask = channel_masks(level, model.config.groups)
            twin = (logistic_bits(c, means, scales) * mask).sum()
            twin += logistic_bits(level, *model.context.map_parameters(level, t)).sum()
        integer = logistic_bits(*torch.tensor(predicted).T).sum()
        assert integer.item() == pytest.approx(twin.item(), rel=0.01)


def test_real_streams_are_near_the_ideal_or_below(photo: Image.Image) -> None:
    """They adapt to the picture, which the twin cannot."""
    entropy = session.runtime(models.by_name("cwic1", "mse")).entropy
    model = load_released().eval()
    for rate in (-512, 0, 512):
        ideal, real = agree.compare(model, entropy, np.asarray(photo.resize((384, 256))), rate)
        assert 0.85 * ideal < real < 1.01 * ideal


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (7, 7)])
def test_muons_update_is_that_of_newton_schulz_steps_on_the_matrix_itself(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    matrix = u * torch.logspace(0, -3, min(shape)) @ v
    wanted = matrix / matrix.norm()
    for _ in range(5):
        square = wanted @ wanted.mT
        wanted = 3.4445 * wanted + (-4.7750 * square + 2.0315 * square @ square) @ wanted
    assert torch.allclose(orthogonal(matrix), wanted, atol=1e-3)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
    assert values.max() < 1.3 and values.median() > 0.6
