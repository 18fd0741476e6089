"""Encode and decode whole pictures: arrays to bytes and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pillow_cwic import models
from pillow_cwic.codec.encoder import EFFORTS, Encoder
from pillow_cwic.codec.picture import reconstruct
from pillow_cwic.codec.quality import dressed
from pillow_cwic.codec.session import Timings, loaded, stage
from pillow_cwic.coding.symbols import Coded
from pillow_cwic.errors import CwicError
from pillow_cwic.file import alpha, container, limits
from pillow_cwic.progress import Progress
from pillow_cwic.rate import guess_rate, quality_to_rate, typical_bpp
from pillow_cwic.saving import Options
from pillow_cwic.transforms.draft import SCALES

DEFAULTS = Options()
CHANNELS = {2: "LA", 3: "RGB", 4: "RGBA"}


def encode(
    pixels: NDArray[np.uint8],
    options: Options = DEFAULTS,
    *,
    importance: NDArray[np.uint8] | None = None,
    extra: Sequence[tuple[bytes, bytes]] = (),
    progress: Progress | None = None,
    timings: Timings | None = None,
) -> bytes:
    """A picture, uint8, (H, W) grey or (H, W, C) with C = 2 grey and alpha, 3 RGB, 4 RGBA, to a ``.cwic`` file.

    Alpha is kept without loss; where it is 0, colour is not kept. What is grey stays so, in any mode.
    ``importance``, uint8 (H, W), says where the bits go: 128 as usual, 255 most, 0 least; only differences count.
    ``extra`` are ancillary chunks (type, payload), which count in a ``size``, not in a ``rate``.
    ``progress(done, all)`` is called after each step of gradient descent, which takes most of the time from effort 5
    on (docs/results/effort.md). ``timings``, if given, is filled with the seconds of each stage. Raises ValueError for
    pixels and masks of other kinds, LimitError for too large a picture, CwicError if no file is as small or as good as
    ``options`` ask for, and ModelError if the model is out of order.
    """
    with stage(timings, "total"):
        mode = "L" if pixels.ndim == 2 else CHANNELS.get(pixels.shape[2]) if pixels.ndim == 3 else None
        if pixels.dtype != np.uint8 or mode is None:
            raise ValueError(f"pixels: {pixels.dtype} {pixels.shape}, wanted uint8 (H, W) or (H, W, 2 to 4)")
        height, width = pixels.shape[:2]
        if not height or not width:
            raise ValueError(f"pixels: a picture of {width} x {height} is empty")
        limits.check_pixels(width, height)
        if importance is not None:
            _check_importance(importance, height, width)
        planes = pixels.reshape(height, width, -1)
        payload = None
        if mode in container.ALPHA_MODES:
            with stage(timings, "alpha"):
                payload = alpha.encode(planes[..., -1])
                planes = alpha.fill(planes[..., :-1], planes[..., -1])
        grey = bool((planes[..., :1] == planes[..., 1:]).all())
        colour = np.repeat(planes, 3, axis=2) if planes.shape[2] == 1 else planes
        metadata, inserted = len(container.between(extra)), len(container.between((), payload))
        bound = options.bytes_for(width * height, metadata)

        def encoder(model: models.Model) -> Encoder:
            effort = EFFORTS[options.effort]
            return Encoder(colour, grey, model, effort, progress, timings, importance, inserted)

        share = None if bound is None else 8 * max(1, bound - inserted) / (width * height)
        model, coded = _coded(encoder, options, bound, share)
        options.check_size(width * height, metadata, coded.size)
        with stage(timings, "container"):
            header = container.Header(width, height, mode, coded.exponent, coded.rate, model.id, model.family, grey)
            return container.write_file(header, coded.layers(), extra, payload)


def _check_importance(importance: object, height: int, width: int) -> None:
    """Raises ValueError for what is no mask of a picture of this size."""
    if not isinstance(importance, np.ndarray):
        raise ValueError(f"importance: {type(importance).__name__} is no array, wanted uint8 {(height, width)}")
    if importance.dtype != np.uint8 or importance.shape != (height, width):
        raise ValueError(f"importance: {importance.dtype} {importance.shape}, wanted uint8 {(height, width)}")


def _coded(
    encoder: Callable[[models.Model], Encoder], options: Options, bound: int | None, share: float | None
) -> tuple[models.Model, Coded]:
    """The layers that meet the target, of the operating point that suits it best.

    ``bound`` in bytes, if the target is one, of which ``share``, in bits per pixel, is for layers; if no point is
    within it, the smallest.
    """
    if bound is not None:
        usual = models.by_name(options.model, options.tuning, share)
        tried: list[tuple[models.Model, Coded]] = []
        others = (model for model in reversed(models.points(options.model, options.tuning)) if model != usual)
        for model in (usual, *others):
            tried.append((model, encoder(model).within(bound)))
            if tried[-1][1].size <= bound:
                return tried[-1]
        return min(tried, key=lambda each: each[1].size)
    if options.quality is not None:
        t = quality_to_rate(options.quality)
        bpp = typical_bpp(t, None)
        model = models.by_name(options.model, options.tuning, bpp)
        return model, encoder(model).at(guess_rate(bpp, model.bpp) if model.bpp else t)
    name = "psnr" if options.psnr is not None else "ssim"
    made: list[tuple[models.Model, Coded]] = []
    for model in (points := models.points(options.model, options.tuning)):
        try:
            made.append((model, encoder(model).reaching(name, getattr(options, name))))
        except CwicError:
            if model is points[-1] and not made:
                raise
    return min(made, key=lambda each: each[1].size)


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
            return dressed(pixels, header, None)
        with stage(timings, "alpha"):
            plane = alpha.decode(parsed.alpha, header.height, header.width)
            return dressed(pixels, header, alpha.reduced(plane, scale))
