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


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(pillow_cwic.__version__, "-V", "--version", package_name="pillow_cwic", prog_name="cwic")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Make, read and look into .cwic files: pictures compressed by a neural network.

    \b
    cwic encode photo.jpg            photo.cwic beside it
    cwic encode photo.jpg -q 80      a better one; -q goes from 1 to 100
    cwic decode photo.cwic           photo.png beside it
    cwic info photo.cwic             what is in it
    cwic compare photo.jpg           photo.html, with JPEG, WebP and AVIF of the same size

    cwic COMMAND -h says more about a command. - stands for standard input and output. Nothing is overwritten without
    --force. The exit code is 0 if all is done, 1 if something failed, 2 for wrong usage.
    """
    from pillow_cwic.tools.cli.places import plain_warnings

    ctx.with_resource(plain_warnings())
