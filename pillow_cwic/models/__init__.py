"""The models of this installation: ``registry.json`` names each released weights file with its SHA-256; others, such
as one's own, lie on the model path, with name, tuning and family in their metadata. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import IO, Any

from pillow_cwic import settings
from pillow_cwic.errors import ModelError
from pillow_cwic.file.limits import MAX_WEIGHTS, MAX_WEIGHTS_HEADER

FOLDER = Path(__file__).parent
SUFFIX = ".safetensors"
ID_BYTES = 6  # a file names its model by the first bytes of the SHA-256 of the weights
DEFAULT_TUNING = "ssim"
TUNINGS = ("mse", "ssim")
FAMILIES = ("cwc1", "cw18")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Model:
    """One weights file. ``family`` is the container's name for the kind of network.

    ``file`` is a name in the package's folder for a released model, an absolute path for one on the model path.
    A released model may have several operating points, weights files of the same name and tuning. Then ``point`` names
    each, and ``bpp`` is the bits per pixel that rate parameter 0 gives on average over photographs.
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

    @property
    def released(self) -> bool:
        return not os.path.isabs(self.file)

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


def read_header(file: IO[bytes], size: int) -> dict[str, Any]:
    """The header of a safetensors file of ``size`` bytes: its ``__metadata__``, and facts of each array by its name.

    Raises ValueError, which says what is wrong with it.
    """
    if size > MAX_WEIGHTS:
        raise ValueError(f"{size} bytes exceed the limit of {MAX_WEIGHTS}")
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, MAX_WEIGHTS_HEADER):
        raise ValueError(f"header: length {length} exceeds the {max(0, min(size - 8, MAX_WEIGHTS_HEADER))} bytes left")
    try:
        header: dict[str, Any] = json.loads(file.read(length))
        metadata = header["__metadata__"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"header: no metadata can be read from it: {error!r}") from error
    if not isinstance(metadata, dict):
        raise ValueError(f"metadata: {type(metadata).__name__} is not an object")
    return header


@cache
def released() -> tuple[Model, ...]:
    """The models that came with the package; of each name and tuning, the one that encoders use comes first."""
    entries = json.loads((FOLDER / "registry.json").read_text())
    return tuple(Model(**{**entry, "family": entry["family"].encode()}) for entry in entries)


@lru_cache(maxsize=256)
def _identify(path: str, modified: int, size: int) -> Model | None:
    """The model in a file that had this size and time of change; None, after a warning, if there is none in it."""
    try:
        with open(path, "rb") as file:
            metadata = read_header(file, size)["__metadata__"]
            name, tuning, family = (metadata.get(k, d) for k, d in (("name", ""), ("tuning", ""), ("family", "cwc1")))
            if not isinstance(name, str) or not NAME.fullmatch(name):
                raise ValueError(f"name: {name!r} is not 1 to 64 letters, digits, dots, dashes and underscores")
            if tuning not in TUNINGS:
                raise ValueError(f"tuning: {tuning!r} is none of {', '.join(TUNINGS)}")
            if family not in FAMILIES:
                raise ValueError(f"family: {family!r} is none of {', '.join(FAMILIES)}")
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        _warn(path, error)
        return None
    return Model(name, tuning, family.encode(), digest, path)


def _warn(path: str, error: Exception) -> None:
    why = getattr(error, "strerror", None) or error  # of the system's errors, without the path
    warnings.warn(f"{path} is left out of the models: {why}", RuntimeWarning, stacklevel=3)


def _candidates() -> Iterator[str]:
    for entry in settings.model_path():
        if not os.path.isdir(entry):
            yield entry
            continue
        try:
            yield from sorted(each.path for each in os.scandir(entry) if each.name.endswith(SUFFIX))
        except OSError as error:
            _warn(entry, error)


def on_path() -> Iterator[Model]:
    """The models on the model path, in its order. Files that are none are left out with a warning, once each."""
    for path in _candidates():
        try:
            facts = os.stat(path)
        except OSError:
            continue
        if stat.S_ISREG(facts.st_mode) and (model := _identify(path, facts.st_mtime_ns, facts.st_size)):
            yield model


def _where() -> str:
    """The model path in words, which say what of it does not exist; empty if there is none."""
    said = (entry if os.path.exists(entry) else f"{entry}, which does not exist" for entry in settings.model_path())
    return " and ".join(said)


def installed() -> Iterator[Model]:
    """All models: the released ones first, so that no other takes their place."""
    yield from released()
    yield from on_path()


def points(name: str, tuning: str | None = None, usual: str = DEFAULT_TUNING) -> list[Model]:
    """The operating points of a model, the lowest rate first; most have one for all rates.

    Without a tuning it is the ``usual`` one, or else the first of that name. Raises ValueError, which lists the
    choices.
    """
    found = list(installed())
    fitting = [model for model in found if model.name == name and tuning in (None, model.tuning)]
    tunings = {each: sorted({m.tuning for m in found if m.name == each}) for each in sorted({m.name for m in found})}
    if not fitting and name in tunings:
        raise ValueError(f"tuning: {tuning} is none of {', '.join(tunings[name])}, which model {name} has")
    if not fitting:
        choices = ", ".join(f"{each} (tuning {' or '.join(having)})" for each, having in tunings.items())
        searched = f"; looked for in {where}" if (where := _where()) else ""
        raise ValueError(f"model: {name} is none of {choices}{searched}")
    first = next((model for model in fitting if model.tuning == (tuning or usual)), fitting[0])
    if first.bpp is None:
        return [first]
    return sorted((m for m in fitting if m.tuning == first.tuning and m.bpp), key=lambda model: model.bpp or 0.0)


def nearest(points: list[Model], bpp: float | None = None) -> Model:
    """Of the operating points of a model the one nearest to ``bpp``, by default the lowest."""
    if bpp is None or len(points) == 1:
        return points[0]
    return min(points, key=lambda model: abs(math.log(max(bpp, 1e-9) / (model.bpp or 1.0))))


def by_name(name: str, tuning: str | None = None, bpp: float | None = None) -> Model:
    """The model that encoders use, at the operating point ``nearest`` to ``bpp``. Raises ValueError as ``points``."""
    return nearest(points(name, tuning), bpp)


def by_id(model_id: bytes) -> Model:
    """The model that a file names. Raises ModelError, which names it, if it is not installed."""
    for model in installed():
        if model.id == model_id:
            return model
    raise ModelError(
        f"model id: {model_id.hex()} is not installed; the file needs a newer pillow_cwic, or its weights file in a "
        f"folder of {settings.MODELS_VARIABLE} (now {_where() or 'none'})"
    )
