"""The integer part of the codec: typed wrapper over the C library. Bytes in, integer arrays out, and back."""

from pillow_cwic.entropy.coder import EntropyModel, TileCoder, decode_bits, encode_bits

__all__ = ["EntropyModel", "TileCoder", "decode_bits", "encode_bits"]
