"""Files of equal pictures together, and pictures that stay on the device they were made on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pillow_cwic import device, settings, threads
from pillow_cwic.codec.families import Runtime
from pillow_cwic.codec.quality import dressed
from pillow_cwic.codec.session import loaded
from pillow_cwic.coding.symbols import decode_steps, decode_symbols, join
from pillow_cwic.errors import CwicError
from pillow_cwic.file import alpha, container, limits
from pillow_cwic.progress import Progress, Steps

if TYPE_CHECKING:
    import torch

PASS_PIXELS = 1 << 22  # how many pixels of small pictures a GPU makes at a time; it idles with fewer
T = TypeVar("T")


class _File(NamedTuple):
    """One file of a batch, on its way."""

    parsed: container.Parsed
    runtime: Runtime


class _Decoded(NamedTuple):
    """Its codes (channels, H/8, W/8), and its alpha (H, W) if it has one."""

    codes: NDArray[np.int16]
    alpha: NDArray[np.uint8] | None


def decode_arrays(files: Sequence[bytes], progress: Progress | None = None) -> NDArray[np.uint8]:
    """Files of pictures of one size and mode to (N, H, W, C) uint8.

    C is 1 for grey, 2 grey and alpha, 3 RGB, 4 RGBA. Models and rates may differ. Each picture is as if decoded
    alone. Raises ValueError if there is no file or sizes or modes differ, and a CwicError, which says of which of
    several files, if one is damaged.
    """
    batch, steps = _opened(files, progress)
    if batch[0].runtime.networks.device != "cpu":
        return np.ascontiguousarray(_tensors(batch, steps).permute(0, 2, 3, 1).cpu().numpy())
    return _arrays(batch, steps)


def decode_tensors(files: Sequence[bytes], progress: Progress | None = None) -> torch.Tensor:
    """As ``decode_arrays``, but (N, C, H, W), on the transforms' device. Raises CwicError without torch."""
    device.require_torch("as_tensor")
    import torch

    batch, steps = _opened(files, progress)
    if batch[0].runtime.networks.device == "cpu":
        return torch.from_numpy(_arrays(batch, steps)).permute(0, 3, 1, 2).contiguous()
    return _tensors(batch, steps)


def _arrays(batch: list[_File], steps: Steps) -> NDArray[np.uint8]:
    """The pictures of a batch, (N, H, W, C), made without torch."""

    def make(file: _File) -> NDArray[np.uint8]:
        header, decoded = file.parsed.header, _decode(file, steps)
        colour = file.runtime.networks.synthesise(decoded.codes, header.rate, header.height, header.width)
        steps()
        made = dressed(colour, header, decoded.alpha)
        return made.reshape(*made.shape[:2], -1)

    return np.stack(_each(make, batch))


def _tensors(batch: list[_File], steps: Steps) -> torch.Tensor:
    """The pictures of a batch, (N, C, H, W), on their device."""
    import torch

    decoded = _each(lambda file: _decode(file, steps), batch)
    header = batch[0].parsed.header
    made: dict[int, torch.Tensor] = {}
    for places in _passes(batch, header.width * header.height):
        codes = np.stack([decoded[n].codes for n in places])
        rates = [batch[n].parsed.header.rate for n in places]
        shown = batch[places[0]].runtime.networks.shown(codes, rates, header.height, header.width)
        for n, picture in zip(places, shown, strict=True):
            made[n] = _dressed(picture, batch[n].parsed.header, decoded[n].alpha)
            steps()
    return torch.stack([made[n] for n in range(len(batch))])


def _opened(files: Sequence[bytes], progress: Progress | None) -> tuple[list[_File], Steps]:
    if not files:
        raise ValueError("files: there are none, wanted one or more")
    batch = []
    for n, file in enumerate(files):
        with _naming(n, len(files)):
            parsed = container.read_file(file)
            batch.append(_File(parsed, loaded(parsed.header)))
    sizes = [(each.parsed.header.width, each.parsed.header.height, each.parsed.header.mode) for each in batch]
    width, height, mode = sizes[0]
    limits.check_pixels(width, height)
    for n, (w, h, m) in enumerate(sizes):
        if (w, h, m) != sizes[0]:
            raise ValueError(f"file {n}: {w} x {h} {m} in one batch with file 0: {width} x {height} {mode}")
    return batch, Steps(progress, sum(decode_steps(each.parsed) for each in batch) + len(files))


def _each(work: Callable[[_File], T], batch: list[_File]) -> list[T]:
    """What ``work`` makes of each file, at once in threads, which few files share within."""
    lanes = settings.threads() or os.cpu_count() or 1

    def one(n: int) -> T:
        with settings.options(threads=max(1, lanes // len(batch))), _naming(n, len(batch)):
            return work(batch[n])

    return threads.each(one, len(batch), lanes)


def _decode(file: _File, steps: Steps) -> _Decoded:
    header, payload = file.parsed.header, file.parsed.alpha
    grid = file.runtime.networks.grid(header.height, header.width)
    symbols = decode_symbols(file.runtime.entropy, file.parsed, *grid, step=steps)
    plane = None if payload is None else alpha.decode(payload, header.height, header.width)
    return _Decoded(join(symbols[1:]), plane)


@contextmanager
def _naming(n: int, count: int) -> Iterator[None]:
    """Makes what is raised for one of several files say for which."""
    try:
        yield
    except CwicError as error:
        if count == 1:
            raise
        raise type(error)(f"file {n}: {error}") from error


def _passes(batch: list[_File], pixels: int) -> list[list[int]]:
    """Which pictures go through one model together, in order."""
    alike: dict[int, list[int]] = {}
    for n, each in enumerate(batch):
        alike.setdefault(id(each.runtime.networks), []).append(n)
    count = max(1, PASS_PIXELS // pixels)
    return [of[k : k + count] for of in alike.values() for k in range(0, len(of), count)]


def _dressed(colour: torch.Tensor, header: container.Header, plane: NDArray[np.uint8] | None) -> Any:
    """(3, H, W) as the mode has it, with alpha; a tensor of its own, not bound to inference."""
    import torch

    if header.grey:
        colour = ((colour.sum(0, keepdim=True, dtype=torch.int32) * 2 + 3) // 6).to(torch.uint8)
        if header.mode not in container.GREY_MODES:
            colour = colour.expand(3, -1, -1)
    more = [] if plane is None else [torch.from_numpy(plane.copy())[None].to(colour.device)]
    return torch.cat([colour, *more])
