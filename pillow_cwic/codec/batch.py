"""Files of equal pictures together, and pictures that stay on the device they were made on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from pillow_cwic import alpha, container, limits, settings
from pillow_cwic.codec.families import AnyNetworks
from pillow_cwic.codec.session import limited_threads, loaded
from pillow_cwic.errors import CwicError
from pillow_cwic.progress import Progress, Steps
from pillow_cwic.symbols import decode_steps, decode_symbols, join

# How many pixels of small pictures the networks make at a time. A GPU idles with fewer; on a CPU measured to gain up
# to 64 x 64 pixels a picture, and to lose where a pass outgrows the caches.
PASS_PIXELS, PASS_PIXELS_CPU = 1 << 22, 1 << 15


def decode_tensors(files: Sequence[bytes], progress: Progress | None = None) -> torch.Tensor:
    """Files of pictures of one size and mode to (N, C, H, W) uint8, on the device that the networks run on.

    C is 1 for grey, 2 grey and alpha, 3 RGB, 4 RGBA. Models and rates may differ. Each picture is as if decoded
    alone, but for rounding in the last bit. Raises ValueError if there is no file or sizes or modes differ, and a
    CwicError, which says of which of several files, if one is damaged.
    """
    if not files:
        raise ValueError("files: there are none, wanted one or more")
    with limited_threads():
        parsed, runtimes = [], []
        for n, file in enumerate(files):
            with _naming(n, len(files)):
                parsed.append(container.read_file(file))
                runtimes.append(loaded(parsed[n].header))
        sizes = [(each.header.width, each.header.height, each.header.mode) for each in parsed]
        width, height, mode = sizes[0]
        limits.check_pixels(width, height)
        for n, (w, h, m) in enumerate(sizes):
            if (w, h, m) != sizes[0]:
                raise ValueError(f"file {n}: {w} x {h} {m} in one batch with file 0: {width} x {height} {mode}")
        steps = Steps(progress, sum(map(decode_steps, parsed)) + len(files))
        threads = settings.threads() or os.cpu_count() or 1

        def decode(n: int) -> tuple[NDArray[np.int16], NDArray[np.uint8] | None]:
            payload, networks = parsed[n].alpha, runtimes[n].networks
            with _naming(n, len(files)), settings.options(threads=max(1, threads // len(files))):
                symbols = decode_symbols(runtimes[n].entropy, parsed[n], *networks.grid(height, width), step=steps)
                return join(symbols[1:]), None if payload is None else alpha.decode(payload, height, width)

        with ThreadPoolExecutor(min(threads, len(files))) as pool:
            decoded = list(pool.map(decode, range(len(files))))
        made: dict[int, torch.Tensor] = {}
        for networks, places in _passes([each.networks for each in runtimes], width * height):
            codes = np.stack([decoded[n][0] for n in places])
            shown = networks.shown(codes, [parsed[n].header.rate for n in places], height, width)
            for n, picture in zip(places, shown, strict=True):
                made[n] = _dressed(picture, mode, decoded[n][1])
                steps()
        return torch.stack([made[n] for n in range(len(files))])


@contextmanager
def _naming(n: int, count: int) -> Iterator[None]:
    """Makes what is raised for one of several files say for which."""
    try:
        yield
    except CwicError as error:
        if count == 1:
            raise
        raise type(error)(f"file {n}: {error}") from error


def _passes(networks: list[AnyNetworks], pixels: int) -> list[tuple[AnyNetworks, list[int]]]:
    """Which pictures go through one model together, in order."""
    alike: dict[int, list[int]] = {}
    for n, each in enumerate(networks):
        alike.setdefault(id(each), []).append(n)
    on_cpu = networks[0].device.type == "cpu"
    count = max(1, (PASS_PIXELS_CPU if on_cpu else PASS_PIXELS) // pixels)
    return [(networks[of[0]], of[k : k + count]) for of in alike.values() for k in range(0, len(of), count)]


def _dressed(colour: torch.Tensor, mode: str, plane: NDArray[np.uint8] | None) -> torch.Tensor:
    """(3, H, W) as the mode has it, with alpha; a tensor of its own, not bound to inference."""
    if mode in ("L", "LA"):
        colour = ((colour.sum(0, keepdim=True, dtype=torch.int32) * 2 + 3) // 6).to(torch.uint8)
    more = [] if plane is None else [torch.from_numpy(plane.copy())[None].to(colour.device)]
    return torch.cat([colour, *more])
