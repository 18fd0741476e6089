"""The command ``cwic``, run as users run it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import ExifTags, Image
from test_plugin import psnr

import pillow_cwic
from pillow_cwic.codec import quality
from pillow_cwic.tools import cli

ARTIST = ExifTags.Base.Artist
ORIENTATION = ExifTags.Base.Orientation


@pytest.fixture
def folder(small: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a.jpg with metadata, sub/b.png with alpha, sub/notes.txt."""
    monkeypatch.chdir(tmp_path)
    exif = Image.Exif()
    exif[ARTIST], exif[ORIENTATION] = "somebody", 6
    small.save("a.jpg", quality=95, exif=exif, dpi=(300, 300), xmp=b"<x/>")
    (tmp_path / "sub").mkdir()
    rgba = small.resize((40, 30))
    rgba.putalpha(90)
    rgba.save("sub/b.png")
    (tmp_path / "sub" / "notes.txt").write_text("no picture")
    return tmp_path


def cwic(*arguments: object, code: int = 0, stdin: bytes | None = None) -> Result:
    result = CliRunner().invoke(cli.main, [str(a) for a in arguments], input=stdin)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_there_and_back(folder: Path, small: Image.Image) -> None:
    result = cwic("encode", "a.jpg", "--rate", "1.5")
    size = Path("a.cwic").stat().st_size
    assert result.stdout.startswith(f"a.jpg -> a.cwic: {size:,} bytes, ") and size > 999 and result.stderr == ""
    with Image.open("a.cwic") as im:
        metadata = sum(json.loads(cwic("info", "a.cwic", "--json").stdout)[0]["chunk_bytes"].values())
        assert im.info["bpp"] - 8 * (metadata + 3 * 12) / 7500 <= 1.5  # a chunk is 12 bytes longer than what it holds
        assert im.getexif()[ARTIST] == "somebody" and im.info["dpi"] == (300, 300) and im.info["xmp"] == b"<x/>"
    cwic("decode", "a.cwic")
    with Image.open("a.png") as im:
        assert psnr(im, small) > 22
        assert im.getexif()[ORIENTATION] == 6
    cwic("decode", "a.cwic", "-o", "b.webp")
    with Image.open("b.webp") as im:
        assert im.format == "WEBP" and im.info["xmp"] == b"<x/>"
    assert files(folder) == ["a.cwic", "a.jpg", "a.png", "b.webp", "sub/b.png", "sub/notes.txt"]


def test_strip_turns_upright(folder: Path) -> None:
    cwic("encode", "a.jpg", "--strip", "--quality", "1")
    with Image.open("a.cwic") as im:
        assert im.size == (75, 100) and not {"exif", "xmp", "dpi"} & set(im.info)


def test_orientation_in_xmp_is_kept_and_broken_exif_is_no_obstacle(folder: Path, small: Image.Image) -> None:
    small.save("turned.webp", xmp=b'<rdf:Description tiff:Orientation="6"/>')
    small.save("broken.jpg", exif=b"Exif\0\0rubbish")
    cwic("encode", "turned.webp", "broken.jpg", "-o", "kept", "--quality", "1")
    with Image.open("kept/turned.cwic") as im:
        assert im.info["exif"] and im.getexif()[ORIENTATION] == 6
    with Image.open("kept/broken.cwic") as im:
        assert im.info["exif"] == b"Exif\0\0rubbish"
    cwic("encode", "turned.webp", "broken.jpg", "-o", "stripped", "--quality", "1", "--strip")
    assert Image.open("stripped/turned.cwic").size == (75, 100)
    assert Image.open("stripped/broken.cwic").size == (100, 75)


@pytest.mark.parametrize("sources", [["."], ["*.jpg", "sub/*.png"], ["**/*.[jp][pn]g"], ["a.jpg", "sub"]])
def test_folders_and_patterns(folder: Path, sources: list[str]) -> None:
    cwic("encode", *sources, "-o", "out", "--quality", "1")
    below = [p.removeprefix("out/") for p in files(folder) if p.startswith("out/")]
    assert below == (["a.cwic", "sub/b.cwic"] if sources == ["."] else ["a.cwic", "b.cwic"])
    assert Image.open(next((folder / "out").rglob("b.cwic"))).mode == "RGBA"
    cwic("decode", "out", "--to", "tiff")
    assert Image.open(next((folder / "out").rglob("b.tiff"))).getchannel("A").getextrema() == (90, 90)


def test_nothing_is_overwritten_without_force(folder: Path) -> None:
    cwic("encode", "a.jpg", "--quality", "1")
    before = Path("a.cwic").read_bytes()
    result = cwic("encode", "a.jpg", "--quality", "30", code=1)
    there = "cwic: a.cwic: exists already, --force overwrites it, --skip-existing leaves it\n"
    assert result.stderr == there and result.stdout == ""
    assert Path("a.cwic").read_bytes() == before
    cwic("encode", "a.jpg", "--quality", "30", "--force")
    assert len(Path("a.cwic").read_bytes()) > len(before)


