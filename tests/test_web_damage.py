"""Damaged and hostile files in the decoder for browsers: what Python says of them, never a trap."""

from __future__ import annotations

import gzip
import random
import re
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import pillow_cwic
from fuzz import files, hostile
from pillow_cwic import codec, models
from pillow_cwic.errors import CwicError
from pillow_cwic.file import container
from tests.web_node import GOLDEN, any_post, decoded, filtered, make_weights, needs_node, sha256

pytestmark = needs_node

FINDINGS = sorted((GOLDEN.parents[1] / "fuzz_findings").glob("*.cwic"))
MOST_SECONDS = 20.0  # of a small file, on a machine with much else to do
MOST_MEMORY = 400_000_000  # bytes, of the process
ALL = 2**30  # pixels: what Python takes


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_weights(tmp_path_factory.mktemp("weights"))


def golden() -> list[bytes]:
    return [path.read_bytes() for path in sorted(GOLDEN.glob("*.cwic"))]


def pythons(data: bytes, partial: bool) -> str:
    """The hash of the pixels that Python shows, or its error in the words of the decoder for browsers."""
    try:
        with pillow_cwic.options(models=[GOLDEN], device="cpu", threads=1):
            return sha256(codec.decode(data, partial=partial))
    except CwicError as error:
        said = re.sub(r"b'([^']*)'", r"\1", str(error)).replace("newer pillow_cwic", "newer reader")
        return re.sub(r"^(chunk type|model id|model family: ).*", r"\1", said)


def browsers(got: dict[str, Any]) -> str:
    """The same of what the decoder for browsers says."""
    assert not got.get("trap"), got["trap"]
    assert got.get("elapsed", 0) < MOST_SECONDS and got.get("rss", 0) < MOST_MEMORY, got
    said: str = got.get("pixels") or got["error"]
    return re.sub(r"^(chunk type|model id|model family: ).*", r"\1", said)


def compare(weights: Path, folder: Path, made: Iterable[bytes], partial: bool) -> set[str]:
    """Whether both say the same of every file; the kinds of errors that there were."""
    paths = []
    for k, data in enumerate(made):
        paths.append(folder / f"{k}.cwic")
        paths[-1].write_bytes(data)
    kinds = set()
    for path, got in zip(paths, decoded(weights, paths, partial=partial, maxPixels=ALL), strict=True):
        found = browsers(got)
        if found != "model family: ":  # of cwic2018, whose pictures Python shows
            assert found == pythons(path.read_bytes(), partial), path
        kinds.add(re.sub(r"[\d\W]+", " ", found)[:20] if "error" in got else "shown")
    return kinds


@pytest.mark.parametrize("partial", [False, True])
def test_random_damage(partial: bool, weights: Path, tmp_path: Path) -> None:
    """Edits behind right CRCs, and wrong ones."""
    rng, whole = random.Random(17 + partial), golden()
    made = [hostile.hostile(rng, rng.choice(whole), whole) for _ in range(400)]
    assert len(compare(weights, tmp_path, made, partial)) > 15


def test_files_cut_anywhere(weights: Path, tmp_path: Path) -> None:
    names = ("golden1-RGBA-40x40-q50-grey-blocks", "golden1-LA-33x64-q30", "pixels-RGBA-50x40-q100-lossless")
    whole = [(GOLDEN / f"{name}.cwic").read_bytes() for name in (*names, "golden1-RGB-70x50-q50-blocks")]
    cut = [data[:size] for data in whole for size in range(0, len(data), 7)]
    assert "shown" in compare(weights, tmp_path, cut, True)
    assert "shown" not in compare(weights, tmp_path, cut, False)


def test_files_cut_within_a_post_filter(weights: Path, tmp_path: Path) -> None:
    """They show what they would without it, from its first byte to its last but one; then it counts."""
    plain = (GOLDEN / "golden1-RGB-70x50-q50-blocks.cwic").read_bytes()
    data = filtered(plain, any_post(1, 60))
    post = next(chunk for chunk in hostile.chunks(data) if chunk.kind == b"POST")
    sizes = range(post.at - 3, len(data))
    cut = [data[:size] for size in sizes]
    assert "shown" not in compare(weights, tmp_path, cut, False)
    assert compare(weights, tmp_path, cut, True) == {"shown"}
    paths = [tmp_path / f"{sizes.index(size)}.cwic" for size in (post.at, post.start, post.end + 3, post.end + 4)]
    found = decoded(weights, paths, partial=True)
    assert not any(got["complete"] for got in found)
    unfiltered = pythons(plain[: post.at], True)
    assert [got["pixels"] == unfiltered for got in found] == [True, True, True, False]


def test_damaged_post_filters(weights: Path, tmp_path: Path) -> None:
    """Payloads that are none, behind right CRCs, and chunks in files and places that have none."""
    plain = (GOLDEN / "golden1-RGBA-40x40-q50-grey-blocks.cwic").read_bytes()
    exact = (GOLDEN / "pixels-RGB-96x64-q100-lossless.cwic").read_bytes()
    payload = any_post(2, 20)
    post = container._chunk(b"POST", payload)
    data = filtered(plain, payload)
    short, long = "POST: the stream ends before its last symbol", "POST: bytes are left over after the last symbol"
    payloads = {b"": short, payload[:-1]: short, b"\xff" * 69: long, b"\xff" * 68: short, payload + b"\0": long}
    payloads |= {bytes(4): short, bytes(4) + b"\1": long, bytes(5) + b"\1": long}
    said = {filtered(plain, wrong): message for wrong, message in payloads.items()}
    said[data.replace(post, post[:-1] + bytes([post[-1] ^ 1]))] = "chunk POST: CRC"
    said[data.replace(post, post + post)] = "chunk behind POST: "
    said[data.replace(post, b"")[:-12] + post + data[-12:]] = "chunk behind PIXL: "
    said[exact[:-12] + post + exact[-12:]] = "chunk behind PIXL: "
    for other in (plain, exact):
        said[other[: container.HEADER_BYTES] + post + other[container.HEADER_BYTES :]] = "chunk POST: out of order"
    assert "shown" not in compare(weights, tmp_path, said, False)
    found = decoded(weights, [tmp_path / f"{k}.cwic" for k in range(len(said))])
    for got, message in zip(found, said.values(), strict=True):
        assert browsers(got).startswith(message), (got, message)


