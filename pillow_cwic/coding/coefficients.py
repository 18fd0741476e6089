"""The coefficients of a post-filter to the payload of POST and back: FORMAT.md section 1.7."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pillow_cwic.coding._coder import ffi, lib
from pillow_cwic.coding.coder import check

SHAPE = 3, 13  # of the coefficients, int8
LIMIT = 127
LONGEST = 7  # ones before the digits of a coefficient


def read(payload: bytes) -> NDArray[np.int8]:
    """The coefficients, (3, 13), that a payload of POST holds. Raises EntropyError if it holds anything else."""
    post = np.empty(SHAPE, np.int8)
    check(lib.cwic_post_read(ffi.from_buffer(payload), len(payload), ffi.from_buffer("int8_t[]", post)), "POST")
    return post


def write(post: NDArray[np.int8]) -> bytes:
    """The payload of POST with these coefficients, (3, 13), from -127 to 127. Raises ValueError for others."""
    if post.shape != SHAPE or post.min() < -LIMIT or post.max() > LIMIT:
        raise ValueError(f"post-filter: {post.shape}, {post.min()} to {post.max()}, wanted {SHAPE} within +-{LIMIT}")
    digits = "".join(map(_code, post.ravel().tolist()))
    size = -(-len(digits) // 8)
    return int(digits.ljust(8 * size, "0"), 2).to_bytes(size, "big")


def bits(c: int) -> int:
    """How many bits a coefficient takes."""
    return len(_code(c))


def _code(c: int) -> str:
    digits = f"{2 * c if c > 0 else 1 - 2 * c:b}"
    more = len(digits) - 1
    return "1" * more + "0" * (more < LONGEST) + digits[1:]
