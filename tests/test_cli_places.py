"""Where the command reads and writes: files, folders and standard streams; and what it refuses."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import warnings
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from test_cli import cwic, files

from pillow_cwic.file import container
from pillow_cwic.tools.cli import places


@pytest.fixture
def folder(small: Image.Image, small_file: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a.jpg, b.png, x.cwic."""
    monkeypatch.chdir(tmp_path)
    small.save("a.jpg", quality=95)
    small.save("b.png")
    Path("x.cwic").write_bytes(small_file)
    return tmp_path


def run(command: str, shell: str = "/bin/sh") -> subprocess.CompletedProcess[bytes]:
    """A line of the shell, in which ``cwic`` is the command."""
    line = f'cwic() {{ "{sys.executable}" -m pillow_cwic.tools.cli "$@"; }}; {command}'
    return subprocess.run([shell, "-c", line], capture_output=True, check=False)


# Standard streams -------------------------------------------------------------------------------------------------


def test_standard_input_to_standard_output(folder: Path) -> None:
    """Without -o: what is written is the file and nothing else, and what there is to say goes to stderr."""
    cwic("encode", "a.jpg", "-q", "30", "-o", "named.cwic")
    made = cwic("encode", "-", "-q", "30", stdin=Path("a.jpg").read_bytes())
    assert made.stdout_bytes == Path("named.cwic").read_bytes()
    assert made.stderr.startswith("standard input -> standard output: ") and made.stderr.count("\n") == 1
    assert cwic("encode", "a.jpg", "-q", "30", "-o", "-", "--quiet").output_bytes == made.stdout_bytes
    back = cwic("decode", "-", "--to", "jpg", "-q", "90", stdin=made.stdout_bytes)
    assert Image.open(BytesIO(back.stdout_bytes)).format == "JPEG"
    assert Image.open(BytesIO(cwic("decode", "named.cwic", "-o", "-").stdout_bytes)).format == "PNG"
    shrunk = cwic("shrink", "-", "--size", "300", stdin=made.stdout_bytes)
    assert len(shrunk.stdout_bytes) <= 300 and container.is_cwic(shrunk.stdout_bytes)
    assert " bytes of " in shrunk.stderr
    assert sorted(files(folder)) == ["a.jpg", "b.png", "named.cwic", "x.cwic"]


def test_streams_and_files_mix(folder: Path, small_file: bytes) -> None:
    assert cwic("encode", "-", "-o", "o.cwic", stdin=Path("b.png").read_bytes()).stdout.startswith("standard input -> ")
    assert cwic("decode", "-", "-o", "o.webp", stdin=Path("o.cwic").read_bytes()).stderr == ""
    assert Image.open("o.webp").format == "WEBP"
    told = cwic("info", "-", stdin=small_file).stdout.splitlines()
    assert told[0] == "standard input:" and told[1:] == cwic("info", "x.cwic").stdout.splitlines()[1:]
    cwic("info", "-", "--map", "map.png", stdin=small_file)
    assert Image.open("map.png").size == (100, 75)
    page = cwic("compare", "-", "--with", "", "-q", "5", stdin=Path("b.png").read_bytes())
    assert page.stdout.startswith("<!DOCTYPE html>") and page.stdout.rstrip().endswith("</html>")
    cwic("compare", "-", "--with", "", "-q", "5", "-o", "page.html", stdin=Path("b.png").read_bytes())
    assert Path("page.html").read_text() == page.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["encode", "-", "a.jpg"], "- is standard input, which can only be the one input"),
        (["encode", "a.jpg", "b.png", "-o", "-"], "-o -: standard output takes one file, not several"),
        (["encode", "*.jpg", "-o", "-"], "-o -: standard output takes one file, not several"),
        (["encode", "-", "-o", "out/"], "standard input has no name for a file in a folder"),
        (["info", "x.cwic", "--map", "-"], "--map: standard output is for the text, name a file"),
        (["encode", "a.jpg", "--importance", "-"], "--importance: the mask must be a file"),
        (["web", "-"], "-: standard output takes one file, not a folder; if that is its name, say ./-"),
        (["web", "-", "--force"], "-: standard output takes one file, not a folder"),
    ],
)
def test_streams_that_make_no_sense(folder: Path, arguments: list[str], words: str) -> None:
    before = files(folder)
    assert words in cwic(*arguments, code=2).stderr
    assert files(folder) == before


def test_a_folder_may_be_called_as_streams_are(folder: Path) -> None:
    cwic("web", "./-", "--quiet")
    cwic("encode", "a.jpg", "-o", "-/", "-q", "1")
    assert {"-/index.html", "-/a.cwic"} <= set(files(folder))


