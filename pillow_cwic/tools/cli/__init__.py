"""The command ``cwic``.

Exit codes: 0 all done, 1 something failed (a line each on stderr), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any, NoReturn

import click

import pillow_cwic

__all__ = ["main"]

COMMANDS = {  # module and name of each; imported when it is asked for, as each start of a process counts
    "encode": ("convert", "encode"),
    "decode": ("convert", "decode"),
    "shrink": ("shrink", "shrink"),
    "info": ("show", "info"),
    "compare": ("compare", "compare"),
    "web": ("web", "web"),
    "models": ("show", "list_models"),
    "autoload": ("hook", "manage_autoload"),
}

INTERRUPTED = 130  # exit code, as shells have it


def _occupy_closed_streams() -> None:
    """Opens nothing as what of standard input, output and error is closed, in processes that this one starts, too.

    Else the next file or pipe would take the number, and get what libraries and other processes print.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one


def _printing(err: bool = False) -> AbstractContextManager[None]:
    from pillow_cwic.tools.cli.places import printing

    return printing(err)


class _Commands(click.Group):
    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """As click's, but what ends the command early is told in its own words, and by its own exit codes."""
        _occupy_closed_streams()
        heard = sys.stdout is not None
        code: Any = 1
        try:
            code = super().main(*args, **{**extra, "standalone_mode": False}) or 0
        except SystemExit as error:
            code = error.code
        except click.ClickException as error:
            code = error.exit_code
            from pillow_cwic.tools.cli.places import plain

            if not isinstance(error, click.exceptions.NoArgsIsHelpError):
                error.message = plain(error.message)  # type: ignore[misc]
            with _printing(err=True):
                error.show()
        except (KeyboardInterrupt, click.Abort):
            code = INTERRUPTED
            with _printing(err=True):
                click.echo("cwic: interrupted", err=True)
        except OSError as error:
            if error.filename is not None:
                raise
            with _printing():  # the help, which click prints
                raise
        if heard and sys.stdout is None:  # what there was to print is lost, which was told
            code = code or 1
        sys.exit(code)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:  # for which click would print an empty line
            raise click.Abort from error

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
    cwic encode photo.jpg -q 80 -f   a better one in its place; -q goes from 1 to 100
    cwic decode photo.cwic           photo.png beside it
    cwic info photo.cwic             what is in it
    cwic compare photo.jpg           photo.html, with JPEG, WebP and AVIF of the same size
    cwic web site/web                a decoder for web pages, to put on a server

    cwic COMMAND -h says more about a command. - stands for standard input and output. Nothing is overwritten without
    --force. The exit code is 0 if all is done, 1 if something failed, 2 for wrong usage.
    """
    from pillow_cwic.tools.cli.places import plain_warnings

    ctx.with_resource(plain_warnings())
