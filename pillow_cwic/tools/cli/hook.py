"""``cwic autoload``: the start-up hook's switch."""

from __future__ import annotations

import sys

import click

from pillow_cwic.tools import autoload
from pillow_cwic.tools.cli.places import complaint, say


@click.command("autoload", short_help="Let every Python program open .cwic, or not.")
@click.argument("action", type=click.Choice(["status", "enable", "disable"]))
def manage_autoload(action: str) -> None:
    """Switch the start-up hook on or off, by which Pillow opens .cwic in programs that do not import pillow_cwic."""
    try:
        if action == "status":
            say(autoload.status())
        else:
            verb, change = ("wrote", autoload.enable) if action == "enable" else ("removed", autoload.disable)
            for path in change():
                say(f"{verb} {path}")
    except OSError as error:
        say(complaint(error.filename or "autoload", error), err=True)
        sys.exit(1)
