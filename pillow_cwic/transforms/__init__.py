"""The integer transforms of docs/FORMAT.md section 6: pixels to latents and codes to pixels, the same everywhere."""
