"""The scoreboard of what the decoder withstands: claims, figures reached, commands. See ``__main__``."""
