"""``cwic autoload``: the start-up hook's switch."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pillow_cwic.tools import autoload
from pillow_cwic.tools.cli.files import complaint


@click.command("autoload")
@click.argument("action", type=click.Choice(["status", "enable", "disable"]))
def manage_autoload(action: str) -> None:
    """Switch the start-up hook, by which Pillow opens .cwic without an import of pillow_cwic, on or off."""
    try:
        if action == "status":
            click.echo(autoload.status())
        else:
            verb, change = ("wrote", autoload.enable) if action == "enable" else ("removed", autoload.disable)
            for path in change():
                click.echo(f"{verb} {path}")
    except OSError as error:
        click.echo(complaint(Path(error.filename or "autoload"), error), err=True)
        sys.exit(1)
