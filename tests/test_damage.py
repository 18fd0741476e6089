"""No damaged file passes for a picture: a share of what benchmarks.reliability measures."""

from __future__ import annotations

import random
from io import BytesIO

import pytest
from PIL import Image

from benchmarks.reliability import damage, desync
from fuzz import build, files, hostile
from pillow_cwic.file import container


def test_the_eight_files() -> None:
    """Every mode, both tunings, several tiles, metadata: and each is shown."""
    parsed = {name: container.read_file(data) for name, data in files.eight().items()}
    assert len(parsed) == 8 and {each.header.mode for each in parsed.values()} == {"L", "RGB", "LA", "RGBA"}
    assert len({each.header.model_id for each in parsed.values()}) == 2
    assert parsed["tiles"].header.tiles == 4 and len(parsed["metadata"].extra) == 3
    assert all(damage.shown(data) is not None and len(data) < 1000 for data in files.eight().values())


def test_bit_flips_are_told() -> None:
    tried, silent = damage.flipped(files.eight(), 7)
    assert silent == 0 and tried == sum(-(-8 * len(data) // 7) for data in files.eight().values())
    with damage.truncated_allowed():
        assert damage.flipped({"tiles": files.eight()["tiles"]}, 5)[1] == 0


def test_silent_damage_is_counted() -> None:
    """The measure itself: JPEG shows damaged pictures, and a file that is another picture counts."""
    im = Image.linear_gradient("L").resize((24, 24))
    assert 0.1 < damage.peer_share("JPEG", im, 11) < 0.9
    assert damage.peer_share("PNG", im, 11) < 0.1
    one, other = files.eight()["RGB"], files.eight()["mse"]
    assert damage.count_silent(iter([one, other, other[:-1]]), damage.shown(one)) == (3, 1)


@pytest.mark.parametrize("name", ["RGB", "LA", "tiles", "metadata"])
def test_every_prefix(name: str) -> None:
    assert damage.prefix_faults(files.eight()[name]) == (len(files.eight()[name]), [])


def test_wrong_prefixes_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that makes up a layer that did not arrive."""
    real = container.read_file

    def lenient(data: bytes, allow_truncated: bool = False) -> container.Parsed:
        parsed = real(data, allow_truncated)
        more = [*parsed.layers, container.Layer(b"", 0)][: 9 if parsed.complete else 5]
        return parsed if parsed.complete else parsed._replace(layers=more)

    monkeypatch.setattr(container, "read_file", lenient)
    _, faults = damage.prefix_faults(files.eight()["L"])
    assert any("other layers than arrived" in fault for fault in faults)


def test_random_edits_are_told() -> None:
    assert damage.silent_edits(4000, seed=5) == (4000, 0)


def test_edits_are_of_every_kind() -> None:
    rng, data = random.Random(1), files.eight()["RGB"]
    sizes = {len(hostile.edited(rng, data, [data])) - len(data) for _ in range(300)}
    assert min(sizes) < -20 and max(sizes) > 10 and 0 in sizes


def test_damage_behind_a_right_crc_is_told() -> None:
    assert damage.silent_streams(300, seed=6) == (300, 0)
    rng, data = random.Random(2), files.eight()["RGB"]
    made = damage.in_streams(rng, data, [])
    assert made != data and len(container.read_file(made).layers) == 9  # its chunks are sound


def test_one_wrong_probability_is_told() -> None:
    if why := build.missing(build.PERTURBED):
        pytest.skip(why)
    count = desync.outcomes(400, seed=7)
    assert count["silent"] == 0 and count["crc"] + count["stream"] == 400
    assert count["crc"] > 50  # the CRC alone saw these


def test_the_perturbed_coder_is_put_away() -> None:
    if why := build.missing(build.PERTURBED):
        pytest.skip(why)
    before = desync.coder.lib
    with desync.perturbed_coder() as lib:
        assert desync.coder.lib is lib and desync.planes.lib is lib
    assert desync.coder.lib is desync.planes.lib is before
    data = BytesIO(files.eight()["RGB"])
    assert damage.shown(data.getvalue()) is not None
