"""The released models: ``registry.json`` names each weights file with its SHA-256. Standard library only."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pillow_cwic.errors import ModelError

FOLDER = Path(__file__).parent
ID_BYTES = 6  # a file names its model by the first bytes of the SHA-256 of the weights


@dataclass(frozen=True)
class Model:
    """One weights file. ``family`` is the container's name for the kind of network.

    A model may have several operating points, weights files of the same name and tuning. Then ``point`` names each, and
    ``bpp`` is the bits per pixel that rate parameter 0 gives on average over photographs.
    """

    name: str
    tuning: str
    family: bytes
    sha256: str
    file: str
    bpp: float | None = None
    point: str = ""

    @property
    def id(self) -> bytes:
        return bytes.fromhex(self.sha256)[:ID_BYTES]

    def read(self) -> bytes:
        """The weights file, checked against its SHA-256. Raises ModelError if it is missing or damaged."""
        try:
            data = (FOLDER / self.file).read_bytes()
        except OSError as error:
            raise ModelError(f"model {self.name}/{self.tuning}: weights cannot be read: {error}") from error
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256:
            raise ModelError(f"model {self.name}/{self.tuning}: SHA-256 of the weights is {found}, not {self.sha256}")
        return data


@cache
def released() -> tuple[Model, ...]:
    """All models of this installation; of each name and tuning, the one that encoders use comes first."""
    entries = json.loads((FOLDER / "registry.json").read_text())
    return tuple(Model(**{**entry, "family": entry["family"].encode()}) for entry in entries)


def points(name: str, tuning: str) -> list[Model]:
    """The operating points of a model, the lowest rate first. Raises ValueError, which lists the choices."""
    found = [model for model in released() if (model.name, model.tuning) == (name, tuning)]
    if any(model.bpp is None for model in found):
        return found[:1]  # one model for all rates
    if found:
        return sorted(found, key=lambda model: model.bpp or 0.0)
    choices = ", ".join(sorted({f"{m.name}/{m.tuning}" for m in released()}))
    raise ValueError(f"model: {name}/{tuning} is none of {choices}")


def by_name(name: str, tuning: str, bpp: float | None = None) -> Model:
    """The model that encoders use, at the operating point nearest to ``bpp`` (default: the lowest) if it has several.

    Raises ValueError, which lists the choices.
    """
    found = points(name, tuning)
    if bpp is None or len(found) == 1:
        return found[0]
    return min(found, key=lambda model: abs(math.log(max(bpp, 1e-9) / (model.bpp or 1.0))))


def by_id(model_id: bytes) -> Model:
    """The model that a file names. Raises ModelError if it is not installed."""
    for model in released():
        if model.id == model_id:
            return model
    raise ModelError(f"model id: {model_id.hex()} is not installed; the file may need a newer pillow_cwic")
