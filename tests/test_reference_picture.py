"""The reference decoder down to the samples, against golden files and the C code: exactly the same."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import reference_decoder as reference

import pillow_cwic

GOLDEN = Path(__file__).parent / "golden" / "v1"
FILTERED = ["RGB-1x1-q50-post127", "L-33x64-q30-post127", "RGB-50x40-q50-blocks-post30", "RGB-66x20-q60-tiles-post127"]
BLOCKS = ["L-33x64-q50-blocks", "RGBA-40x40-q50-grey-blocks"]
LOSSLESS = ["L-1x1", "LA-33x20", "RGB-20x33-q100-grey", "RGBA-17x17-q100-grey"]


@pytest.mark.parametrize(
    "name",
    [
        *(
            f"golden1-{each}"
            for each in ("L-1x1-q50", "RGBA-17x31-q50", "LA-33x64-q30", "RGB-65x64-q60-tiles", *BLOCKS, *FILTERED)
        ),
        "goldenfine-RGBA-17x31-q50",
        "goldenfine-RGB-96x64-q100",
        "goldenfine-RGBA-40x40-q50-grey-post9",
        "goldenfine-RGB-70x50-q50-post9",
    ],
)
def test_golden_files_decode_to_their_samples(name: str) -> None:
    """As they were when they were made, and as C makes them: exactly."""
    path, weights = GOLDEN / f"{name}.cwic", GOLDEN / f"{name.partition('-')[0]}.safetensors"
    samples, header = reference.decode(path.read_bytes(), reference.read_weights(weights))
    wanted = json.loads((GOLDEN / "index.json").read_text())[path.name]
    assert header["mode"] == wanted["mode"] and samples.dtype == np.uint8
    assert hashlib.sha256(samples.tobytes()).hexdigest() == wanted["pixels"]
    with pillow_cwic.options(models=[GOLDEN]):
        shown = pillow_cwic.decode(path.read_bytes())
    assert np.array_equal(samples, shown.reshape(samples.shape))


@pytest.mark.parametrize("name", LOSSLESS)
def test_golden_lossless_files_decode_to_their_samples(name: str) -> None:
    (path,) = GOLDEN.glob(f"pixels-{name}*-lossless.cwic")
    samples, header = reference.decode(path.read_bytes(), {})
    wanted = json.loads((GOLDEN / "index.json").read_text())[path.name]
    assert header["lossless"] and header["mode"] == wanted["mode"]
    assert hashlib.sha256(samples.tobytes()).hexdigest() == wanted["pixels"]


def test_command_prints_sizes_and_hashes(capsys: pytest.CaptureFixture[str]) -> None:
    path = GOLDEN / "golden1-RGBA-17x31-q50.cwic"
    data = path.read_bytes()
    reference.main(str(path), str(GOLDEN / "golden1.safetensors"))
    lines = capsys.readouterr().out.splitlines()
    header, layers = reference.read_file(data)
    assert lines[0] == f"17 x 31 RGBA, T = {header['rate']}, {len(data)} bytes"
    assert len(layers) == 4
    wanted = [f"layer {n}: {len(stream)} bytes, symbol CRC {crc:08x}" for n, (stream, crc) in enumerate(layers)]
    pixels = json.loads((GOLDEN / "index.json").read_text())[path.name]["pixels"]
    assert lines[1:] == [*wanted, f"SHA-256 of the samples: {pixels}"]


def test_the_decoder_runs_as_a_program() -> None:
    program = Path(reference.__file__)
    command = [
        sys.executable,
        str(program),
        str(GOLDEN / "golden1-L-8x8-q90.cwic"),
        str(GOLDEN / "golden1.safetensors"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=program.parents[1])
    assert done.returncode == 0 and "SHA-256 of the samples: " in done.stdout, done.stderr
