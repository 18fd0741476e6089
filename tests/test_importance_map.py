"""The importance map as a user sees it: ``im.importance_map()`` and ``cwic info --map``."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import reference_decoder as reference
from click.testing import CliRunner, Result
from PIL import Image, ImageFile
from test_plugin import SUBPROCESS, run, saved

from pillow_cwic import CwicError, models
from pillow_cwic.file import container
from pillow_cwic.tools import cli
from pillow_cwic.tools.compare.heat import colours, overlaid


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def cwic(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli.main, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_levels_are_those_of_the_reference_decoder(small_file: bytes) -> None:
    weights = reference.read_weights(models.FOLDER / models.by_name("cwic1").file)
    levels, _, _ = reference.decode_symbols(small_file, weights)
    found = opened(small_file).importance_map()
    assert found.mode == "L" and found.size == (7, 5)  # of 100 x 75 pixels
    assert np.array_equal(np.asarray(found), np.round(np.array(levels) * 255 / 7))


def test_it_is_the_same_before_and_after_everything(small_file: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.cwic"
    path.write_bytes(small_file)
    wanted = opened(small_file).importance_map().tobytes()
    for source in (path, io.BytesIO(small_file)):
        with Image.open(source) as im:
            assert im.importance_map().tobytes() == wanted
            im.load()
            assert im.importance_map().tobytes() == wanted
            pixels = im.tobytes()
    assert pixels == opened(small_file).tobytes()  # the map left the picture as it is
    small = opened(small_file)
    small.draft(None, (12, 9))
    small.load()
    assert small.size != (100, 75) and small.importance_map().tobytes() == wanted


def test_with_a_size_each_pixel_has_the_sample_it_lies_in(small_file: bytes) -> None:
    im = opened(small_file)
    samples, pixels = np.asarray(im.importance_map()), np.asarray(im.importance_map(im.size))
    assert np.array_equal(pixels, samples.repeat(16, axis=0).repeat(16, axis=1)[:75, :100])
    assert im.importance_map((np.int64(5), 4)).size == (5, 4)
    for size in ((0, 5), (5,), 5, (5.5, 5), (5, "5"), "55", (5, None)):
        with pytest.raises(ValueError, match=r"size: .* is not two whole numbers of pixels, 1 and above"):
            im.importance_map(size)


def test_it_needs_no_torch(small_file: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.cwic").write_bytes(small_file)
    code = "im = Image.open(sys.argv[1]); im.importance_map(im.size); print('torch' in sys.modules)"
    assert run(SUBPROCESS + code, str(tmp_path / "x.cwic")) == "False"


def test_bits_go_where_the_content_is(photo: Image.Image) -> None:
    flat = Image.new("RGB", (256, 128), (120, 130, 140))
    flat.paste(photo.crop((400, 70, 528, 198)), (0, 0))
    levels = np.asarray(opened(saved(flat, quality=50)).importance_map())
    assert levels[:, :8].mean() > levels[:, 8:].mean() + 20


def test_damaged_and_closed_files(small_file: bytes, photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = bytearray(small_file)
    damaged[-90] ^= 1
    for data in (bytes(damaged), small_file[:-90], small_file[: len(small_file) // 2]):
        with pytest.raises(CwicError):
            opened(data).importance_map()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    cut = opened(small_file[:-90])
    assert cut.importance_map().tobytes() == opened(small_file).importance_map().tobytes()
    whole = saved(photo.crop((300, 60, 600, 260)), quality=50)
    _, layers, *_, post = container.read_file(whole)
    behind = 16 + container.chunk_size(post)  # the last CRC, POST and TAIL
    start = len(whole) - behind - sum(len(layer.data) for layer in layers)
    with pytest.raises(CwicError, match="layers: 0 arrived whole"):
        opened(whole[: start + len(layers[0].data) - 1]).importance_map()
    assert opened(whole[: start + len(layers[0].data)]).importance_map().size == (19, 13)
    verified = opened(small_file)
    verified.verify()
    with pytest.raises(ValueError, match="open it again"):
        verified.importance_map()


def test_info_draws_the_map(small_file: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.cwic").write_bytes(small_file)
    assert "  mode: RGB" in cwic("info", "--map", "out/map.png", "x.cwic").stdout
    im = opened(small_file)
    with Image.open("out/map.png") as shown:
        assert shown.tobytes() == overlaid(im, im.importance_map(im.size)).tobytes()
    before = Path("out/map.png").read_bytes()
    result = cwic("info", "--map", "out/map.png", "x.cwic", code=1)
    assert result.stderr == "cwic: out/map.png: exists already, --force overwrites it\n"
    Path("y.cwic").write_bytes(saved(Image.new("L", (20, 20)), quality=5))
    cwic("info", "--map", "out/map.png", "y.cwic", "--force")
    assert Path("out/map.png").read_bytes() != before
    assert "shows one file, not 2" in cwic("info", "--map", "z.png", "x.cwic", "y.cwic", code=2).stderr
    assert "no format that Pillow writes" in cwic("info", "--map", "z.xyz", "x.cwic", code=2).stderr


def test_the_ramp_grows_lighter_throughout() -> None:
    palette = np.array(colours()).reshape(256, 3)
    assert palette.min() >= 0 and palette.max() <= 255
    assert (np.diff(palette @ np.array([0.299, 0.587, 0.114])) > 0).all()


def test_the_map_of_the_papers_model_has_other_samples() -> None:
    """importance-map-2018-size.py: one for each 8 x 8 pixels, and they lie where the picture has them."""
    pytest.importorskip("torch")
    im = Image.radial_gradient("L").convert("RGB").crop((0, 0, 100, 75))
    found = opened(saved(im, model="cwic2018", quality=50))
    samples = np.asarray(found.importance_map())
    assert samples.shape == (10, 13)
    assert np.array_equal(np.asarray(found.importance_map(found.size)), samples.repeat(8, 0).repeat(8, 1)[:75, :100])
