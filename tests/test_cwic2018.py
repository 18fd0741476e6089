"""Model ``cwic2018``: networks and gradients as published, the entropy model, whole files from a tiny model."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import reference_decoder
import reference_planes
import torch
from PIL import Image

import pillow_cwic
from pillow_cwic import codec, models
from pillow_cwic.codec import encoder, session
from pillow_cwic.coding import PlaneModel
from pillow_cwic.coding.symbols import read_map
from pillow_cwic.cwic2018 import networks as paper
from pillow_cwic.cwic2018.networks import Paper, PaperConfig
from pillow_cwic.errors import ContainerError, CwicError, EntropyError, ModelError
from pillow_cwic.file import container
from pillow_cwic.models.weights import read
from pillow_cwic.saving import Options
from training import export, paper_export
from training.networks import cuboid
from training.networks.cuboid import CuboidModel

TINY = PaperConfig(width=16, channels=8, levels=4, groups=(2, 2, 4))
GROUPS, LEVELS = TINY.groups, TINY.levels


def lively(seed: int = 3) -> CuboidModel:
    """Predictors with random weights that make their predictions vary."""
    torch.manual_seed(seed)
    context = CuboidModel(TINY.planes, TINY.channels)
    with torch.no_grad():
        for name, value in context.named_parameters():
            value.mul_(6 if name.endswith("out.weight") else 2)
    return context.requires_grad_(False)


def integer(context: CuboidModel, simd: int = 4) -> PlaneModel:
    return PlaneModel(*cuboid.to_integers(context), GROUPS, LEVELS, simd=simd)


def made_up(rows: int = 9, columns: int = 13, seed: int = 5) -> list[np.ndarray]:
    """A map and masked bits."""
    rng = np.random.default_rng(seed)
    level = torch.from_numpy(rng.integers(0, LEVELS, (1, 1, rows, columns))).float()
    mask = paper.first_channels(level, TINY.channels, LEVELS)[0].numpy()
    bits = (rng.random(mask.shape) < 0.3) * mask
    parts = np.split(bits.astype(np.int16), np.cumsum(GROUPS)[:-1])
    return [level[0].numpy().astype(np.int16), *(np.ascontiguousarray(p) for p in parts)]


def write(model: PlaneModel, layers: list[np.ndarray]) -> list[bytes]:
    coder = model.tile(0, *layers[0].shape[1:])
    return [coder.encode(layer.copy()) for layer in layers]


# networks


def test_the_networks_have_the_published_shapes() -> None:
    model = Paper(PaperConfig())
    kernels = [tuple(m.weight.shape) for m in model.encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert kernels[0] == (128, 3, 8, 8) and (256, 128, 4, 4) in kernels and kernels[-1] == (64, 256, 1, 1)
    kernels = [tuple(m.weight.shape) for m in model.importance.modules() if isinstance(m, torch.nn.Conv2d)]
    assert kernels == [(128, 256, 3, 3), (1, 128, 1, 1)]
    out = model(torch.rand(2, 3, 32, 48) - 0.5, use_map=True)
    assert out.picture.shape == (2, 3, 32, 48) and out.codes.shape == (2, 64, 4, 6)
    assert set(out.codes.unique().tolist()) <= {0.0, 1.0}
    assert out.importance.min() > 0 and out.importance.max() < 1
    assert paper.count_macs(PaperConfig(width=64))["decoder"] < 0.3 * paper.count_macs(PaperConfig())["decoder"]


def test_configs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="no multiple"):
        PaperConfig(channels=60)
    with pytest.raises(ValueError, match="power of two"):
        PaperConfig(levels=6, channels=60, groups=(60,))
    for bad in ({"width": 10**6}, {"width": 20}, {"width": 64.0}, {"channels": 256}, {"levels": True}, {"groups": ()}):
        with pytest.raises(ValueError, match=r"config: |no multiple"):
            PaperConfig(**bad)


def test_binarizer_and_its_proxy_gradient() -> None:
    e = torch.tensor([-0.2, 0.1, 0.5, 0.51, 0.9, 1.2], requires_grad=True)
    b = paper.binarize(e)
    b.sum().backward()
    assert b.tolist() == [0, 0, 0, 1, 1, 1]
    assert e.grad is not None and e.grad.tolist() == [0, 1, 1, 1, 1, 0]


@pytest.mark.parametrize(("n", "levels"), [(64, 16), (128, 32), (8, 4)])
def test_the_mask_and_its_gradient_as_published(n: int, levels: int) -> None:
    """Mask: the first (n / L)(Q(p) + 1) channels. Slope: L where L p - 1 <= ceil(k L / n) < L p + 2, k from 1."""
    p = (torch.rand(50, generator=torch.Generator().manual_seed(1)) * 0.998 + 0.001).requires_grad_()
    mask = paper.importance_mask(p.reshape(1, 1, 1, -1), n, levels)[0, :, 0]
    for place, value in enumerate(p.tolist()):
        level = int(levels * value)
        assert mask[:, place].tolist() == [float(k <= n // levels * (level + 1)) for k in range(1, n + 1)]
    weight = torch.rand(n, 50)
    (mask * weight).sum().backward()
    for place, value in enumerate(p.tolist()):
        inside = [levels * value - 1 <= -(-k * levels // n) < levels * value + 2 for k in range(1, n + 1)]
        wanted = levels * sum(w for w, there in zip(weight[:, place].tolist(), inside, strict=True) if there)
        assert p.grad is not None and p.grad[place].item() == pytest.approx(wanted, rel=1e-5)


# entropy model


def test_predictions_see_only_what_is_coded() -> None:
    """Changing a bit changes no prediction at or before its place, and some behind it."""
    context = lively()
    bits = torch.from_numpy(np.random.default_rng(0).choice([-1.0, 1.0], (1, 8, 7, 7))).float()
    other = bits.clone()
    other[0, 4, 3, 3] *= -1
    changed = (context.codes(bits) != context.codes(other))[0]
    assert not changed[:4].any() and not changed[4, :3].any() and not changed[4, 3, :4].any()
    assert changed[4, 3, 4] and changed[4, 5, 1] and changed[5:8, 1:6, 1:6].any() and not changed[5:, 0].any()


def test_layers_come_back_exactly_with_every_instruction_set() -> None:
    context, layers = lively(), made_up()
    streams = write(integer(context, simd=0), layers)
    for simd in range(5):
        model = integer(context, simd)
        assert write(model, layers) == streams
        coder = model.tile(0, 9, 13)
        assert all(np.array_equal(coder.decode(s), x) for s, x in zip(streams, layers, strict=True))


def test_reference_decoder_reads_the_same() -> None:
    context, layers = lively(), made_up(5, 6)
    weights, biases = (iter(x.tolist()) for x in cuboid.to_integers(context))
    predictors = reference_planes.read_predictors(weights, biases, TINY.planes + TINY.channels)
    assert next(weights, None) is None and next(biases, None) is None
    made = reference_planes.decode_tile(write(integer(context), layers), TINY.to_dict(), predictors, 5, 6)
    assert all(np.array_equal(a, b) for a, b in zip(made, layers, strict=True))


def test_integers_cost_what_the_floats_say() -> None:
    context, layers = lively(), made_up(40, 40)
    level = torch.from_numpy(layers[0]).float()[None]
    codes = torch.from_numpy(np.concatenate(layers[1:])).float()[None]
    mask = paper.first_channels(level, TINY.channels, LEVELS)
    ideal = sum(x.item() for x in context(level, codes, mask)) / 8
    assert sum(map(len, write(integer(context), layers))) == pytest.approx(ideal, rel=0.01)


def test_masked_bits_take_no_room_and_read_as_zero() -> None:
    layers = made_up()
    layers[0][...] = 0
    for layer in layers[1:]:
        layer[...] = 1
    coder = integer(lively()).tile(0, 9, 13)
    streams = [coder.encode(layer) for layer in layers]
    assert len(streams[1]) > 0 and streams[2:] == [b"", b""]
    assert layers[1].all() and not layers[2].any() and not layers[3].any()


def test_a_bit_takes_less_than_two_thousand_multiplications() -> None:
    weights, _ = cuboid.to_integers(lively())
    assert cuboid.MACS == weights.size // (TINY.planes + TINY.channels) < 2000


def test_damaged_layers_never_crash() -> None:
    model, layers = integer(lively()), made_up(20, 30)
    streams = write(model, layers)
    rng = np.random.default_rng(9)
    told = 0
    for _ in range(200):
        damaged = [bytearray(s) for s in streams]
        for s in damaged:
            s[rng.integers(len(s))] ^= 1 << rng.integers(8)
            del s[rng.integers(len(s)) :]
        coder = model.tile(0, 20, 30)
        try:
            for s in damaged:
                assert coder.decode(bytes(s)).max() < LEVELS
        except EntropyError:
            told += 1
    assert told > 150  # the others are caught by the symbol CRC
    with pytest.raises(EntropyError, match="left over"):
        model.tile(0, 20, 30).decode(streams[0] + bytes(20))


def test_symbols_out_of_range_are_refused() -> None:
    model = integer(lively())
    with pytest.raises(ValueError, match="layer 0"):
        model.tile(0, 1, 1).encode(np.full((1, 1, 1), LEVELS, np.int16))
    coder = model.tile(0, 1, 1)
    coder.encode(np.full((1, 1, 1), LEVELS - 1, np.int16))
    with pytest.raises(ValueError, match="layer 1"):
        coder.encode(np.full((2, 1, 1), 2, np.int16))
    with pytest.raises(ValueError, match="wanted int16"):
        model.tile(0, 1, 1).encode(np.zeros((1, 1, 2), np.int16))
    with pytest.raises(ValueError, match="tile of 1 x 5000"):
        model.tile(0, 5000, 1)


def test_hostile_weights_are_refused() -> None:
    weights, biases = cuboid.to_integers(lively())
    for bad in (
        (weights[:-1], biases, GROUPS, LEVELS),
        (weights, biases[:-1], GROUPS, LEVELS),
        (np.full_like(weights, 32767), np.full_like(biases, 1_100_000_000), GROUPS, LEVELS),
        (weights, np.full_like(biases, -(2**31)), GROUPS, LEVELS),
        (weights, biases, GROUPS, 3),
        (weights, biases, (2, 2, 0, 4), LEVELS),
        (weights, biases, (2**31 - 1, 2, 4), LEVELS),
        (weights, biases, (), LEVELS),
    ):
        with pytest.raises(ModelError, match="do not fit"):
            PlaneModel(*bad)


# whole files


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A registry with two operating points of a tiny model with random weights."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "FOLDER", folder)
        models.released.cache_clear()
        torch.manual_seed(1)
        model = Paper(TINY)
        for point, bpp in (("r0.2", 0.1), ("r0.5", 0.3)):
            with torch.no_grad():
                model.decoder.trunk[-1].bias += 0.01
            data = paper_export.freeze(model, lively(), {"r": point[1:]}, torch.rand(2, 3, 64, 64) - 0.5)
            export.release(data, "cwic2018", "mse", point, bpp=bpp)
        yield folder
    models.released.cache_clear()


def save(im: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    im.save(buffer, "CWIC", model="cwic2018", **options)
    return buffer.getvalue()


def test_the_rate_picks_the_operating_point(released: Path) -> None:
    entries = json.loads((released / "registry.json").read_text())
    assert [(e["point"], e["family"]) for e in entries] == [("r0.5", "cw18"), ("r0.2", "cw18")]
    points = [models.by_name("cwic2018", "mse", bpp).point for bpp in (1e-9, 0.1, 0.16, 0.2, 5)]
    assert points == ["r0.2", "r0.2", "r0.2", "r0.5", "r0.5"]
    with pytest.raises(ValueError, match="tuning: ssim is none of mse, which model cwic2018 has"):
        models.by_name("cwic2018", "ssim")


def test_files_meet_their_rate_by_shifting_the_map(released: Path, photo: Image.Image) -> None:
    im = photo.crop((100, 100, 340, 260))
    smallest, largest = (len(save(im, quality=q)) for q in (1, 100))
    assert smallest < largest
    for share in (0.35, 0.6, 0.8):
        size = round(smallest + share * (largest - smallest))
        data = save(im, size=size)
        assert 0.9 * size <= len(data) <= size
        back = Image.open(io.BytesIO(data))
        assert back.info["model"] == "cwic2018" and back.info["tuning"] == "mse"
        assert np.asarray(back).shape == (160, 240, 3)
    assert save(im, size=size, effort=9) == save(im, size=size, effort=0)


@pytest.mark.parametrize("alpha", [False, True])
def test_a_bound_is_met_by_whichever_operating_point_meets_it(alpha: bool) -> None:
    im = Image.radial_gradient("L").resize((260, 40)).convert("RGB")
    if alpha:
        im.putalpha(Image.effect_noise(im.size, 60))
    with pytest.raises(CwicError, match="the smallest file found has") as caught:
        save(im, size=1)
    least = int(str(caught.value).split()[-1])
    assert len(save(im, size=least)) == least
    with pytest.raises(CwicError, match=f"the smallest file found has {least}$"):
        save(im, size=least - 1)


def test_a_quality_takes_the_smallest_file_of_all_operating_points(released: Path, small: Image.Image) -> None:
    assert len(save(small, psnr=10)) <= min(len(save(small, quality=q)) for q in (1, 100))
    with pytest.raises(CwicError, match="psnr: 60"):
        save(small, psnr=60)


@pytest.mark.parametrize("quality", [20, 50, 70])
def test_a_file_tells_its_quality_whatever_its_operating_point(
    released: Path, small: Image.Image, quality: int
) -> None:
    assert abs(Image.open(io.BytesIO(save(small, quality=quality))).info["quality"] - quality) <= 1


def test_importance_leaves_fewer_bits_where_it_is_low(released: Path, small: Image.Image) -> None:
    mask = Image.new("L", small.size, 255)
    mask.paste(0, (0, 0, 50, 75))
    data = save(small, quality=60, importance=mask)
    assert len(data) < len(save(small, quality=60))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_modes_and_odd_sizes(released: Path, small: Image.Image, mode: str) -> None:
    im = small.crop((0, 0, 37, 11)).convert(mode)
    back = Image.open(io.BytesIO(save(im, quality=60)))
    assert (back.mode, back.size) == (mode, (37, 11))
    back.load()


def test_reference_decoder_reads_files_in_tiles(released: Path, small: Image.Image) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "TILE_EXPONENT", 6)
        data = codec.encode(np.asarray(small), Options(model="cwic2018", quality=60))
    parsed = container.read_file(data)
    assert parsed.header.family == b"cw18" and parsed.header.tiles == 4
    model = models.by_id(parsed.header.model_id)
    header = {"height": 75, "width": 100, "tile_exponent": 6}
    networks, arrays = session.runtime(model).networks, read(model.read()).arrays
    weights, biases = (iter(arrays[f"context.{name}"].tolist()) for name in ("weights", "biases"))
    predictors = reference_planes.read_predictors(weights, biases, TINY.planes + TINY.channels)
    layers = reference_planes.decode_layers(header, parsed.layers, TINY.to_dict(), predictors)
    codes = np.array([plane for layer in layers[1:] for plane in layer], np.int16)
    shown = networks.synthesise(codes, parsed.header.rate, 75, 100)
    assert np.array_equal(shown, codec.decode(data))
    with pytest.raises(reference_decoder.DamagedError):
        reference_decoder.read_file(data)  # of cwic1 alone


def test_prefixes_are_coarser_pictures(released: Path, small: Image.Image) -> None:
    data = codec.encode(np.asarray(small), Options(model="cwic2018", quality=90))
    layers = container.read_file(data).layers
    ends = np.cumsum([len(layer.data) for layer in layers])
    start = len(data) - 16 - int(ends[-1])
    for end in ends[:-1]:
        assert codec.decode(data[: start + end], partial=True).shape == (75, 100, 3)
        with pytest.raises(ContainerError):
            codec.decode(data[: start + end])


@pytest.mark.parametrize("scale", [4, 8])
def test_small_pictures_are_means_of_the_whole(released: Path, small: Image.Image, scale: int) -> None:
    data = codec.encode(np.asarray(small), Options(model="cwic2018", quality=60))
    shown, whole = codec.decode(data, scale=scale), codec.decode(data)
    assert shown.shape == (-(-75 // scale), -(-100 // scale), 3)
    assert np.abs(shown[0, 0] - whole[:scale, :scale].mean((0, 1))).max() <= 1


def test_damaged_files_raise_and_never_show(released: Path, small: Image.Image) -> None:
    data = codec.encode(np.asarray(small), Options(model="cwic2018", quality=60))
    parsed = container.read_file(data)
    for index, layer in enumerate(parsed.layers):
        if not layer.data:
            continue
        stream = bytearray(layer.data)
        stream[len(stream) // 2] ^= 0x10
        layers = [*parsed.layers[:index], container.Layer(bytes(stream), layer.crc), *parsed.layers[index + 1 :]]
        with pytest.raises(CwicError):
            codec.decode(container.write_file(parsed.header, layers))
    with pytest.raises(ContainerError, match="layers: the file has 2, its model 4"):
        codec.decode(container.write_file(parsed.header, parsed.layers[:2]))
    with pytest.raises(ModelError, match="model family"):
        codec.decode(container.write_file(replace(parsed.header, family=b"cwc1"), parsed.layers))


def test_batches_hold_files_of_any_operating_point(released: Path, small: Image.Image) -> None:
    files = [codec.encode(np.asarray(small), Options(model="cwic2018", quality=q)) for q in (10, 90)]
    assert len({container.read_header(f).model_id for f in files}) == 2
    batch = pillow_cwic.decode(files)
    assert all(np.abs(a.astype(int) - codec.decode(f)).max() <= 1 for a, f in zip(batch, files, strict=True))


def test_the_map_can_be_read_alone(released: Path, small: Image.Image) -> None:
    levels, count, _ = read_map(codec.encode(np.asarray(small), Options(model="cwic2018", quality=50)))
    assert levels.shape == (10, 13) and count == LEVELS and levels.max() < count


def test_weights_of_another_family_are_refused(released: Path) -> None:
    model = models.by_name("cwic2018", "mse")
    with pytest.raises(ModelError, match="not those of cwic1"):
        session.runtime(replace(model, family=b"cwc1"))
