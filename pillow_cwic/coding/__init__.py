"""Symbols to streams and back: typed wrapper over the C coder (bytes in, integer arrays out), and ``symbols`` on it."""

from pillow_cwic.coding.coder import EntropyModel, TileCoder, decode_bits, encode_bits
from pillow_cwic.coding.planes import PlaneCoder, PlaneModel

Entropy = EntropyModel | PlaneModel
ENTROPIES: dict[bytes, type[Entropy]] = {b"cwc1": EntropyModel, b"cw18": PlaneModel}  # by the family that a file names

__all__ = [
    "ENTROPIES",
    "Entropy",
    "EntropyModel",
    "PlaneCoder",
    "PlaneModel",
    "TileCoder",
    "decode_bits",
    "encode_bits",
]
