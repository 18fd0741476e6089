"""Memory and time, also of hostile files"""

from __future__ import annotations

import json
import math
import random
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.reliability.row import LeftOutError, Row, command, row
from pillow_cwic import codec, models
from pillow_cwic.coding import symbols
from pillow_cwic.errors import CwicError
from pillow_cwic.file import container, limits

ROOT = Path(__file__).resolve().parents[2]
PHOTO = ROOT / "tests" / "data" / "kodim23.png"
WRAPPED = "-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free"

# For processes of their own: peak() starts a new measurement and gives the bytes above what was held before.
METER = """
import gc, sys, warnings
sys.path[:0] = ["."]
def held(field="VmRSS"):
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(field))
def peak(work):
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = held()
    work()
    return max(0, held("VmHWM") - before)
from io import BytesIO
from PIL import Image
import pillow_cwic
"""


def measured(code: str, *arguments: str) -> dict[str, float]:
    """What code printed as JSON, run behind ``METER`` in a process of its own."""
    run = [sys.executable, "-c", METER + code, *arguments]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def fail_in_turn(folder: Path, cc: str = "cc") -> subprocess.CompletedProcess[str]:
    """Builds tests/allocation.c and runs it: 0 if every failure was told."""
    sources = [path for path in sorted((ROOT / "csrc").glob("*.c")) if not path.name.startswith("selftest")]
    build = [cc, "-std=c99", "-O1", "-I", str(ROOT / "csrc"), WRAPPED, str(ROOT / "tests" / "allocation.c")]
    subprocess.run([*build, *map(str, sources), "-pthread", "-lm", "-o", str(folder / "allocation")], check=True)
    return subprocess.run([str(folder / "allocation")], capture_output=True, text=True)


@row(quick=True)
def failing_allocations() -> Row:
    with tempfile.TemporaryDirectory() as folder:
        done = fail_in_turn(Path(folder))
    return Row(
        "every malloc of the C code made to fail in turn gives a clean error, and leaks nothing",
        "; ".join(done.stdout.splitlines()),
        command(failing_allocations),
        done.returncode == 0,
    )


def hostile(limit: int = 100, side: int = 32768) -> Iterator[bytes]:
    """Files of at most ``limit`` bytes that claim a gigapixel, each sound up to where its claim is too large."""
    model = models.by_name("cwic1")
    extra = [
        b"",
        container._chunk(b"eXIf", zlib.compress(bytes(20_000), 9)),
        container._chunk(b"xMPp", zlib.compress(bytes(20_000), 9)),
    ]
    for mode in container.MODES:
        head = container.Header(side, side, mode, 15, 0, model.id)
        alpha = container._chunk(b"ALPH", b"\0\xff") if mode in container.ALPHA_MODES else b""
        for layers in range(1, 12):
            table = [container.Layer(b"", 0)] * layers
            for more in extra:
                plain = container.write_file(head, table, alpha=b"\0\xff" if alpha else None)
                data = plain[: container.HEADER_BYTES] + more + plain[container.HEADER_BYTES :]
                if len(data) <= limit:
                    yield data


SMALL = """
files = [bytes.fromhex(line) for line in open(sys.argv[1])]
from benchmarks.reliability.memory import attempt
Image.linear_gradient("L").resize((64, 64)).save(data := BytesIO(), format="CWIC")
Image.open(data).load()
attempt(files[0])
import json
print(json.dumps({"peak": max(peak(lambda: attempt(each)) for each in files)}))
"""


