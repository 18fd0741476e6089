"""Speed and loss of the binary range coder, beside the coders of three Python packages on the same decisions.

python -m benchmarks.coder [--decisions N] [--repeats N] [--out docs/results]

``constriction``, ``compressai`` and ``torchac`` are left out where they are not installed (the last compiles itself at
its import).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.timing import machine

Bits = NDArray[np.uint8]
Probabilities = NDArray[np.uint16]  # P(1) * 65536, from 1 to 65535


@dataclass(frozen=True)
class Coder:
    """A coder: inputs are prepared outside the measured time, then coded and decoded inside it."""

    name: str
    prepare: Callable[[Bits, Probabilities], tuple[Any, Any]]  # bits and probabilities in the coder's own types
    encode: Callable[[Any, Any], Any]
    decode: Callable[[Any, Any], Any]
    length: Callable[[Any], int]  # bytes of what encode returns


def ours() -> Coder:
    """The C coder of this package."""
    entropy = importlib.import_module("pillow_cwic.coding")
    return Coder("pillow_cwic", lambda bits, p: (bits, p), entropy.encode_bits, entropy.decode_bits, len)


def constriction() -> Coder:
    """Range coder of constriction, its Bernoulli models."""
    stream = importlib.import_module("constriction").stream
    model = stream.model.Bernoulli(perfect=False)

    def encode(bits: NDArray[np.int32], p: NDArray[np.float64]) -> NDArray[np.uint32]:
        encoder = stream.queue.RangeEncoder()
        encoder.encode(bits, model, p)
        words: NDArray[np.uint32] = encoder.get_compressed()
        return words

    return Coder(
        "constriction",
        lambda bits, p: (bits.astype(np.int32), p / 65536),
        encode,
        lambda words, p: stream.queue.RangeDecoder(words).decode(model, p),
        lambda words: words.nbytes,
    )


def torchac() -> Coder:
    """Arithmetic coder of torchac, its tables of 16-bit cumulative probabilities."""
    torch = importlib.import_module("torch")
    with contextlib.redirect_stdout(io.StringIO()):
        module = importlib.import_module("torchac")

    def prepare(bits: Bits, p: Probabilities) -> tuple[Any, Any]:
        cumulative = np.zeros((len(p), 3), np.uint16)  # 0, P(0), and 65536 as 0: torchac puts the end there by itself
        cumulative[:, 1] = 65536 - p.astype(np.int64)
        return torch.from_numpy(bits.astype(np.int16)), torch.from_numpy(cumulative.view(np.int16))

    return Coder(
        "torchac",
        prepare,
        lambda bits, table: module.encode_int16_normalized_cdf(table, bits),
        lambda data, table: module.decode_int16_normalized_cdf(table, data).numpy(),
        len,
    )


def compressai() -> Coder:
    """rANS of CompressAI, a table for each of the probabilities; its tables end with an escape, here of 1 / 65536."""
    ans = importlib.import_module("compressai.ans")

    def prepare(bits: Bits, p: Probabilities) -> tuple[Any, Any]:
        kinds, indices = np.unique(np.minimum(p, 65534), return_inverse=True)
        tables = [[0, 65535 - int(one), 65535, 65536] for one in kinds]
        return bits.tolist(), (indices.tolist(), tables, [4] * len(tables), [0] * len(tables))

    return Coder(
        "CompressAI",
        prepare,
        lambda symbols, model: ans.RansEncoder().encode_with_indexes(symbols, *model),
        lambda data, model: np.array(ans.RansDecoder().decode_with_indexes(data, *model), np.uint8),
        len,
    )


def coders() -> Iterator[Coder]:
    """The coders that can be loaded; a plain line for each that cannot."""
    for load in (ours, constriction, compressai, torchac):
        try:
            yield load()
        except (ImportError, AttributeError, OSError, RuntimeError) as error:
            print(f"{load.__name__}: left out ({str(error).splitlines()[0]})")


def decisions(count: int, kind: str, seed: int = 1) -> tuple[Bits, Probabilities]:
    """Random decisions, drawn with the probabilities that the coders are given.

    ``uniform``: P(1) anywhere. ``skewed``: P(1) mostly small, as most decisions of a picture's codes are.
    """
    random = np.random.default_rng(seed)
    p = random.random(count) if kind == "uniform" else random.beta(0.3, 3, count)
    probabilities = np.clip(np.round(p * 65536), 1, 65535).astype(np.uint16)
    return (random.integers(0, 65536, count) < probabilities).astype(np.uint8), probabilities


def ideal_bits(bits: Bits, probabilities: Probabilities) -> float:
    """Code length of the decisions under their probabilities."""
    p = probabilities / 65536
    return float(-np.log2(np.where(bits == 1, p, 1 - p)).sum())


def best(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Shortest time of a call, and its result."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return min(times), result


def lines(count: int, repeats: int) -> Iterator[str]:
    """The report in markdown, line by line."""
    found = list(coders())
    yield "# Range coder\n"
    yield f"{count / 1e6:g} M binary decisions with given 16-bit probabilities, one thread, best of {repeats}."
    yield f"Machine: {machine()}.\n"
    for kind in ("uniform", "skewed"):
        bits, probabilities = decisions(count, kind)
        ideal = ideal_bits(bits, probabilities)
        yield f"Probabilities {kind}: {ideal / count:.3f} bits a decision.\n"
        yield "| coder | decode / M a second | encode / M a second | loss against the ideal code length / % |"
        yield "| --- | ---: | ---: | ---: |"
        for coder in found:
            symbols, model = coder.prepare(bits, probabilities)
            encode_s, data = best(partial(coder.encode, symbols, model), repeats)
            decode_s, decoded = best(partial(coder.decode, data, model), repeats)
            if not np.array_equal(decoded, bits):
                raise RuntimeError(f"{coder.name}: decoded decisions differ from the coded ones")
            loss = 100 * (8 * coder.length(data) / ideal - 1)
            yield f"| {coder.name} | {count / decode_s / 1e6:.1f} | {count / encode_s / 1e6:.1f} | {loss:+.4f} |"
        yield ""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--decisions", type=int, default=4_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    text = "\n".join(lines(args.decisions, args.repeats))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "coder.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
