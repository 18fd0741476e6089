"""The transforms on a device of torch: the same methods as ``native.Transforms``, the same bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pillow_cwic.models.config import MAP_STRIDE, STRIDE, Config
from pillow_cwic.transforms import layout
from pillow_cwic.transforms.protocol import Post
from pillow_cwic.transforms.torch.integer import Analysis, Synthesis
from pillow_cwic.transforms.torch.limit import limited
from pillow_cwic.transforms.windows import SIDE, halved, scaled, windows


class Engine:
    """Both transforms of one weights file, already checked, on one device. Large pictures pass in windows."""

    def __init__(self, config: Config, arrays: Mapping[str, NDArray[Any]], device: str) -> None:
        self.device = torch.device(device)
        parts = {
            kind: layout.split(config, kind, *(arrays[f"{kind}.{name}"] for name in layout.TYPES))
            for kind in ("analysis", "synthesis")
        }
        self._analysis = Analysis(config, parts["analysis"], self.device)
        self._synthesis = Synthesis(config, parts["synthesis"], self.device)
        self.config = config
        # How far a place sees: a code for each block, and two more for the head; even, as windows want.
        self.halo = -(-(config.blocks + 2) // 2) * 2

    @limited()
    @torch.inference_mode()
    def analyse(self, pixels: NDArray[np.uint8], rate: int) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        """(H, W, 3) at rate T to latents (channels, 2 h, 2 w) and what the map's head says, levels (1, h, w)."""
        height, width = pixels.shape[:2]
        below, right = -height % MAP_STRIDE, -width % MAP_STRIDE
        padded = np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="edge")
        rows, columns = padded.shape[0] // STRIDE, padded.shape[1] // STRIDE
        latents = np.empty((self.config.channels, rows, columns), np.int16)
        levels = np.empty((1, rows // 2, columns // 2), np.int16)
        for window in windows((rows, columns), SIDE, self.halo):
            picture = torch.from_numpy(padded[scaled(window.outer, STRIDE)].copy()).permute(2, 0, 1)[None]
            part, level = self._analysis(picture.contiguous().to(self.device), [rate])
            latents[(..., *window.core)] = part[0][(..., *window.inner)].cpu().numpy()
            levels[(..., *halved(window.core))] = level[(..., *halved(window.inner))].cpu().numpy()
        return latents, levels

    @limited()
    @torch.inference_mode()
    def shown(
        self,
        codes: NDArray[np.int16],
        rates: Sequence[int],
        height: int,
        width: int,
        posts: Sequence[Post | None] = (),
    ) -> torch.Tensor:
        """Codes (N, channels, H/8, W/8), each at its rate T, to pictures (N, 3, height, width) uint8 on the device.

        Each may have a post-filter; raises ModelError if one has and the model allows none.
        """
        shape, layout_ = (len(codes), 3, height, width), torch.channels_last
        picture = torch.empty(shape, dtype=torch.uint8, device=self.device, memory_format=layout_)
        for window in windows(codes.shape, SIDE, self.halo):
            outer = torch.from_numpy(codes[(..., *window.outer)].copy()).to(self.device)
            made = self._synthesis(outer, rates, posts)[(..., *scaled(window.inner, STRIDE))]
            place = picture[(..., *scaled(window.core, STRIDE))]
            place.copy_(made[..., : place.shape[2], : place.shape[3]])
        return picture

    def synthesise(
        self, codes: NDArray[np.int16], rate: int, height: int, width: int, post: Post | None = None
    ) -> NDArray[np.uint8]:
        """Codes (channels, 2 h, 2 w) at rate T to the picture (height, width, 3), through a post-filter if any."""
        return self.shown(codes[None], [rate], height, width, [post])[0].permute(1, 2, 0).contiguous().cpu().numpy()