@pytest.mark.parametrize("partial", [False, True])
def test_random_damage_of_post_filters(partial: bool, weights: Path, tmp_path: Path) -> None:
    rng, whole = random.Random(23 + partial), golden()
    plain = [data for data in whole if container.read_header(data).family == container.FILTERED]
    made = [filtered(rng.choice(plain), any_post(k, 127)) for k in range(150)]
    made += [filtered(rng.choice(plain), hostile.edited(rng, any_post(k, 50), whole)) for k in range(150)]
    assert {"shown", "POST the stream ends", "POST bytes are left "} <= compare(
        weights, tmp_path, [*made[150:], *(hostile.hostile(rng, data, whole) for data in made[:150])], partial
    )


def test_what_fuzzing_found(weights: Path, tmp_path: Path) -> None:
    """As they are, and as files of models that are there, CRCs made right."""
    tiny = min(weights.iterdir(), key=lambda path: path.stat().st_size)
    ids = [models.by_name("cwic1").id, bytes.fromhex(tiny.stem)]
    made = [path.read_bytes() for path in FINDINGS]
    made += [hostile.of_model(data, model_id, b"cwc1") for data in made for model_id in ids]
    compare(weights, tmp_path, made, False)


def test_streams_of_released_models(weights: Path, tmp_path: Path) -> None:
    """Damage that only the decoder itself can see."""
    rng, whole = random.Random(5), list(files.eight().values())
    compare(weights, tmp_path, [hostile.hostile(rng, rng.choice(whole), whole) for _ in range(60)], False)


@pytest.mark.parametrize("name", ["golden1-RGB-70x70-q100", "pixels-RGB-96x64-q100-lossless"])
def test_giant_pictures_are_refused_before_memory_is_taken(name: str, weights: Path, tmp_path: Path) -> None:
    """By the limit if they are beyond it; else once their few bytes are read, whatever their header claims."""
    data = bytearray((GOLDEN / f"{name}.cwic").read_bytes())
    head = next(chunk for chunk in hostile.chunks(data) if chunk.kind == b"HEAD")
    if not container.read_header(data).lossless:
        data[head.start + 9] = 15  # few tiles
    for k, side in enumerate((2**24 - 1, 16384, 16000)):
        struct.pack_into(">II", data, head.start, side, side + (k == 1))
        (tmp_path / f"{k}.cwic").write_bytes(hostile.resigned(data))
    found = decoded(weights, [tmp_path / f"{k}.cwic" for k in range(3)])
    said = [browsers(got) for got in found]
    assert said[0].startswith("picture: 16777215 x 16777215") and "exceed the limit of 268435456" in said[0]
    assert said[1].startswith("picture: 16384 x 16385"), said[1]
    assert re.match("layer 0|PIXL", said[2]), said[2]


def weights_of(weights: Path, source: Path) -> Path:
    """Those that a file names."""
    return weights / f"{container.read_file(source.read_bytes()).header.model_id.hex()}.weights"


def test_other_weights_are_refused(weights: Path, tmp_path: Path) -> None:
    """Weights of another model, cut short, or none at all: by name, and without a trap."""
    source = GOLDEN / "golden1-RGB-16x16-q90.cwic"
    own = weights_of(weights, source)
    packed = own.read_bytes()
    other = max(weights.iterdir(), key=lambda path: path.stat().st_size).read_bytes()
    for data, message in ((other, "those of model"), (packed[:-9], "not one whole stream"), (b"", "begin with")):
        (tmp_path / own.name).write_bytes(data)
        (got,) = decoded(tmp_path, [source])
        assert re.match("weights", browsers(got)) and message in got["error"], got
    (tmp_path / own.name).unlink()
    (got,) = decoded(tmp_path, [source])
    assert browsers(got) == "model id"


def test_hostile_weights_are_refused(weights: Path, tmp_path: Path) -> None:
    """Numbers changed behind the gzip stream: an error, or a picture whose symbols do not fit."""
    source = GOLDEN / "golden1-RGB-16x16-q90.cwic"
    own = weights_of(weights, source)
    plain, rng, kinds = gzip.decompress(own.read_bytes()), random.Random(3), set()
    for k in range(10):
        data = bytearray(plain)
        if k < 6:  # one of the facts
            struct.pack_into("<i", data, 16 + 4 * rng.randrange(13), rng.choice((-1, 0, 1, 33, 2**31 - 1)))
        else:
            for _ in range(20):
                data[rng.randrange(16, len(data))] = rng.choice((0, 127, 128, 255))
        (tmp_path / own.name).write_bytes(data)
        (got,) = decoded(tmp_path, [source])
        assert not got.get("trap"), got
        kinds.add(got.get("error", "shown")[:7])
    assert "weights" in kinds
