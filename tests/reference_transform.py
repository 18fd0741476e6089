"""The transforms of docs/FORMAT.md section 6 in plain numpy, laid out like that page; independent of the package.

Slow, and only for tests. Everything is int64, with the sizes asserted that the page promises.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Cursor:
    """Parts of one array, in order."""

    def __init__(self, values: NDArray[Any]) -> None:
        self.values, self.at = values.astype(np.int64), 0

    def take(self, *shape: int) -> Ints:
        size = math.prod(shape)
        part = self.values[self.at : self.at + size].reshape(shape)
        self.at += size
        return part

    def end(self) -> None:
        assert self.at == len(self.values)


def mul(x: Ints, m: Ints) -> Ints:
    return (x * m + 16384) >> 15


def sat(x: Ints) -> Ints:
    return np.clip(x, -32768, 32767)


def at(table: Ints, rate: int, first: int) -> Ints:
    d = rate - first
    i, f = d >> 5, d & 31
    following = table[i + 1] * f if f else 0
    return (table[i] * (32 - f) + following + 16) >> 5


def isqrt(v: Ints) -> Ints:
    return np.array([math.isqrt(int(x)) for x in v.ravel()], np.int64).reshape(v.shape)


def product(x: Ints, weights: Ints, bias: Ints, limit: int = 2**31) -> Ints:
    """(positions, inputs) times [inputs][outputs]."""
    s = x @ weights + bias
    assert np.abs(s).max(initial=0) < limit
    return s


def beside(x: Ints) -> Ints:
    """L of section 6.9, of (positions, 8, 8)."""
    total = np.zeros_like(x)
    for row in range(8):
        for column in range(8):
            for r, c in (row, column - 1), (row, column + 1), (row - 1, column), (row + 1, column):
                if 0 <= r < 8 and 0 <= c < 8:
                    total[:, row, column] += x[:, r, c] - x[:, row, column]
    return total


UNITS = 512, 1, 4, 4, 2, 8, 8, 16, 16, 16, 4, 16, 16


def post_filter(s: Ints, shift: int, post: Sequence[int]) -> Ints:
    """Section 6.9: the exit's sums (positions, 192) and 39 coefficients to samples, likewise."""
    assert shift >= 4 and len(post) == 39 and all(-127 <= c <= 127 for c in post)
    v = np.clip(s >> (shift - 4), -1024, 5119) - 2048
    red, green, blue = (v[:, 64 * colour : 64 * (colour + 1)].reshape(-1, 8, 8) for colour in range(3))
    y, u, v = (77 * red + 150 * green + 29 * blue) >> 8, red - green, blue - green
    products = [y * y >> 11, y * u >> 11, y * v >> 11, u * u >> 11, u * v >> 11, v * v >> 11]
    features = [np.ones_like(y), y, u, v, *products, beside(y), beside(u), beside(v)]
    d = []
    for i in range(3):
        terms = [post[13 * i + f] * UNITS[f] * features[f] for f in range(13)]
        assert (128 + sum(np.abs(term) for term in terms)).max() < 2**29
        d.append((128 + sum(terms)) >> 8)
    g = d[0] - ((77 * d[1] + 29 * d[2] + 128) >> 8)
    assert max(np.abs(77 * d[1]).max() + np.abs(29 * d[2]).max() + 128, np.abs(g).max()) < 2**29
    colours = red + g + d[1], green + g, blue + g + d[2]
    return np.concatenate([np.clip((c + 2048) >> 4, 0, 255).reshape(-1, 64) for c in colours], axis=1)


