"""Encode and decode whole pictures: arrays to bytes and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pillow_cwic.codec import choice, exact, graphics, transparency
from pillow_cwic.codec.picture import alpha_of, exact_colour, reconstruct, with_exact
from pillow_cwic.codec.quality import dressed
from pillow_cwic.codec.session import Timings, loaded, stage
from pillow_cwic.codec.source import Source
from pillow_cwic.file import container, limits
from pillow_cwic.progress import Progress
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

    Blocks of pixels that repeat, as in screenshots, charts and text, are exact where that is cheaper (``graphics``).
    Alpha is kept without loss; where it is 0, colour is not kept, unless all is ``lossless``. What is grey stays so,
    in any mode.
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
        shown = planes = pixels.reshape(height, width, -1)
        payload = seen = None
        if mode in container.ALPHA_MODES:
            with stage(timings, "alpha"):
                payload = exact.encode(planes[..., -1:])
                planes, plane = planes[..., :-1], planes[..., -1]
                seen = None if plane.all() else plane != 0
                shown = planes if options.lossless else _with_cheap_ground(planes, plane)
        grey = bool((shown[..., :1] == shown[..., 1:]).all())
        held = np.ascontiguousarray(shown[..., :1] if grey else shown)
        source = Source(held, planes, mode, options, importance, extra, payload, seen)
        return choice.make(source, progress, timings)


def _with_cheap_ground(planes: NDArray[np.uint8], plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture (H, W, C) with colour that is cheap to code wherever alpha (H, W) is 0."""
    hidden = plane == 0
    if not hidden.any():
        return planes
    extended = transparency.extend(planes, plane)
    return extended if graphics.is_graphics(extended, hidden) else transparency.fill(planes, plane)


def _check_importance(importance: object, height: int, width: int) -> None:
    """Raises ValueError for what is no mask of a picture of this size."""
    if not isinstance(importance, np.ndarray):
        raise ValueError(f"importance: {type(importance).__name__} is no array, wanted uint8 {(height, width)}")
    if importance.dtype != np.uint8 or importance.shape != (height, width):
        raise ValueError(f"importance: {importance.dtype} {importance.shape}, wanted uint8 {(height, width)}")


def decode(
    data: bytes,
    *,
    partial: bool = False,
    scale: int = 1,
    progress: Progress | None = None,
    timings: Timings | None = None,
) -> NDArray[np.uint8]:
    """The bytes of a ``.cwic`` file to its picture, uint8, of the same shape as ``encode`` takes.

    ``partial`` accepts a file cut short and shows the layers that arrived, grey if none did, and the rows of exact
    pixels and of alpha, which is opaque where it is missing.
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
        if header.lossless:
            with stage(timings, "entropy"):
                colour = exact.reduced(exact_colour(parsed, progress), scale)
        else:
            with stage(timings, "load"):
                model = loaded(header)
            colour = reconstruct(model, parsed, scale, timings, progress)
            with stage(timings, "exact"):
                colour = with_exact(colour, parsed, scale)
        with stage(timings, "alpha"):
            plane = alpha_of(parsed)
            return dressed(colour, header, None if plane is None else exact.reduced(plane, scale))
