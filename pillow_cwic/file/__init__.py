"""The file: container, metadata, alpha, limits, safe writing. Standard library only, but for alpha's planes."""
