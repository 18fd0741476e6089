"""Files at a rate parameter, which no save option names exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pillow_cwic import models
from pillow_cwic.codec.effort import Effort
from pillow_cwic.codec.encoder import Encoder
from pillow_cwic.coding.symbols import Coded
from pillow_cwic.file import container


def at_rate(pixels: NDArray[np.uint8], model: models.Model, effort: Effort, rate: int) -> bytes:
    """The file of a picture (H, W, 3) at the rate parameter T, or the highest below it that its codes allow."""
    return written(Encoder(pixels, False, model, effort).at(rate), model, *pixels.shape[:2])


def written(coded: Coded, model: models.Model, height: int, width: int) -> bytes:
    """The file of layers of an RGB picture."""
    header = container.Header(width, height, "RGB", coded.exponent, coded.rate, model.id, model.family)
    return container.write_file(header, coded.layers())
