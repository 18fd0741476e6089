"""Files with a post-filter: where it stands, what is refused, cut files, small pictures, batches, other families."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from test_postfilter import LARGE, NONE, Post, filter_with

import pillow_cwic
from fuzz import hostile
from pillow_cwic import codec
from pillow_cwic.coding import coefficients
from pillow_cwic.errors import ContainerError, CwicError, EntropyError
from pillow_cwic.file import container
from pillow_cwic.transforms import draft

GOLDEN = Path(__file__).parent / "golden" / "v1"
POST = filter_with(y0=33, y1=-9, y4=20, u2=12, u0=-20, v3=-31, v7=4, y10=-9, v12=3)
PAYLOAD = coefficients.write(POST)


@pytest.fixture(autouse=True)
def golden_models() -> Any:
    with pillow_cwic.options(models=[GOLDEN], device="cpu"):
        yield


def golden(name: str) -> bytes:
    return (GOLDEN / f"{name}.cwic").read_bytes()


def with_post(data: bytes, post: bytes | None = PAYLOAD) -> bytes:
    p = container.read_file(data)
    return container.write_file(p.header, p.layers, list(p.extra.items()), p.alpha, p.pixels, post)


def chunks_of(data: bytes) -> list[tuple[bytes, bytes]]:
    return [(chunk.kind, data[chunk.start : chunk.end]) for chunk in hostile.chunks(data)]


def joined(data: bytes, chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    return data[:16] + b"".join(container._chunk(*chunk) for chunk in chunks)


BLOCKS = "golden1-RGB-70x50-q50-blocks"


@pytest.mark.parametrize("name", ["golden1-RGB-16x16-q90", BLOCKS, "golden1-RGBA-17x31-q50", "goldenfine-L-8x8-q90"])
def test_files_with_one(name: str) -> None:
    """It stands behind CODE, before PIXL, and changes what is shown."""
    data = with_post(golden(name))
    kinds = [kind for kind, _ in chunks_of(data)]
    assert kinds[kinds.index(b"CODE") :] == [b"CODE", b"POST", *[b"PIXL"] * (name == BLOCKS), b"TAIL"]
    parsed = container.read_file(data)
    assert parsed.post == PAYLOAD and parsed.complete and container.read_file(golden(name)).post is None
    assert with_post(data, None) == golden(name) and len(data) == len(golden(name)) + container.chunk_size(PAYLOAD)
    shown, plain = codec.decode(data), codec.decode(golden(name))
    assert shown.shape == plain.shape and not np.array_equal(shown, plain)
    with Image.open(io.BytesIO(data)) as im:
        assert np.array_equal(np.asarray(im), shown)
    assert np.array_equal(codec.decode(with_post(golden(name), coefficients.write(NONE))), plain)


def test_exact_blocks_stay_exact() -> None:
    shown, plain = codec.decode(with_post(golden(BLOCKS))), codec.decode(golden(BLOCKS))
    held = np.arange(4 * 5).reshape(4, 5) % 3 == 0
    where = held.repeat(16, 0).repeat(16, 1)[:50, :70]
    assert np.array_equal(shown[where], plain[where]) and (shown != plain)[~where].mean() > 0.5


def test_another_order_is_refused() -> None:
    data = with_post(golden("golden1-RGBA-17x31-q50"))
    chunks = chunks_of(data)
    post = next(chunk for chunk in chunks if chunk[0] == b"POST")
    rest = [chunk for chunk in chunks if chunk != post]
    assert len(rest) > 6, "with metadata"
    for place in range(len(rest) + 1):
        made = joined(data, [*rest[:place], post, *rest[place:]])
        if rest[place - 1][0] == b"CODE":
            assert made == data
        elif place <= len(rest) - 1:
            for partial in (False, True):
                with pytest.raises(ContainerError):
                    codec.decode(made, partial=partial)
    twice = [*rest[:-1], post, post, rest[-1]]
    behind = joined(golden(BLOCKS), [*chunks_of(golden(BLOCKS))[:-1], post, (b"TAIL", b"")])
    for made in (joined(data, twice), behind):
        with pytest.raises(ContainerError, match="instead of TAIL"):
            codec.decode(made)


def test_a_lossless_file_has_none() -> None:
    data = golden("pixels-L-1x1-q100-lossless")
    chunks = chunks_of(data)
    for place in range(1, len(chunks)):
        with pytest.raises(ContainerError):
            codec.decode(joined(data, [*chunks[:place], (b"POST", PAYLOAD), *chunks[place:]]))


@pytest.mark.parametrize("name", ["golden1-RGB-16x16-q90", BLOCKS])
def test_files_cut_within_it_are_shown_without(name: str) -> None:
    data = with_post(golden(name))
    at = next(chunk for chunk in hostile.chunks(data) if chunk.kind == b"POST")
    cut_before = codec.decode(data[: at.at], partial=True)
    for size in range(at.at, at.end + 4):
        with pytest.raises(CwicError):
            codec.decode(data[:size])
        assert np.array_equal(codec.decode(data[:size], partial=True), cut_before)
    shown = codec.decode(data[: at.end + 4], partial=True)  # what follows is missing
    assert not np.array_equal(shown, cut_before)
    if name != BLOCKS:
        assert np.array_equal(shown, codec.decode(data)) and np.array_equal(cut_before, codec.decode(golden(name)))


def test_a_damaged_one_is_refused() -> None:
    """Whose CRC says so, and whose CRC does not."""
    data = with_post(golden("golden1-RGB-16x16-q90"))
    at = next(chunk for chunk in hostile.chunks(data) if chunk.kind == b"POST")
    for place in range(at.at, at.end + 4):
        made = bytearray(data)
        made[place] ^= 1
        for partial in (False, True) if place >= at.start else (False,):
            with pytest.raises(ContainerError):
                codec.decode(bytes(made), partial=partial)
    for payload in (b"", PAYLOAD[:-1], PAYLOAD + b"\0"):
        for files in (codec.decode, lambda one: pillow_cwic.decode([one])):
            with pytest.raises(EntropyError, match="POST"):
                files(with_post(data, payload))
        with pytest.raises(OSError, match="POST"), Image.open(io.BytesIO(with_post(data, payload))) as im:
            im.load()


@pytest.mark.parametrize("scale", draft.SCALES)
def test_small_pictures(scale: int) -> None:
    """Pass it as if no pixel had neighbours."""
    name = "goldenfine-RGB-96x64-q100"

    def small(post: Post) -> NDArray[np.uint8]:
        with Image.open(io.BytesIO(with_post(golden(name), coefficients.write(post)))) as im:
            assert im.draft("RGB", (96 // scale, 64 // scale)) is not None
            return np.asarray(im)

    plain = codec.decode(golden(name), scale=scale)
    assert plain.shape == (64 // scale, 96 // scale, 3)
    assert np.array_equal(small(NONE), plain)
    assert np.array_equal(small(filter_with(y10=99, u11=-20, v12=127)), plain)
    inner = (plain > 0) & (plain < 245)
    assert inner.mean() > 0.5
    assert np.array_equal(small(filter_with(y0=80))[inner], plain[inner] + 10)
    whole = codec.decode(with_post(golden(name))).reshape(64 // scale, scale, 96 // scale, scale, 3).mean((1, 3))
    off, plainly = (np.abs(whole - each).mean() for each in (small(POST), plain))
    assert off < 0.5 * plainly, "it is nearer to the filtered picture made small"


def test_batches() -> None:
    """Files of two models, with and without, as each alone."""
    names = "golden1-RGB-70x70-q1", "goldenfine-RGB-70x70-q1", "golden1-RGB-70x70-q100"
    files = [with_post(golden(names[0])), golden(names[1]), with_post(golden(names[2]), coefficients.write(LARGE))]
    files += [golden(names[0]), with_post(golden(names[1]))]
    alone = np.stack([codec.decode(data) for data in files])
    assert np.array_equal(pillow_cwic.decode(files), alone)
    tensors = pillow_cwic.decode(files, as_tensor=True)
    assert torch.equal(tensors.permute(0, 2, 3, 1), torch.from_numpy(alone))


def test_family_cw18_has_none() -> None:
    whole = golden("golden2018-RGB-16x16-q90")
    with pytest.raises(ContainerError, match=f"post-filter: {len(PAYLOAD)} bytes for family b'cw18'"):
        with_post(whole)
    filtered = golden("golden1-RGB-16x16-q90")
    end = len(filtered) - 12
    chunk = with_post(filtered)[end:-12]
    assert chunk[4:8] == b"POST"
    data = whole[:-12] + chunk + whole[-12:]
    shown: list[Callable[[], object]] = [lambda: codec.decode(data), lambda: codec.decode(data, scale=4)]
    shown += [lambda: pillow_cwic.decode([data]), lambda: pillow_cwic.decode([data], as_tensor=True)]
    for decode in shown:
        with pytest.raises(ContainerError, match="chunk behind CODE"):
            decode()
