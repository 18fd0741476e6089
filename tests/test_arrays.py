"""Arrays, tensors and batches; and other programs that read .cwic files as arrays through Pillow."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import pillow_cwic
from pillow_cwic import codec, settings
from pillow_cwic.codec import batch, session
from pillow_cwic.file import container
from pillow_cwic.transforms.torch.engine import Engine

COLOURS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


@pytest.fixture
def pixels(small: Image.Image) -> np.ndarray:
    """(2, 75, 100, 4) uint8: two pictures with alpha."""
    rgba = small.convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize(small.size))
    return np.stack([np.asarray(rgba), np.asarray(rgba.rotate(180))])


def mode(data: bytes) -> str:
    return container.read_file(data).header.mode


def test_arrays_are_what_pillow_saves(small: Image.Image) -> None:
    wanted = io.BytesIO()
    small.save(wanted, format="CWIC", rate=0.6, dpi=(300, 300))
    data = pillow_cwic.encode(np.asarray(small), rate=0.6, dpi=(300, 300))
    assert data == wanted.getvalue()
    assert np.array_equal(pillow_cwic.decode(data), np.asarray(Image.open(wanted)))


@pytest.mark.parametrize("name", COLOURS)
def test_every_layout_of_every_mode(pixels: np.ndarray, name: str) -> None:
    """One picture as array and tensor, uint8 and float, gives one file; a batch gives that file among others."""
    channels = COLOURS[name]
    many = pixels[..., [0, 3] if name == "LA" else slice(channels)]
    one = many[0]
    data = pillow_cwic.encode(one, quality=30, effort=0)
    assert mode(data) == name
    tensor = torch.from_numpy(many.copy()).permute(0, 3, 1, 2)
    same = [tensor[0], tensor[0].double() / 255, (tensor[0].float() / 255).requires_grad_()]
    same += [one[..., 0]] if name == "L" else [np.asfortranarray(one)]
    assert all(pillow_cwic.encode(each, quality=30, effort=0) == data for each in same)
    files = pillow_cwic.encode(many, quality=30, effort=0)
    assert len(files) == 2 and files[0] == data
    assert pillow_cwic.encode(tensor, quality=30, effort=0) == files

    array = pillow_cwic.decode(data)
    assert array.dtype == np.uint8 and array.shape == ((75, 100) if name == "L" else (75, 100, channels))
    picture = pillow_cwic.decode(data, as_tensor=True, device="cpu")
    assert picture.dtype == torch.uint8 and picture.shape == (channels, 75, 100) and picture.device.type == "cpu"
    assert np.array_equal(picture.permute(1, 2, 0).numpy(), array.reshape(75, 100, channels))
    both = pillow_cwic.decode(files)
    assert both.shape == (2, 75, 100, channels)
    assert np.array_equal(both[0], array.reshape(both[0].shape))
    assert torch.equal(pillow_cwic.decode(tuple(files), as_tensor=True), torch.from_numpy(both).permute(0, 3, 1, 2))
    if name.endswith("A"):
        assert np.array_equal(both[..., -1], many[..., -1])


def test_half_precision_is_fine_enough(small: Image.Image) -> None:
    tensor = torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)
    assert pillow_cwic.encode(tensor.half() / 255, quality=20, effort=0) == pillow_cwic.encode(
        tensor, quality=20, effort=0
    )


def test_tensors_can_be_worked_with(small_file: bytes) -> None:
    """They are not bound to inference mode."""
    picture = pillow_cwic.decode(small_file, as_tensor=True)
    picture[0] = 0
    scaled = picture.float() / 255
    weight = torch.ones(3, 1, 1, requires_grad=True)
    (scaled * weight).sum().backward()
    assert weight.grad is not None and weight.grad[0] == 0 and weight.grad[1] > 0


def test_a_batch_of_other_models_and_rates(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each picture is exactly as if decoded alone: in C, and in torch, in passes of several pictures and in turn."""
    tile = np.asarray(photo.crop((200, 200, 264, 248)))
    files = [
        pillow_cwic.encode(np.rot90(tile, 2 * k), quality=q, tuning=t, effort=0)
        for k, (q, t) in enumerate([(20, "mse"), (80, "mse"), (40, "ssim"), (60, "mse"), (90, "ssim")])
    ]
    alone = np.stack([codec.decode(file) for file in files])
    assert np.array_equal(pillow_cwic.decode(files), alone)
    passes: list[int] = []
    shown = Engine.shown
    monkeypatch.setattr(
        Engine, "shown", lambda self, codes, *rest: passes.append(len(codes)) or shown(self, codes, *rest)
    )
    on_torch(monkeypatch)
    for limit, counts in ((64 * 48 * 2, [2, 1, 2]), (1, [1] * 5), (1 << 20, [3, 2])):
        monkeypatch.setattr(batch, "PASS_PIXELS", limit)
        passes.clear()
        assert np.array_equal(pillow_cwic.decode(files), alone)
        assert passes == counts


def on_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the codec take the way of a GPU, with torch's CPU device in its place."""
    monkeypatch.setattr(session.device, "choose", lambda wanted: "cpu:0")


