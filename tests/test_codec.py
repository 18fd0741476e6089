"""The codec below the plugin: tiles, exactness, damage that a forger made fit, limits."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import reference_decoder
from PIL import Image

from pillow_cwic import codec, models
from pillow_cwic.codec import effort, encoder, session
from pillow_cwic.coding.symbols import decode_symbols, rounded
from pillow_cwic.errors import ContainerError, EntropyError, LimitError, ModelError
from pillow_cwic.file import container, limits
from pillow_cwic.saving import DEFAULT_EFFORT, Options


@pytest.fixture(scope="module")
def tiled(photo: Image.Image) -> tuple[np.ndarray, bytes]:
    """A picture of 2 x 3 tiles of 64 pixels, the last ones smaller."""
    pixels = np.asarray(photo.resize((190, 100)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "TILE_EXPONENT", 6)
        return pixels, codec.encode(pixels, Options(rate=1.0))


def symbols(data: bytes) -> list[np.ndarray]:
    parsed = container.read_file(data)
    networks, entropy = session.runtime(models.by_id(parsed.header.model_id))
    rows, columns = networks.grid(parsed.header.height, parsed.header.width)
    return decode_symbols(entropy, parsed, rows, columns)


def rewritten(data: bytes, **changes: object) -> bytes:
    """The file with other header fields, all chunk CRCs right."""
    parsed = container.read_file(data)
    return container.write_file(parsed.header.__class__(**{**vars(parsed.header), **changes}), parsed.layers)


def test_the_same_picture_gives_the_same_file(small: Image.Image) -> None:
    pixels = np.asarray(small)
    assert codec.encode(pixels, Options(rate=0.5)) == codec.encode(pixels.copy(), Options(rate=0.5))


@pytest.mark.parametrize("target", [{"rate": 1.0}, {"size": 900}, {"quality": 60}, {"psnr": 30}, {"ssim": 0.9}])
def test_a_file_is_written_once_and_never_read(
    target: dict[str, float], small: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search works on layers; effort 4 compares decoded pictures, made from what was coded."""
    written: list[bytes] = []
    write = container.write_file
    monkeypatch.setattr(container, "write_file", lambda *given: written.append(write(*given)) or written[-1])
    monkeypatch.setattr(container, "read_file", lambda *given, **more: pytest.fail("a file was read"))
    data = codec.encode(np.asarray(small), Options(effort=4, **target))
    assert written == [data]
    monkeypatch.undo()
    assert codec.decode(data).shape == np.asarray(small).shape


def test_rounding_takes_the_smaller_of_two_equally_near() -> None:
    exact = np.arange(-32 * 600, 32 * 600 + 1, dtype=np.int16)
    found = rounded(exact)
    want = np.sign(exact) * np.ceil(np.abs(exact) / 32 - 0.5)
    assert found.dtype == np.int16 and np.array_equal(found, want)


def test_tiles_decode_and_cost_little(tiled: tuple[np.ndarray, bytes]) -> None:
    pixels, data = tiled
    assert container.read_file(data).header.tile_exponent == 6
    back = codec.decode(data)
    whole = codec.decode(codec.encode(pixels, Options(rate=1.0)))
    assert back.shape == pixels.shape

    def error(x: np.ndarray) -> float:
        return float(np.mean((x.astype(float) - pixels) ** 2))

    assert error(back) < 1.6 * error(whole)


