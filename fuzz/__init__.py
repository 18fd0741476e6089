"""Hostile input: fuzz targets for ``csrc`` and for whole files, and what they need. ``python -m fuzz`` runs them."""