def test_one_bad_file_does_not_stop_the_others(folder: Path) -> None:
    result = cwic("encode", "missing.png", "sub/notes.txt", "a.jpg", "-o", "out", "--quality", "1", code=1)
    lines = result.stderr.splitlines()
    assert lines[0] == f"cwic: missing.png: {os.strerror(2)}"
    assert lines[1:] == ["cwic: sub/notes.txt: is no picture that this Pillow can open"]
    assert files(folder / "out") == ["a.cwic"]


def test_a_damaged_file_is_told_in_one_line(folder: Path, small_file: bytes) -> None:
    Path("x.cwic").write_bytes(small_file[: len(small_file) // 2])
    for command in ("decode", "info"):
        result = cwic(command, "x.cwic", code=1)
        assert result.stderr.startswith("cwic: x.cwic: chunk CODE: length") and result.stderr.count("\n") == 1
    assert "x.png" not in files(folder)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["encode", "a.jpg", "--rate", "0"], "rate: 0.0 is not a number of bits per pixel above 0"),
        (["encode", "a.jpg", "--rate", "1", "--size", "5"], "options rate and size: only one of"),
        (["encode", "a.jpg", "--quality", "101"], "quality: 101 is not a whole number from 1 to 100"),
        (["encode", "a.jpg", "--model", "x"], "model: x is none of cwic1 (tuning mse or ssim), cwic2018 (tuning mse)"),
        (["encode", "a.jpg", "--device", "gpu"], "device: 'gpu' is none of"),
        (["encode", "a.jpg", "--jobs", "0"], "0 is not in the range"),
        (["encode", "a.jpg", "--psnr", "30", "--rate", "1"], "options rate and psnr: only one of"),
        (["encode"], "Missing argument 'INPUTS...'"),
        (["encode", "nothing*"], "no files in nothing*"),
        (["encode", "a.jpg", "sub/a.jpg", "-o", "out"], "would both become out"),
        (["decode", "x.cwic", "--to", "xyz"], "--to: .xyz is no format that Pillow writes"),
        (["decode", "x.cwic", "-o", "x"], "x: no suffix is no format"),
        (["decode", "x.cwic", "--to", "bmp", "--quality", "9"], "--quality: .bmp has none"),
        (["encode", "a.jpg", "--model", ""], "Invalid value for '--model': an empty name"),
        (["encode", "a.jpg", "--tuning", ""], "Invalid value for '--tuning'"),
        (["encode", ""], "Invalid value for 'INPUTS...': an empty name"),
        (["encode", "a.jpg", "-o", ""], "Invalid value for '-o' / '--output': an empty name"),
        (["compare", ""], "an empty name"),
        (["compare", "sub"], "sub: is a folder, wanted one picture"),
        (["info", "--map", "", "x.cwic"], "Invalid value for '--map': an empty name"),
        (["shrink", "x.cwic", "-o", "y.cwic"], "one of --size and --rate is needed"),
        (["shrink", "x.cwic", "-o", "y.cwic", "--size", "5", "--rate", "1"], "one of --size and --rate can be given"),
        (["shrink", "x.cwic", "--size", "5"], "-o is needed: the file or folder to write"),
        (["frobnicate"], "No such command 'frobnicate'"),
    ],
)
def test_wrong_usage(folder: Path, arguments: list[str], words: str) -> None:
    shutil.copy("a.jpg", "sub/a.jpg")
    before = files(folder)
    assert words in cwic(*arguments, code=2).stderr
    assert files(folder) == before


def test_info(folder: Path) -> None:
    cwic("encode", "a.jpg", "sub/b.png", "-o", "out", "--quality", "35")
    facts = json.loads(cwic("info", "out", "--json").stdout)
    assert [each["file"] for each in facts] == [os.path.join("out", "a.cwic"), os.path.join("out", "b.cwic")]
    a, b = facts
    assert (a["width"], a["height"], a["mode"], a["quality"], a["model"]) == (100, 75, "RGB", 35, "cwic1")
    assert a["bytes"] == Path("out/a.cwic").stat().st_size and a["bpp"] == a["bytes"] * 8 / 7500
    assert set(a["chunk_bytes"]) == {"eXIf", "xMPp", "rESo"} and a["dpi"] == [300, 300]
    assert (b["mode"], b["alpha_bytes"], b["chunk_bytes"]) == ("RGBA", 2, {})
    assert 0 < sum(a["layer_bytes"]) < a["bytes"]
    assert a["exact_blocks"] is a["sample_step"] is None
    cwic("encode", "a.jpg", "-o", "fine.cwic", "--psnr", "50")
    fine = json.loads(cwic("info", "fine.cwic", "--json").stdout)[0]
    assert 0.1 < fine["exact_blocks"] <= 1 and fine["sample_step"] in (1, 2, 3, 5, 8)
    text = cwic("info", "out/b.cwic").stdout.splitlines()
    assert text[0] == "out/b.cwic:" and "  alpha bytes: 2" in text and "  quality: 35" in text


