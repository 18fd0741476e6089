"""A slow decoder of pixels without loss, laid out in the order of ``docs/FORMAT.md`` section 8.

Beside ``reference_decoder.py``, and like it without any code of the package. Standard library only. Sections 8.2 and
8.3 are in ``reference_mixing.py``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

from reference_mixing import Key, Mixer
from reference_range import clamp

Pixel = tuple[int, ...]
Blocks = list[list[int]]  # [y][x], of 16 x 16 pixels

# 8.4 Pixels around

MARGIN = 4
ORDER = ((0,), (0, 1), (1, 0, 2), (1, 0, 2, 3))  # of channels
FIRST, OTHER, MISS = 0, 1, 2  # kinds of pixels
FIRST_TAPS = (  # where filters start, by channel, in 2^-9
    (41, -42, 39, -49, -52, -28, 35, 7, 21, 0, 0, 0, 0, 0, 0, 0),
    (38, -58, 39, -17, -17, -15, 11, 2, 7, -28, 49, -32, 0, 0, 198, 0),
    (20, -40, 27, -8, -11, -6, 6, 2, 5, -16, 22, -18, 3, 14, 54, 146),
    (0,) * 16,
)
M = (
    0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F, 0xE7037ED1A0B428DB,
    0x8EBC6AF09C88C6E3, 0x589965CC75374CC3, 0x1D8E4E27C47D124F, 0xEB44ACCAB455D165,
    0x9FB21C651E98DF25, 0xB492B66FBE98F273, 0xCBF29CE484222325, 0x94D049BB133111EB,
)  # fmt: skip
PLACES = [(0, -1), (1, 0), (1, -1), (1, 1), (0, -2), (2, 0), (2, 1), (1, 2), (1, -2), (2, -1), (0, -3), (2, 2)]


class Around(NamedTuple):
    """What is at ``PLACES``, (rows up, columns right): pixels as numbers, or one of their channels."""

    w: int
    n: int
    nw: int
    ne: int
    ww: int
    nn: int
    nne: int
    nee: int
    nww: int
    nnw: int
    www: int
    nnee: int


class Trace(NamedTuple):
    """By channel how far off the mean was, in 1/16, and each of five predictions, in 1/4."""

    error: list[int]
    wrong: list[list[int]]


NOTHING = Trace([0] * 4, [[0] * 5] * 4)


def number(channels: Sequence[int]) -> int:
    """A pixel as a number."""
    return sum(value << 8 * c for c, value in enumerate(channels))


def channel(pixel: int, c: int) -> int:
    return pixel >> 8 * c & 255


def log(x: int) -> int:
    """2 log2(x + 1), at most 15."""
    return min(((min(x, 1023) + 1) ** 2).bit_length() - 1, 15)


def signed_log(x: int) -> int:
    """About log2 of the magnitude, at most 7, with x's sign and 7 more."""
    size = min((log(abs(x)) + 1) // 2, 7)
    return 7 + size if x > 0 else 7 - size


def median(w: int, n: int, nw: int) -> int:
    return max(min(w, n), min(max(w, n), w + n - nw))


def index_of(h: int, tag: int, bits: int) -> int:
    h = (h + (tag + 1) * M[14]) * M[15] % 2**64
    return (h ^ h >> 29) * M[0] % 2**64 >> (64 - bits)


class Memory(NamedTuple):
    """8.6: what a place saw last."""

    pixel: int = 0
    check: int = 0
    hits: int = 0

    def trust(self, check: int) -> int:
        return 1 + sum(self.hits > n for n in (0, 2, 7, 30)) if check == self.check else 0

    def after(self, pixel: int, check: int) -> Memory:
        if check != self.check:
            return Memory(pixel, check)
        if pixel != self.pixel:
            return Memory(pixel, check, self.hits // 4)
        return Memory(pixel, check, min(self.hits + 1, 255))


class PixelDecoder(Mixer):
    """The pixels of one stream, row by row, each by a call of ``pixel`` or ``skip``."""

    def __init__(self, stream: bytes, width: int, height: int, channels: int) -> None:
        super().__init__(stream)
        self.channels = channels
        # The row at hand as far as it goes and those above, with margins; what became of their pixels; their traces.
        self.row, self.above, self.second = ([0] * (width + 2 * MARGIN) for _ in range(3))
        self.kinds, self.kinds_above = ([FIRST] * (width + 2 * MARGIN) for _ in range(2))
        self.traces, self.traces_above = ([NOTHING] * (width + 2 * MARGIN) for _ in range(2))
        self.run = 0  # of flat pixels
        self.history = 0
        self.near: defaultdict[int, Memory] = defaultdict(Memory)
        self.far: defaultdict[int, Memory] = defaultdict(Memory)
        self.costs = [[0, 4096] if place < 40 else [4096, 0] for place in range(120)]  # of residuals and of values
        self.uses = [0] * 120
        self.taps = [[[32 * tap for tap in taps] for taps in FIRST_TAPS[:channels]] for _ in range(2)]
        self.rich = self.outcome(32768)
        self.bits = clamp((width * height - 1).bit_length(), 8, 18)

    def begin_row(self) -> None:
        left, right = [self.row[MARGIN]] * MARGIN, [self.row[-1]] * MARGIN
        self.row, self.above, self.second = left, self.row + right, self.above
        self.kinds, self.kinds_above = [FIRST] * MARGIN, self.kinds + [FIRST] * MARGIN
        self.traces, self.traces_above = [NOTHING] * MARGIN, self.traces + [NOTHING] * MARGIN

    def add(self, pixel: int, kind: int, trace: Trace = NOTHING) -> int:
        self.row.append(pixel)
        self.kinds.append(kind)
        self.traces.append(trace)
        return pixel

    def skip(self) -> None:
        """8.1: a pixel that is not coded."""
        self.add(self.row[-1], FIRST)

    def pixel(self) -> int:
        rows, x = (self.row, self.above, self.second), len(self.row)
        a = Around(*(rows[up][x + right] for up, right in PLACES))
        flat = all(p == a.w for p in (a.n, a.nw, a.ne, a.ww, a.nn, a.nne, a.nee, a.nww, a.nnw))
        if flat and self.flat_goes_on(a):
            return self.add(a.w, FIRST)
        return self.add(*self.residuals(a)) if self.rich else self.other_pixel(a, flat)

    # 8.5 Flat places

    def flat_goes_on(self, a: Around) -> int:
        length = self.run if self.run < 4 else 4 + sum(self.run >= n for n in (8, 16, 64, 512, 4096))
        right = self.plain(("flat", length, (a.www == a.w) + 2 * (a.nnee == a.w)), 1023)
        self.run = self.run + 1 if right else 0
        return right

    # 8.6 Candidates

    def other_pixel(self, a: Around, flat: bool) -> int:
        h1 = sum(p * m for p, m in zip(a[:6], M[:6], strict=True))
        h2 = h1 + sum(p * m for p, m in zip(a[6:], M[6:12], strict=True))
        h1, h2 = (((h % 2**64) ^ (h % 2**64) >> 32) * m % 2**64 for h, m in ((h1, M[12]), (h2, M[13])))
        place1, place2 = (h >> (64 - min(self.bits, 17)) for h in (h1, h2))
        check1, check2 = (h >> 16 & 65535 for h in (h1, h2))
        near, far = self.near[place1], self.far[place2]
        q1, q2 = near.trust(check1), far.trust(check2)
        seen = [far.pixel] * (q2 > 0), [near.pixel] * (q1 > 0), *([p] for p in (a.w, a.n, a.ne, a.nw, a.ww, a.nn))
        sources: dict[int, int] = {}  # of each candidate
        for k, there in enumerate(seen):
            for pixel in there:
                if not (flat and pixel == a.w):
                    sources[pixel] = sources.get(pixel, 0) | 1 << k
        found = self.candidate(a, sources, q1, q2, h1, flat)
        if found is None:
            pixel = self.add(*self.colours(a, h1))
        else:
            pixel = self.add(list(sources)[found], OTHER if found else FIRST)
        self.history = (2 * self.history + (found != 0)) % 256
        self.near[place1], self.far[place2] = near.after(pixel, check1), far.after(pixel, check2)
        return pixel

    def misses(self) -> int:
        x = len(self.row)
        return [self.kinds[-1], *self.kinds_above[x - 1 : x + 2]].count(MISS)

    def candidate(self, a: Around, sources: dict[int, int], q1: int, q2: int, h1: int, flat: bool) -> int | None:
        """Which candidate the pixel is, None if none."""
        x, up, misses, count = len(self.row), self.kinds_above, self.misses(), len(sources)
        if not (q1 or q2 or flat) and misses == 4 and count == 6 and not self.plain(("quiet",), 255):
            return None
        pairs = (a.w, a.n), (a.w, a.nw), (a.n, a.nw), (a.n, a.ne), (a.w, a.ww), (a.n, a.nn), (a.ne, a.nee)
        equal = sum((p == q) << k for k, (p, q) in enumerate(pairs))
        kinds = self.kinds[-1] | self.kinds[-2] << 2 | up[x] << 4 | up[x + 1] << 6 | up[x - 1] << 8

        def decide(stage: int, step: int, s: int, c: int) -> int:
            three = c * M[1] + a.w * M[2] + a.n * M[3]
            hashes = (
                (s << 8 | q2 << 4 | q1) + flat * M[1],
                equal << 12 | (s & 3) << 10 | self.history,
                three,
                h1 + c * M[4],
                kinds << 8 | q2 << 4 | q1,
                s << 32 | equal << 8 | kinds & 0x33,
                three + a.nw * M[4] + a.ne * M[5],
            )
            keys = [("hit", index_of(h, i + 16 * step, self.bits)) for i, h in enumerate(hashes)]
            sets = ("source", stage, s), ("trust", stage, q2, q1, misses)
            return self.mixed(keys, *sets, ("hit", stage, q2, q1), 127, 28)

        pixels, masks = list(sources), list(sources.values())
        if count > 0 and decide(0, -1, masks[0], pixels[0]):
            return 0
        if count < 2 or not decide(1, 1, sum(1 << k for k in range(8) if any(m >> k & 1 for m in masks[1:])), 0):
            return None
        for k in range(1, count - 1):
            if decide(2, 2 + k, masks[k], pixels[k]):
                return k
        return count - 1

    # 8.7 Residuals or values

    def colours(self, a: Around, h1: int) -> tuple[int, int, Trace]:
        """A pixel that no candidate is, its kind and its trace."""
        equal = sum(p == q for p, q in ((a.w, a.n), (a.w, a.nw), (a.n, a.nw), (a.n, a.ne), (a.w, a.ww), (a.n, a.nn)))
        gradient = sum(
            abs(channel(p, c) - channel(q, c))
            for p, q in ((a.w, a.nw), (a.n, a.nw), (a.n, a.ne))
            for c in range(min(self.channels, 3))
        )
        place = (8 * min(equal, 2) + log(gradient) // 2) * 5 + self.misses()
        costs, kind, trace = self.costs[place], MISS, NOTHING
        way = int(costs[1] < costs[0])
        both = self.uses[place] % 4 == 0 or 2 * costs[1 - way] < 3 * costs[way]
        self.uses[place] += 1
        pixel = 0
        for self.silent, now in ((False, way), (True, 1 - way))[: 1 + both]:
            self.spent = 0
            if now == 1:
                pixel = self.values(a, pixel)
            else:
                pixel, kind, trace = self.residuals(a, h1, pixel)
            change = self.spent - costs[now]
            costs[now] += change // 6 if change > 0 else -(-change // 6)
        self.silent = False
        return pixel, kind, trace

    # 8.8 Residuals

    def residuals(self, a: Around, h1: int = 0, known: int = 0) -> tuple[int, int, Trace]:
        x = len(self.row)
        traces = [self.traces[-1], *(self.traces_above[x + right] for right in (0, -1, 1)), self.traces[-2]]
        around = [Around(*(channel(p, c) for p in a)) for c in range(self.channels)]
        differences: list[list[int]] = []
        now: list[int] = []
        trace = Trace([0] * 4, [[0] * 5 for _ in range(4)])
        for c, b in enumerate(around):
            v = [b.w - b.n, 2 * b.nw - b.w - b.n, 2 * b.ne - b.w - b.n, b.ww - b.w, b.nn - b.n]
            v += [b.nne - b.ne, b.nee - b.ne, b.nww - b.nw, b.nnw - b.nw]
            v += differences[c - 1][:3] if c > 0 else [0] * 3
            v += differences[c - 2][:2] if c > 1 else [0] * 2
            v += [2 * now[d] - around[d].w - around[d].n if d >= 0 else 0 for d in (c - 1, c - 2)]
            differences.append(v)
            sums = [sum(t * d for t, d in zip(taps[c], v, strict=True)) for taps in self.taps]
            filters = [clamp(8 * (b.w + b.n) + (s >> 10), 0, 4080) for s in sums]
            if c == 0:
                p = [16 * median(b.w, b.n, b.nw), 16 * clamp(b.w + b.ne - b.n, 0, 255), 8 * (b.w + b.ne)]
            else:
                w, n, nw, ne = (value - first for value, first in zip(b[:4], around[0][:4], strict=True))
                p = [16 * clamp(now[0] + d, 0, 255) for d in (median(w, n, nw), w + ne - n)]
                p += [clamp(16 * now[0] + 8 * (w + n), 0, 4080)]
            p = [filters[0], *p, filters[1]]
            wrong = [sum(t.wrong[c][i] for t in traces[:4]) for i in range(5)]
            weights = [(2**18 // (e * e + 64) + 1) * (2 if i == 0 else 1) for i, e in enumerate(wrong)]
            mean = sum(weight * value for weight, value in zip(weights, p, strict=True)) // sum(weights)
            centre = (mean + 8) >> 4
            e = [t.error[c] for t in traces]
            activity = log((2 * abs(e[0]) + 2 * abs(e[1]) + abs(e[2]) + abs(e[3]) + abs(e[4])) >> 4)
            gradient = log((abs(b.w - b.nw) + abs(b.n - b.nw) + abs(b.n - b.ne)) >> 1)
            cross, cross2 = (signed_log(trace.error[d] if d >= 0 else 0) for d in (c - 1, c - 2))
            west, north = (signed_log((16 * value - mean) >> 3) for value in (b.w, b.n))
            hashes = (
                (activity * 16 + cross) * 4 + ((mean + 8 & 15) >> 2),
                (signed_log(p[3] - mean) * 16 + signed_log(p[1] - mean)) * 16 + signed_log(p[2] - mean),
                (west * 16 + north) * 8 + activity // 2,
                (signed_log(e[0] >> 3) * 16 + signed_log(e[1] >> 3)) * 16 + signed_log(e[3] >> 3),
                (cross * 16 + cross2) * 16 + gradient,
            )
            shift = 32 - min(self.bits - 2, 12 + self.rich)
            lines = [("line", i, (4 * (h + 1) + c) * 0x9E3779B1 % 2**32 >> shift) for i, h in enumerate(hashes)]
            start, before = ((c + 1) << 40) + centre, number(now)
            more = before * M[3] + h1, before * M[4] + a.w * M[2], before * M[4] + a.n * M[2], before * M[4]
            of_pixels = more[3:] if self.rich else more
            bits = self.bits - 1 if self.rich else self.bits - 2
            lines += [("value", index_of(start + h, 5 + i, bits)) for i, h in enumerate(of_pixels)]
            places = c, activity, cross if c > 0 else gradient
            value = (centre + self.residual(centre, lines, places, channel(known, c) - centre)) & 255
            now.append(value)
            trace.error[c] = 16 * value - mean
            trace.wrong[c][:] = [min(abs(16 * value - each) >> 2, 255) for each in p]
            inverse = 2**24 // (64 + sum(d * d for d in v))
            for taps, each, step in zip(self.taps, filters, (120, 20), strict=True):
                goal = clamp((16 * value - each) * step * inverse >> 16, -32767, 32767)
                learned = [t + ((64 * d * goal + 32768) >> 16) for t, d in zip(taps[c], v, strict=True)]
                taps[c] = [clamp(t, -32768, 32767) for t in learned]
        return number(now), MISS, trace

    def residual(self, centre: int, lines: Sequence[Key], places: tuple[int, int, int], known: int) -> int:
        c, activity, second = places

        def decide(node: int, bit: bool) -> int:
            keys, sets = [(*line, node) for line in lines], (("first", c, activity, node), ("second", c, second, node))
            return self.mixed(keys, *sets, ("residual", c, activity >> 1, node), 255, 20 if self.rich else 28, bit)

        if decide(0, known == 0):
            return 0
        negative = int(centre == 255) if centre in (0, 255) else decide(1, known < 0)
        limit, size, bucket = centre if negative else 255 - centre, abs(known), 0
        while bucket < 8 and limit > 2**bucket and decide(2 + 7 * negative + min(bucket, 6), size > 2**bucket):
            bucket += 1
        if bucket < 2:
            return -(bucket + 1) if negative else bucket + 1
        least, digits = 2 ** (bucket - 1) + 1, 0
        for k in range(bucket - 2, -1, -1):
            bit = size - least >> k & 1
            if k >= bucket - 3:
                place = activity // 2 if k == bucket - 2 else 8 + digits
                bit = self.plain(("digit", c, bucket, place), 255, bit)
            else:
                bit = self.outcome(32768, bit)
            digits = 2 * digits + bit
        return -(least + digits) if negative else least + digits

    # 8.9 Values

    def values(self, a: Around, known: int) -> int:
        now: list[int] = []
        for c in range(self.channels):
            own, first = (median(*(channel(p, d) for p in a[:3])) for d in (c, 0))
            centre = clamp(own + now[0] - first, 0, 255) if c > 0 else own
            start = (c + 1) * M[0]
            base = start + number(now) * M[1]
            west, north = base + a.w * M[2], base + a.n * M[3]
            hashes = base, west, north, start + centre * M[7], west + a.ww * M[8], north + a.ne * M[5]
            node = 1
            for k in range(8):
                if k in (0, 4):
                    low, groups = 1, [index_of(h + node * M[10], i, self.bits - 2) for i, h in enumerate(hashes)]
                keys = [("value", group, low) for group in groups]
                seen = sum((self.slots[keys[i]].uses > 0) << (3 - n) for n, i in enumerate((0, 3, 4, 5)))
                sets = ("seen", c, k, seen), ("node", c, node)
                bit = self.mixed(keys, *sets, ("value", c, node), 127, 60, channel(known, c) >> (7 - k) & 1)
                node, low = 2 * node + bit, 2 * low + bit
            now.append(node & 255)
        return number(now)

    def rows(self, width: int, height: int, blocks: Blocks | None) -> Iterator[list[Pixel | None]]:
        """All rows, their channels in the file's order; None for pixels of blocks that are not coded."""
        for y in range(height):
            self.begin_row()
            row: list[Pixel | None] = []
            for x in range(width):
                if blocks is None or blocks[y // 16][x // 16]:
                    pixel = self.pixel()
                    row.append(tuple(channel(pixel, c) for c in ORDER[self.channels - 1]))
                else:
                    self.skip()
                    row.append(None)
            yield row


def decode_pixels(
    stream: bytes, width: int, height: int, channels: int, blocks: Blocks | None = None
) -> list[list[Pixel | None]]:
    """The rows of a stream; None for pixels whose block of 16 x 16, in ``blocks``, is 0. Raises DamagedError."""
    decoder = PixelDecoder(stream, width, height, channels)
    rows = list(decoder.rows(width, height, blocks))
    decoder.finish()
    return rows


def settled_rows(
    start: bytes, width: int, height: int, channels: int, blocks: Blocks | None = None
) -> list[list[Pixel | None]]:
    """The rows of a stream that its start tells, if the end is missing."""
    decoder = PixelDecoder(start, width, height, channels)
    return list(takewhile(lambda _: decoder.settled(), decoder.rows(width, height, blocks)))
