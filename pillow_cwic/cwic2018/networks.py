"""Model ``cwic2018``: the networks of Li et al., CVPR 2018, as published; docs/paper.md goes through them one by one.

One bit a channel (the binarizer), an importance map that masks channels, and a decoder that mirrors the encoder.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pillow_cwic.models.config import checked

STRIDE = 8  # pixels per code and per level of the map


@dataclass(frozen=True)
class PaperConfig:
    """Everything that fixes the shape of a ``cwic2018`` model. Stored with the weights.

    ``width`` 128 is the paper's; all other widths follow from it. ``channels`` (n) and ``levels`` (L) are 64 and 16 in
    the paper, 128 and 32 for its highest rate. ``groups`` are the channels of each layer of a file.
    """

    width: int = 128
    channels: int = 64
    levels: int = 16
    groups: tuple[int, ...] = (8, 8, 16, 32)

    def __post_init__(self) -> None:
        numbers = {"width": (self.width, 8, 1024), "channels": (self.channels, 2, 128), "levels": (self.levels, 2, 32)}
        numbers |= {f"group {n}": (size, 1, 128) for n, size in enumerate(self.groups)}
        for name, (value, low, high) in numbers.items():
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"config: {name} is {value!r}, wanted an int from {low} to {high}")
        if self.width % 8 or len(self.groups) > 63:
            raise ValueError(f"config: width {self.width} or the number of groups, {len(self.groups)}, does not fit")
        if self.channels % self.levels or sum(self.groups) != self.channels:
            raise ValueError(f"{self.channels} channels: no multiple of {self.levels} levels, or not {self.groups}")
        if self.levels & (self.levels - 1):
            raise ValueError(f"levels: {self.levels} is no power of two, and the map is coded in binary planes")

    @property
    def planes(self) -> int:
        """Binary planes of the map."""
        return self.levels.bit_length() - 1

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "groups": list(self.groups)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PaperConfig:
        return cls(**checked(values, cls))


def binarize(e: Tensor) -> Tensor:
    """B(e) = 1 if e > 0.5, else 0; backward as the proxy clip(e, 0, 1). Any shape (paper: section 3.1)."""
    proxy = e.clamp(0, 1)
    return proxy + ((e > 0.5).to(e.dtype) - proxy).detach()


def quantise(importance: Tensor, levels: int) -> Tensor:
    """Q(p): importance in (0, 1) to levels 0 .. L - 1 as float, without a gradient (section 3.2)."""
    return (importance.detach() * levels).floor().clamp(0, levels - 1)


def first_channels(level: Tensor, channels: int, levels: int) -> Tensor:
    """Mask of the first (n / L) (level + 1) channels: (B, 1, h, w) -> (B, n, h, w), zeros and ones."""
    steps = torch.arange(channels, device=level.device).div(channels // levels, rounding_mode="floor")
    return (steps[:, None, None] <= level).to(level.dtype)


def importance_mask(importance: Tensor, channels: int, levels: int) -> Tensor:
    """The mask that an importance map makes, (B, 1, h, w) in (0, 1) -> (B, n, h, w) (section 3.2).

    With channels counted from k = 1, the backward pass of channel k has the slope L where
    ``L p - 1 <= ceil(k L / n) < L p + 2``, else 0, as published: it is that of a ramp three levels wide.
    """
    step = torch.arange(channels, device=importance.device).div(channels // levels, rounding_mode="floor") + 1
    ramp = (levels * importance - step[:, None, None] + 2).clamp(0, 3)
    return ramp + (first_channels(quantise(importance, levels), channels, levels) - ramp).detach()


class Residual(nn.Module):
    """Two 3x3 convolutions beside a skip connection, without normalisation; starts as the identity."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, inner, 3, padding=1)
        self.second = nn.Conv2d(inner, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(torch.relu(self.first(x)))


def _conv(inputs: int, outputs: int, side: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, side, stride, (side - stride) // 2), nn.ReLU())


class Encoder(nn.Module):
    """Pictures (B, 3, H, W) in [-0.5, 0.5], sides multiples of 8, to features (B, 2 width, H/8, W/8); then to e."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            _conv(3, width, 8, 4),
            Residual(width, width),
            _conv(width, 2 * width, 4, 2),
            Residual(2 * width, width),
            _conv(2 * width, 2 * width, 3),
            Residual(2 * width, width),
        )
        self.out = nn.Conv2d(2 * width, channels, 1)

    def features(self, picture: Tensor) -> Tensor:
        x: Tensor = self.trunk(2 * picture)
        return x

    def forward(self, features: Tensor) -> Tensor:
        """Features to e in (0, 1), (B, n, H/8, W/8)."""
        return torch.sigmoid(self.out(features))


class ImportanceNet(nn.Module):
    """Features (B, 2 width, h, w) to the importance map p, (B, 1, h, w) in (0, 1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = _conv(2 * width, width, 3)
        self.out = nn.Conv2d(width, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        return torch.sigmoid(self.out(self.hidden(features)))


class Decoder(nn.Module):
    """Masked codes (B, n, h, w), zeros and ones, to pictures (B, 3, 8 h, 8 w), about [-0.5, 0.5]."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            _conv(channels, 4 * width, 3),
            Residual(4 * width, width),
            _conv(4 * width, 4 * width, 3),
            Residual(4 * width, width),
            nn.PixelShuffle(2),
            _conv(width, 2 * width, 3),
            Residual(2 * width, width),
            nn.PixelShuffle(4),
            _conv(width // 8, width // 4, 3),
            nn.Conv2d(width // 4, 3, 1),
        )

    def forward(self, codes: Tensor) -> Tensor:
        x: Tensor = self.trunk(codes)
        return x / 2


class PaperOutput(NamedTuple):
    """What one training pass gives; B pictures of H x W."""

    picture: Tensor  # (B, 3, H, W), not clipped
    importance: Tensor  # (B, 1, H/8, W/8) in (0, 1); all ones without the map
    codes: Tensor  # (B, n, H/8, W/8), zeros and ones, masked; carry the gradient
    mask: Tensor  # (B, n, H/8, W/8)


class Paper(nn.Module):
    """Encoder, importance map, binarizer and decoder."""

    def __init__(self, config: PaperConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.width, config.channels)
        self.importance = ImportanceNet(config.width)
        self.decoder = Decoder(config.width, config.channels)

    def forward(self, picture: Tensor, *, use_map: bool) -> PaperOutput:
        """One training pass over pictures (B, 3, H, W) in [-0.5, 0.5]; the paper trains without the map first."""
        c = self.config
        features = self.encoder.features(picture)
        codes = binarize(self.encoder(features).float())
        if use_map:
            importance = self.importance(features).float()
            mask = importance_mask(importance, c.channels, c.levels)
        else:
            importance, mask = codes.new_ones(codes[:, :1].shape), torch.ones_like(codes)
        codes = codes * mask
        return PaperOutput(self.decoder(codes), importance, codes, mask)


def count_macs(config: PaperConfig) -> dict[str, float]:
    """Multiply-accumulates per picture pixel of encoder, importance net and decoder, counted on a 64x64 picture."""
    model = Paper(config)
    totals = dict.fromkeys(("encoder", "importance", "decoder"), 0)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):

            def count(layer: nn.Module, _: object, result: Tensor, part: str = name.split(".")[0]) -> None:
                assert isinstance(layer.weight, Tensor)
                totals[part] += layer.weight[0].numel() * result.numel()

            module.register_forward_hook(count)
    with torch.no_grad():
        model(torch.zeros(1, 3, 64, 64), use_map=True)
    return {part: total / 64**2 for part, total in totals.items()}
