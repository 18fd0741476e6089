"""``python -m pillow_cwic`` is the command ``cwic``."""

from pillow_cwic.tools.cli import main

if __name__ == "__main__":
    main(prog_name="cwic")
