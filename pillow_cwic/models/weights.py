"""The one reader of weights files: safetensors bytes to metadata, config and numpy arrays.

They may come from anywhere, so all is checked. Needs no torch.
"""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pillow_cwic import models
from pillow_cwic.errors import ModelError

KINDS = ("I8", "I16", "I32", "F16")  # of numbers, in weights files of ours
OTHERS = ("BOOL", "U8", "U16", "U32", "U64", "I64", "F32", "F64")  # that numpy has: whoever wants an array refuses them

Context = tuple[NDArray[np.int16], NDArray[np.int32]]  # the context model's weights and biases, FORMAT.md section 5.1


class Weights(NamedTuple):
    """What a weights file holds. Whoever uses an array takes it out; what is left at the end belongs to nobody."""

    metadata: dict[str, Any]
    config: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    @property
    def tuning(self) -> str:
        tuning: str = self.metadata["tuning"]
        return tuning

    def take(self, name: str, kind: type[np.number[Any]], shape: tuple[int, ...] | None = None) -> NDArray[Any]:
        """An array of one dimension, or of a shape. Raises ModelError if it is missing or of another kind."""
        found = self.arrays.pop(name, None)
        if found is None or found.dtype != kind or (found.ndim != 1 if shape is None else found.shape != shape):
            what = "missing" if found is None else f"{found.dtype} {found.shape}"
            wanted = "of one dimension" if shape is None else str(shape)
            raise ModelError(f"weights: {name} is {what}, wanted {np.dtype(kind)} {wanted}")
        return found

    def take_floats(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Numbers stored as float16. Raises ModelError as ``take`` does, and if one is not finite."""
        found = self.take(name, np.float16, shape)
        if not np.isfinite(found).all():
            raise ModelError(f"weights: {name} does not hold finite numbers alone")
        return found.astype(np.float32)

    def take_scaled(self, name: str, scale_name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Numbers stored as 8-bit integers and a scale, not negative, for each of the first dimension.

        Raises ModelError as ``take_floats`` does, and if a scale is negative.
        """
        scale = self.take_floats(scale_name, shape[:1])
        if (scale < 0).any():
            raise ModelError(f"weights: {scale_name} is down to {scale.min()}, wanted no negative number")
        integers: NDArray[np.int8] = self.take(name, np.int8, shape)
        return integers * scale.reshape(-1, *(1 for _ in shape[1:]))

    def context(self) -> Context:
        """Takes the context model's arrays. Raises ModelError as ``take`` does."""
        return self.take("context.weights", np.int16), self.take("context.biases", np.int32)

    def check_empty(self) -> None:
        """Raises ModelError if an array was not taken."""
        if self.arrays:
            raise ModelError(f"weights: {len(self.arrays)} arrays belong to no part, the first is {min(self.arrays)}")


def read(data: bytes) -> Weights:
    """A whole weights file. Raises ModelError if it is none of ours, MemoryError if it does not fit in."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        header = models.read_header(BytesIO(data), len(data))
        metadata = header["__metadata__"]
        config = json.loads(metadata["config"])
        if not isinstance(config, dict):
            raise ValueError(f"config: {type(config).__name__} is not an object")
        for name, facts in header.items():
            if name != "__metadata__" and (kind := facts["dtype"]) not in (*KINDS, *OTHERS):
                raise ValueError(f"{name} holds {kind}, wanted one of {', '.join(KINDS)}")
        arrays = load(data)
    except (ArithmeticError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        raise ModelError(f"weights: not a readable model file: {error!r}") from error
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # of safetensors, where memory ends; its class has no module
            raise MemoryError(f"weights: {error}") from error
        raise
    if (tuning := metadata.get("tuning")) not in models.TUNINGS:
        raise ModelError(f"weights: tuning {tuning!r} is none of {', '.join(models.TUNINGS)}")
    return Weights(metadata, config, arrays)
