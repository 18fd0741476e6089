"""Hostile input: what was found, or made by hand, over again; and the fuzz targets themselves."""

from __future__ import annotations

import random
import re
import subprocess
import warnings
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.reliability import damage, hostile_input
from fuzz import __main__ as runner
from fuzz import build, files, hostile, whole_file
from pillow_cwic import models
from pillow_cwic.codec.picture import exact_colour
from pillow_cwic.coding import symbols
from pillow_cwic.errors import ContainerError
from pillow_cwic.file import container, tiles

FINDINGS = Path(__file__).parent / "fuzz_findings"
WHOLE = sorted(FINDINGS.glob("*.cwic"))
NATIVE = sorted(FINDINGS.glob("*.bin"))


def opened(data: bytes) -> None:
    """Opens and loads as a program does. Only OSError, and Pillow's own error for bombs, may come out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(BytesIO(data), formats=["CWIC"]) as im:
                im.load()
        except (OSError, Image.DecompressionBombError) as error:
            assert str(error)
        else:
            pytest.fail("shown without an error")


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
def test_hostile_files(path: Path) -> None:
    """As they are, by the model that they name, and as files of the released one, CRCs made right."""
    data = path.read_bytes()
    whole_file.one_input(data)
    opened(data)
    released = models.by_name("cwic1")
    with damage.truncated_allowed():
        whole_file.one_input(data)
    opened(hostile.of_model(data, released.id, released.family))


def test_hostile_input_of_the_c_code() -> None:
    """Under AddressSanitizer and UndefinedBehaviorSanitizer, and seeds and made-up inputs with them."""
    if why := build.missing(build.REPLAY):
        pytest.skip(why)
    inputs = [*NATIVE, *runner.SEEDS.iterdir()]
    assert len(NATIVE) > 50
    command = [str(build.make(build.REPLAY)), *map(str, inputs), "-random=2000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{len(inputs) + 2000} inputs, 0 findings\n"


def test_random_hostile_files() -> None:
    rng = random.Random(11)
    errors = set()
    for _ in range(1500):
        data = hostile.hostile(rng, rng.choice(files.made_up()), files.made_up())
        whole_file.one_input(data)
        try:
            container.read_file(data)
        except ContainerError as error:
            errors.add(re.sub(r"[\d\W]+", " ", str(error))[:20])
    assert len(errors) > 10  # they reach as many kinds of errors


def test_made_up_files_are_sound() -> None:
    for data in files.made_up():
        parsed = container.read_file(data)
        if parsed.header.lossless:
            assert exact_colour(parsed).any()
            continue
        header, entropy = parsed.header, files.entropy_models()[parsed.header.family]
        planes = symbols.decode_symbols(entropy, parsed, *symbols.grid(entropy, header.height, header.width))
        assert any(plane.any() for plane in planes)


@pytest.mark.parametrize("fault", [KeyError, MemoryError, RecursionError, IndexError])
def test_the_target_sees_faults(fault: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise fault("planted")

    monkeypatch.setattr(tiles, "split_tiles", broken)
    with pytest.raises(fault, match="planted"):
        whole_file.one_input(files.made_up()[0])


def test_the_target_sees_two_files_for_one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that skipped bytes: what it read is not written back as the same file."""
    real = container.read_file

    def lenient(data: bytes, allow_truncated: bool = False) -> container.Parsed:
        return real(data.removesuffix(b"smuggled"), allow_truncated)

    monkeypatch.setattr(container, "read_file", lenient)
    with pytest.raises(AssertionError, match="another reads the same"):
        whole_file.one_input(files.made_up()[0] + b"smuggled")


def test_crcs_made_right() -> None:
    data = bytearray(files.made_up()[3])
    chunk = next(chunk for chunk in hostile.chunks(data) if chunk.kind == b"xMPp")
    data[chunk.start] ^= 1
    with pytest.raises(ContainerError, match="CRC"):
        container.read_file(data)
    assert container.read_file(hostile.resigned(data)).extra[b"xMPp"] == bytes(data[chunk.start : chunk.end])
    other = hostile.of_model(files.made_up()[0], b"abcdef", b"cw18")
    assert (container.read_header(other).model_id, container.read_header(other).family) == (b"abcdef", b"cw18")
    begin, end = hostile.streams(files.made_up()[0])
    layers = container.read_file(files.made_up()[0]).layers
    assert files.made_up()[0][begin:end] == b"".join(layer.data for layer in layers)


def test_reports_of_fuzzers() -> None:
    """Their figures are read from what libFuzzer and atheris say, and a crash is a finding."""
    for stderr, executions in (("#9\tDONE cov\nDone 500 runs in 2 second(s)\n", 500), ("Done 70 in 0 second(s)", 70)):
        done = subprocess.CompletedProcess([], 0, "", stderr)
        assert runner._libfuzzer_report("x", done)[1:] == (executions, 2.0 if executions == 500 else 0.0, [])
    crashed = subprocess.CompletedProcess([], 77, "", "Test unit written to finding-crash-1\n")
    assert runner._libfuzzer_report("x", crashed).findings == ["finding-crash-1"]
    assert runner._libfuzzer_report("x", subprocess.CompletedProcess([], 1, "", "Traceback")).findings == ["Traceback"]
    assert str(runner.Report("x", 1000, 2.0, ["a"])) == "x: 1,000 executions, 500 a second, 1 findings"


def test_whole_file_fuzzer_runs() -> None:
    report = runner.whole_file(200, 60)
    assert report.findings == [] and report.executions == 200


@pytest.mark.long
def test_coverage_of_the_c_code() -> None:
    if why := build.missing(build.COVERAGE):
        pytest.skip(why)
    counts = hostile_input.native_coverage()
    reached, lines = (sum(pair[n] for pair in counts.values()) for n in (0, 1))
    assert lines > 600 and reached / lines >= hostile_input.LEAST_COVERED, counts


@pytest.mark.long
def test_coverage_of_the_container() -> None:
    pytest.importorskip("coverage")
    share, left = hostile_input.container_coverage(4000)
    assert share >= hostile_input.LEAST_COVERED, left


@pytest.mark.long
@pytest.mark.parametrize("name", list(runner.FUZZERS))
def test_each_fuzzer_finds_nothing(name: str) -> None:
    program, run = runner.FUZZERS[name]
    if program and (why := build.missing(program)):
        pytest.skip(why)
    report = run(20_000, 120)
    assert report.findings == [] and report.executions > 100, report
