"""The command ``cwic``. Exit codes: 0 all done, 1 something failed (a line each on stderr), 2 wrong usage."""

from __future__ import annotations

from importlib import import_module

import click

import pillow_cwic

__all__ = ["main"]

COMMANDS = {  # module and name of each; imported when it is asked for, as each start of a process counts
    "encode": ("convert", "encode"),
    "decode": ("convert", "decode"),
    "shrink": ("shrink", "shrink"),
    "info": ("show", "info"),
    "compare": ("compare", "compare"),
    "models": ("show", "list_models"),
    "autoload": ("hook", "manage_autoload"),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"{__name__}.{module}"), name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(pillow_cwic.__version__, package_name="pillow_cwic")
def main() -> None:
    """Content-weighted image compression."""
