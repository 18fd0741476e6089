"""Damaged files: no error may pass for a picture."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from benchmarks.reliability.row import Row, command, row, within_time
from fuzz import files, hostile
from pillow_cwic import models
from pillow_cwic.coding import symbols
from pillow_cwic.errors import CwicError
from pillow_cwic.file import container

EDITS, RESIGNED = 1_000_000, 10_000
PEER_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "AVIF": {},
    "JPEG": {},
    "JPEG2000": {"quality_layers": [20]},
    "WEBP": {},
}
PEER_NAMES = {"JPEG2000": "JPEG 2000", "WEBP": "WebP"}

Picture = tuple[str, tuple[int, int], bytes]


def shown(data: bytes, form: str = "CWIC") -> Picture | None:
    """What a program that opens these bytes shows; None if it is told that they are damaged.

    Any other exception than an OSError, which is what Pillow's users catch, passes through: it is a fault. Pillow's
    PNG plugin alone says SyntaxError, and ValueError in places; for a peer, any exception tells.
    """
    faults = OSError if form == "CWIC" else Exception
    try:
        with Image.open(BytesIO(data), formats=[form]) as im:
            im.load()
            return im.mode, im.size, im.tobytes()
    except faults:
        return None


def flips(data: bytes, step: int = 1) -> Iterator[bytes]:
    """The data with one bit changed, each in turn, or every so many."""
    damaged = bytearray(data)
    for bit in range(0, 8 * len(data), step):
        damaged[bit // 8] ^= 1 << bit % 8
        yield bytes(damaged)
        damaged[bit // 8] ^= 1 << bit % 8


def count_silent(trials: Iterator[bytes], good: Picture | None, form: str = "CWIC") -> tuple[int, int]:
    """How many trials there are, and how many of them show another picture without an error."""
    tried = silent = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as of a file that needs a newer reader, or of metadata left out
        for trial in trials:
            tried += 1
            silent += shown(trial, form) not in (None, good)
    return tried, silent


@contextmanager
def truncated_allowed() -> Iterator[None]:
    """LOAD_TRUNCATED_IMAGES for a while."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def flipped(some: Mapping[str, bytes], step: int = 1) -> tuple[int, int]:
    """Single-bit flips of files: how many, and how many of them silent."""
    counts = [count_silent(flips(data, step), shown(data)) for data in some.values()]
    return sum(tried for tried, _ in counts), sum(silent for _, silent in counts)


@row(quick=True)
def bit_flips() -> Row:
    """Every single-bit flip of the eight files, with and without LOAD_TRUNCATED_IMAGES."""
    tried, silent = flipped(files.eight())
    with truncated_allowed():
        tried_cut, silent_cut = flipped(files.eight())
    claim = "Every single-bit flip of eight small files: none silent, with LOAD_TRUNCATED_IMAGES neither"
    figure = f"{silent} silent of {tried:,}; {silent_cut} of {tried_cut:,} with LOAD_TRUNCATED_IMAGES"
    return Row(claim, figure, command(bit_flips), silent == silent_cut == 0)


def peer_share(form: str, im: Image.Image, step: int) -> float:
    """The share of single-bit flips of a picture in another format that show another picture without an error."""
    data = BytesIO()
    im.save(data, format=form, **PEER_OPTIONS[form])
    tried, silent = count_silent(flips(data.getvalue(), step), shown(data.getvalue(), form), form)
    return silent / tried


def peer_shares(step: int) -> dict[str, float]:
    """The same for every peer that this Pillow can write, on a photograph of 48 x 48 pixels."""
    Image.init()
    with Image.open(files.PHOTO) as photo:
        im = photo.convert("RGB").crop((200, 60, 440, 300)).resize((48, 48), Image.Resampling.LANCZOS)
    return {form: peer_share(form, im, step) for form in PEER_OPTIONS if form in Image.SAVE}


@row(quick=True)
def peers() -> Row:
    """What the same flips do to other formats through Pillow, every fifth bit of each."""
    tried, silent = flipped({"RGB": files.eight()["RGB"]}, 5)
    shares = {"CWIC": silent / tried, **peer_shares(5)}
    figure = ", ".join(f"{PEER_NAMES.get(form, form)} {share:.1%}" for form, share in shares.items())
    claim = "Share of single-bit flips that decode silently to another picture, of a small photograph: CWIC 0 %"
    return Row(claim, figure, command(peers), silent == 0)


