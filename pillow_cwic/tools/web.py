"""What a web server needs to show ``.cwic``: the decoder for browsers, and weights of ``cwic1``, the decoder's half
alone, in a form that packs well.

    python -m pillow_cwic.tools.web FOLDER [FILE ..]

writes each weights file (the released ones by default) to ``FOLDER/ID.weights``, ID the 12 hexadecimal digits by which
pictures name their model. The layout, integers little-endian, as one gzip stream:

    8 bytes  "cwicweb2"
    6 bytes  model id, 2 zero bytes
    52 bytes i32: wide, blocks, fine, normalised, levels, context_hidden, map_hidden, groups, and lengths of the arrays
    i32      channels of each group
    then     synthesis.words, .halves, .bytes, context.weights, .biases (FORMAT.md sections 5.1 and 6.7): of each array
             the first bytes of all its values, then the second ones ..
"""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pillow_cwic import models
from pillow_cwic.models.config import Config
from pillow_cwic.models.weights import read

MAGIC = b"cwicweb2"
FAMILY = b"cwc1"
ARRAYS: dict[str, type[np.integer[Any]]] = {
    "synthesis.words": np.int32,
    "synthesis.halves": np.int16,
    "synthesis.bytes": np.int8,
    "context.weights": np.int16,
    "context.biases": np.int32,
}


def converted(data: bytes) -> tuple[str, bytes]:
    """Id and weights for browsers of a safetensors file of ``cwic1``. Raises ModelError for any other."""
    weights = read(data)
    config = Config.from_dict(weights.config)
    identity = hashlib.sha256(data).digest()[: models.ID_BYTES]
    arrays = [weights.take(name, kind) for name, kind in ARRAYS.items()]
    shape = config.wide, config.blocks, config.fine, config.normalised, config.levels
    facts = (*shape, config.context_hidden, config.map_hidden, len(config.groups), *map(len, arrays), *config.groups)
    little = (array.astype(array.dtype.newbyteorder("<")) for array in arrays)
    planes = [array.view(np.uint8).reshape(-1, array.itemsize) for array in little]
    packed = MAGIC + identity + bytes(2) + struct.pack(f"<{len(facts)}i", *facts)
    packed += b"".join(plane.T.tobytes() for plane in planes)
    return identity.hex(), gzip.compress(packed, 9, mtime=0)


def runtime() -> dict[str, Path]:
    """The files of the decoder and its pages by their names, with slashes; they work side by side in any folder.

    Raises FileNotFoundError if the package was installed without them.
    """
    package = Path(__file__).resolve().parents[1]
    homes = package / "web", package.parent / "web"  # of a wheel, of a checkout
    home = next((home for home in homes if (home / "package.json").is_file()), homes[0])
    named = json.loads((home / "package.json").read_bytes())["files"]
    paths = sorted(path for pattern in named for path in home.glob(pattern) if path.suffix != ".weights")
    return {path.relative_to(home).as_posix(): path for path in paths}


def site() -> dict[str, Callable[[], bytes]]:
    """All that a server needs, by names, and what gives its bytes: ``runtime``, and weights of the released models."""
    files: dict[str, Callable[[], bytes]] = {name: path.read_bytes for name, path in runtime().items()}
    for model in models.released():
        if model.family == FAMILY:
            files[f"dist/{model.id.hex()}.weights"] = partial(_weights, model)
    return files


def _weights(model: models.Model) -> bytes:
    return converted(model.read())[1]


def main(folder: str, *files: str) -> None:
    given = (Path(file).read_bytes() for file in files)
    ours = (model.read() for model in models.released() if model.family == FAMILY)
    for data in given if files else ours:
        identity, packed = converted(data)
        path = Path(folder) / f"{identity}.weights"
        path.write_bytes(packed)
        print(f"{path}: {len(packed)} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
