"""Pictures as numpy arrays and torch tensors, one or a batch, to ``.cwic`` files and back, without Pillow.

Loads numpy and torch when a picture is encoded or decoded, not before.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from pillow_cwic import settings
from pillow_cwic.file import metadata
from pillow_cwic.progress import shown
from pillow_cwic.saving import Options

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from pillow_cwic.progress import Progress

CHANNELS = range(1, 5)  # grey, grey and alpha, RGB, RGBA


def encode(
    pictures: NDArray[np.uint8] | torch.Tensor,
    *,
    rate: float | None = None,
    size: int | None = None,
    quality: int | None = None,
    psnr: float | None = None,
    ssim: float | None = None,
    model: str = "cwic1",
    tuning: str | None = None,
    effort: int | None = None,
    progress: bool | Progress | None = None,
    importance: NDArray[np.uint8] | None = None,
    exif: Any = None,
    icc_profile: bytes | None = None,
    xmp: bytes | str | None = None,
    dpi: tuple[float, float] | None = None,
    lossless: bool | None = None,
) -> Any:
    """A picture to the bytes of its ``.cwic`` file; a batch of pictures to a list of them, each within the target.

    A numpy array is uint8, (H, W) or (H, W, C), a batch (N, H, W, C); a torch tensor on any device is (C, H, W), a
    batch (N, C, H, W), uint8, or of floating point from 0 to 1. C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA.
    The options are those of ``im.save`` (docs/OPTIONS.md), the same for each picture, except that ``progress`` counts
    the pictures of a batch, and that ``importance`` is a uint8 array (H, W). Raises ValueError, which names
    shape and dtype, for anything else, and otherwise what saving does.
    """
    from pillow_cwic import codec

    planes = _planes(pictures)
    options = Options.of({"rate": rate, "size": size, "quality": quality, "psnr": psnr, "ssim": ssim, "model": model,
                          "tuning": tuning, "effort": effort, "lossless": lossless})  # fmt: skip
    extra = metadata.to_chunks(metadata.from_options(exif, icc_profile, xmp, dpi))
    with shown(settings.progress(progress), "encoding") as call:
        if planes.ndim == 3:
            return codec.encode(_without_axis(planes), options, importance=importance, extra=extra, progress=call)
        files = []
        for picture in planes:
            files.append(codec.encode(_without_axis(picture), options, importance=importance, extra=extra))
            if call:
                call(len(files), len(planes))
        return files


@overload
def decode(
    data: bytes | Sequence[bytes],
    *,
    as_tensor: Literal[False] = False,
    device: str | None = None,
    progress: bool | Progress | None = None,
) -> NDArray[np.uint8]: ...


@overload
def decode(
    data: bytes | Sequence[bytes],
    *,
    as_tensor: Literal[True],
    device: str | None = None,
    progress: bool | Progress | None = None,
) -> torch.Tensor: ...


def decode(
    data: bytes | Sequence[bytes],
    *,
    as_tensor: bool = False,
    device: str | None = None,
    progress: bool | Progress | None = None,
) -> NDArray[np.uint8] | torch.Tensor:
    """The bytes of a ``.cwic`` file to its picture; a list or tuple of them to a batch.

    An array is uint8, (H, W) for grey and (H, W, C) for C = 2 grey and alpha, 3 RGB, 4 RGBA; a batch is
    (N, H, W, C), with C = 1 for grey. With ``as_tensor`` it is a uint8 tensor (C, H, W), a batch (N, C, H, W), with
    C = 1 for grey, and stays on the device that made it: ``device``, as in ``options``, or the one of the moment.
    The files of a batch are decoded together; their models and rates may differ. Raises ValueError, which names
    both, if their sizes or modes do, and a CwicError if a file is damaged.
    """
    with settings.options(device=device), shown(settings.progress(progress), "decoding") as call:
        from pillow_cwic import codec
        from pillow_cwic.codec.batch import decode_arrays, decode_tensors

        if isinstance(data, list | tuple):
            files = [_file(each) for each in data]
            return decode_tensors(files, call) if as_tensor else decode_arrays(files, call)
        if as_tensor:
            return decode_tensors([_file(data)], call)[0]
        return codec.decode(_file(data), progress=call)


def _without_axis(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return planes[..., 0] if planes.shape[2] == 1 else planes


def _file(data: object) -> bytes:
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ValueError(f"data: {type(data).__name__} is neither bytes nor a list or tuple of bytes")
    return bytes(data)


def _planes(pictures: Any) -> NDArray[np.uint8]:
    """Any picture or batch that ``encode`` takes as uint8 (H, W, C) or (N, H, W, C), C from 1 to 4."""
    import numpy as np

    torch = sys.modules.get("torch")
    if torch is not None and isinstance(pictures, torch.Tensor):
        return _of_tensor(pictures)
    if not isinstance(pictures, np.ndarray):
        raise ValueError(f"pictures: {type(pictures).__name__} is neither a numpy array nor a torch tensor")
    pictures = np.asarray(pictures)  # of subclasses, some have two dimensions whatever they are reshaped to
    shape = (*pictures.shape, 1) if pictures.ndim == 2 else pictures.shape
    if pictures.dtype != np.uint8 or len(shape) not in (3, 4) or shape[-1] not in CHANNELS:
        raise ValueError(
            f"pictures: {pictures.dtype} array {pictures.shape}, wanted uint8 (H, W), (H, W, C) or (N, H, W, C) with "
            "C from 1 to 4"
        )
    planes: NDArray[np.uint8] = pictures.reshape(shape)
    return planes


def _of_tensor(pictures: torch.Tensor) -> NDArray[np.uint8]:
    import torch

    shape = tuple(pictures.shape)
    real = pictures.is_floating_point()
    if not (real or pictures.dtype == torch.uint8) or len(shape) not in (3, 4) or shape[-3] not in CHANNELS:
        raise ValueError(
            f"pictures: {pictures.dtype} tensor {shape}, wanted uint8 or floating point (C, H, W) or (N, C, H, W) with "
            "C from 1 to 4"
        )
    if pictures.layout != torch.strided or pictures.is_meta or (real and pictures.element_size() < 2):
        raise ValueError(f"pictures: {pictures.dtype} tensor {shape}, {pictures.layout} on {pictures.device}, is none")
    pictures = pictures.detach()
    if real:
        if pictures.numel() and not bool(((pictures >= 0) & (pictures <= 1)).all()):
            low, high = pictures.min().item(), pictures.max().item()
            raise ValueError(f"pictures: {pictures.dtype} tensor {shape} holds {low} to {high}, wanted 0 to 1")
        pictures = (pictures.float() * 255).round().to(torch.uint8)
    planes: NDArray[np.uint8] = pictures.movedim(-3, -1).contiguous().cpu().numpy()
    return planes
