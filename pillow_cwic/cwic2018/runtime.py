"""The networks of ``cwic2018`` as the codec runs them, in torch: the same methods as ``transforms.cwic1.Cwic1``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from pillow_cwic.cwic2018.networks import STRIDE, Decoder, Encoder, ImportanceNet, PaperConfig
from pillow_cwic.cwic2018.weights import fill
from pillow_cwic.errors import ModelError
from pillow_cwic.models.config import EXACT_UNIT
from pillow_cwic.models.weights import Weights
from pillow_cwic.progress import Progress
from pillow_cwic.transforms.protocol import Post
from pillow_cwic.transforms.torch.limit import limited
from pillow_cwic.transforms.windows import SIDE, scaled, windows

HALO = 10  # codes that encoder and importance net, or decoder, see around a place, and a little more
FULL_SHIFT = 1024  # the rate parameter T that shifts the map by all its levels


class PaperAnalysed(NamedTuple):
    """A picture after the encoder; good for every rate, since the rate only shifts the map."""

    bits: NDArray[np.int16]  # (n, H/8, W/8), zeros and ones, not masked
    levels: NDArray[np.float32]  # (1, H/8, W/8), L p: before they are shifted and rounded down


class PaperNetworks:
    """Encoder, importance net and decoder of one weights file on one device.

    Takes its arrays out of ``weights``. Raises ModelError if they do not fit its config. Read-only afterwards; may be
    shared between threads.
    """

    filters = False
    refines = False  # effort buys nothing: a bit has no cheaper neighbour, and the paper has no search

    def __init__(self, weights: Weights, device: str) -> None:
        try:
            config = self.config = PaperConfig.from_dict(weights.config)
            self.groups = config.groups
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"weights: not those of cwic2018: {error}") from error
        self.device = device
        with torch.device("meta"):
            self.encoder = Encoder(config.width, config.channels)
            self.importance = ImportanceNet(config.width)
            self.decoder = Decoder(config.width, config.channels)
        for name in ("encoder", "importance", "decoder"):
            fill(getattr(self, name), name, weights, self.device)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the map for a picture of this size."""
        return -(-height // STRIDE), -(-width // STRIDE)

    @limited()
    @torch.inference_mode()
    def analyse(self, pixels: NDArray[np.uint8], rate: int) -> PaperAnalysed:
        """(H, W, 3) uint8 to bits and importance; the same for every rate parameter."""
        rows, columns = self.grid(*pixels.shape[:2])
        bits = np.empty((self.config.channels, rows, columns), np.int16)
        importance = np.empty((1, rows, columns), np.float32)
        for window in windows(bits.shape, SIDE, HALO):
            seen = pixels[scaled(window.outer, STRIDE)]
            padding = (0, -seen.shape[1] % STRIDE, 0, -seen.shape[0] % STRIDE)
            picture = torch.from_numpy(seen.copy()).to(self.device).permute(2, 0, 1)[None].float() / 255 - 0.5
            picture = F.pad(picture, padding, mode="replicate").contiguous(memory_format=torch.channels_last)
            features = self.encoder.features(picture)
            core, inner = (..., *window.core), (..., *window.inner)
            bits[core] = (self.encoder(features)[0] > 0.5)[inner].cpu().numpy()
            importance[core] = (self.config.levels * self.importance(features)[0])[inner].float().cpu().numpy()
        return PaperAnalysed(bits, importance)

    def refine(
        self, pixels: NDArray[np.uint8], analysed: PaperAnalysed, rate: int, steps: int, progress: Progress | None
    ) -> PaperAnalysed:
        """Nothing to refine: the same again."""
        return analysed

    def lagrangian(self, rate: int) -> float:
        """0: the paper's loss holds the bits to a bound, and does not weigh them against errors."""
        return 0.0

    def levels(self, analysed: PaperAnalysed, rate: int) -> NDArray[np.int16]:
        """The map's levels at rate T, (1, H/8, W/8): all shifted by T / 1024 of their range."""
        levels = self.config.levels
        shifted = np.floor(analysed.levels + rate * levels / FULL_SHIFT)
        return np.clip(shifted, 0, levels - 1).astype(np.int16)

    def codes(self, analysed: PaperAnalysed, rate: int) -> NDArray[np.int16]:
        """The bits in units of ``1 / EXACT_UNIT``, (n, H/8, W/8), the same at every rate."""
        return (analysed.bits * EXACT_UNIT).astype(np.int16)

    @limited()
    @torch.inference_mode()
    def shown(
        self,
        codes: NDArray[np.int16],
        rates: Sequence[int],
        height: int,
        width: int,
        posts: Sequence[Post | None] = (),
        scale: int = 1,
    ) -> torch.Tensor:
        """Masked bits (N, n, H/8, W/8), whatever their rates, to pictures (N, 3, height, width) uint8 on the device.

        With ``scale``, 4 or 8, to means over squares of so many pixels a side, at the edges over what there is. Raises
        ModelError for a post-filter.
        """
        if any(post is not None for post in posts):
            raise ModelError("POST: a picture of model cwic2018 has no post-filter")
        shape, layout = (len(codes), 3, -(-height // scale), -(-width // scale)), torch.channels_last
        picture = torch.empty(shape, dtype=torch.uint8, device=self.device, memory_format=layout)
        for window in windows(codes.shape, SIDE, HALO):
            x = torch.from_numpy(codes[(..., *window.outer)]).to(self.device).float().contiguous(memory_format=layout)
            rows, columns = scaled(window.core, STRIDE)
            part = self.decoder(x)[(..., *scaled(window.inner, STRIDE))]
            part = part[..., : height - rows.start, : width - columns.start].add_(0.5).mul_(255).clamp_(0, 255)
            if scale > 1:
                part = F.avg_pool2d(part, scale, ceil_mode=True, count_include_pad=False)
            picture[(..., *scaled(window.core, STRIDE // scale))] = part.round_()
        return picture

    def synthesise(
        self, codes: NDArray[np.int16], rate: int, height: int, width: int, post: Post | None = None, scale: int = 1
    ) -> NDArray[np.uint8]:
        """Masked bits (n, H/8, W/8) to the picture (height, width, 3) uint8, or to means over squares of ``scale``."""
        made = self.shown(codes[None], [rate], height, width, [post], scale)[0]
        return made.permute(1, 2, 0).contiguous().cpu().numpy()

    def draft_groups(self, scale: int) -> None:
        """A small picture needs all groups."""

    def draft(
        self, codes: NDArray[np.int16], rate: int, height: int, width: int, scale: int, post: Post | None = None
    ) -> NDArray[np.uint8]:
        """The whole picture's means over squares: there is no shorter way."""
        return self.synthesise(codes, rate, height, width, post, scale)