def attempt(data: bytes) -> bool:
    """Opens, verifies, loads and drafts a file; whether anything of it could be shown."""
    shown = False
    for work in ("verify", "load", "draft"):
        with suppress(CwicError, SyntaxError, Image.DecompressionBombError), Image.open(BytesIO(data)) as im:
            if work == "draft":
                im.draft(None, (im.width // 8, im.height // 8))
            im.verify() if work == "verify" else im.load()
            shown |= work != "verify"
    return shown


def peak_of(files: list[bytes]) -> float:
    """The most bytes that one of the files makes a process hold, which has decoded another before."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "files"
        path.write_text("\n".join(each.hex() for each in files))
        # Pillow would refuse the claimed size at once: without its limit the decoder itself must.
        return measured("Image.MAX_IMAGE_PIXELS = None\n" + SMALL, str(path))["peak"]


@row(quick=True)
def small_files() -> Row:
    files, larger = list(hostile()), list(hostile(200))
    peak = peak_of(files)
    return Row(
        "a file of 100 bytes makes the decoder hold at most 1 MB more, whatever size it claims",
        f"{peak / 1e6:.2f} MB, the most of {len(files)} files that claim a gigapixel; "
        f"{peak_of(larger) / 1e6:.2f} MB with {len(larger)} files of up to 200 bytes",
        command(small_files),
        peak <= 1e6,
    )


def sparse(width: int, height: int, level: int) -> bytes:
    """A valid file of a few bytes: every code is 0, in all layers up to ``level`` or fewer."""
    model = models.by_name("cwic1")
    entropy = symbols.entropy_model(model)
    rows, columns = symbols.grid(entropy, height, width)
    levels = np.full((1, rows, columns), min(level, entropy.levels - 1), np.int16)
    codes = [np.zeros((count, 2 * rows, 2 * columns), np.int16) for count in entropy.groups]
    made = symbols.encode_symbols(entropy, [levels, *codes], [None] * (1 + len(codes)), 0.0, 0, 10)
    return container.write_file(container.Header(width, height, "RGB", 10, 0, model.id), made.layers())


VALID = """
import json, time
from pathlib import Path
from pillow_cwic import codec
files = [Path(name).read_bytes() for name in sys.argv[1:]]
codec.decode(files[0])
found = {}
for n, data in enumerate(files[1:]):
    start = time.process_time()
    found[f"bytes {n}"] = peak(lambda: codec.decode(data))
    found[f"seconds {n}"] = time.process_time() - start
print(json.dumps(found))
"""
VALID_BYTES, VALID_SECONDS, VALID_START = 12, 2.5e-6, 30e6  # for each pixel of whole squares, and beside them


@row(quick=True)
def valid_files() -> Row:
    shapes = [(1024, 1024), (1, 32768), (32768, 1)]
    files = [sparse(64, 64, 0), *(sparse(*shape, level) for shape in shapes for level in (0, 99))]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / str(n) for n in range(len(files))]
        for path, data in zip(paths, files, strict=True):
            path.write_bytes(data)
        found = measured(VALID, *map(str, paths))
    pixels = [limits.padded(*shape) for shape in shapes for _ in range(2)]
    held = max(0.0, *((found[f"bytes {n}"] - VALID_START) / count for n, count in enumerate(pixels)))
    taken = max(found[f"seconds {n}"] / count for n, count in enumerate(pixels))
    sizes = [len(data) for data in files]
    return Row(
        f"a valid file, however few bytes it has and whatever its shape, costs at most {VALID_BYTES} bytes a pixel "
        f"beside {VALID_START / 1e6:.0f} MB, and {1e6 * VALID_SECONDS} µs of CPU a pixel; sides are multiples of 16",
        f"{held:.1f} bytes and {1e6 * taken:.2f} µs, most of {len(pixels)} files of {min(sizes)} to {max(sizes)} bytes",
        command(valid_files),
        held <= VALID_BYTES and taken <= VALID_SECONDS,
    )


def crafted(data: bytes) -> Iterator[bytes]:
    """Files of the same picture size and length with other streams, all checksums right but those of the symbols."""
    parsed, generator = container.read_file(data), random.Random(0)
    fillings = [lambda n: bytes(n), lambda n: b"\xff" * n, lambda n: b"\x55" * n, generator.randbytes]
    for filling in fillings:
        for kept in (0, 1, len(parsed.layers) - 1):
            layers = [
                layer if n < kept else container.Layer(filling(len(layer.data)), layer.crc)
                for n, layer in enumerate(parsed.layers)
            ]
            yield container.write_file(parsed.header, layers)
    total = sum(len(layer.data) for layer in parsed.layers)
    for place in range(len(parsed.layers)):  # all bytes in one layer
        sizes = [total if n == place else 0 for n in range(len(parsed.layers))]
        yield container.write_file(parsed.header, [container.Layer(generator.randbytes(n), 0) for n in sizes])


def seconds_of(data: bytes) -> float:
    """Process time of one attempt to decode."""
    start = time.process_time()
    with suppress(CwicError):
        codec.decode(data)
    return time.process_time() - start


LONGER, PAIRS = 3, 5  # times as long as an honest file a crafted one may take, and how many times both are decoded


@row(quick=True)
def crafted_files() -> Row:
    with Image.open(PHOTO) as im:
        im.convert("RGB").crop((100, 100, 484, 356)).save(data := BytesIO(), format="CWIC", rate=0.5)
        im.convert("RGB").resize((4, 4)).save(tiny := BytesIO(), format="CWIC", quality=1)
    worst = 0.0
    count = 0
    for honest, files in ((data.getvalue(), crafted), (tiny.getvalue(), lambda data: hostile(len(data)))):
        codec.decode(honest)
        for each in files(honest):  # side by side, so that a machine that slows down meanwhile slows both
            count += 1
            pairs: list[tuple[float, float]] = []
            ratio = math.inf
            while ratio > LONGER and len(pairs) < 5 * PAIRS:  # more of them where the machine may have been busy
                pairs += [(seconds_of(each), seconds_of(honest)) for _ in range(PAIRS)]
                ratio = min(taken for taken, _ in pairs) / min(taken for _, taken in pairs)
            worst = max(worst, ratio)
    return Row(
        f"a crafted file costs at most {LONGER} times the time of an honest one of its size",
        f"{worst:.2f} times, the most of {count} files: of the same picture size, or claiming a gigapixel",
        command(crafted_files),
        worst <= LONGER,
    )


PEAK = """
import json, resource
width, height = int(sys.argv[1]), int(sys.argv[2])
im = Image.open("tests/data/kodim23.png").convert("RGB").resize((width, height))
im.save(data := BytesIO(), format="CWIC", quality=50)
raw = data.getvalue()
del im, data
print(raw.hex())
"""
DECODE = """
import json
raw = bytes.fromhex(open(sys.argv[1]).read())
imported = held()
def work():
    im = Image.open(BytesIO(raw))
    im.load()
print(json.dumps({"imported": imported, "peak": peak(work)}))
"""


def peak_of_decoding(width: int, height: int) -> float:
    """Bytes above what ``import pillow_cwic`` holds, at the peak of opening and loading a photograph of this size."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        run = [sys.executable, "-c", METER + PEAK, str(width), str(height)]
        path.write_text(subprocess.run(run, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
        return measured(DECODE, str(path))["peak"]


@row(quick=False)
def peak_memory() -> Row:
    sizes = {24: (6000, 4000), 48: (8000, 6000)}
    found = {mega: peak_of_decoding(*size) for mega, size in sizes.items()}
    allowed = 24 * 24e6 + 300e6
    return Row(
        "decoding 24 MP takes at most 24 bytes a pixel and 300 MB over `import pillow_cwic`; 48 MP no more than "
        "the 3 bytes of each further pixel's own colours and what Pillow copies of them, 24 bytes in all",
        "; ".join(f"{mega} MP: {peak / 1e6:.0f} MB" for mega, peak in found.items()),
        command(peak_memory),
        found[24] <= allowed and found[48] - found[24] <= 24 * 24e6,
    )


ROUNDS = """
import json
im = Image.open("tests/data/kodim23.png").convert("RGBA").resize((48, 32))
def round(n):
    for _ in range(n):
        im.save(data := BytesIO(), format="CWIC", quality=40)
        Image.open(data).load()
        Image.open(data).verify()
round(50)
gc.collect()
before = held()
round(int(sys.argv[1]))
gc.collect()
print(json.dumps({"grown": held() - before}))
"""


def growth(rounds: int) -> float:
    """Bytes that a process has grown by after so many rounds of save, open, load and verify."""
    return measured(ROUNDS, str(rounds))["grown"]


@row(quick=False)
def leaks() -> Row:
    grown = growth(1000)
    return Row(
        "1,000 rounds of opening and saving grow the process by at most 2 MB",
        f"{grown / 1e6:.2f} MB",
        command(leaks),
        grown <= 2e6,
    )


@row(quick=False)
def valgrind() -> Row:
    claim = "the C code's self-test runs clean under valgrind: no error, no leak"
    if not shutil.which("valgrind"):
        raise LeftOutError("valgrind is not here")
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "selftest")
        sources = sorted(map(str, (ROOT / "csrc").glob("*.c")))
        subprocess.run(["cc", "-std=c99", "-O1", "-g", *sources, "-pthread", "-lm", "-o", program], check=True)
        run = ["valgrind", "--quiet", "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=all", program]
        done = subprocess.run(run, capture_output=True, text=True)
    figure = "clean" if done.returncode == 0 else f"exit status {done.returncode}: {done.stderr[-200:]!r}"
    return Row(claim, figure, command(valgrind), done.returncode == 0)
