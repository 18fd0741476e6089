"""The integer transforms in torch: for CUDA, and for training."""
