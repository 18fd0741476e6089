"""Model ``cwic1``: the networks put together, as training sees them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pillow_cwic.models.config import Config
from pillow_cwic.transforms.torch.context import CausalConv, ContextModel, logistic_bits
from training.networks.quantisers import add_noise, channel_masks, quantise_codes, quantise_map, useful_levels
from training.networks.transforms import Analysis, ImportanceHead, Synthesis


class Output(NamedTuple):
    """What one training pass gives; B pictures of H x W."""

    blocks: Tensor  # (B, 192, H/8, W/8) in blocks, not clipped
    code_bits: Tensor  # (B,) bits of the codes; carries the gradient
    hard_bits: Tensor  # (B,) ideal code length of the rounded codes, for the log
    map_bits: Tensor  # (B,)
    map_error: Tensor  # (B,) mean squared distance of the map from the levels that pay for their bits
    level: Tensor  # (B, 1, H/16, W/16)
    codes: Tensor  # (B, channels, H/8, W/8), rounded and masked


class Cwic1(nn.Module):
    """Encoder, importance map, quantiser, context model and decoder with one rate parameter t in [-1, 1]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        c = self.config = config
        self.analysis = Analysis(c.wide, c.blocks, c.channels, c.lambda_slope / 2, c.normalised)
        self.importance = ImportanceHead(c.wide, c.map_features)
        self.synthesis = Synthesis(c.wide, c.blocks, c.channels, c.lambda_slope / 2, c.normalised)
        self.context = ContextModel(list(c.groups), c.context_hidden, c.map_hidden, c.levels)

    def quantise(self, latents: Tensor) -> Tensor:
        """Latents to codes, any shape."""
        return quantise_codes(latents, self.config.code_limit)

    def forward(
        self, blocks: Tensor, t: Tensor, *, use_map: bool, hard_rate: bool, exact: Tensor | None = None
    ) -> Output:
        """One training pass over pictures in blocks, (B, 192, H/8, W/8) in [-0.5, 0.5].

        ``use_map`` switches the importance map on (the paper trains without it first). ``hard_rate`` trains the
        context model on the rounded codes, and the encoder on noisy ones under the context model's parameters;
        otherwise both are trained on noisy codes, which is smoother at the start. Blocks that are ``exact``,
        (B, 1, H/16, W/16) bool, get the lowest level, as from the encoder.
        """
        features = self.analysis.features(blocks, t)
        latents = (self.analysis.latents(blocks, features, t) * self.analysis.gain(t)).float()
        b, _, h, w = latents.shape
        map_error = latents.new_zeros(b)
        if use_map:
            importance = self.importance(features).float()
            useful = useful_levels(latents.detach(), self.config.groups)
            level = torch.maximum(quantise_map(importance, self.config.levels), useful)  # as the encoder does
            distance = self.config.levels * importance - useful - 0.5
            if exact is not None:
                level, distance = level.masked_fill(exact, 0.0), distance.masked_fill(exact, 0.0)
            map_error = distance.square().mean((1, 2, 3))
        else:
            level = latents.new_full((b, 1, h // 2, w // 2), self.config.levels - 1.0)
        mask = channel_masks(level, self.config.groups)
        codes = self.quantise(latents) * mask
        parameters = self.context(codes, level, t)
        mean = torch.cat([m for m, _ in parameters], dim=1)
        log_scale = torch.cat([s for _, s in parameters], dim=1)
        hard = logistic_bits(codes.detach(), mean, log_scale)
        if hard_rate:
            noisy = logistic_bits(add_noise(latents), mean.detach(), log_scale.detach())
            soft = hard + noisy - noisy.detach()
        else:
            soft = logistic_bits(add_noise(latents), mean, log_scale)
        map_bits = latents.new_zeros(b)
        if use_map:
            map_mean, map_scale = self.context.map_parameters(level.detach(), t)
            map_bits = logistic_bits(level, map_mean, map_scale).sum((1, 2, 3))
        return Output(
            blocks=self.synthesis(codes, t),
            code_bits=(soft * mask).sum((1, 2, 3)),
            hard_bits=(hard * mask).detach().sum((1, 2, 3)),
            map_bits=map_bits,
            map_error=map_error,
            level=level.detach(),
            codes=codes.detach(),
        )


def count_macs(config: Config) -> dict[str, float]:
    """Multiply-accumulates per picture pixel of each part, counted by running the model on a 64x64 picture."""
    model = Cwic1(config)
    totals = dict.fromkeys(("analysis", "importance", "context", "synthesis"), 0)
    hooks = []
    for name, module in model.named_modules():
        part = name.split(".")[0]
        if isinstance(module, (nn.Conv2d, nn.Linear)):

            def count(layer: nn.Module, args: tuple[Tensor, ...], result: Tensor, part: str = part) -> None:
                assert isinstance(layer.weight, Tensor)
                taps = layer.mask if isinstance(layer, CausalConv) else torch.ones(layer.weight[0].numel())
                per_place = int(taps.sum()) * (layer.in_channels if isinstance(layer, CausalConv) else 1)
                totals[part] += per_place * result.numel()

            hooks.append(module.register_forward_hook(count))
    with torch.no_grad():
        model(torch.zeros(1, 192, 8, 8), torch.zeros(1), use_map=True, hard_rate=False)
    return {part: total / 64**2 for part, total in totals.items()}
