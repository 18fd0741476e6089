"""The integer part of the codec: typed wrapper over the C library. Bytes in, integer arrays out, and back."""

from pillow_cwic.entropy.coder import EntropyModel, TileCoder, decode_bits, encode_bits
from pillow_cwic.entropy.planes import PlaneCoder, PlaneModel

Entropy = EntropyModel | PlaneModel

__all__ = ["Entropy", "EntropyModel", "PlaneCoder", "PlaneModel", "TileCoder", "decode_bits", "encode_bits"]
