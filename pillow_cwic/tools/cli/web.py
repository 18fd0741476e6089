"""``cwic web``: the decoder for browsers, as a folder to put on a web server."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pillow_cwic.tools.cli.files import a_name, for_output
from pillow_cwic.tools.cli.places import check_free, complaint, counted, say, write


@click.command(short_help="Write what a web site needs to show .cwic.")
@click.argument("folder", type=a_name)
@for_output
def web(folder: str, force: bool, quiet: bool) -> None:
    """Write what a web site needs to show .cwic, to FOLDER, which is made if it is not there.

    The decoder for browsers, the weights of the released models, and a page, index.html, that shows files dropped on
    it, beside their originals if those are dropped, too. Nothing is written if one of the files is there already.

    \b
    cwic web site/web
    python -m http.server -d site/web       http://localhost:8000 shows the page
    """
    from pillow_cwic.tools.web import site

    if folder == "-":
        raise click.UsageError("-: standard output takes one file, not a folder; if that is its name, say ./-")
    place, size = Path(folder), 0
    try:
        files = {place / name: make for name, make in site().items()}
        for place in files:
            check_free(place, force)
        for place, make in files.items():
            data = make()
            write(place, data, force)
            size += len(data)
    except OSError as error:
        say(complaint(error.filename or place, error), err=True)
        sys.exit(1)
    if not quiet:
        say(f"{folder}: {counted(len(files), 'file')}, {counted(size, 'byte')}")