def test_terminals_get_and_give_no_pictures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a real process at a terminal of its own."""
    pty = pytest.importorskip("pty", reason="terminals of Unix")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pillow_cwic.tools.cli"]
    for words in (["encode", "a.jpg", "-o", "-"], ["compare", "a.jpg", "-o", "-"]):
        done = subprocess.run(command + words, stdout=theirs, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 2 and "standard output, which is a terminal here" in done.stderr
    done = subprocess.run([*command, "decode", "-"], stdin=theirs, capture_output=True, text=True)
    assert done.returncode == 2 and "must come from a file or a program" in done.stderr and done.stdout == ""
    os.close(ours)
    os.close(theirs)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a full device of Linux")
def test_a_stream_that_takes_no_more_is_an_error(folder: Path) -> None:
    done = run("cwic encode a.jpg -o - > /dev/full")
    assert (done.returncode, done.stderr) == (1, f"cwic: standard output: {os.strerror(errno.ENOSPC)}\n".encode())
    done = run("(cwic encode a.jpg -o -; echo $? >&2) | true")
    assert done.stderr == f"cwic: standard output: {os.strerror(errno.EPIPE)}\n1\n".encode()


# What outputs may be called ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["encode", "a.jpg", "-o", "out.webp"], "-o out.webp: the name of a CWIC file ends in .cwic, not .webp"),
        (["encode", "a.jpg", "-o", "out"], "say out.cwic, or out/ for a new folder"),
        (["encode", "a.jpg", "b.png", "-o", "out.cwic"], "need a folder; if that is its name, say out.cwic/"),
        (["encode", "a.jpg", "b.png", "-o", "out.webp"], "several inputs need a folder"),
        (["encode", "a.jpg", "b.png", "-o", "x.cwic", "-f"], "-o x.cwic: is a file, several inputs need a folder"),
        (["shrink", "x.cwic", "-o", "out.png", "--size", "300"], "ends in .cwic, not .png: say out.cwic"),
        (["decode", "x.cwic", "-o", "y.cwic"], "-o y.cwic: not made here, as cwic encode and cwic shrink do"),
        (["decode", "x.cwic", "--to", "cwic"], "--to: not made here"),
        (["decode", "x.cwic", "-o", "y.txt"], "-o y.txt: .txt is no format that Pillow writes"),
        (["compare", "a.jpg", "-o", "a.txt"], "-o a.txt: .txt is not .html"),
        (["info", "x.cwic", "--map", "map.cwic"], "--map map.cwic: not made here"),
        (["info", "x.cwic", "--map", "map"], "--map map: no suffix is no format that Pillow writes"),
    ],
)  # fmt: skip
def test_the_suffix_says_what_is_inside(folder: Path, arguments: list[str], words: str) -> None:
    before = files(folder)
    assert words in cwic(*arguments, code=2).stderr
    assert files(folder) == before


def test_a_folder_may_have_any_name(folder: Path) -> None:
    cwic("encode", "a.jpg", "b.png", "-o", "v1.2", "-q", "1")
    cwic("encode", "a.jpg", "b.png", "-o", "new.webp/", "-q", "1")
    cwic("encode", "a.jpg", "-o", "new.webp", "-q", "2", "--force")  # which exists now
    cwic("encode", "a.jpg", "-o", "A.CWIC", "-q", "1")
    assert {"v1.2/a.cwic", "v1.2/b.cwic", "new.webp/a.cwic", "A.CWIC"} <= set(files(folder))


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_no_source_is_overwritten(folder: Path, link: object) -> None:
    """By its own name, or by links of either kind."""
    assert callable(link)
    Path("pages").mkdir()
    link(os.path.abspath("a.jpg"), "pages/a.cwic")
    link(os.path.abspath("a.jpg"), "a.html")
    link(os.path.abspath("x.cwic"), "x.png")
    before = {path: Path(path).read_bytes() for path in ("a.jpg", "x.cwic", "b.png")}
    for arguments in (
        ["encode", "a.jpg", "-o", "pages"],
        ["encode", "b.png", "a.jpg", "-o", "pages"],
        ["encode", "b.png", "-o", "pages/a.cwic", "--importance", "a.jpg"],
        ["encode", "x.cwic"],
        ["decode", "x.cwic"],
        ["decode", "x.cwic", "-o", "x.png"],
        ["info", "x.cwic", "--map", "x.png"],
        ["compare", "a.jpg"],
        ["compare", "a.jpg", "-o", "a.html"],
    ):
        assert "itself, name another output" in cwic(*arguments, "-f", code=2).stderr, arguments
    assert {path: Path(path).read_bytes() for path in before} == before
    cwic("shrink", "x.cwic", "-o", "x.cwic", "-f", "--size", "300")  # but this is what was asked for
    assert Path("x.cwic").stat().st_size <= 300


def test_what_is_given_twice_is_done_once(folder: Path) -> None:
    Path("sub").mkdir()
    told = cwic("encode", "a.jpg", "./a.jpg", "sub/../a.jpg", "a.jpg", os.path.abspath("a.jpg"), "-q", "1").stdout
    assert told.count("->") == 1
    assert cwic("encode", ".", "b.png", "*.jpg", "-o", "out", "-q", "1").stdout.endswith("2 done\n")
    assert cwic("info", "x.cwic", "x.cwic").stdout.count("x.cwic:") == 1


# What is no file for the command ------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["decode"], ["info"], ["shrink", "-o", "y.cwic", "--size", "300"]])
def test_only_cwic_files_are_taken(folder: Path, command: list[str], small_file: bytes) -> None:
    Path("empty.cwic").touch()
    Path("liar.cwic").write_bytes(Path("b.png").read_bytes())
    newer = small_file[:8] + bytes([small_file[8] + 1]) + small_file[9:]
    Path("newer.cwic").write_bytes(newer)
    for name in ("a.jpg", "empty.cwic", "liar.cwic"):
        assert cwic(*command, name, code=1).stderr == f"cwic: {name}: is no CWIC file\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = cwic(*command, "newer.cwic", code=1).stderr
    assert re.fullmatch(r"cwic: newer.cwic: format version: .*needs a newer pillow_cwic\n", told)
    assert not Path("y.cwic").exists()


def test_errors_show_no_python(folder: Path) -> None:
    Path("notes.jpg").write_text("no picture")
    for arguments, stdin in ((["encode", "notes.jpg"], None), (["encode", "-"], b"rubbish"), (["compare", "-"], b"")):
        told = cwic(*arguments, code=1, stdin=stdin).stderr
        assert told.endswith(": is no picture that this Pillow can open\n") and not re.search(r"<_io|'|Path\(", told)


def test_names_of_any_bytes(folder: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("names that are not UTF-8")
    name = os.fsdecode(b"caf\xe9.jpg")
    os.rename("a.jpg", name)
    assert cwic("encode", name, "-q", "1").stdout.startswith("caf\\xe9.jpg -> caf\\xe9.cwic: ")
    assert cwic("encode", os.fsdecode(b"\xff"), code=1).stderr.startswith("cwic: \\xff: ")
    told = cwic("info", os.fsdecode(b"caf\xe9.cwic"), "--json").stdout
    assert json.loads(told)[0]["file"] == "caf\\xe9.cwic"  # no half of a pair, which strict parsers refuse


@pytest.mark.skipif(sys.platform == "win32", reason="names that Windows does not take")
def test_names_neither_end_lines_nor_steer_terminals(folder: Path) -> None:
    name, shown = "a\nb\x1b[31m\u202e \u00e9", "a\\nb\\x1b[31m\\u202e \u00e9"
    os.rename("a.jpg", f"{name}.jpg")
    assert cwic("encode", f"{name}.jpg", "-q", "1").stdout.startswith(f"{shown}.jpg -> {shown}.cwic: ")
    assert cwic("encode", f"{name}.jpg", code=1).stderr.startswith(f"cwic: {shown}.cwic: exists already")
    assert cwic("info", f"{name}.cwic").stdout.startswith(f"{shown}.cwic:\n")
    assert f"no files in {shown}nothing*" in cwic("encode", f"{name}nothing*", code=2).stderr
    assert json.loads(cwic("info", f"{name}.cwic", "--json").stdout)[0]["file"] == f"{name}.cwic"


# What is said -----------------------------------------------------------------------------------------------------


def test_warnings_are_lines_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILLOW_CWIC_MODELS", os.path.abspath("b.png"))
    before = warnings.showwarning
    told = cwic("models").stderr
    assert re.fullmatch(r"cwic: warning: \S*b.png is left out of the models: .*\n", told)
    assert warnings.showwarning is before
    done = run("cwic encode a.jpg b.png -j 2 -q 1 --quiet")  # in the processes of several jobs
    assert done.returncode == 0 and b"RuntimeWarning" not in done.stderr
    assert all(line.startswith(b"cwic: warning: ") for line in done.stderr.splitlines())


def test_streams_print_as_words() -> None:
    assert [str(each) for each in places.Stream] == ["standard input", "standard output"]
