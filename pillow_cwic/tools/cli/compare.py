"""``cwic compare``: a page that shows a picture as CWIC beside other formats at equal bytes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click
from PIL import ImageOps

import pillow_cwic
from pillow_cwic import models
from pillow_cwic.saving import Options
from pillow_cwic.tools.bulk import format_of, opened
from pillow_cwic.tools.cli.files import (
    a_name,
    check_apart,
    check_local,
    for_frame,
    for_model,
    for_networks,
    for_output,
    for_target,
    usage_errors,
)
from pillow_cwic.tools.cli.places import (
    Stream,
    check_free,
    complaint,
    counted,
    file_of,
    say,
    source_of,
    target_of,
    write,
)

SUFFIX = ".html"


@click.command(short_help="Write a page that compares CWIC with other formats.")
@click.argument("picture", type=a_name)
@click.option("-o", "--output", type=a_name, metavar="FILE", show_default="PICTURE.html", help="The page.")
@for_target
@for_frame
@for_model
@click.option("--with", "wanted", default="jpeg,jpeg2000,webp,avif", show_default=True, metavar="FORMATS",
              help="The others; heic and jpegxl, too, with their Pillow plugins.")  # fmt: skip
@for_output
@for_networks
def compare(
    picture: str,
    output: str | None,
    wanted: str,
    frame: int | None,
    force: bool,
    device: str | None,
    threads: int | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Write a page that compares CWIC with other formats at equal bytes.

    PICTURE is a file in any format that Pillow can open, or - for standard input. The page is one file that needs no
    network: a slider between any two of the pictures, zoom, the importance map, and what every file is worth. The
    other formats get the most bytes that are no more than those of the CWIC file; those that this Pillow cannot write
    are named.

    \b
    cwic compare photo.jpg                      photo.html beside it
    cwic compare photo.jpg --rate 0.3 --with jpeg,avif -o page.html
    """
    from pillow_cwic.tools.compare import measure, page, peers

    known = {codec.key: codec for codec in peers.PEERS}
    by_format = {codec.format: codec for codec in peers.PEERS}
    names = [name.strip().lower() for name in wanted.split(",") if name.strip()]
    found = {name: known.get(name) or by_format.get(format_of(f".{name}") or "") for name in names}
    others = list(dict.fromkeys(codec for codec in found.values() if codec))
    if unknown := [name for name, codec in found.items() if not codec]:
        raise click.UsageError(
            f"--with: {' and '.join(unknown)} {'is' if len(unknown) == 1 else 'are'} none of {', '.join(known)}"
        )
    with usage_errors(), pillow_cwic.options(device=device, threads=threads):
        checked = Options.of(options)
        models.by_name(checked.model, checked.tuning)
    if os.path.isdir(picture):
        raise click.UsageError(f"{picture}: is a folder, wanted one picture")
    check_local(picture)
    source = source_of(picture)
    if output is None:
        output = str(source.with_suffix(SUFFIX)) if isinstance(source, Path) else "-"
    target = target_of(output)
    if isinstance(target, Path) and target.suffix.lower() != SUFFIX:
        raise click.UsageError(f"-o {target}: {target.suffix or 'no suffix'} is not {SUFFIX}, which the page is")
    check_apart(source, target)
    title = source.name if isinstance(source, Path) else "picture"
    try:
        check_free(target, force)
        with opened(file_of(source), frame) as im, pillow_cwic.options(device=device, threads=threads):
            im.load()
            profile = im.info.get("icc_profile")
            upright = ImageOps.exif_transpose(im)
            made = measure.compare(upright, others, **options)
        html = page.write(made, title, profile if im.mode in page.WITH_PROFILE else None)
        write(target, html.encode(), force)
    except Exception as error:  # whatever Pillow's plugins raise at a damaged file
        say(complaint(source, error), err=True)
        sys.exit(1)
    if not quiet:
        err = isinstance(target, Stream)
        say(f"{source} -> {target}: {counted(len(made.entries), 'format')}, {counted(len(html.encode()), 'byte')}", err)
        for name, reason in made.missing:
            say(f"{name} left out: {reason}", err)
