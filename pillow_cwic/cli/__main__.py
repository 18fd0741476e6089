"""``python -m pillow_cwic.cli`` is the command ``cwic``."""

from pillow_cwic.cli import main

if __name__ == "__main__":
    main()