def test_info_tells_bytes_behind_the_end(folder: Path, small_file: bytes) -> None:
    """05-trailing-bytes-refused.py"""
    Path("x.cwic").write_bytes(small_file + bytes(20))
    Path("y.cwic").write_bytes(small_file)
    x, y = json.loads(cwic("info", "x.cwic", "y.cwic", "--json").stdout)
    assert x == {**y, "file": "x.cwic", "bytes": len(small_file) + 20, "trailing_bytes": 20}
    assert "  trailing bytes: 20" in cwic("info", "x.cwic").stdout.splitlines()
    assert "trailing" not in cwic("info", "y.cwic").stdout
    cwic("decode", "x.cwic")
    assert Image.open("x.png").size == (100, 75)


def test_models() -> None:
    listed = json.loads(cwic("models", "--json").stdout)
    assert {("cwic1", "mse"), ("cwic1", "ssim")} <= {(each["model"], each["tuning"]) for each in listed}
    assert all(each["sha256"].startswith(each["id"]) for each in listed)
    lines = [f"{each['model']} {each['tuning']}: id {each['id']}, {each['file']}" for each in listed]
    assert cwic("models").stdout.splitlines() == lines


def test_quiet(folder: Path) -> None:
    result = cwic("encode", "a.jpg", "--quality", "1", "--quiet")
    assert result.output == ""


def test_several_jobs(folder: Path) -> None:
    """As a real process, whose workers are spawned."""
    command = [sys.executable, "-m", "pillow_cwic.tools.cli", "encode", ".", "missing.png", "-j", "2", "--quality", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"cwic: missing.png: {os.strerror(2)}\n"
    assert sorted(line.split(" ->")[0] for line in done.stdout.splitlines()) == [
        "2 done, 1 failed",
        "a.jpg",
        os.path.join("sub", "b.png"),
    ]
    assert {"a.cwic", "sub/b.cwic"} <= set(files(folder))


def test_device_and_threads_reach_the_codec(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pillow_cwic import codec, settings

    seen: list[object] = []
    monkeypatch.setattr(
        codec, "encode", lambda pixels, options, **_: seen.append((settings.device(), settings.threads())) or b"x"
    )
    cwic("encode", "a.jpg", "--device", "cpu", "--threads", "3")
    assert seen == [("cpu", 3)]


@pytest.mark.parametrize(("option", "wanted"), [("--psnr", 31.0), ("--ssim", 0.9)])
def test_quality_that_can_be_measured(folder: Path, option: str, wanted: float) -> None:
    cwic("encode", folder / "a.jpg", "-o", folder / "good.cwic", option, wanted)
    with Image.open(folder / "a.jpg") as im, Image.open(folder / "good.cwic") as made:
        pair = np.asarray(im.convert("RGB")), np.asarray(made.convert("RGB"))
    assert wanted <= getattr(quality, option[2:])(*pair) < wanted + (1.0 if option == "--psnr" else 0.02)


def test_version_and_help() -> None:
    assert pillow_cwic.__version__ in cwic("--version").stdout == cwic("-V").stdout
    listed = cwic("-h").stdout
    assert "..." not in listed.partition("Commands:")[2]  # each in words that fit
    for told in (listed, cwic("shrink", "-h").stdout):  # they contradicted each other about encoding anew
        assert "Make .cwic files smaller, without their originals" in told
    for command in cli.COMMANDS:
        assert command in listed and "Usage: " in cwic(command, "-h").stdout


@pytest.mark.parametrize("module", ["pillow_cwic", "pillow_cwic.tools.cli"])
def test_the_package_is_the_command(folder: Path, module: str) -> None:
    """Under its own name, and with jobs, whose processes import what the first one runs."""
    command = [sys.executable, "-m", module]
    done = subprocess.run([*command, "encode"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr == cwic("encode", code=2).stderr.replace("main encode", "cwic encode")
    assert done.stderr.startswith("Usage: cwic encode [OPTIONS] INPUTS...\n")
    told = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
    assert told == cwic("--version").stdout
    words = ["encode", ".", "-o", "out", "-j", "2", "-q", "1", "--quiet"]
    done = subprocess.run([*command, *words], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert files(folder / "out") == ["a.cwic", "sub/b.cwic"]


def test_help_loads_no_torch() -> None:
    code = "import sys, pillow_cwic.tools.cli; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_same_picture_as_by_pillow(folder: Path) -> None:
    cwic("encode", "sub/b.png", "--quality", "40")
    with Image.open("sub/b.png") as im:
        im.save("c.cwic", quality=40)
    assert np.array_equal(np.asarray(Image.open("c.cwic")), np.asarray(Image.open("sub/b.cwic")))
