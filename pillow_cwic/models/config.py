"""The shape of a ``cwic1`` model, as its weights file states it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from pillow_cwic.file.limits import UNIT

T = TypeVar("T")  # float, array or tensor

STRIDE = 8  # pixels per code
MAP_STRIDE = UNIT  # pixels per map level; picture sides are padded to a multiple of it
CODE_LIMIT = 511  # the largest magnitude of a code that the format holds
EXACT_BITS = 5
EXACT_UNIT = 1 << EXACT_BITS  # encoders weigh unrounded codes in parts of one
RATE_UNIT = 512  # the file's rate parameter T counts in parts of t
MAX_CHANNELS = 192  # values in a block of 8 x 8 pixels
RANGES: dict[str, tuple[float, float]] = {
    "wide": (1, 1024), "blocks": (0, 64), "fine": (0, 64), "context_hidden": (16, 256), "map_hidden": (16, 256),
    "map_features": (1, 1024), "levels": (1, 32), "code_limit": (1, CODE_LIMIT), "lambda_middle": (1e-6, 1e6),
    "lambda_slope": (0, 16),
}  # fmt: skip


@dataclass(frozen=True)
class Config:
    """Everything that fixes the shape of a ``cwic1`` model. Stored with the weights.

    Raises ValueError for what no such model can have, before anything is made of it: weights may come from anywhere.
    """

    wide: int = 160
    blocks: int = 10
    groups: tuple[int, ...] = (4, 4, 8, 8, 16, 24, 32, 32)
    context_hidden: int = 64
    map_hidden: int = 16
    map_features: int = 32
    levels: int = 8
    code_limit: int = 511
    lambda_middle: float = 0.014
    lambda_slope: float = 2.5
    normalised: bool = False
    fine: int = 0  # of the synthesis transform's blocks, so many of the first hold 13 bits in their upper half

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in RANGES:
                low, high = RANGES[field.name]
                kinds = (int, float) if field.type == "float" else (int,)
                if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
                    raise ValueError(f"config: {field.name} is {value!r}, wanted {field.type} from {low} to {high}")
        if self.fine > self.blocks:
            raise ValueError(f"config: fine is {self.fine}, wanted at most the {self.blocks} blocks")
        if not isinstance(self.normalised, bool):
            raise ValueError(f"config: normalised is {self.normalised!r}, wanted true or false")
        for name in ("context_hidden", "map_hidden"):
            if getattr(self, name) % 16:
                raise ValueError(f"config: {name} is {getattr(self, name)}, wanted a multiple of 16")
        for size in self.groups:
            if isinstance(size, bool) or not isinstance(size, int) or size < 2 or size % 2:
                raise ValueError(f"config: groups hold {size!r}, wanted even numbers from 2")
        if not 2 <= sum(self.groups) <= MAX_CHANNELS or len(self.groups) > 63:
            raise ValueError(f"config: {len(self.groups)} groups hold {sum(self.groups)} channels, wanted 2 to 192")

    @property
    def channels(self) -> int:
        return sum(self.groups)

    def lagrangian(self, t: T) -> T:
        """Weight of the mean squared error (on 0..255) against bits per pixel, at rate parameter t."""
        weight: T = self.lambda_middle * math.e ** (self.lambda_slope * t)  # type: ignore[operator]
        return weight

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "groups": list(self.groups)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Config:
        """The reverse of ``to_dict``. Raises ValueError, which names what is missing, unknown or out of range.

        Without ``fine``, as weights were before there were fine blocks, it is 0.
        """
        return cls(**checked({"fine": 0, **values}, cls))


def checked(values: dict[str, Any], kind: type[Any]) -> dict[str, Any]:
    """What a weights file gives as config for a dataclass of fields and ``groups``, all of them and no others."""
    wanted = {field.name for field in fields(kind)}
    for words, names in (("is missing", wanted - values.keys()), ("is unknown", values.keys() - wanted)):
        if names:
            raise ValueError(f"config: {min(names)} {words}")
    if not isinstance(groups := values["groups"], list):
        raise ValueError(f"config: groups are {groups!r}, wanted a list")
    return {**values, "groups": tuple(groups)}