def test_threads_do_not_change_a_file(tiled: tuple[np.ndarray, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, data = tiled
    monkeypatch.setattr(encoder, "TILE_EXPONENT", 6)
    for count in (1, 2, 16):
        monkeypatch.setattr("os.cpu_count", lambda count=count: count)
        assert codec.encode(pixels, Options(rate=1.0)) == data


def test_reference_decoder_reads_the_same_file(tiled: tuple[np.ndarray, bytes], small_file: bytes) -> None:
    """The plain Python decoder of docs/FORMAT.md and the C one agree on every symbol and every sample."""
    weights = reference_decoder.read_weights(models.FOLDER / models.by_name("cwic1").file)
    for data in (tiled[1], small_file):
        levels, codes, header = reference_decoder.decode_symbols(data, weights)
        expected = symbols(data)
        assert np.array_equal(np.array(levels), expected[0][0])
        assert np.array_equal(np.array(codes), np.concatenate(expected[1:]))
        assert np.array_equal(reference_decoder.picture(codes, header, weights), codec.decode(data))


def test_forged_symbols_raise(small_file: bytes) -> None:
    """A layer changed together with the chunk CRC is still told, by the CRC of its symbols.

    A change of the last bits of a stream may leave the symbols as they were; then the picture is the right one.
    """
    parsed, told = container.read_file(small_file), 0
    picture = codec.decode(container.write_file(parsed.header, parsed.layers))
    rng = np.random.default_rng(3)
    for _ in range(200):
        layers = list(parsed.layers)
        k = int(rng.integers(len(layers)))
        data = bytearray(layers[k].data)
        if not data:
            continue
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        layers[k] = container.Layer(bytes(data), layers[k].crc)
        try:
            assert np.array_equal(codec.decode(container.write_file(parsed.header, layers)), picture)
        except EntropyError:
            told += 1
    assert told > 100


def test_a_forged_rate_raises(small_file: bytes) -> None:
    with pytest.raises(EntropyError):
        codec.decode(rewritten(small_file, rate=container.read_file(small_file).header.rate + 64))


def test_an_unknown_model_is_named(small_file: bytes) -> None:
    with pytest.raises(ModelError, match="0102030405ff is not installed"):
        codec.decode(rewritten(small_file, model_id=bytes([1, 2, 3, 4, 5, 255])))


def test_missing_layers_raise(small_file: bytes) -> None:
    parsed = container.read_file(small_file)
    with pytest.raises(ContainerError, match="layers: the file has 8, its model 9"):
        codec.decode(container.write_file(parsed.header, parsed.layers[:-1]))


def test_too_large_a_picture_is_refused_before_anything_is_allocated(small_file: bytes) -> None:
    with pytest.raises(LimitError, match="40000 x 40000, 1600000000 pixels with padding, exceed"):
        codec.decode(rewritten(small_file, width=40000, height=40000))
    assert limits.MAX_PIXELS < 40000**2


def test_damaged_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.by_name("cwic1", "mse")
    data = bytearray(model.read())
    data[-1] ^= 1
    (tmp_path / model.file).write_bytes(data)
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    with pytest.raises(ModelError, match="SHA-256 of the weights"):
        model.read()
    (tmp_path / model.file).unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        model.read()


def test_pixels_of_the_wrong_shape_are_refused() -> None:
    for bad in (np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4), np.float32), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match="pixels"):
            codec.encode(bad)


def test_effort_buys_quality_at_equal_size(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.asarray(photo.crop((200, 100, 392, 228)))
    steps: list[tuple[int, int]] = []

    def quality(effort: int) -> float:
        options = Options(rate=0.5, effort=effort, tuning="mse")
        data = codec.encode(pixels, options, progress=lambda *done: steps.append(done))
        assert 0.97 * 0.5 < len(data) * 8 / (192 * 128) <= 0.5
        error = np.mean((codec.decode(data).astype(float) - pixels) ** 2)
        return float(10 * np.log10(255**2 / error))

    rounded, chosen = quality(0), quality(DEFAULT_EFFORT)
    assert not steps
    refined = quality(7)
    assert steps == [(k + 1, 60) for k in range(60)]
    assert rounded - 0.02 < chosen < refined - 0.05  # files fill 99 to 100 % of the size, which is worth 0.04 dB
    monkeypatch.setattr("pillow_cwic.transforms.torch.refine.WINDOW", 12)
    assert quality(7) == pytest.approx(refined, abs=0.15)  # in windows, which show no seams
    assert steps[-1] == (240, 240)


def test_efforts_grow() -> None:
    assert len(effort.EFFORTS) == 10
    for less, more in itertools.pairwise(effort.EFFORTS):
        assert (more.weights > (0.0,), len(more.weights), more.analyses, more.steps) > (
            less.weights > (0.0,),
            len(less.weights),
            less.analyses,
            less.steps,
        )


def test_timings_cover_the_stages(small: Image.Image) -> None:
    encode, decode = dict[str, float](), dict[str, float]()
    data = codec.encode(np.asarray(small), Options(rate=0.5), timings=encode)
    codec.decode(data, timings=decode)
    assert {"analysis", "entropy", "container", "total"} <= set(encode)
    assert {"entropy", "synthesis", "container", "total"} <= set(decode)
    assert sum(v for k, v in decode.items() if k != "total") <= decode["total"]


def test_overhead_of_the_container(photo: Image.Image) -> None:
    """At most 64 bytes and 8 a layer, as promised for a plain RGB picture."""
    data = codec.encode(np.asarray(photo), Options(rate=0.5))
    parsed = container.read_file(data)
    held = sum(len(layer.data) for layer in parsed.layers) + container.chunk_size(parsed.post)
    assert len(data) - held <= 64 + 8 * len(parsed.layers)


def test_grey_and_flat_pictures_keep_their_colour() -> None:
    for colour in ((0, 0, 0), (255, 255, 255), (200, 30, 60), (128, 128, 128)):
        pixels = np.full((40, 56, 3), colour, np.uint8)
        back = codec.decode(codec.encode(pixels, Options(quality=50)))
        assert np.abs(back.mean(axis=(0, 1)) - colour).max() <= 4
        assert np.abs(back.astype(int) - pixels).max() <= 40
