"""The command ``cwic``. Exit codes: 0 all done, 1 something failed (a line each on stderr), 2 wrong usage."""

from __future__ import annotations

import click

import pillow_cwic
from pillow_cwic.tools.cli.compare import compare
from pillow_cwic.tools.cli.convert import decode, encode
from pillow_cwic.tools.cli.hook import manage_autoload
from pillow_cwic.tools.cli.show import info, list_models
from pillow_cwic.tools.cli.shrink import shrink

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(pillow_cwic.__version__, package_name="pillow_cwic")
def main() -> None:
    """Content-weighted image compression."""


for command in (encode, decode, shrink, info, compare, list_models, manage_autoload):
    main.add_command(command)
