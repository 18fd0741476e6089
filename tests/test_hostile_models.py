"""Weights files that look like models until they are loaded: each is refused, and the message names what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load
from tiny_model import TINY, changed, tiny_weights, with_config

import pillow_cwic
from pillow_cwic import codec, models
from pillow_cwic.errors import CwicError, ModelError
from pillow_cwic.file import container
from pillow_cwic.saving import Options
from pillow_cwic.transforms import layout


@pytest.fixture(scope="module")
def tiny() -> bytes:
    return tiny_weights({"name": "mine", "tuning": "mse", "family": "cwc1"})


def with_part(weights: bytes, kind: layout.Kind, name: str, value: int, at: int | slice = slice(None)) -> bytes:
    """The weights file with other numbers in a part of a transform."""
    arrays = load(weights)
    parts = layout.split(TINY, kind, *(arrays[f"{kind}.{array}"].numpy() for array in layout.TYPES))
    parts[name].reshape(-1)[at] = value  # a view: changes the array
    return changed(weights, **{f"{kind}__{array}": arrays[f"{kind}.{array}"] for array in layout.TYPES})


HUGE = 10**12
WRONG = [
    ("wide", HUGE), ("wide", 0), ("wide", 16.0), ("wide", "16"), ("blocks", HUGE), ("blocks", -1),
    ("fine", HUGE), ("fine", -1), ("fine", False),
    ("context_hidden", 24), ("map_hidden", HUGE), ("map_features", True), ("levels", 33), ("levels", None),
    ("lambda_slope", float("inf")), ("lambda_middle", float("nan")), ("code_limit", 512),
]  # fmt: skip
WANTED = {"words": "int32", "alves": "int16", "bytes": "int8"}
# Parts of a transform with numbers that the format forbids: sums that could overflow, and values out of range.
FORBIDDEN: list[tuple[layout.Kind, tuple[Any, ...], str]] = [
    ("synthesis", ("enter.bias", -(2**31), 3), r"enter, output 3: sums reach 2\d{9}, not"),
    ("synthesis", ("block0.before.bias", 2**24, 31), r"block0.before, output 31: sums reach \d+, not below 16777216"),
    ("synthesis", ("block0.after.bias", -(2**24), 0), r"block0.after, output 0: sums reach"),
    ("synthesis", ("block0.widen.bias", 2**31 - 1, 63), r"block0.widen, output 63: sums reach"),
    ("synthesis", ("block0.narrow.bias", -(2**31), 5), r"block0.narrow, output 5: sums reach"),
    ("synthesis", ("block0.space.weight", -128), r"block0.space, output \d+: sums reach \d+, not below 32768"),
    ("synthesis", ("block0.space.bias", -32768, 1), r"block0.space, output 1: sums reach"),
    ("synthesis", ("leave.weight", 32767), r"exit, output \d+: sums reach \d+, not below 2147483648"),
    ("synthesis", ("exit.bias", 2**31 - 1, 191), r"exit, output 191: sums reach"),
    ("synthesis", ("enter.shift", 25), "enter.shift, value 0: 25 is not within 0 to 24"),
    ("synthesis", ("block0.narrow.shift", -1), "block0.narrow.shift, value 0: -1 is not"),
    ("synthesis", ("exit.shift", 2**31 - 1), "exit.shift, value 0: 2147483647 is not"),
    ("synthesis", ("gain", -1, 7), "gain, value 7: -1 is not within 0 to 2147483647"),
    ("synthesis", ("multiplier", -32768, 4), "multiplier, value 4: -32768 is not within -32767 to 32767"),
    ("synthesis", ("block0.operand1", -1, 2), "block0.operand1, value 2: -1 is not within 0 to 32767"),
    ("synthesis", ("block0.widen.m", -5, 40), "block0.widen.m, value 40: -5 is not"),
    ("synthesis", ("operand", -2, 0), "operand, value 0: -2 is not"),
    ("analysis", ("enter.bias", 2**31 - 1, 0), r"enter, output 0: sums reach"),
    ("analysis", ("block0.after.m", -1, 0), "block0.after.m, value 0: -1 is not"),
    ("analysis", ("head.weight", 32767), r"head, output \d: sums reach"),
    ("analysis", ("head.bias", -(2**31), 6), r"head, output 6: sums reach"),
    ("analysis", ("out.bias", -(2**31)), r"out, output 0: sums reach"),
    ("analysis", ("head.shift", 31), "head.shift, value 0: 31 is not"),
    ("analysis", ("gain", -(2**31), 128), "gain, value 128: -2147483648 is not"),
]
CONTEXT = r"context model of context.weights \(\d+,\) and context.biases \(\d+,\): the weights do not fit the shape"
HOSTILE: list[tuple[Callable[[bytes], bytes], str]] = [
    (lambda w: w[:-5], "not a readable model file"),
    (lambda w: w + b"more", "not a readable model file"),
    (lambda w: changed(w, {"config": None}), "not a readable model file"),
    (lambda w: changed(w, {"config": "[" * 100_000}), "not a readable model file"),
    (lambda w: changed(w, {"config": "7"}), "not a readable model file"),
    (lambda w: with_config(w, more=1), "not those of cwic1: config: more is unknown"),
    (lambda w: changed(w, {"config": "{}"}), "config: blocks is missing"),
    (lambda w: with_config(w, blocks=None), "config: blocks is None, wanted int from 0 to 64"),
    *(
        (lambda w, k=k: changed(w, {"config": json.dumps({n: v for n, v in TINY.to_dict().items() if n != k})}), words)
        for k, words in (("normalised", "config: normalised is missing"), ("levels", "config: levels is missing"))
    ),
    (lambda w: with_config(w, groups=4), "not those of cwic1|does not fit the config"),
    *((lambda w, k=k, v=v: with_config(w, **{k: v}), f"config: {k} is {re.escape(repr(v))}, wanted") for k, v in WRONG),
    (lambda w: with_config(w, groups=[2] * 64), "64 groups hold 128 channels"),
    (lambda w: with_config(w, groups=[HUGE]), "hold 1000000000000 channels"),
    (lambda w: with_config(w, groups=[3]), "groups hold 3, wanted even"),
    (lambda w: with_config(w, groups=[]), "0 groups hold 0 channels"),
    *(
        (lambda w, n=n: with_config(w, wide=n), f"wide is {n}, wanted a multiple of 32 from 32 to 512")
        for n in (1, 48, 544)
    ),
    (lambda w: with_config(w, wide=64), r"analysis.words is int32 \(729,\), wanted int32 \(921,\)"),
    (lambda w: with_config(w, blocks=2), "analysis.words is int32"),
    (lambda w: with_config(w, blocks=0), "analysis.words is int32"),
    (lambda w: with_config(w, map_features=9), "analysis.words is int32"),
    (lambda w: with_config(w, normalised=True), "analysis.words is int32"),
    (lambda w: with_config(w, groups=[2, 4]), "analysis.words is int32"),
    (lambda w: with_config(w, levels=3), "analysis.words is int32"),
    (lambda w: with_config(w, fine=2), "config: fine is 2, wanted at most the 1 blocks"),
    (lambda w: with_config(w, groups=[4]), CONTEXT),
    (lambda w: with_config(w, context_hidden=32), CONTEXT),
    *(
        case
        for name in (f"{kind}.{array}" for kind in ("analysis", "synthesis") for array in layout.TYPES)
        for case in (
            (lambda w, n=name: changed(w, **{n: None}), f"{name} is missing, wanted {WANTED[name[-5:]]} of one"),
            (lambda w, n=name: changed(w, **{n: load(w)[n][:-1]}), rf"{name} is {WANTED[name[-5:]]} \(\d+,\), wanted"),
            (lambda w, n=name: changed(w, **{n: load(w)[n].repeat(2)}), rf"{name} is {WANTED[name[-5:]]} \(\d+,\)"),
            (lambda w, n=name: changed(w, **{n: load(w)[n][:0]}), rf"{name} is {WANTED[name[-5:]]} \(0,\), wanted"),
            (lambda w, n=name: changed(w, **{n: load(w)[n][None]}), rf"{name} is {WANTED[name[-5:]]} \(1, \d+\)"),
            (lambda w, n=name: changed(w, **{n: load(w)[n].float()}), rf"{name} is float32 \(\d+,\), wanted"),
            (lambda w, n=name: changed(w, **{n: load(w)[n].long()}), rf"{name} is int64 \(\d+,\), wanted"),
        )
    ),
    *(
        (lambda w, k=kind: changed(w, synthesis__halves=load(w)["synthesis.halves"].to(k)), said)
        for kind, said in (
            (torch.uint8, "synthesis.halves is uint8"),
            (torch.float16, "synthesis.halves is float16"),
            (torch.bfloat16, "synthesis.halves holds BF16, wanted one of I8, I16, I32, F16"),
            (torch.float8_e4m3fn, "synthesis.halves holds F8_E4M3, wanted one of"),
            (torch.float8_e5m2, "synthesis.halves holds F8_E5M2, wanted one of"),
        )
    ),
    (lambda w: changed(w, other=torch.zeros(1)), "1 arrays belong to no part, the first is other"),
    (lambda w: changed(w, synthesis__more=torch.zeros(0)), "1 arrays belong to no part, the first is synthesis.more"),
    (lambda w: changed(w, context__weights=None), "context.weights is missing, wanted int16"),
    (lambda w: changed(w, context__weights=torch.full((5,), torch.nan)), "context.weights is float32"),
    (lambda w: changed(w, context__biases=torch.zeros(5, dtype=torch.int64)), "context.biases is int64"),
    (lambda w: changed(w, context__biases=torch.zeros(1, 5, dtype=torch.int32)), r"context.biases .* \(1, 5\)"),
    (
        lambda w: changed(w, context__biases=torch.zeros(0, dtype=torch.int32)),
        CONTEXT,
    ),
    (lambda w: changed(w, context__weights=load(w)["context.weights"] * 0 + 32767), "could overflow"),
    (lambda w: changed(w, context__biases=load(w)["context.biases"] * 0 - 2**31), "could overflow"),
    (lambda w: with_part(w, "analysis", "gain", 2**31 - 1), "codes pass the limit of 511"),
    *((lambda w, k=k, v=v: with_part(w, k, *v), f"weights: {k} {words}") for k, v, words in FORBIDDEN),
]


@pytest.mark.parametrize(("make", "words"), HOSTILE)
def test_hostile_weights_are_refused(
    make: Callable[[bytes], bytes], words: str, tiny: bytes, tmp_path: Path, small: Image.Image
) -> None:
    """A file that looks like a model until it is loaded, as an encoder meets it, a decoder, and ``shrink``."""
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "x.safetensors").write_bytes(tiny)
    with pillow_cwic.options(models=[tmp_path / "good"]):
        parsed = container.read_file(codec.encode(np.asarray(small), Options(model="mine", effort=0, quality=60)))
    (tmp_path / "x.safetensors").write_bytes(make(tiny))
    with pillow_cwic.options(models=[tmp_path]):
        for target in ({"quality": 50}, {"rate": 1.0}, {"psnr": 30.0}):
            with pytest.raises(ModelError, match=words):
                codec.encode(np.asarray(small), Options(model="mine", effort=0, **target))
        header = replace(parsed.header, model_id=models.by_name("mine").id)
        file = container.write_file(header, parsed.layers)
        for read in (pillow_cwic.decode, lambda data: pillow_cwic.shrink(data, rate=0.3)):
            with suppress(CwicError):  # what it needs may be in order: then it works
                read(file)


def test_the_largest_weights_do_no_harm(tiny: bytes, tmp_path: Path, small: Image.Image) -> None:
    """Parts at the edge of their range that pass the proof: garbage in the picture, and no more."""
    weights = tiny
    for kind in ("analysis", "synthesis"):
        for name, value in (("linear.weight", 32767), ("multiplier", -32767), ("shift", -32768), ("operand", 32767)):
            weights = with_part(weights, kind, name, value)  # type: ignore[arg-type]
        for name in ("operand1", "before.m", "space.m", "after.m", "operand2", "widen.m", "narrow.m"):
            weights = with_part(weights, kind, f"block0.{name}", 32767)  # type: ignore[arg-type]
    weights = with_part(weights, "synthesis", "gain", 2**31 - 1)
    weights = with_part(weights, "analysis", "thresholds", -(2**31))
    (tmp_path / "x.safetensors").write_bytes(weights)
    with pillow_cwic.options(models=[tmp_path]):
        data = codec.encode(np.asarray(small), Options(model="mine", quality=50))
        assert codec.decode(data).shape == (75, 100, 3)
        assert codec.decode(data, scale=8).shape == (10, 13, 3)
        with suppress(CwicError):
            pillow_cwic.shrink(data, size=len(data) // 2)
