"""The benchmarks that look into the encoder: effort, side information, ablations."""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

pytest.importorskip("scipy", reason="needs the extra `bench`")
pytest.importorskip("skimage", reason="needs the extra `bench`")
pytest.importorskip("rich", reason="needs the extra `bench`")

from benchmarks import ablation, demo, effort, growth, region, shrink, side_information
from benchmarks.codecs import CWIC_AT_RATE, Codec
from benchmarks.rows import MEASURES, Row
from pillow_cwic import models
from pillow_cwic.codec import session
from pillow_cwic.coding.symbols import decode_symbols
from pillow_cwic.file import container


@pytest.fixture(scope="module")
def im() -> Image.Image:
    with Image.open(Path(__file__).parent / "data" / "kodim23.png") as file:
        return file.crop((400, 70, 592, 246)).convert("RGB")


def test_effort_is_an_option_of_save(im: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(Image.Image, "save", lambda self, file, format, **options: asked.append(options))
    effort.codec(7, "mse").encode(im, 0.5)
    assert asked == [{"tuning": "mse", "effort": 7, "rate": 0.5}]


def test_effort_reports_what_each_step_gains(im: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder whose efforts differ in the Huffman tables: the same pictures, in fewer bytes above effort 0."""

    def fake(number: int, tuning: str) -> Codec:
        return Codec(
            effort.name(number),
            "JPEG",
            effort.RATES,
            lambda rate: {"quality": int(90 * rate), "optimize": number > 0},
        )

    monkeypatch.setattr(effort, "codec", fake)
    im.save(tmp_path / "x.png")
    found = effort.run([0, 2, 5], "mse", [tmp_path / "x.png"], crop=176)
    assert len(found) == 3 * len(effort.RATES)
    psnr = MEASURES[0]
    sizes = [np.log([r.bytes for r in found if r.codec == effort.name(e)]) for e in (0, 2)]
    gain = effort.change(found, 0, 2, psnr)
    assert gain is not None and 100 * math.expm1(min(sizes[1] - sizes[0])) <= gain < -1
    assert effort.change(found, 2, 5, psnr) == pytest.approx(0)
    found = [replace(r, encode_s=1.0 if r.codec == "effort 5" else 0.5) for r in found]
    lines = effort.report(found, 2, "a title", "stem").splitlines()
    assert next(line for line in lines if line.startswith("| effort")).startswith(
        "| effort | encode / s | PSNR against 0 / % | PSNR against 2 / % |"
    )
    assert next(line for line in lines if line.startswith("| 5")).startswith(f"| 5 | 1.00 | {gain:+.2f} | +0.00 |")
    assert any(line.startswith("| **2** | 0.50 |") for line in lines)
    effort.draw(found, 2, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000


def test_effort_takes_the_centre(im: Image.Image, tmp_path: Path) -> None:
    im.save(tmp_path / "x.png")
    assert effort.load(tmp_path / "x.png", 100).tobytes() == im.crop((46, 38, 146, 138)).tobytes()
    assert effort.load(tmp_path / "x.png", 180).tobytes() == im.crop((6, 0, 186, 176)).tobytes()
    assert effort.load(tmp_path / "x.png", 0).tobytes() == im.tobytes()


def test_static_code_length_is_the_entropy() -> None:
    assert side_information.static_bits(np.array([0, 1, 2, 3] * 5, np.int16)) == pytest.approx(40)
    assert side_information.static_bits(np.array([7] * 9, np.int16)) == 0
    assert side_information.static_bits(np.array([], np.int16)) == 0


def test_adaptive_code_length_is_that_of_a_coder_that_learns() -> None:
    symbols = np.random.default_rng(1).geometric(0.4, 300).astype(np.int16) - 2  # -1 and up
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    bits = 0.0
    for symbol in symbols.tolist():
        decisions = [(f"above {n}", abs(symbol) > n) for n in range(min(abs(symbol) + 1, abs(symbols).max() + 1))]
        for node, value in [*decisions, *([("sign", symbol < 0)] if symbol else [])]:
            bits -= math.log2((counts[node][value] + 0.5) / (sum(counts[node]) + 1))
            counts[node][value] += 1
    assert side_information.adaptive_bits(symbols) == pytest.approx(bits)
    assert side_information.adaptive_bits(np.array([], np.int16)) == 0


def test_side_information_accounts_for_a_file(im: Image.Image) -> None:
    data = CWIC_AT_RATE.encode(im, 1.0)
    parsed = container.read_file(data)
    found = side_information.measure(data)
    sizes = [len(layer.data) for layer in parsed.layers]
    assert (found.file, found.map[0], found.codes[0]) == (len(data), sizes[0], sum(sizes[1:]))
    assert found.codes[0] < min(found.codes[1:])  # a context saves
    networks, entropy = session.runtime(models.by_id(parsed.header.model_id))
    levels, *groups = decode_symbols(entropy, parsed, *networks.grid(im.height, im.width))
    masks = [side_information.kept(codes, levels, layer) for layer, codes in enumerate(groups, start=1)]
    assert not any(codes[:, ~mask].any() for codes, mask in zip(groups, masks, strict=True))
    assert found.codes[1] <= sum(side_information.static_bits(channel) for codes in groups for channel in codes) / 8


def test_map_keeps_the_first_layers() -> None:
    levels, codes = np.array([[[0, 2]]], np.int16), np.zeros((3, 2, 4), np.int16)
    masks = [side_information.kept(codes, levels, layer).tolist() for layer in (1, 2, 3, 4)]
    assert masks == [[[True] * 4] * 2, [[False, False, True, True]] * 2, masks[1], [[False] * 4] * 2]


def test_side_information_reports_shares() -> None:
    small, large = (side_information.Bytes(100 * n, (10, 20, 40), (80 * n, 100 * n, 160 * n)) for n in (1, 3))
    lines = "\n".join(side_information.report({0.25: [small, large]}, "two")).splitlines()
    assert "| 0.25 | 200 | 10 | 5.0% | 3.3% to 10.0% | 30 |" in lines
    assert "Target: below 5% at 0.25 bpp: not met." in lines
    assert "Target: below 5% at 0.25 bpp: met." in "\n".join(side_information.report({0.25: [large]}, "one"))
    assert "Target" not in "\n".join(side_information.report({0.5: [large]}, "one"))
    assert "| 0.25 | 160 | 200 (20.0%) | 320 (50.0%) |" in lines
    assert "| 0.25 | 10 | 20 (50.0%) | 40 (75.0%) |" in lines


def write_log(folder: Path, run: str, factor: float, *, lowest: float = 27.0) -> None:
    """A run whose first validation is worthless, and whose last needs ``factor`` of the bits of a common curve."""
    (folder / run).mkdir(parents=True)
    lines = [f"50,1.0,{t},9,9.0,9.0,{20 + t},0" for t in (-1, 0, 1)]
    lines += [f"100,2.5,{t},9,{factor * 0.4 * 2**t},9,{lowest + more},0" for t, more in ((-1.0, 0), (0.0, 4), (1.0, 6))]
    (folder / run / "log.csv").write_text("\n".join(["step,minutes,t,loss,bpp,real_bpp,psnr,map_share", *lines, ""]))


def test_ablation_compares_the_last_validations(tmp_path: Path) -> None:
    for run, factor, lowest in (
        ("whole", 1, 27),
        ("no-map", 1.1, 27),
        ("low", 0.9, 27),
        ("high", 0.9, 27),
        ("far", 1, 60),
    ):
        write_log(tmp_path, run, factor, lowest=lowest)
    listed = {
        "baseline": "whole",
        "ablations": [
            {"what": "no map", "runs": ["no-map"]},
            {"what": "several", "runs": ["low", "high"], "rates": [-1, 1]},
            {"what": "half", "runs": ["low", "missing"], "rates": [-1, 1]},
            {"what": "far", "runs": ["far"]},
            {"what": "search", "effort": 0},
        ],
    }
    points = ((0.1, 27.0), (0.3, 31.0), (0.9, 36.0))
    efforts = [
        Row(f"effort {number}", "a", rate, "1", 1, factor * rate, psnr, 0.9, 0.9, 0.1, 0.1)
        for number, factor in ((0, 1.05), (4, 1.0))
        for rate, psnr in points
    ]
    lines = ablation.report(listed, tmp_path, efforts, 4).splitlines()
    assert [line for line in lines if line.startswith("| ")][2:] == [
        "| **the whole codec** | 100 | 2.5 | +0.0 | 27.0–33.0 |",
        "| no map | 100 | 2.5 | +10.0 | 27.0–33.0 |",
        "| several | 100 + 100 | 2.5 + 2.5 | -10.0 | 27.0–33.0 |",
        "| half | – | – | not run | – |",
        "| far | 100 | 2.5 | – | none; it reaches 60.0–66.0 |",
        "| search | – | – | +5.0 | – |",
    ]
    assert "| search | – | – | not run | – |" in ablation.report(listed, tmp_path, [], 4)
    nothing = ablation.report(listed, tmp_path / "nowhere", [], 4)
    assert nothing.count("not run") == 6


def test_ablations_list_names_the_parts() -> None:
    listed = json.loads(Path(ablation.__file__).with_name("ablations.json").read_text())
    assert listed["baseline"] == "baseline"
    for entry in listed["ablations"]:
        assert set(entry) in ({"what", "runs"}, {"what", "runs", "rates"}, {"what", "effort"})
        assert len(entry.get("rates", entry.get("runs", []))) == len(entry.get("runs", []))


def test_the_demo_runs(im: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    im.save(tmp_path / "small.png")
    monkeypatch.setattr("sys.argv", ["demo", str(tmp_path / "small.png"), "--out", str(tmp_path / "out")])
    demo.main()
    files = {path.name: path for path in (tmp_path / "out").iterdir()}
    assert set(files) == {"comparison.png", *(f"small_{rate:g}.cwic" for rate in demo.RATES)}
    for rate in demo.RATES:
        assert 8 * files[f"small_{rate:g}.cwic"].stat().st_size <= rate * im.width * im.height


def test_the_comparison_gives_no_peer_fewer_bytes_than_cwic(im: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "AVIF" in demo.SHOWN and "AVIF" in demo.PEERS  # the strongest peer
    monkeypatch.setattr(demo, "PEERS", ("JPEG", "WebP"))
    found = demo.levelled(im, demo.at_rate(im, 0.8))
    assert len(found["CWIC"].data) <= min(len(found[name].data) for name in ("JPEG", "WebP"))
    sheet = demo.comparison(im, "x", found)
    side = 2 * min(demo.DETAIL, im.width, im.height)
    assert sheet.size == (12 + 3 * (side + 12), 12 + 2 * (side + 76))  # original, three details, the whole: two rows
    detail = found["CWIC"].im.crop(demo.detail_box(im, "x")).resize((side, side), Image.Resampling.NEAREST)
    assert sheet.crop((12 + side + 12, 12, 12 + 2 * side + 12, 12 + side)).tobytes() == detail.tobytes()


def test_region_shows_what_a_mask_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--region", "0", "0", "160", "160", "--rate", "0.3", "--results", str(tmp_path / "results")]
    with Image.open(Path(__file__).parent / "data" / "kodim04.png") as im:
        im.crop((128, 128, 448, 384)).save(tmp_path / "x.png")
    monkeypatch.setattr("sys.argv", ["region", "--picture", str(tmp_path / "x.png"), *arguments])
    region.main()
    lines = (tmp_path / "results" / "region.md").read_text().splitlines()
    plain, steered = (
        [float(x.replace(",", "")) for x in line.split("|")[2:5]] for line in lines if "importance=" in line
    )
    assert steered[1] > plain[1] and steered[2] < plain[2]  # better inside, worse outside
    assert max(plain[0], steered[0]) <= 0.3 * 320 * 256 / 8
    with Image.open(tmp_path / "images" / "region.jpg") as sheet:
        assert sheet.width > 3 * region.SIDE


def test_shrink_compares_with_files_encoded_for_the_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Image.open(Path(__file__).parent / "data" / "kodim04.png") as im:
        im.crop((128, 128, 448, 384)).save(tmp_path / "x.png")
    (tmp_path / "graphics").mkdir()
    with Image.new("RGB", (96, 64), "white") as drawing:
        ImageDraw.Draw(drawing).text((4, 8), "exact, not\nnearly", fill=(20, 30, 90))
        drawing.save(tmp_path / "graphics" / "y.png")
    folders = ["--pictures", str(tmp_path), "--graphics", str(tmp_path / "graphics"), "--results", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["shrink", *folders])
    monkeypatch.setattr(shrink, "SHARES", (0.7, 0.9))
    shrink.main()
    lines = (tmp_path / "shrink.md").read_text().splitlines()
    rows = [line.split("|")[1:-1] for line in lines if line[:3] == "| 0"]
    assert len(rows) == sum(high < 1 for high, _ in shrink.STEPS)
    for _, _, mean, worst, seconds, share in (map(float, row) for row in rows):
        assert -6 < mean < 0.2 and mean == worst  # there is one picture
        assert seconds > 0 and 0.9 < share <= 1
    drawn = [line.split("|")[3:-1] for line in lines if line.startswith(("| quality", "| lossless"))]
    assert len(drawn) == 2 * len(shrink.SOURCES)
    for psnr, gain, least, fall, seconds, used in (map(float, row) for row in drawn):
        assert 10 < psnr <= shrink.MOST_PSNR and gain == least and fall < 1
        assert seconds >= 0 and 0.5 < used <= 1


def test_growth_measures_each_size_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("the peak of a process's memory is told by Linux alone")
    monkeypatch.setattr("sys.argv", ["growth", "--megapixels", "0.1", "0.4", "--results", str(tmp_path)])
    growth.main()
    rows = [line.split("|")[1:-1] for line in (tmp_path / "growth.md").read_text().splitlines() if line[:3] == "| 0"]
    small, large = ([float(x) for x in row] for row in rows)
    assert large[0] == pytest.approx(4 * small[0], rel=0.05) and large[3] > small[3]
    assert min(*small[1:3], *large[1:3], small[5], large[5]) > 0  # a busy machine may take longer for the smaller one
    assert (tmp_path / "growth.png").stat().st_size > 1000


def test_growing_pictures_go_on_smoothly() -> None:
    path = Path(__file__).parent / "data" / "kodim04.png"
    pixels = growth.picture(path, 1.5)
    assert abs(pixels.shape[0] * pixels.shape[1] / 1.5e6 - 1) < 0.01
    with Image.open(path) as im:
        width = im.width
    assert (pixels[:100, width - 1] == pixels[:100, width]).all()