class Transform:
    """One transform's arrays by the names of section 6."""

    def __init__(self, config: dict[str, Any], kind: str, arrays: dict[str, NDArray[Any]]) -> None:
        self.synthesis = kind == "synthesis"
        n, blocks, c = config["wide"], config["blocks"], sum(config["groups"])
        inputs, outputs = (c, 192) if self.synthesis else (192, c)
        words, halves, octets = (Cursor(arrays[f"{kind}.{name}"]) for name in ("words", "halves", "bytes"))
        self.normalised = config["normalised"]
        self.enter_shift = int(words.take(1)[0])
        shifts = words.take(blocks, 4)
        self.exit_shift = int(words.take(1)[0])
        if not self.synthesis:
            self.head_shift = int(words.take(1)[0])
        if self.normalised:
            self.r, self.s = map(int, words.take(2))
            if not self.synthesis:
                self.n = int(words.take(1)[0])
        self.gain = words.take(129, c)
        self.enter_bias = words.take(n)
        biases = [(words.take(n), words.take(n), words.take(2 * n), words.take(n)) for _ in range(blocks)]
        self.exit_bias = words.take(outputs)
        k = config["map_features"]
        if not self.synthesis:
            self.head_bias, self.out_bias = words.take(k), words.take(1)
            self.thresholds = words.take(config["levels"] - 1)
        if self.normalised:
            self.floor, self.rate = words.take(c), words.take(33, c)
        words.end()
        self.enter = halves.take(inputs, n)
        self.multiplier, self.shift = halves.take(33, n), halves.take(33, n)
        names = ["operand1", "before_m", "space_bias", "space_m", "after_m", "operand2"]
        small = [
            {**{x: halves.take(n) for x in names}, "widen_m": halves.take(2 * n), "narrow_m": halves.take(n)}
            for _ in range(blocks)
        ]
        self.operand, self.leave, self.linear = halves.take(n), halves.take(n, outputs), halves.take(inputs, outputs)
        if not self.synthesis:
            self.head, self.out = halves.take(16, n, k), halves.take(k)
        if self.normalised:
            self.mixture = halves.take(c, c)
        halves.end()
        self.blocks = []
        for b in range(blocks):
            matrices = {"before": octets.take(n, n), "space": octets.take(9, n), "after": octets.take(n, n)}
            matrices |= {"widen": octets.take(n, 2 * n), "narrow": octets.take(2 * n, n)}
            named = dict(zip(("before_bias", "after_bias", "widen_bias", "narrow_bias"), biases[b], strict=True))
            fine = self.synthesis and b < config.get("fine", 0)
            self.blocks.append({**matrices, **named, **small[b], "shifts": shifts[b], "fine": fine})
        octets.end()

    def enter_and_blocks(self, v: Ints, rate: int, rows: int, columns: int) -> Ints:
        """Sections 6.3 and 6.4: inputs (positions, inputs) to the stream (positions, N)."""
        t = min(max(rate, -512), 512)
        u = sat(product(v, self.enter, self.enter_bias) >> self.enter_shift)
        x = sat(mul(u, at(self.multiplier, t, -512)) + at(self.shift, t, -512))
        for b in self.blocks:
            a = b["shifts"]
            reach, limit = (4095, 2**31) if b["fine"] else (127, 2**24)
            q = np.clip(mul(x, b["operand1"]), -reach, reach)
            h = np.clip(mul(sat(product(q, b["before"], b["before_bias"], limit) >> a[0]), b["before_m"]), 0, reach)
            around = np.pad(h.reshape(rows, columns, -1), ((1, 1), (1, 1), (0, 0)))
            taps = [around[y : y + rows, x0 : x0 + columns] for y in range(3) for x0 in range(3)]
            s = sum(w * tap for w, tap in zip(b["space"], taps, strict=True))
            s = sat((s + 32 * b["space_bias"] + 16) >> 5) if b["fine"] else s + b["space_bias"]
            assert np.abs(s).max() <= 2**15
            g = np.clip(mul(s.reshape(len(x), -1), b["space_m"]), -reach, reach)
            x = sat(x + mul(sat(product(g, b["after"], b["after_bias"], limit) >> a[1]), b["after_m"]))
            q = np.clip(mul(x, b["operand2"]), -127, 127)
            w = np.clip(mul(sat(product(q, b["widen"], b["widen_bias"], 2**24) >> a[2]), b["widen_m"]), 0, 127)
            x = sat(x + mul(sat(product(w, b["narrow"], b["narrow_bias"], 2**24) >> a[3]), b["narrow_m"]))
        return x

    def synthesise(
        self, codes: NDArray[np.int16], rate: int, height: int, width: int, post: Sequence[int] | None = None
    ) -> NDArray[np.uint8]:
        """Codes (C, rows, columns) at rate T to samples (height, width, 3), through a post-filter if one is given."""
        c, rows, columns = codes.shape
        y = self.latents(codes.astype(np.int64).reshape(c, -1).T, rate)
        x = self.enter_and_blocks(y, rate, rows, columns)
        p = np.clip(mul(x, self.operand), -4095, 4095)
        s = p @ self.leave + product(y, self.linear, self.exit_bias)
        sample = np.clip(s >> self.exit_shift, 0, 255) if post is None else post_filter(s, self.exit_shift, post)
        picture = sample.reshape(rows, columns, 3, 8, 8).transpose(0, 3, 1, 4, 2).reshape(8 * rows, 8 * columns, 3)
        return picture[:height, :width].astype(np.uint8)

    def latents(self, code: Ints, rate: int) -> Ints:
        """Section 6.2, (positions, C)."""
        y = np.clip((code * at(self.gain, rate, -2048) + 32768) >> 16, -8191, 8191)
        if not self.normalised:
            return y
        e = np.minimum((y * y + (1 << self.r >> 1)) >> self.r, 32767)
        rates = at(self.rate, min(max(rate, -512), 512), -512)
        f = np.minimum(self.floor + ((product(e, self.mixture, np.int64(0)) * rates) >> self.s), 2**32 - 1)
        return np.clip((y * isqrt(f) + 1024) >> 11, -8191, 8191)

    def analyse(self, pixels: NDArray[np.uint8], rate: int) -> tuple[Ints, Ints]:
        """Section 6.8: samples (H, W, 3) to latents (C, rows, columns) and levels (rows / 2, columns / 2)."""
        height, width = pixels.shape[:2]
        rows, columns = -(-height // 16) * 2, -(-width // 16) * 2
        below, right = 8 * rows - height, 8 * columns - width
        padded = np.pad(pixels.astype(np.int64), ((0, below), (0, right), (0, 0)), mode="edge") - 128
        v = padded.reshape(rows, 8, columns, 8, 3).transpose(0, 2, 4, 1, 3).reshape(rows * columns, 192)
        x = self.enter_and_blocks(v, rate, rows, columns)
        p = np.clip(mul(x, self.operand), -4095, 4095)
        latents = sat((p @ self.leave + product(v, self.linear, self.exit_bias)) >> self.exit_shift)
        if self.normalised:
            latents = self.compressed(latents, rate)
        around = np.pad(p.reshape(rows, columns, -1), ((1, 1), (1, 1), (0, 0)))
        taps = [around[ky : ky + rows : 2, kx : kx + columns : 2] for ky in range(4) for kx in range(4)]
        places = rows * columns // 4
        s = sum(tap.reshape(places, -1) @ w for tap, w in zip(taps, self.head, strict=True)) + self.head_bias
        h = np.clip(s >> self.head_shift, 0, 4095)
        z = h @ self.out + self.out_bias
        levels = (z[:, None] >= self.thresholds).sum(1)
        return latents.T.reshape(-1, rows, columns), levels.reshape(rows // 2, columns // 2)

    def compressed(self, latents: Ints, rate: int) -> Ints:
        e = np.minimum((latents * latents + (1 << self.r >> 1)) >> self.r, 32767)
        rates = at(self.rate, min(max(rate, -512), 512), -512)
        g = np.minimum((product(e, self.mixture, np.int64(0)) * rates) >> self.s, 2**44)
        d = self.floor + isqrt(self.floor**2 + (g << 18))
        return sat((latents * isqrt(2**47 // d) + (1 << self.n >> 1)) >> self.n)

    def exact(self, latents: Ints, rate: int) -> Ints:
        """Codes before they are rounded, in 1/32, (C, rows, columns)."""
        gain = at(self.gain, rate, -2048)[:, None, None]
        return np.clip((latents.astype(np.int64) * gain + 2**23) >> 24, -32000, 32000)
