"""Makes the first blocks of a synthesis fine (docs/FORMAT.md section 6.4), in a file of integers whose blocks are not.

python -m training.finer --start FILE --out FILE [--fine 1]

Weights stay what they are: operands have ``FINER`` steps for each one before, so that less is rounded away. Multipliers
that are too large for that, as those of later blocks often are, cannot be had so, only by ``training.quantise``.
``training.rounding`` may go on from what this gives.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from pillow_cwic.models.config import Config
from pillow_cwic.models.weights import read
from pillow_cwic.transforms import layout
from training.calibrate import FINER
from training.weights import FINE, canonical


def finer(config: Config, fine: int, given: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Parts of a synthesis with ``config.fine`` fine blocks as those of one with ``fine``.

    Raises ValueError if there are as many already or a product's 16 bits would clip more than the operand did,
    ModelError if a multiplier does not fit.
    """
    if fine <= config.fine:
        raise ValueError(f"fine: {fine} blocks wanted, and {config.fine} are so already")
    parts = {name: value.astype(np.int64) for name, value in given.items()}
    wider, one = FINER.bit_length() - 1, 1 << layout.FINE_BITS
    for block in (f"block{b}" for b in range(config.fine, fine)):
        shifts = {step: int(parts[f"{block}.{step}.shift"]) for step in ("before", "after")}
        half = {step: 1 << shift >> 1 for step, shift in shifts.items()}  # that a bias holds for its shift to round
        if (least := int(parts[f"{block}.before.m"].min())) < FINER * layout.OPERAND:
            raise ValueError(f"{block}.before.m is down to {least}, wanted {FINER * layout.OPERAND} or more")
        parts[f"{block}.operand1"] *= FINER
        parts[f"{block}.before.bias"] = FINER * (parts[f"{block}.before.bias"] - half["before"]) + half["before"]
        parts[f"{block}.space.bias"] = np.rint(parts[f"{block}.space.bias"] * (FINER / one)).astype(np.int64)
        parts[f"{block}.space.m"] *= one
        parts[f"{block}.after.shift"] += wider
        bias = FINER * (parts[f"{block}.after.bias"] - half["after"])
        parts[f"{block}.after.bias"] = bias + (1 << shifts["after"] + wider >> 1)
    layout.check(replace(config, fine=fine), "synthesis", parts)
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, required=True, help="weights file of integers")
    parser.add_argument("--fine", type=int, default=FINE)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    weights = read(args.start.read_bytes())
    config = Config.from_dict(weights.config)
    arrays = dict(weights.arrays)
    parts = layout.split(config, "synthesis", *(arrays[f"synthesis.{name}"] for name in layout.TYPES))
    made = layout.join(replace(config, fine=args.fine), "synthesis", finer(config, args.fine, parts))
    arrays |= {f"synthesis.{name}": array for name, array in made.items()}
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    facts = {**weights.metadata, "config": json.dumps(replace(config, fine=args.fine).to_dict())}
    args.out.write_bytes(canonical(save(tensors, facts)))


if __name__ == "__main__":
    main()
