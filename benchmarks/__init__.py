"""Measurements of pillow_cwic on real files, next to its peers in the same run."""
