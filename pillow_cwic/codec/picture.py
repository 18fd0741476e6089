"""What a file holds to pixels: its layers, its exact pixels, its alpha."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pillow_cwic.codec import exact
from pillow_cwic.codec.families import Runtime
from pillow_cwic.codec.quality import as_grey
from pillow_cwic.codec.session import Timings, stage
from pillow_cwic.coding import coefficients
from pillow_cwic.coding.symbols import decode_steps, decode_symbols, join
from pillow_cwic.file import container
from pillow_cwic.progress import Progress, Steps
from pillow_cwic.transforms.protocol import Post

MISSING, OPAQUE = 128, 255  # what is shown for samples that did not arrive, of colour and of alpha


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
    networks, header, post = runtime.networks, parsed.header, post_of(parsed)
    groups = None if scale == 1 else networks.draft_groups(scale)
    steps = Steps(progress, decode_steps(parsed, groups) + 1)
    with stage(timings, "entropy"):
        symbols = decode_symbols(runtime.entropy, parsed, *networks.grid(header.height, header.width), groups, steps)
    with stage(timings, "synthesis"):
        codes = join(symbols[1:][:groups])
        place = header.rate, header.height, header.width
        pixels = networks.draft(codes, *place, scale, post) if scale > 1 else networks.synthesise(codes, *place, post)
    steps()
    return pixels


def post_of(parsed: container.Parsed) -> Post | None:
    """The coefficients of a file's post-filter, None without one. Raises EntropyError if they are damaged."""
    return None if parsed.post is None else coefficients.read(parsed.post)


def with_exact(colour: NDArray[np.uint8], parsed: container.Parsed, scale: int = 1) -> NDArray[np.uint8]:
    """What ``reconstruct`` made, with the file's exact pixels over it, if there are any; then grey is (H, W, 1).

    Raises as ``exact_colour`` does.
    """
    header = parsed.header
    if parsed.pixels is None:
        return colour
    made = as_grey(colour) if header.grey else colour
    if scale > 1:  # so that the mean over a square is the sample that it had, but where pixels are exact
        made = made.repeat(scale, axis=0)[: header.height].repeat(scale, axis=1)[:, : header.width]
    whole = np.ascontiguousarray(made)
    exact.decode_blocks(parsed.pixels, whole, partial=not parsed.complete)
    return exact.reduced(whole, scale)


def exact_colour(parsed: container.Parsed, progress: Progress | None = None) -> NDArray[np.uint8]:
    """The colour of a lossless file, (H, W, 1) if it is grey, else (H, W, 3) RGB.

    Raises EntropyError or ContainerError if it is damaged, in bands that arrived.
    """
    header = parsed.header
    made = np.full((header.height, header.width, header.channels), MISSING, np.uint8)
    return exact.decode(parsed.pixels or b"", made, "PIXL", partial=not parsed.complete, progress=progress)


def alpha_of(parsed: container.Parsed) -> NDArray[np.uint8] | None:
    """The alpha of a file, (H, W, 1); None if it has none, or is cut before it. Raises as ``exact_colour``."""
    if parsed.alpha is None:
        return None
    made = np.full((parsed.header.height, parsed.header.width, 1), OPAQUE, np.uint8)
    return exact.decode(parsed.alpha, made, "ALPH", partial=not parsed.complete)
