"""The networks as the codec runs them: weights from a safetensors file, numpy arrays in and out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from pillow_cwic.errors import ModelError
from pillow_cwic.networks.context import ContextModel
from pillow_cwic.networks.distortion import WINDOW as SIMILARITY_WINDOW
from pillow_cwic.networks.distortion import distortion
from pillow_cwic.networks.integers import from_integers
from pillow_cwic.networks.model import MAP_STRIDE, STRIDE, Config
from pillow_cwic.networks.quantisers import quantise_map, useful_levels
from pillow_cwic.networks.refine import refine
from pillow_cwic.networks.transforms import Analysis, ImportanceHead, Synthesis, to_blocks, to_picture
from pillow_cwic.networks.weights import check_empty, fill, read, take_integers
from pillow_cwic.networks.windows import SIDE, halved, scaled, windows
from pillow_cwic.progress import Progress

EXACT_UNIT = 32  # the encoder weighs unrounded codes with this precision
EXACT_MAX = 32000  # far beyond what any code may be, and with room for rounding in 16 bits
WINDOW = 768  # pixels along a side, of a part whose distortion is measured at a time
RATE_UNIT = 512  # the file's rate parameter T counts in 1/512 of t


class Analysed(NamedTuple):
    """A picture after the analysis transform at one rate; valid for codes at rates nearby."""

    latents: torch.Tensor  # (1, channels, H/8, W/8), before the gain
    levels: NDArray[np.int16]  # (1, H/16, W/16)
    rate: int


class Networks:
    """Analysis, importance head and synthesis of one weights file on one device; and the context model's integers.

    ``weights`` is the whole safetensors file, already checked against its hash. Raises ModelError if its arrays do
    not fit its config or are no numbers. Read-only afterwards; may be shared between threads.
    """

    refines = True  # effort buys something

    def __init__(self, weights: bytes, device: str) -> None:
        metadata, values, tensors = read(weights)
        self.tuning: str = metadata["tuning"]
        try:
            config = self.config = Config.from_dict(values)
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"weights: not those of cwic1: {error}") from error
        self.device = torch.device(device)
        shape = (config.wide, config.blocks, config.channels, config.lambda_slope / 2, config.normalised)
        self.context_weights = take_integers(tensors, "context.weights", torch.int16)
        self.context_biases = take_integers(tensors, "context.biases", torch.int32)
        with torch.device("meta"):  # no time spent on initial values
            self.analysis = Analysis(*shape)
            self.importance = ImportanceHead(config.wide, config.map_features)
            self.synthesis = Synthesis(*shape)
        for name in ("analysis", "importance", "synthesis"):
            fill(getattr(self, name), name, tensors, self.device)
        check_empty(tensors)
        # How far a place sees: a code for each block of a trunk, and two more for the head; even, as windows want.
        self.halo = -(-(config.blocks + 2) // 2) * 2

    def _rate(self, rate: int) -> torch.Tensor:
        return torch.tensor([rate / RATE_UNIT], dtype=torch.float32, device=self.device)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the map for a picture of this size."""
        return -(-height // MAP_STRIDE), -(-width // MAP_STRIDE)

    def _blocks(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        """(H, W, 3) uint8 to blocks (1, 192, H/8, W/8), after repeating the last rows and columns as the map needs."""
        height, width = pixels.shape[:2]
        rows, columns = self.grid(height, width)
        picture = torch.from_numpy(pixels.copy()).to(self.device).permute(2, 0, 1)[None].float() / 255 - 0.5
        padding = (0, columns * MAP_STRIDE - width, 0, rows * MAP_STRIDE - height)
        return to_blocks(F.pad(picture, padding, mode="replicate"))

    @torch.inference_mode()
    def analyse(self, pixels: NDArray[np.uint8], rate: int) -> Analysed:
        """(H, W, 3) uint8 to latents and importance levels at the rate parameter T. Raises ModelError for overflow.

        No level masks codes that pay for their bits, however the head errs; below the rates that it was trained for it
        is not asked.
        """
        rows, columns = self.grid(*pixels.shape[:2])
        t = self._rate(rate)
        latents = torch.empty((1, self.config.channels, 2 * rows, 2 * columns), device=self.device)
        levels = np.empty((1, rows, columns), np.int16)
        for window in windows(latents.shape, SIDE, self.halo):
            blocks = self._blocks(pixels[scaled(window.outer, STRIDE)])
            features = self.analysis.features(blocks, t)
            part = self.analysis.latents(blocks, features, t)
            level = useful_levels(part * self.analysis.gain(t), self.config.groups)
            if rate >= -RATE_UNIT:
                level = torch.maximum(level, quantise_map(self.importance(features), self.config.levels))
            if not (level.isfinite().all() and part.isfinite().all()):
                raise ModelError("weights: the analysis of this picture gives numbers that are not finite")
            latents[(..., *window.core)] = part[(..., *window.inner)]
            levels[(..., *halved(window.core))] = level[0][(..., *halved(window.inner))].cpu().numpy()
        return Analysed(latents, levels, rate)

    @cached_property
    def _context(self) -> ContextModel:
        """The context model in floating point, for gradients; nothing is ever coded with it."""
        c = self.config
        twin = ContextModel(list(c.groups), c.context_hidden, c.map_hidden, c.levels)
        from_integers(twin, self.context_weights, self.context_biases)
        return twin.requires_grad_(False).to(self.device)

    def refine(
        self, pixels: NDArray[np.uint8], analysed: Analysed, rate: int, steps: int, progress: Progress | None
    ) -> Analysed:
        """Latents that give less distortion and bits together at rate T, after ``steps`` steps of gradient descent."""
        t = self._rate(rate)
        gain = self.analysis.gain(t)
        with torch.inference_mode(False):
            latents = refine(
                (analysed.latents * gain).clone(),
                torch.from_numpy(analysed.levels.astype(np.float32))[None].to(self.device),
                self._blocks(pixels),
                t,
                config=self.config,
                tuning=self.tuning,
                synthesis=self.synthesis,
                context=self._context,
                steps=steps,
                progress=progress,
            )
        return analysed._replace(latents=latents / gain)

    def levels(self, analysed: Analysed, rate: int) -> NDArray[np.int16]:
        """The map's levels at rate T, (1, H/16, W/16); the caller's own."""
        return analysed.levels.copy()

    @torch.inference_mode()
    def codes(self, analysed: Analysed, rate: int) -> NDArray[np.int16]:
        """Latents with the gain of rate T, (channels, H/8, W/8), in 1 / ``EXACT_UNIT``, up to ``EXACT_MAX``."""
        latents = analysed.latents[0]
        gain = self.analysis.gain(self._rate(rate))[0] * EXACT_UNIT
        codes = np.empty(latents.shape, np.int16)
        for some in (slice(k, k + 16) for k in range(0, len(latents), 16)):  # what is between stays small
            part = (latents[some] * gain[some]).round_().clamp_(-EXACT_MAX, EXACT_MAX)
            codes[some] = part.to(torch.int16).cpu().numpy()
        return codes

    @torch.inference_mode()
    def shown(self, codes: NDArray[np.int16], rates: Sequence[int], height: int, width: int) -> torch.Tensor:
        """Codes (N, channels, H/8, W/8), each at its rate T, to pictures (N, 3, height, width) uint8 on the device."""
        t = torch.tensor(rates, dtype=torch.float32, device=self.device) / RATE_UNIT
        shape, layout = (len(codes), 3, height, width), torch.channels_last
        picture = torch.empty(shape, dtype=torch.uint8, device=self.device, memory_format=layout)
        for window in windows(codes.shape, SIDE, self.halo):
            x = torch.from_numpy(codes[(..., *window.outer)]).to(self.device).float().contiguous(memory_format=layout)
            blocks = self.synthesis(x, t).mul_(255).add_(127.5).round_().clamp_(0, 255).to(torch.uint8)
            part = to_picture(blocks[(..., *window.inner)])
            place = picture[(..., *scaled(window.core, STRIDE))]
            place.copy_(part[..., : place.shape[2], : place.shape[3]])
        return picture

    def synthesise(self, codes: NDArray[np.int16], rate: int, height: int, width: int) -> NDArray[np.uint8]:
        """Codes (channels, H/8, W/8) at rate T to the picture (height, width, 3) uint8."""
        return self.shown(codes[None], [rate], height, width)[0].permute(1, 2, 0).contiguous().cpu().numpy()

    @torch.inference_mode()
    def distortion(self, original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
        """What this tuning was trained to keep low, for a picture (H, W, 3) and what is made of it.

        The mean over windows, so that memory stays bounded; squared error where there is no room for similarity.
        """
        tuning = self.tuning if min(original.shape[:2]) >= SIMILARITY_WINDOW else "mse"
        total = 0.0
        for window in windows(original.shape[:2], WINDOW, 0):
            pair = [p[window.core] for p in (original, decoded)]
            tensors = (torch.from_numpy(p.copy()).permute(2, 0, 1)[None].float() for p in pair)
            total += float(distortion(tuning, *tensors)[0]) * pair[0].shape[0] * pair[0].shape[1]
        return total / (original.shape[0] * original.shape[1])
