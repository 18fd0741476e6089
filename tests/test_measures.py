"""The measures of a decoded picture: against plain ones in double precision, against torch's, and without torch."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from io import BytesIO

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from pillow_cwic import measures

SIDES = [(11, 11), (12, 40), (75, 100), (181, 203), (700, 45), (180, 1111)]  # of one strip and of several


def pair(kind: str, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture and what a bad codec might make of it, uint8 (H, W, 3)."""
    random = np.random.default_rng(height)
    if kind == "noise":
        x = random.integers(0, 256, (height, width, 3))
    elif kind == "white":
        x = np.full((height, width, 3), 250)
    else:
        x = np.add.outer(0.4 * np.arange(height), 0.3 * np.arange(width))[..., None] % 240 + [0, 7, 15]
    y = x + random.normal(2, {"noise": 20, "white": 1, "smooth": 4}[kind], x.shape)
    return x.astype(np.uint8), y.clip(0, 255).astype(np.uint8)


def plain_blur(plane: np.ndarray) -> np.ndarray:
    window = np.exp(-np.square(np.arange(11) - 5) / (2 * 1.5**2))
    window /= window.sum()
    return sliding_window_view(sliding_window_view(plane, 11, axis=0) @ window, 11, axis=1) @ window


def plain_similarity(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Mean SSIM of two planes and mean of its contrast and structure part, as the papers write them."""
    mx, my = plain_blur(x), plain_blur(y)
    vx, vy, cov = plain_blur(x * x) - mx**2, plain_blur(y * y) - my**2, plain_blur(x * y) - mx * my
    part = (2 * cov + 58.5225) / (vx + vy + 58.5225)
    return float(((2 * mx * my + 6.5025) / (mx**2 + my**2 + 6.5025) * part).mean()), float(part.mean())


def plain_halved(plane: np.ndarray) -> np.ndarray:
    """Means over 2 x 2 pixels, black before an odd side."""
    height, width = plane.shape
    padded = np.pad(plane, ((height % 2, 0), (width % 2, 0)))
    return padded.reshape(padded.shape[0] // 2, 2, -1, 2).mean((1, 3))


def plain_ms_ssim(x: np.ndarray, y: np.ndarray) -> float:
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
    weights = weights[: sum(min(x.shape) >> k >= 11 for k in range(5))] * 1.0
    weights *= 1.0001 / weights.sum()
    product = 1.0
    for k, weight in enumerate(weights):
        if k:
            x, y = plain_halved(x), plain_halved(y)
        whole, part = plain_similarity(x, y)
        product *= max(0, whole if k == len(weights) - 1 else part) ** weight
    return product


@pytest.mark.parametrize("kind", ["noise", "white", "smooth"])
@pytest.mark.parametrize(("height", "width"), SIDES)
def test_similarities_are_those_of_double_precision(kind: str, height: int, width: int) -> None:
    x, y = pair(kind, height, width)
    luma = [p @ np.array([0.299, 0.587, 0.114]) for p in (x, y)]
    assert measures.ssim(x, y) == pytest.approx(plain_similarity(*luma)[0], abs=1e-5)
    channels = [plain_ms_ssim(x[..., c].astype(float), y[..., c].astype(float)) for c in range(3)]
    assert measures.ms_ssim(x, y) == pytest.approx(np.mean(channels), abs=1e-5)


@pytest.mark.parametrize("kind", ["noise", "smooth"])  # torch's single precision loses digits where all is white
@pytest.mark.parametrize(("height", "width"), SIDES)
def test_measures_are_those_of_training(kind: str, height: int, width: int) -> None:
    torch = pytest.importorskip("torch")
    from pillow_cwic.transforms.torch import distortion

    x, y = pair(kind, height, width)
    batches = [torch.from_numpy(p.copy()).permute(2, 0, 1)[None].float() for p in (x, y)]
    ssim, ms_ssim = (float(each) for each in distortion.similarities(*batches))
    assert measures.ssim(x, y) == pytest.approx(ssim, abs=1e-5)
    assert measures.ms_ssim(x, y) == pytest.approx(ms_ssim, abs=1e-5)
    for tuning in ("mse", "ssim"):
        lost, mse = (float(each) for each in distortion.distortion(tuning, *batches))
        scale = 1 if tuning == "mse" else measures.MS_SSIM_SCALE + measures.SSIM_SCALE
        assert measures.distortion(tuning, x, y) == pytest.approx(lost, rel=1e-5, abs=1e-5 * scale)
        assert measures.mean_squared_error(x, y) == pytest.approx(mse, rel=1e-5)


def test_photographs_measure_as_in_the_benchmarks(photo: Image.Image) -> None:
    pytest.importorskip("skimage", reason="needs the extra `bench`")
    pytest.importorskip("pytorch_msssim", reason="needs the extra `bench`")
    from benchmarks import metrics

    data = BytesIO()
    photo.crop((0, 0, 601, 431)).save(data, "JPEG", quality=20)
    x, y = np.asarray(photo)[:431, :601], np.asarray(Image.open(data))
    assert measures.psnr(x, y) == pytest.approx(metrics.psnr(x, y), abs=1e-9)
    assert measures.ssim(x, y) == pytest.approx(metrics.ssim(x, y), abs=2e-4)  # which leaves another border out
    assert measures.ms_ssim(x, y) == pytest.approx(metrics.ms_ssim(x, y) or 0, abs=1e-5)


def test_equal_pictures_and_opposite_ones() -> None:
    x, _ = pair("noise", 64, 48)
    assert measures.psnr(x, x) == np.inf
    assert measures.ssim(x, x) == measures.ms_ssim(x, x) == 1
    assert measures.distortion("ssim", x, x) == measures.distortion("mse", x, x) == 0
    black = np.zeros_like(x)
    assert measures.psnr(black, black + 255) == 0 and measures.mean_squared_error(black, black + 255) == 255**2
    assert measures.ssim(x, 255 - x) < 0 and measures.ms_ssim(x, 255 - x) == 0
    assert measures.distortion("ssim", x, 255 - x) > measures.MS_SSIM_SCALE + measures.SSIM_SCALE


def test_how_a_picture_is_cut_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = pair("smooth", 215, 190)
    whole = measures.distortion("ssim", x, y)
    monkeypatch.setattr(measures, "LEAST_ROWS", 1)
    for strip in (1, 7 * 190, 64 * 190, 10**6):
        monkeypatch.setattr(measures, "STRIP", strip)
        assert measures.distortion("ssim", x, y) == pytest.approx(whole, rel=1e-5)
    turned = (np.swapaxes(p, 0, 1) for p in (x, y))  # not contiguous either
    assert measures.distortion("ssim", *turned) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_blocks_lose_adds_up_to_what_the_picture_does(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = (p[..., :channels] for p in pair("noise", 61, 90))
    lost = measures.structural_loss(x, y, 16)
    assert lost.shape == (4, 6)
    colours = (np.repeat(p, 3 // channels, axis=2) for p in (x, y))
    assert lost.sum() / (51 * 80) == pytest.approx(1 - measures.ssim(*colours), rel=1e-5)
    monkeypatch.setattr(measures, "LEAST_ROWS", 1)
    monkeypatch.setattr(measures, "STRIP", 1)
    assert measures.structural_loss(x, y, 16) == pytest.approx(lost, rel=1e-5)


def test_structure_is_lost_where_it_was() -> None:
    x, _ = pair("smooth", 64, 96)
    y = x.copy()
    y[24:28, 40:44] ^= 64
    lost = measures.structural_loss(x, y, 16)
    near = np.zeros(lost.shape, bool)
    near[1:3, 2:4] = True  # blocks that the window reaches from there: 5 pixels
    assert lost[1, 2] == lost.max() > 1 and lost[~near].max() < 1e-6
    assert not measures.structural_loss(x[:10], y[:10], 16).any()


def test_no_room_for_similarity() -> None:
    x, y = pair("noise", 10, 300)
    assert measures.distortion("ssim", x, y) == measures.mean_squared_error(x, y) == measures.distortion("mse", x, y)
    for measure in (measures.ssim, measures.ms_ssim):
        with pytest.raises(ValueError, match="ssim: a picture of 300 x 10 is smaller than the window of 11"):
            measure(x, y)
    with pytest.raises(ValueError, match="tuning: 'psnr' is neither 'mse' nor 'ssim'"):
        measures.distortion("psnr", x, y)


def test_memory_does_not_grow_with_the_height() -> None:
    x, y = pair("smooth", 3000, 200)
    peaks = []
    for height in (600, 3000):
        tracemalloc.start()
        measures.distortion("ssim", x[:height], y[:height])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] and peaks[1] < 16e6


def test_no_measure_needs_torch() -> None:
    code = "import sys; sys.modules['torch'] = None  # no import of it succeeds\n"
    code += "from PIL import Image\nfrom pillow_cwic.tools.compare import measure, page\n"
    code += "from pillow_cwic import measures\nimport numpy as np\n"
    code += "x, y = Image.linear_gradient('L').convert('RGB'), Image.radial_gradient('L').convert('RGB')\n"
    code += "point = measure.measure(x, y, 100)\n"
    code += "lost = measures.distortion('ssim', np.asarray(x), np.asarray(y))\n"
    code += "print(None not in (point.psnr, point.ssim, point.ms_ssim), lost > 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "True True"), done.stderr


def test_colour_errors_are_those_of_blocks_means() -> None:
    grey, shade = np.full((40, 24, 3), 90, np.uint8), np.full((40, 24, 3), 90, np.uint8)
    assert measures.colour_error(grey, grey + 9) == 0  # lighter, but as grey
    shade[:, :16, 2] += 6  # (R + G) / 2 - B is off by 6 in two blocks of 8 of three, and in one of 16 of two
    assert measures.colour_error(grey, shade) == pytest.approx(36 / 2 * (2 / 3 + 1 / 2))
    shade[:, :16, 2] = 90 + 6 * (np.indices((40, 16)).sum(0) % 2 * 2 - 1)  # what is finer than blocks does not count
    assert measures.colour_error(grey, shade) == 0
