"""Fuzz target for whole files, up to the decoded symbols: container, metadata, alpha, both entropy decoders.

python -m fuzz.whole_file [--runs N] [--seconds S] [--plain] [FILE ...]

With atheris the run is guided by the coverage of the package's Python code; with ``--plain``, or without atheris, it
is random edits of made-up files. Either way lengths and CRCs are made right after most edits, so that they get past
the checksums. With files it runs those alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import random
import sys
import time
from io import BytesIO
from pathlib import Path

from fuzz import files, hostile
from pillow_cwic.codec.picture import alpha_of, exact_colour
from pillow_cwic.coding import coefficients, symbols
from pillow_cwic.errors import CwicError
from pillow_cwic.file import container, metadata, pixels, tiles

MOST_PIXELS = 1 << 14  # of pictures that are decoded: larger ones take longer, and nothing else
MAX_BYTES = 4096


def one_input(data: bytes) -> None:
    """Everything that a reader does with a file before its networks. CwicErrors alone are right."""
    for step in (_prefix, _strict, _cut):
        try:
            step(data)
        except CwicError as error:
            assert str(error)


def _prefix(data: bytes) -> None:
    """What Image.open does."""
    container.needs_newer(data[:16])
    container.read_header(data[: container.HEADER_BYTES])
    metadata.from_chunks(container.read_extra(BytesIO(data)))


def _strict(data: bytes) -> None:
    parsed = container.read_file(data)
    assert parsed.complete
    extra = list(parsed.extra.items())
    whole = data[: len(data) - parsed.trailing]
    again = container.write_file(parsed.header, parsed.layers, extra, parsed.alpha, parsed.pixels, parsed.post)
    assert again == whole, "another reads the same"
    assert container.read_extra(BytesIO(data)) == parsed.extra
    for n, layer in enumerate(parsed.layers):
        streams = tiles.split_tiles(layer.data, parsed.header.tiles, f"layer {n}")
        assert tiles.join_tiles(streams) == layer.data
    _content(parsed)


def _cut(data: bytes) -> None:
    parsed = container.read_file(data, allow_truncated=True)
    assert sum(len(layer.data) for layer in parsed.layers) <= len(data)
    _content(parsed)


def _content(parsed: container.Parsed) -> None:
    header = parsed.header
    if header.width * header.height > MOST_PIXELS:
        return
    metadata.from_chunks(parsed.extra)
    if (plane := alpha_of(parsed)) is not None:
        assert plane.shape == (header.height, header.width, 1)
    if header.lossless:
        assert exact_colour(parsed).shape == (header.height, header.width, header.channels)
        return
    if parsed.post is not None:
        assert coefficients.write(coefficients.read(parsed.post)) == parsed.post
    entropy = files.entropy_models()[header.family]
    planes = symbols.decode_symbols(entropy, parsed, *symbols.grid(entropy, header.height, header.width))
    assert planes[0].min() >= 0 and planes[0].max() < entropy.levels
    assert all(abs(plane).max() <= 511 for plane in planes[1:])


def _mutated(data: bytes, max_size: int, seed: int) -> bytes:
    """What atheris calls for a new input."""
    import atheris

    rng = random.Random(seed)
    if rng.random() < 0.3:
        return hostile.resigned(atheris.Mutate(data, max_size))[:max_size]
    return hostile.hostile(rng, data or files.made_up()[0], files.made_up())[:max_size]


def _plain(runs: int, seconds: float) -> None:
    rng, start, done = random.Random(1), time.monotonic(), 0
    while done < runs and time.monotonic() - start < seconds:
        one_input(hostile.hostile(rng, rng.choice(files.made_up()), files.made_up()))
        done += 1
    print(f"Done {done} runs in {time.monotonic() - start:.0f} second(s)", file=sys.stderr)


def _guided(runs: int, seconds: float, corpus: Path) -> None:
    import atheris

    corpus.mkdir(parents=True, exist_ok=True)
    for n, seed in enumerate(files.made_up()):
        (corpus / f"seed{n}.cwic").write_bytes(seed)
    for module in (container, tiles, metadata, pixels, symbols):
        for function in vars(module).values():
            if inspect.isfunction(function) and function.__module__ == module.__name__:
                function.__code__ = atheris.instrument_func(function).__code__
    limit = [f"-max_total_time={int(seconds)}"] if seconds < float("inf") else []
    artifacts = f"-artifact_prefix={corpus.parent}/finding-"
    options = [f"-atheris_runs={runs}", f"-max_len={MAX_BYTES}", "-timeout=20", artifacts, *limit]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one_input, custom_mutator=_mutated)
    atheris.Fuzz()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--corpus", type=Path, default=Path("build/fuzz/files"), help="where atheris keeps its inputs")
    parser.add_argument("files", nargs="*", type=Path)
    args = parser.parse_args()
    if args.files:
        for file in args.files:
            one_input(file.read_bytes())
        print(f"Done {len(args.files)} runs in 0 second(s)", file=sys.stderr)
    elif args.plain or importlib.util.find_spec("atheris") is None:
        _plain(args.runs, args.seconds)
    else:
        _guided(args.runs, args.seconds, args.corpus)


if __name__ == "__main__":
    main()