def test_torch_makes_the_same_files_and_pictures(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.asarray(photo.crop((100, 100, 331, 255)))
    for tuning in ("mse", "ssim"):
        file = pillow_cwic.encode(pixels, rate=0.6, tuning=tuning)
        shown = pillow_cwic.decode(file)
        with monkeypatch.context() as patch:
            on_torch(patch)
            assert pillow_cwic.encode(pixels, rate=0.6, tuning=tuning) == file
            assert np.array_equal(pillow_cwic.decode(file), shown)
            assert torch.equal(pillow_cwic.decode(file, as_tensor=True), torch.from_numpy(shown).permute(2, 0, 1))


def test_importance_and_lower_bounds(small: Image.Image) -> None:
    pixels, mask = np.asarray(small), np.zeros((75, 100), np.uint8)
    mask[:, :50] = 255
    file, plain = (pillow_cwic.encode(pixels, rate=1.0, importance=each) for each in (mask, None))
    left = [np.mean((pillow_cwic.decode(each).astype(float) - pixels)[:, :50] ** 2) for each in (file, plain)]
    assert left[0] < left[1]
    made = pillow_cwic.decode(pillow_cwic.encode(pixels, psnr=30)).astype(float)
    assert 10 * np.log10(255**2 / np.mean((made - pixels) ** 2)) >= 30
    with pytest.raises(ValueError, match=r"importance: uint8 \(100, 75\), wanted uint8 \(75, 100\)"):
        pillow_cwic.encode(pixels, importance=mask.T)


def test_targets_hold_for_each_picture(pixels: np.ndarray) -> None:
    files = pillow_cwic.encode(pixels[..., :3], size=900, exif=b"II*\0", xmp="<x/>", icc_profile=b"profile")
    assert all(850 < len(file) <= 900 for file in files)
    info = Image.open(io.BytesIO(files[1])).info
    assert info["exif"] == b"Exif\0\0II*\0" and info["xmp"] == b"<x/>" and info["icc_profile"] == b"profile"


@pytest.mark.parametrize(
    ("pictures", "words"),
    [
        (np.zeros((4, 4, 5), np.uint8), r"uint8 array \(4, 4, 5\), wanted uint8 \(H, W\)"),
        (np.zeros((4, 4, 3), np.float32), r"float32 array \(4, 4, 3\)"),
        (np.zeros((1, 1, 4, 4, 3), np.uint8), r"uint8 array \(1, 1, 4, 4, 3\)"),
        (np.zeros(4, np.uint8), r"uint8 array \(4,\)"),
        (np.zeros((0, 4, 3), np.uint8), "a picture of 4 x 0 is empty"),
        (torch.zeros(4, 4), r"torch.float32 tensor \(4, 4\), wanted uint8 or floating point \(C, H, W\)"),
        (torch.zeros(5, 4, 4), r"torch.float32 tensor \(5, 4, 4\)"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), r"torch.int64 tensor \(3, 4, 4\)"),
        (torch.full((3, 4, 4), 1.01), r"torch.float32 tensor \(3, 4, 4\) holds 1.0\d* to 1.0\d*, wanted 0 to 1"),
        (torch.full((3, 4, 4), torch.nan), r"holds nan to nan, wanted 0 to 1"),
        (torch.zeros(3, 4, 4).to_sparse(), r"torch.float32 tensor \(3, 4, 4\), torch.sparse_coo on cpu, is none"),
        (torch.zeros(3, 4, 4, device="meta"), r"torch.float32 tensor \(3, 4, 4\), torch.strided on meta, is none"),
        (torch.zeros(3, 4, 4).to(torch.float8_e4m3fn), r"torch.float8_e4m3fn tensor \(3, 4, 4\), .*, is none"),
        ([[1, 2], [3, 4]], "list is neither a numpy array nor a torch tensor"),
        (Image.new("P", (4, 4)), "Image is neither"),
    ],
)
def test_other_pictures_are_refused(pictures: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pillow_cwic.encode(pictures)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_subclasses_and_buffers_are_taken() -> None:
    grey = np.arange(48 * 40, dtype=np.uint8).reshape(48, 40)
    plain = pillow_cwic.encode(grey, effort=0, exif=b"MM\0*")
    assert pillow_cwic.encode(np.asmatrix(grey), effort=0, exif=bytearray(b"MM\0*")) == plain
    assert pillow_cwic.encode(np.ma.masked_array(grey), effort=0, exif=memoryview(b"MM\0*")) == plain


def test_bad_options_are_refused() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    for options, words in (
        ({"rate": 1, "size": 100}, "only one of"),
        ({"quality": 0}, "quality: 0 is not"),
        ({"progress": 3}, "progress: 3 is neither"),
        ({"importance": [[1]]}, "importance: list is no array"),
        ({"importance": Image.new("L", (8, 8))}, "importance: Image is no array"),
        ({"lossless": "yes"}, "lossless: 'yes' is neither True nor False"),
        ({"exif": np.zeros(5, np.uint8)}, r"exif: array\(.*\) is not bytes or a PIL.Image.Exif"),
        ({"xmp": "\ud800"}, "xmp: .* is no text that UTF-8 can hold"),
        ({"dpi": (10**5000, 72)}, "dpi: tuple that cannot be shown is not a pair of numbers"),
        ({"importance": np.zeros((0, 0), np.uint8)}, r"importance: uint8 \(0, 0\), wanted uint8 \(8, 8\)"),
        ({"importance": np.zeros((8, 8), np.int64)}, r"importance: int64 \(8, 8\), wanted uint8 \(8, 8\)"),
        ({"exif": 5}, "exif: 5 is not bytes or a PIL.Image.Exif"),
        ({"dpi": (-1, 1)}, "dpi: -1.0 is outside"),
        ({"model": "none"}, "model: none is none of"),
    ):
        with pytest.raises(ValueError, match=words):
            pillow_cwic.encode(pixels, **options)


def test_an_empty_batch() -> None:
    assert pillow_cwic.encode(np.zeros((0, 4, 4, 3), np.uint8)) == []
    with pytest.raises(ValueError, match="files: there are none"):
        pillow_cwic.decode([])


def test_unequal_files_are_refused(small: Image.Image, small_file: bytes) -> None:
    pixels = np.asarray(small)
    for other, words in (
        (pixels[:-1], "file 2: 100 x 74 RGB in one batch with file 0: 100 x 75 RGB"),
        (pixels[..., 0], "file 2: 100 x 75 L in one batch with file 0: 100 x 75 RGB"),
    ):
        with pytest.raises(ValueError, match=words):
            pillow_cwic.decode([small_file, small_file, pillow_cwic.encode(other, quality=1)])


def test_damage_is_told_with_the_file(small_file: bytes) -> None:
    with pytest.raises(pillow_cwic.ContainerError, match="file 1: chunk b'CODE': length"):
        pillow_cwic.decode([small_file, small_file[: len(small_file) // 2]])
    parsed = container.read_file(small_file)
    layers = [parsed.layers[0]._replace(crc=parsed.layers[0].crc ^ 1), *parsed.layers[1:]]
    forged = container.write_file(parsed.header, layers)
    with pytest.raises(pillow_cwic.EntropyError, match="file 1: layer 0: symbol CRC"):
        pillow_cwic.decode([small_file, forged], as_tensor=True)
    with pytest.raises(pillow_cwic.EntropyError, match=r"^layer 0: symbol CRC"):
        pillow_cwic.decode(forged, as_tensor=True)
    with pytest.raises(ValueError, match="data: str is neither bytes nor a list"):
        pillow_cwic.decode("photo.cwic")


def test_the_device_is_that_of_the_call(small_file: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []
    loaded = session.runtime
    monkeypatch.setattr(session, "runtime", lambda model: seen.append(settings.device()) or loaded(model))
    with pillow_cwic.options(device="cuda:99"):
        assert pillow_cwic.decode(small_file, as_tensor=True, device="cpu").device.type == "cpu"
        with pytest.raises(ValueError, match="device: 'cuda:99' cannot be used here"):
            pillow_cwic.decode(small_file, as_tensor=True)
    assert seen == ["cpu", "cuda:99"]
    with pytest.raises(ValueError, match="device: 'gpu' is none of"):
        pillow_cwic.decode(small_file, device="gpu")


def test_a_cuda_tensor_stays_there(small_file: bytes) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    picture = pillow_cwic.decode([small_file] * 3, as_tensor=True, device="cuda")
    assert picture.is_cuda
    alone = codec.decode(small_file)
    assert np.array_equal(picture[2].permute(1, 2, 0).cpu().numpy(), alone)
    assert pillow_cwic.encode(picture, quality=20, effort=0)[0][:4] == b"\x89CWI"


READERS = {
    "skimage": "skimage.io.imread('x.cwic')",
    "matplotlib": "matplotlib.image.imread('x.cwic')",
    "imageio": "imageio.v3.imread('x.cwic')",
}


@pytest.fixture(scope="module")
def read_by_others(small_file: bytes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray | None]:
    """What each library reads, in a process that knows no more of this package than that it is imported."""
    folder = tmp_path_factory.mktemp("readers")
    (folder / "x.cwic").write_bytes(small_file)
    lines = ["import numpy, pillow_cwic"]
    for name, call in READERS.items():
        module = call.partition(".imread")[0]
        lines += ["try:", f"    import {module}", "except ImportError:", "    pass", "else:"]
        lines += [f"    numpy.save('{name}', {call})"]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name: np.load(path) if (path := folder / f"{name}.npy").exists() else None for name in READERS}


@pytest.mark.parametrize("name", READERS)
def test_other_libraries_read_files(name: str, small_file: bytes, read_by_others: dict[str, np.ndarray | None]) -> None:
    array = read_by_others[name]
    if array is None:
        pytest.skip(f"{name} is not installed")
    assert array.shape == (75, 100, 3) and array.dtype == np.uint8
    assert np.array_equal(array, codec.decode(small_file))
