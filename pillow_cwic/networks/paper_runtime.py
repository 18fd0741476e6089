"""The networks of ``cwic2018`` as the codec runs them: the same methods as ``runtime.Networks``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from pillow_cwic.errors import ModelError
from pillow_cwic.networks.distortion import distortion
from pillow_cwic.networks.paper import STRIDE, Decoder, Encoder, ImportanceNet, PaperConfig
from pillow_cwic.networks.runtime import EXACT_UNIT
from pillow_cwic.networks.weights import check_empty, fill, read, take_integers
from pillow_cwic.progress import Progress

FULL_SHIFT = 1024  # the rate parameter T that shifts the map by all its levels


class PaperAnalysed(NamedTuple):
    """A picture after the encoder; good for every rate, since the rate only shifts the map."""

    bits: NDArray[np.int16]  # (n, H/8, W/8), zeros and ones, not masked
    levels: NDArray[np.float32]  # (1, H/8, W/8), L p: before they are shifted and rounded down


class PaperNetworks:
    """Encoder, importance net and decoder of one weights file on one device; and the predictors' integers.

    ``weights`` is the whole safetensors file, already checked against its hash. Raises ModelError if its arrays do
    not fit its config. Read-only afterwards; may be shared between threads.
    """

    refines = False  # effort buys nothing: a bit has no cheaper neighbour, and the paper has no search

    def __init__(self, weights: bytes, device: str) -> None:
        _, values, tensors = read(weights)
        try:
            config = self.config = PaperConfig.from_dict(values)
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"weights: not those of cwic2018: {error}") from error
        self.context_weights = take_integers(tensors, "context.weights", torch.int16)
        self.context_biases = take_integers(tensors, "context.biases", torch.int32)
        self.device = torch.device(device)
        with torch.device("meta"):
            self.encoder = Encoder(config.width, config.channels)
            self.importance = ImportanceNet(config.width)
            self.decoder = Decoder(config.width, config.channels)
        for name in ("encoder", "importance", "decoder"):
            fill(getattr(self, name), name, tensors, self.device)
        check_empty(tensors)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the map for a picture of this size."""
        return -(-height // STRIDE), -(-width // STRIDE)

    @torch.inference_mode()
    def analyse(self, pixels: NDArray[np.uint8], rate: int) -> PaperAnalysed:
        """(H, W, 3) uint8 to bits and importance; the same for every rate parameter."""
        height, width = pixels.shape[:2]
        rows, columns = self.grid(height, width)
        picture = torch.from_numpy(pixels.copy()).to(self.device).permute(2, 0, 1)[None].float() / 255 - 0.5
        picture = F.pad(picture, (0, columns * STRIDE - width, 0, rows * STRIDE - height), mode="replicate")
        features = self.encoder.features(picture.contiguous(memory_format=torch.channels_last))
        bits = (self.encoder(features)[0] > 0.5).cpu().numpy().astype(np.int16)
        importance = (self.config.levels * self.importance(features)[0]).float().cpu().numpy()
        return PaperAnalysed(np.ascontiguousarray(bits), importance)

    def refine(
        self, pixels: NDArray[np.uint8], analysed: PaperAnalysed, rate: int, steps: int, progress: Progress | None
    ) -> PaperAnalysed:
        """Nothing to refine: the same again."""
        return analysed

    def levels(self, analysed: PaperAnalysed, rate: int) -> NDArray[np.int16]:
        """The map's levels at rate T, (1, H/8, W/8): all shifted by T / 1024 of their range."""
        levels = self.config.levels
        shifted = np.floor(analysed.levels + rate * levels / FULL_SHIFT)
        return np.clip(shifted, 0, levels - 1).astype(np.int16)

    def codes(self, analysed: PaperAnalysed, rate: int) -> NDArray[np.int16]:
        """The bits in units of ``1 / EXACT_UNIT``, (n, H/8, W/8), the same at every rate."""
        return (analysed.bits * EXACT_UNIT).astype(np.int16)

    @torch.inference_mode()
    def _decoded(self, codes: NDArray[np.int16], height: int, width: int) -> torch.Tensor:
        """Masked bits (N, n, H/8, W/8) to pictures (N, 3, height, width) in 0..255, not rounded."""
        x = torch.from_numpy(codes).to(self.device).float().contiguous(memory_format=torch.channels_last)
        return self.decoder(x)[:, :, :height, :width].add_(0.5).mul_(255).clamp_(0, 255)

    @torch.inference_mode()
    def shown(self, codes: NDArray[np.int16], rates: Sequence[int], height: int, width: int) -> torch.Tensor:
        """Masked bits (N, n, H/8, W/8), whatever their rates, to pictures (N, 3, height, width) uint8 on the device."""
        return self._decoded(codes, height, width).round_().to(torch.uint8)

    @torch.inference_mode()
    def synthesise(
        self, codes: NDArray[np.int16], rate: int, height: int, width: int, scale: int = 1
    ) -> NDArray[np.uint8]:
        """Masked bits (n, H/8, W/8) to the picture (height, width, 3) uint8, or to means over squares of ``scale``."""
        picture = self._decoded(codes[None], height, width)
        if scale > 1:
            picture = F.avg_pool2d(picture, scale, ceil_mode=True, count_include_pad=False)
        return picture[0].round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()

    def distortion(self, original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
        """Mean squared error on 0..255."""
        first, second = (torch.from_numpy(p.copy()).permute(2, 0, 1)[None].float() for p in (original, decoded))
        return float(distortion("mse", first, second)[0])