def prefix_faults(data: bytes) -> tuple[int, list[str]]:
    """How many prefixes a file has, and what is wrong with any of them.

    Cut short it must raise; with LOAD_TRUNCATED_IMAGES it may show the layers that arrived whole, the others zero.
    """
    whole = container.read_file(data)
    entropy = symbols.entropy_model(models.by_id(whole.header.model_id))
    grid = symbols.grid(entropy, whole.header.height, whole.header.width)
    planes = symbols.decode_symbols(entropy, whole, *grid)
    faults, seen, before = [], set(), 0
    for size in range(len(data)):
        if shown(data[:size]) is not None:
            faults.append(f"{size}: shown without LOAD_TRUNCATED_IMAGES")
        try:
            parsed = container.read_file(data[:size], allow_truncated=True)
        except CwicError:
            continue
        arrived = len(parsed.layers)
        if parsed.layers != whole.layers[:arrived] or arrived < before or parsed.complete:
            faults.append(f"{size}: other layers than arrived")
            continue
        before = arrived
        if (state := (arrived, parsed.alpha, len(parsed.extra))) in seen:
            continue
        seen.add(state)
        found = symbols.decode_symbols(entropy, parsed, *grid)
        if not all(
            np.array_equal(a, b if n < arrived else 0 * b) for n, (a, b) in enumerate(zip(found, planes, strict=True))
        ):
            faults.append(f"{size}: symbols differ from those of the whole file")
        with truncated_allowed():
            picture = shown(data[:size])
        if picture is None or picture[:2] != (whole.header.mode, (whole.header.width, whole.header.height)):
            faults.append(f"{size}: no picture with LOAD_TRUNCATED_IMAGES")
    return len(data), faults


@row(quick=True)
def prefixes() -> Row:
    """Every prefix of the eight files."""
    counts = {name: prefix_faults(data) for name, data in files.eight().items()}
    tried, faults = sum(count for count, _ in counts.values()), [f for _, some in counts.values() for f in some]
    claim = "Every prefix of eight small files: an error, or with LOAD_TRUNCATED_IMAGES the layers that arrived"
    return Row(claim, f"{len(faults)} faults in {tried:,} prefixes", command(prefixes), not faults)


def edits(
    seed: int, edit: Callable[[random.Random, bytes, list[bytes]], bytes] = hostile.edited
) -> Iterator[tuple[bytes, bytes]]:
    """Edited files without end, each with the file it was; those that came out unchanged are left out."""
    rng, some = random.Random(seed), list(files.eight().values())
    while True:
        data = rng.choice(some)
        made = edit(rng, data, some)
        if made != data:
            yield data, made


def silent_edits(wanted: int, seed: int = 1) -> tuple[int, int]:
    """Random edits of the eight files: how many were made, and how many of them silent."""
    good = {data: shown(data) for data in files.eight().values()}
    tried = silent = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for data, made in within_time(edits(seed), wanted):
            tried += 1
            picture = shown(made)
            # A splice may give another of the eight files.
            silent += picture is not None and picture != good[data] and made not in good
    return tried, silent


@row(quick=False)
def random_edits() -> Row:
    """A million random edits of the eight files."""
    tried, silent = silent_edits(EDITS)
    claim = f"{EDITS:,} random edits (flips, runs lost, added, moved, zeroed, ends cut off, splices): none silent"
    return Row(claim, f"{silent} silent of {tried:,}", command(random_edits), silent == 0 and tried == EDITS)


def in_streams(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """A flip or another byte in the entropy-coded part of a file, its chunk CRC made right again."""
    begin, end = hostile.streams(data)
    made = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        made[rng.randrange(begin, end)] ^= rng.choice((1 << rng.randrange(8), rng.randrange(1, 256)))
    return hostile.resigned(made)


def silent_streams(wanted: int, seed: int = 2) -> tuple[int, int]:
    """Edits of coded bytes that only the symbol CRCs can tell: how many, and after how many the symbols were wrong."""
    tried = silent = 0
    planes = {}
    for data, made in within_time(edits(seed, in_streams), wanted):
        header = container.read_header(data)
        entropy = symbols.entropy_model(models.by_id(header.model_id))
        grid = symbols.grid(entropy, header.height, header.width)
        if data not in planes:
            planes[data] = symbols.decode_symbols(entropy, container.read_file(data), *grid)
        tried += 1
        try:
            found = symbols.decode_symbols(entropy, container.read_file(made), *grid)
        except CwicError:
            continue
        silent += not all(np.array_equal(a, b) for a, b in zip(found, planes[data], strict=True))
    return tried, silent


@row(quick=False)
def coded_bytes() -> Row:
    """Damage that got past the chunk's CRC."""
    tried, silent = silent_streams(RESIGNED)
    claim = f"{RESIGNED:,} edits of coded bytes with the chunk's CRC made right: the symbol CRCs let none pass"
    return Row(claim, f"{silent} silent of {tried:,}", command(coded_bytes), silent == 0 and tried == RESIGNED)
