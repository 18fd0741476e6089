"""SSIMULACRA 2.1 (Sneyers, 2023), a measure of quality that was fitted to what people said of compressed pictures.

100 is the same picture, 90 can hardly be told from it, 70 is good, 50 medium, 30 poor; very poor ones fall below 0.
The definition, and with it the constants, is that of ``tools/ssimulacra2.cc`` in libjxl.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["ssimulacra2"]

Planes = NDArray[np.float32]  # (3, height, width)

SCALES, SIDE = 6, 8  # 1:1 to 1:32, as long as the scale before has no side below 8 pixels
STRIP = 1 << 15  # pixels in a strip, about: what is computed from them stays in a core's cache
# From the weighted sum of errors x to the score: 100 - 10 (LINE x + SQUARE x^2 + CUBE x^3)^POWER.
SHRUNK = 0.9562382616834844
LINE, SQUARE, CUBE = 2.326765642916932 * SHRUNK, -0.020884521182843837 * SHRUNK**2, 6.248496625763138e-05 * SHRUNK**3
POWER = 0.6276336467831387
STABLE = 0.0009  # added to both sides of the ratio of variances
CONES = np.array(  # what they absorb of linear R, G and B
    [[0.3, 0.622, 0.078], [0.23, 0.692, 0.078], [0.24342268924547819, 0.20476744424496821, 0.55180986650955360]],
    np.float32,
)
BIAS = np.float32(0.0037930732552754493)
# By channel and scale: the mean of each map of errors (structure, edges that were not there, edges that are lost), then
# the 4-norm of each.
WEIGHTS = np.array(
    [
        # X
        [0, 0.0007376606707406586, 0, 0, 0.0007793481682867309, 0],
        [0, 0.0004371155730107379, 0, 1.1041726426657346, 0.00066284834129271, 0.00015231632783718752],
        [0, 0.0016406437456599754, 0, 1.8422455520539298, 11.441172603757666, 0],
        [0.0007989109436015163, 0.000176816438078653, 0, 1.8787594979546387, 10.94906990605142, 0],
        [
            *(0.0007289346991508072, 0.9677937080626833, 0),
            *(0.00014003424285435884, 0.9981766977854967, 0.00031949755934435053),
        ],
        [0.0004550992113792063, 0, 0, 0.0013648766163243398, 0, 0],
        # Y
        [0, 0, 0, 7.466890328078848, 0, 17.445833984131262],
        [0.0006235601634041466, 0, 0, 6.683678146179332, 0.00037724407979611296, 1.027889937768264],
        [225.20515300849274, 0, 0, 19.213238186143016, 0.0011401524586618361, 0.001237755635509985],
        [176.39317598450694, 0, 0, 24.43300999870476, 0.28520802612117757, 0.0004485436923833408],
        [0, 0, 0, 34.77906344483772, 44.835625328877896, 0],
        [0, 0, 0, 0, 0, 0],
        # B less Y
        [0, 0.0008680556573291698, 0, 0, 0, 0],
        [0, 0.0005313191874358747, 0, 0.00016533814161379112, 0, 0],
        [0, 0, 0, 0.0004179171803251336, 0.0017290828234722833, 0],
        [0.0020827005846636437, 0, 0, 8.826982764996862, 23.19243343998926, 0],
        [
            *(95.1080498811086, 0.9863978034400682, 0.9834382792465353),
            *(0.0012286405048278493, 171.2667255897307, 0.9807858872435379),
        ],
        [0, 0, 0, 0.0005130064588990679, 0, 0.00010854057858411537],
    ]
)


def window(sigma: float = 1.5) -> Planes:
    """The Gaussian as a sum of three cosines, of 2 N + 1 samples (Charalampidis, 2016; numbers are its equations)."""
    n = round(3.2795 * sigma + 0.2546)  # (57)
    omega = np.pi / (2 * n) * np.array([1, 3, 5])
    p = np.array([1, -1, 1]) / np.tan(omega / 2)  # (37)
    r = np.array([1, -1, 1]) * p * p / np.sin(omega)  # (44)
    rho = np.exp(-((sigma * omega) ** 2) / 2) / n  # (50)
    zeta = np.cross(p, r)  # (52)
    zeta /= zeta[2]
    beta = np.linalg.solve(np.stack([p, r, zeta]), np.array([1, n * n - sigma**2, zeta @ rho]))  # (53)
    taps: Planes = (beta @ np.cos(np.outer(omega, np.arange(-n, n + 1)))).astype(np.float32)
    return taps


WINDOW = window()
REACH = len(WINDOW) // 2


def blur(planes: Planes) -> Planes:
    """The local means; zeros lie beyond the borders."""
    for axis in (2, 1):
        source = planes
        planes = np.multiply(WINDOW[REACH], source, dtype=np.float32)
        for by in range(1, REACH + 1):  # the window is symmetric
            tail, head = ((*[slice(None)] * axis, each) for each in (slice(by, None), slice(None, -by)))
            planes[head] += WINDOW[REACH + by] * source[tail]
            planes[tail] += WINDOW[REACH + by] * source[head]
    return planes


def linear(pixels: NDArray[np.uint8]) -> Planes:
    """Linear light, 0 to 1, from sRGB (H, W, 3)."""
    x = np.arange(256) / 255
    table = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4).astype(np.float32)
    return table[pixels.transpose(2, 0, 1)]


def xyb(light: Planes) -> Planes:
    """X, Y and B less Y, scaled and shifted to about 0 to 1."""
    a, b, c = np.cbrt(np.tensordot(CONES, light, 1) + BIAS) - np.cbrt(BIAS)
    x, y = (a - b) / 2, (a + b) / 2
    return np.stack([x * 14 + 0.42, y + 0.01, c - y + 0.55], dtype=np.float32)


def halved(light: Planes) -> Planes:
    """Half the size, by means of 2x2; an odd last row or column counts twice."""
    _, height, width = light.shape
    even = np.pad(light, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    sums: Planes = even[:, ::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, ::2] + even[:, 1::2, 1::2]
    sums *= 0.25
    return sums


def errors(first: Planes, second: Planes) -> NDArray[np.float64]:
    """Of one scale in linear light: (channel, mean or 4-norm, map)."""
    _, height, width = first.shape
    rows = max(4 * REACH, STRIP // width)
    sums = np.zeros((2, 3, 3))  # of the maps and of their fourth powers, by map and channel
    for top in range(0, height, rows):
        above, below = max(0, top - REACH), top + rows + REACH  # what the window covers
        maps = _errors(*(xyb(light[:, above:below]) for light in (first, second)))[:, :, top - above :][:, :, :rows]
        sums[0] += maps.sum((2, 3), np.float64)
        maps *= maps
        maps *= maps
        sums[1] += maps.sum((2, 3), np.float64)
    sums /= height * width
    sums[1] **= 0.25
    return sums.transpose(2, 0, 1)


def _errors(first: Planes, second: Planes) -> Planes:
    """The maps (map, channel, rows, W): structure, edges that were not there, edges that are lost."""
    mu1, mu2 = blur(first), blur(second)
    covariance = 2 * (blur(first * second) - mu1 * mu2) + STABLE
    variances = (blur(first * first) - mu1 * mu1) + (blur(second * second) - mu2 * mu2) + STABLE
    structure = 1 - (1 - (mu1 - mu2) ** 2) * covariance / variances
    edges = (1 + np.abs(second - mu2)) / (1 + np.abs(first - mu1)) - 1
    maps: Planes = np.maximum(np.stack([structure, edges, -edges]), 0, dtype=np.float32)
    return maps


def ssimulacra2(original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float | None:
    """The score, at most 100, of two sRGB pictures (H, W, 3) of the same size; None for a side below 8 pixels."""
    if min(original.shape[:2]) < SIDE:
        return None
    first, second = linear(original), linear(decoded)
    found = [errors(first, second)]
    while len(found) < SCALES and min(first.shape[1:]) >= SIDE:
        first, second = halved(first), halved(second)
        found.append(errors(first, second))
    norms = np.stack(found, axis=1).ravel()  # by channel, scale, norm, map
    x = float(norms @ WEIGHTS.ravel()[: norms.size])  # fewer scales take the first weights
    x = LINE * x + SQUARE * x**2 + CUBE * x**3
    return float(100 - 10 * max(x, 0) ** POWER)
