"""The layers of a file to pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pillow_cwic.codec.families import Runtime
from pillow_cwic.codec.session import Timings, stage
from pillow_cwic.coding.symbols import decode_steps, decode_symbols, join
from pillow_cwic.file import container
from pillow_cwic.progress import Progress, Steps


def reconstruct(
    runtime: Runtime,
    parsed: container.Parsed,
    scale: int = 1,
    timings: Timings | None = None,
    progress: Progress | None = None,
) -> NDArray[np.uint8]:
    """The picture of a file's layers, (H, W, 3) RGB, or a small one of sides divided by ``scale`` and rounded up.

    Raises EntropyError or ContainerError if a layer it needs is damaged.
    """
    networks, header = runtime.networks, parsed.header
    groups = None if scale == 1 else networks.draft_groups(scale)
    steps = Steps(progress, decode_steps(parsed, groups) + 1)
    with stage(timings, "entropy"):
        symbols = decode_symbols(runtime.entropy, parsed, *networks.grid(header.height, header.width), groups, steps)
    with stage(timings, "synthesis"):
        codes = join(symbols[1:][:groups])
        place = header.rate, header.height, header.width
        pixels = networks.draft(codes, *place, scale) if scale > 1 else networks.synthesise(codes, *place)
    steps()
    return pixels
