"""How near a decoded picture is to its original; pictures are uint8 (H, W, 3), 0 to 255, both of one shape.

What ``psnr=`` and ``ssim=`` ask for, what the choice among candidates minimises, and what ``cwic compare`` shows. SSIM:
Wang et al., 2004; MS-SSIM: Wang et al., 2003. transforms/torch/distortion.py has the same where gradients are needed.

Blurring is sums of shifted slices, rather than matrix products, whose library would start threads and round as it likes
on each processor; it takes a fifth of torch's time all the same. Both similarities are computed from the sum s and the
difference d of the two pictures. Since x = (s + d) / 2 and y = (s - d) / 2, the contrast and structure part of SSIM,
with variances under the window, is

    (2 cov(x, y) + C2) / (var x + var y + C2) = 1 - 2 var d / (var s + var d + 2 C2),

which takes four blurs rather than five and loses no digits where the pictures are nearly equal; the same with means
and C1 for luminance. Pictures pass in strips of rows, so that memory does not grow with their height.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["colour_error", "distortion", "mean_squared_error", "ms_ssim", "psnr", "ssim"]

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

WINDOW, SIGMA = 11, 1.5  # pixels along a side of the Gaussian window, and its standard deviation
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
MS_SSIM_SCALE, SSIM_SCALE, MSE_SHARE = 600.0, 250.0, 0.04  # of the distortion of the tuning ``ssim``
COLOUR_SHARE, COLOUR_SIDES = 0.15, (8, 16)  # of the same: what walls and skies lose that turn beige or mauve

STRIP = 16384  # pixels in a strip, about: what is computed from them stays in a core's cache
LEAST_ROWS = 8  # of a strip, however wide: the ten rows above it are kept and copied
MIDDLE = 255.0  # of sums of two samples: taken off them, which leaves more digits to their squares


def _window() -> list[float]:
    taps = [math.exp(-((k - WINDOW // 2) ** 2) / (2 * SIGMA**2)) for k in range(WINDOW)]
    return [tap / sum(taps) for tap in taps]


TAPS = _window()


def mean_squared_error(original: Pixels, decoded: Pixels) -> float:
    """The mean over all samples of the squared difference, 0 to 65025; the sum is exact."""
    total = 0
    for rows in _strips(original):
        difference = np.subtract(original[rows], decoded[rows], dtype=np.int32)
        total += int(np.square(difference, out=difference).sum(dtype=np.int64))
    return total / original.size


def psnr(original: Pixels, decoded: Pixels) -> float:
    """Peak signal-to-noise ratio over all samples, in dB; infinite if the pictures are equal."""
    error = mean_squared_error(original, decoded)
    return 10 * math.log10(255**2 / error) if error else math.inf


def ssim(original: Pixels, decoded: Pixels) -> float:
    """SSIM of the luma, at most 1, the mean over places of the window. Raises ValueError for a side below 11."""
    height, width = _sides(original)
    scale = _Scale(1, height, width, light=True)
    for rows in _strips(original):
        scale.add(_luma(_pair(original[rows], decoded[rows])))
    return float(scale.similarity()[0])


def structural_loss(original: Pixels, decoded: Pixels, side: int) -> NDArray[np.float64]:
    """1 - SSIM summed over blocks of ``side`` pixels of two pictures (H, W, 1 or 3), (ceil(H / side), ceil(W / side)).

    Each place of the window counts for the block in which its middle lies. Zeros if the window does not fit in.
    """
    height, width = original.shape[:2]
    sums = np.zeros((-(-height // side), -(-width // side)))
    if min(height, width) < WINDOW:
        return sums
    scale, row = _Scale(1, height, width, light=True), WINDOW // 2
    cells = (np.arange(width - WINDOW + 1) + WINDOW // 2) // side
    first, starts = np.unique(cells, return_index=True)
    for rows in _strips(original):
        if (lost := scale.add(_luma(_pair(original[rows], decoded[rows])))) is not None:
            of_cells = np.add.reduceat(lost[0], starts, axis=1, dtype=np.float64)
            np.add.at(sums, (np.arange(row, row + len(of_cells))[:, None] // side, first), of_cells)
            row += len(of_cells)
    return sums


def ms_ssim(original: Pixels, decoded: Pixels) -> float:
    """MS-SSIM, 0 to 1, the mean over R, G and B. Raises ValueError for a side below 11.

    Of the five scales as many are used as the window fits into, their weights brought to the sum of all.
    """
    height, width = _sides(original)
    count = sum(min(height, width) >> k >= WINDOW for k in range(len(SCALE_WEIGHTS)))
    scales = [_Scale(3, -(-height >> k), -(-width >> k), light=k == count - 1) for k in range(count)]
    for rows in _strips(original):
        pair = _pair(original[rows], decoded[rows])
        for k, scale in enumerate(scales):
            scale.add(pair)
            if k < count - 1:
                pair = scale.halved(pair)
    share = sum(SCALE_WEIGHTS) / sum(SCALE_WEIGHTS[:count])
    product = np.ones(3)
    for scale, weight in zip(scales, SCALE_WEIGHTS[:count], strict=True):
        product *= np.maximum(scale.similarity(), 0) ** (weight * share)
    return float(product.mean())


def distortion(tuning: str, original: Pixels, decoded: Pixels) -> float:
    """What a tuning, ``mse`` or ``ssim``, was trained to keep low beside bits: 0 for equal pictures.

    Squared error alone where a side is too short for similarity. Raises ValueError for another tuning.
    """
    if tuning not in ("mse", "ssim"):
        raise ValueError(f"tuning: {tuning!r} is neither 'mse' nor 'ssim'")
    error = mean_squared_error(original, decoded)
    if tuning == "mse" or min(original.shape[:2]) < WINDOW:
        return error
    structure = MS_SSIM_SCALE * (1 - ms_ssim(original, decoded)) + SSIM_SCALE * (1 - ssim(original, decoded))
    return structure + MSE_SHARE * error + COLOUR_SHARE * colour_error(original, decoded)


def colour_error(original: Pixels, decoded: Pixels) -> float:
    """The squared error of mean colours, R - G and (R + G) / 2 - B, over blocks of 8 x 8 and of 16 x 16 pixels.

    The mean over blocks, those at the edges with the pixels they have, and over both colours; the sum of both sizes.
    """
    height, width = original.shape[:2]
    largest = max(COLOUR_SIDES)
    rows = largest * max(1, STRIP // (largest * width))
    total = 0.0
    for top in range(0, height, rows):
        d = np.subtract(original[top : top + rows], decoded[top : top + rows], dtype=np.float32)
        off = np.stack([d[..., 0] - d[..., 1], (d[..., 0] + d[..., 1]) / 2 - d[..., 2]])
        for side in COLOUR_SIDES:
            down, across = np.arange(0, off.shape[1], side), np.arange(0, width, side)
            sums = np.add.reduceat(np.add.reduceat(off, down, axis=1), across, axis=2, dtype=np.float64)
            areas = np.diff(down, append=off.shape[1])[:, None] * np.diff(across, append=width)
            total += float(np.square(sums / areas).sum()) / (2 * -(-height // side) * len(across))
    return total


def _sides(picture: Pixels) -> tuple[int, int]:
    """Height and width; ValueError if the window does not fit in."""
    height, width = picture.shape[:2]
    if min(height, width) < WINDOW:
        raise ValueError(f"ssim: a picture of {width} x {height} is smaller than the window of {WINDOW}")
    return height, width


def _strips(picture: Pixels) -> Iterator[slice]:
    """Rows of a picture, from the top, all of them once."""
    rows = max(LEAST_ROWS, STRIP // max(1, picture.shape[1]))
    return (slice(top, top + rows) for top in range(0, picture.shape[0], rows))


def _pair(original: Pixels, decoded: Pixels) -> Floats:
    """(rows, W, C) twice to (2, C, rows, W): x + y - 255 and x - y, both -255 to 255."""
    x, y = (np.moveaxis(p, 2, 0).astype(np.float32, order="C") for p in (original, decoded))
    pair = np.empty((2, *x.shape), np.float32)
    np.add(x, y, out=pair[0])
    pair[0] -= MIDDLE
    np.subtract(x, y, out=pair[1])
    return pair


def _luma(pair: Floats) -> Floats:
    """Pairs of ``_pair`` (2, 1 or 3, rows, W) to their luma (2, 1, rows, W)."""
    if pair.shape[1] == 1:
        return pair
    red, green, blue = np.moveaxis(pair, 1, 0)
    luma: Floats = (red * LUMA[0] + green * LUMA[1] + blue * LUMA[2])[:, None]
    return luma


def _blurred(planes: Floats, axis: int) -> Floats:
    """Means under the Gaussian window along an axis, which becomes ten places shorter."""
    places, last = planes.shape[axis] - WINDOW + 1, WINDOW - 1

    def shifted(by: int) -> Floats:
        return planes[(*[slice(None)] * axis, slice(by, by + places))]

    blurred: Floats = shifted(last // 2) * TAPS[last // 2]
    both = np.empty_like(blurred)
    for k in range(last // 2):  # the window is symmetric
        np.add(shifted(k), shifted(last - k), out=both)
        both *= TAPS[k]
        blurred += both
    return blurred


class _Scale:
    """One scale of two pictures (C, H, W), whose rows come from the top in strips (2, C, rows, W) as of ``_pair``."""

    def __init__(self, channels: int, height: int, width: int, light: bool) -> None:
        """``light``: whether luminance counts, or contrast and structure alone."""
        self._light = light
        self._above = np.empty((4, channels, 0, width), np.float32)  # the last rows that windows below still cover
        # Where a side is odd, black goes before it, which counts in the means: as in pytorch-msssim and others.
        black = np.array([-MIDDLE, 0], np.float32)[:, None, None, None]
        self._waiting = np.broadcast_to(black, (2, channels, height % 2, width))  # a row without its second
        self._left = np.broadcast_to(black, (2, channels, 1, width % 2))
        self._lost = np.zeros(channels)
        self._places = 0

    def add(self, strip: Floats) -> Floats | None:
        """Take the next rows into account; what is lost at each place that they complete, (C, rows, W - 10)."""
        above, rows = self._above.shape[2], strip.shape[2]
        planes = np.empty((4, strip.shape[1], above + rows, strip.shape[3]), np.float32)  # s, d and their squares
        planes[:, :, :above] = self._above
        planes[:2, :, above:] = strip
        np.square(strip, out=planes[2:, :, above:])
        self._above = planes[:, :, -(WINDOW - 1) :]
        if planes.shape[2] < WINDOW:
            return None
        s, d, ss, dd = _blurred(_blurred(planes, 2), 3)
        squared = d * d
        dd -= squared
        ss -= s * s
        ss += dd
        ss += 2 * C2
        lost: Floats = np.divide(dd, ss, out=dd)
        lost *= 2
        if self._light:
            s += MIDDLE
            s *= s
            s += squared
            s += 2 * C1
            light = np.divide(squared, s, out=squared)
            light *= 2
            lost += light - lost * light  # 1 - (1 - lost) (1 - light)
        self._lost += lost.sum((1, 2))
        self._places += lost[0].size
        return lost

    def similarity(self) -> NDArray[np.float64]:
        """The mean over all places of the window, (C,)."""
        mean: NDArray[np.float64] = 1 - self._lost / self._places
        return mean

    def halved(self, strip: Floats) -> Floats:
        """The rows of the next scale, half as large, that are complete with this strip: means over 2 x 2 pixels."""
        rows = np.concatenate([self._waiting, strip], axis=2)
        even = rows.shape[2] // 2 * 2
        self._waiting = rows[:, :, even:]
        sums = rows[:, :, 0:even:2] + rows[:, :, 1:even:2]
        if self._left.shape[3]:
            left = np.broadcast_to(2 * self._left, (*sums.shape[:3], 1))
            sums = np.concatenate([left, sums], axis=3)
        means: Floats = sums[..., 0::2] + sums[..., 1::2]
        means *= 0.25
        return means
