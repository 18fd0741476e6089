"""Encode and decode whole pictures: arrays to bytes and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pillow_cwic import models
from pillow_cwic import rate as rate_control
from pillow_cwic.codec.encoder import EFFORTS, Encoder
from pillow_cwic.codec.picture import reconstruct
from pillow_cwic.codec.quality import dressed
from pillow_cwic.codec.session import Timings, loaded, stage
from pillow_cwic.errors import CwicError
from pillow_cwic.file import alpha, container, limits
from pillow_cwic.progress import Progress
from pillow_cwic.target import parse_effort, parse_target
from pillow_cwic.transforms.draft import SCALES

CHANNELS = {2: "LA", 3: "RGB", 4: "RGBA"}


def encode(
    pixels: NDArray[np.uint8],
    *,
    rate: float | None = None,
    size: int | None = None,
    quality: int | None = None,
    psnr: float | None = None,
    ssim: float | None = None,
    model: str = "cwic1",
    tuning: str | None = None,
    effort: int | None = None,
    progress: Progress | None = None,
    importance: NDArray[np.uint8] | None = None,
    extra: Sequence[tuple[bytes, bytes]] = (),
    timings: Timings | None = None,
) -> bytes:
    """A picture, uint8, (H, W) grey or (H, W, C) with C = 2 grey and alpha, 3 RGB, 4 RGBA, to a ``.cwic`` file.

    Alpha is kept without loss; where it is 0, colour is not kept.

    At most one of ``rate`` (bits per pixel of the whole file, an upper bound), ``size`` (bytes, an upper bound),
    ``quality`` (1 to 100, default 50), ``psnr`` (dB) and ``ssim`` (of the luma), lower bounds of the decoded colours.
    If no file is small enough, the smallest that the model can make is returned.
    ``importance``, uint8 (H, W), says where the bits go: 128 as usual, 255 most, 0 least; only differences count.
    ``effort``, 0 to 9, buys fewer bits with time (docs/results/effort.md); from 5 on gradient descent takes most of
    it, and ``progress(done, all)`` is called after each of its steps. ``extra`` are ancillary chunks (type, payload),
    counted in the size. ``timings``, if given, is filled with the seconds of each stage. Raises ValueError for
    arguments out of range, LimitError for too large a picture, CwicError if the quality cannot be reached, and
    ModelError if the model is out of order.
    """
    target, level = parse_target(rate, size, quality, psnr, ssim), parse_effort(effort)
    with stage(timings, "total"):
        mode = "L" if pixels.ndim == 2 else CHANNELS.get(pixels.shape[2]) if pixels.ndim == 3 else None
        if pixels.dtype != np.uint8 or mode is None:
            raise ValueError(f"pixels: {pixels.dtype} {pixels.shape}, wanted uint8 (H, W) or (H, W, 2 to 4)")
        height, width = pixels.shape[:2]
        if not height or not width:
            raise ValueError(f"pixels: a picture of {width} x {height} is empty")
        limits.check_pixels(width, height)
        if importance is not None and (importance.dtype != np.uint8 or importance.shape != (height, width)):
            raise ValueError(f"importance: {importance.dtype} {importance.shape}, wanted uint8 {(height, width)}")
        planes = pixels.reshape(height, width, -1)
        payload = None
        if mode in container.ALPHA_MODES:
            with stage(timings, "alpha"):
                payload = alpha.encode(planes[..., -1])
                planes = alpha.fill(planes[..., :-1], planes[..., -1])
        colour = np.repeat(planes, 3, axis=2) if planes.shape[2] == 1 else planes

        def encoder(chosen: models.Model) -> Encoder:
            picture = colour, mode.removesuffix("A")
            return Encoder(*picture, chosen, EFFORTS[level], progress, timings, importance)

        if (bound := target.bytes_for(width, height)) is not None:
            chosen = models.by_name(model, tuning, 8 * bound / (width * height))
            bare = encoder(chosen).within(max(1, bound - len(container.between(extra, payload))))
        elif target.quality is not None:
            t = rate_control.quality_to_rate(target.quality)
            bpp = rate_control.typical_bpp(t, None)
            chosen = models.by_name(model, tuning, bpp)
            bare = encoder(chosen).at(rate_control.guess_rate(bpp, chosen.bpp) if chosen.bpp else t)
        else:
            name, wanted = next((name, value) for name, value in target._asdict().items() if value is not None)
            bare = smallest(lambda point: encoder(point).reaching(name, wanted), models.points(model, tuning))
        return _dressed(bare, mode, extra, payload)


def smallest(make: Callable[[models.Model], bytes], points: Sequence[models.Model]) -> bytes:
    """The smallest file of those that a model's operating points make; the last one's CwicError if none makes any."""
    files = []
    for point in points:
        try:
            files.append(make(point))
        except CwicError:
            if point is points[-1] and not files:
                raise
    return min(files, key=len)


def _dressed(bare: bytes, mode: str, extra: Sequence[tuple[bytes, bytes]], payload: bytes | None) -> bytes:
    """A file of colour alone, with its alpha and ancillary chunks."""
    parsed = container.read_file(bare)
    return container.write_file(replace(parsed.header, mode=mode), parsed.layers, extra, payload)


def decode(
    data: bytes,
    *,
    partial: bool = False,
    scale: int = 1,
    progress: Progress | None = None,
    timings: Timings | None = None,
) -> NDArray[np.uint8]:
    """The bytes of a ``.cwic`` file to its picture, uint8, of the same shape as ``encode`` takes.

    ``partial`` accepts a file cut short and shows the layers that arrived, grey if none did, opaque without its alpha.
    ``scale`` 4 or 8 makes a picture with sides divided by it and rounded up, from the first layers alone and many
    times faster, close to the mean over squares of the whole one. ``progress(done, all)`` is called after each step,
    from whichever thread took it. Raises a CwicError if the file is damaged, in the layers it needs.
    """
    if scale not in (1, *SCALES):
        raise ValueError(f"scale: {scale} is none of 1, 4 and 8")
    with stage(timings, "total"):
        with stage(timings, "container"):
            parsed = container.read_file(data, allow_truncated=partial)
        header = parsed.header
        limits.check_pixels(header.width, header.height)
        with stage(timings, "load"):
            model = loaded(header)
        pixels = reconstruct(model, parsed, scale, timings, progress)
        if parsed.alpha is None:  # or cut off
            return dressed(pixels, header.mode, None)
        with stage(timings, "alpha"):
            plane = alpha.decode(parsed.alpha, header.height, header.width)
            return dressed(pixels, header.mode, alpha.reduced(plane, scale))
