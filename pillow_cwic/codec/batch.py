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
from pillow_cwic.codec.picture import alpha_of, exact_colour, post_of, with_exact
from pillow_cwic.codec.quality import dressed
from pillow_cwic.codec.session import loaded
from pillow_cwic.coding.symbols import decode_steps, decode_symbols, join
from pillow_cwic.errors import CwicError
from pillow_cwic.file import container, limits
from pillow_cwic.progress import Progress, Steps
from pillow_cwic.transforms.protocol import Post, Transforms

if TYPE_CHECKING:
    import torch

PASS_PIXELS = 1 << 22  # how many pixels of small pictures a GPU makes at a time; it idles with fewer
T = TypeVar("T")


class _File(NamedTuple):
    """One file of a batch, on its way; without a runtime if it is lossless."""

    parsed: container.Parsed
    runtime: Runtime | None


class _Decoded(NamedTuple):
    """Its codes (channels, H/8, W/8), or exact pixels (H, W, 1 or 3), its alpha (H, W, 1) and post-filter if any."""

    codes: NDArray[np.int16] | None
    colour: NDArray[np.uint8] | None
    alpha: NDArray[np.uint8] | None
    post: Post | None = None


def decode_arrays(files: Sequence[bytes], progress: Progress | None = None) -> NDArray[np.uint8]:
    """Files of pictures of one size and mode to (N, H, W, C) uint8.

    C is 1 for grey, 2 grey and alpha, 3 RGB, 4 RGBA. Models and rates may differ. Each picture is as if decoded
    alone. Raises ValueError if there is no file or sizes or modes differ, and a CwicError, which says of which of
    several files, if one is damaged.
    """
    batch, steps = _opened(files, progress)
    if _device(batch) != "cpu":
        return np.ascontiguousarray(_tensors(batch, steps).permute(0, 2, 3, 1).cpu().numpy())
    return _arrays(batch, steps)


def decode_tensors(files: Sequence[bytes], progress: Progress | None = None) -> torch.Tensor:
    """As ``decode_arrays``, but (N, C, H, W), on the transforms' device. Raises CwicError without torch."""
    device.require_torch("as_tensor")
    import torch

    batch, steps = _opened(files, progress)
    if _device(batch) == "cpu":
        return torch.from_numpy(_arrays(batch, steps)).permute(0, 3, 1, 2).contiguous()
    return _tensors(batch, steps)


def _arrays(batch: list[_File], steps: Steps) -> NDArray[np.uint8]:
    """The pictures of a batch, (N, H, W, C), made without torch."""

    def make(file: _File) -> NDArray[np.uint8]:
        header, decoded = file.parsed.header, _decode(file, steps)
        colour = decoded.colour
        if file.runtime is not None and decoded.codes is not None:
            place = header.rate, header.height, header.width
            colour = file.runtime.networks.synthesise(decoded.codes, *place, decoded.post)
            colour = with_exact(colour, file.parsed)
        assert colour is not None  # it is the one or the other
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
    for n, each in enumerate(decoded):
        if each.colour is not None:
            whole = dressed(each.colour, batch[n].parsed.header, each.alpha)
            picture = torch.from_numpy(whole.reshape(*whole.shape[:2], -1)).permute(2, 0, 1)
            made[n] = picture.contiguous().to(_device(batch))
            steps()
    for networks, places in _passes(batch, header.width * header.height):
        codes = np.stack([codes for n in places if (codes := decoded[n].codes) is not None])
        rates, posts = [batch[n].parsed.header.rate for n in places], [decoded[n].post for n in places]
        for n, picture in zip(places, networks.shown(codes, rates, header.height, header.width, posts), strict=True):
            made[n] = _dressed(picture, batch[n].parsed, decoded[n].alpha)
            steps()
    return torch.stack([made[n] for n in range(len(batch))])


def _opened(files: Sequence[bytes], progress: Progress | None) -> tuple[list[_File], Steps]:
    if not files:
        raise ValueError("files: there are none, wanted one or more")
    batch = []
    for n, file in enumerate(files):
        with _naming(n, len(files)):
            parsed = container.read_file(file)
            batch.append(_File(parsed, None if parsed.header.lossless else loaded(parsed.header)))
    sizes = [(each.parsed.header.width, each.parsed.header.height, each.parsed.header.mode) for each in batch]
    width, height, mode = sizes[0]
    limits.check_pixels(width, height)
    for n, (w, h, m) in enumerate(sizes):
        if (w, h, m) != sizes[0]:
            raise ValueError(f"file {n}: {w} x {h} {m} in one batch with file 0: {width} x {height} {mode}")
    steps = sum(decode_steps(each.parsed) for each in batch if not each.parsed.header.lossless)
    return batch, Steps(progress, steps + len(files))


def _each(work: Callable[[_File], T], batch: list[_File]) -> list[T]:
    """What ``work`` makes of each file, at once in threads, which few files share within."""
    lanes = settings.threads() or os.cpu_count() or 1

    def one(n: int) -> T:
        with settings.options(threads=max(1, lanes // len(batch))), _naming(n, len(batch)):
            return work(batch[n])

    return threads.each(one, len(batch), lanes)


def _decode(file: _File, steps: Steps) -> _Decoded:
    if file.runtime is None:
        return _Decoded(None, exact_colour(file.parsed), alpha_of(file.parsed))
    header, post = file.parsed.header, post_of(file.parsed)
    grid = file.runtime.networks.grid(header.height, header.width)
    symbols = decode_symbols(file.runtime.entropy, file.parsed, *grid, step=steps)
    return _Decoded(join(symbols[1:]), None, alpha_of(file.parsed), post)


@contextmanager
def _naming(n: int, count: int) -> Iterator[None]:
    """Makes what is raised for one of several files say for which."""
    try:
        yield
    except CwicError as error:
        if count == 1:
            raise
        raise type(error)(f"file {n}: {error}") from error


def _passes(batch: list[_File], pixels: int) -> Iterator[tuple[Transforms, list[int]]]:
    """Which pictures go through one model together, in order."""
    alike: dict[int, tuple[Transforms, list[int]]] = {}
    for n, each in enumerate(batch):
        if each.runtime is not None:
            networks = each.runtime.networks
            alike.setdefault(id(networks), (networks, []))[1].append(n)
    count = max(1, PASS_PIXELS // pixels)
    for networks, of in alike.values():
        for k in range(0, len(of), count):
            yield networks, of[k : k + count]


def _device(batch: list[_File]) -> str:
    """Where the pictures are made."""
    runtime = next((each.runtime for each in batch if each.runtime is not None), None)
    return device.choose(settings.device()) if runtime is None else runtime.networks.device


def _dressed(colour: torch.Tensor, parsed: container.Parsed, plane: NDArray[np.uint8] | None) -> Any:
    """(3, H, W) as the mode has it, with exact pixels and alpha (H, W, 1); a tensor of its own, not bound to inference.

    Exact pixels are decoded by the processor, and so is what lies around them brought there and back.
    """
    import torch

    header = parsed.header
    if parsed.pixels is not None:
        whole = dressed(with_exact(colour.permute(1, 2, 0).cpu().numpy(), parsed), header, plane)
        return torch.from_numpy(whole.reshape(*whole.shape[:2], -1)).permute(2, 0, 1).contiguous().to(colour.device)
    if header.grey:
        colour = ((colour.sum(0, keepdim=True, dtype=torch.int32) * 2 + 3) // 6).to(torch.uint8)
        if header.mode not in container.GREY_MODES:
            colour = colour.expand(3, -1, -1)
    more = [] if plane is None else [torch.from_numpy(plane[..., 0].copy())[None].to(colour.device)]
    return torch.cat([colour, *more])
