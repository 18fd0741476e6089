"""``cwic compare``: a page that shows a picture as CWIC beside other formats at equal bytes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from PIL import Image, ImageOps

import pillow_cwic
from pillow_cwic import models
from pillow_cwic.file import atomic
from pillow_cwic.saving import DEFAULT_EFFORT, DEFAULT_MODEL, Options
from pillow_cwic.tools.cli.files import FAILURES, complaint, for_target, usage_errors


@click.command()
@click.argument("picture", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The page; PICTURE.html if nothing is given.")
@for_target
@click.option("--model", default=DEFAULT_MODEL, show_default=True)
@click.option("--tuning", default="mse", show_default=True, help="mse, or ssim for structural similarity.")
@click.option("--effort", type=click.IntRange(0, 9), default=DEFAULT_EFFORT, show_default=True, help="Time to search.")
@click.option("--with", "wanted", default="jpeg,jpeg2000,webp,avif", show_default=True, help="Also: heic, jpegxl.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the page.")
@click.option("--device", help="Where the networks run: cpu, cuda, cuda:1, xpu.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads for the networks.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
def compare(
    picture: Path,
    output: Path | None,
    wanted: str,
    force: bool,
    device: str | None,
    threads: int | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Write a page that compares CWIC with other formats at equal bytes.

    The page is one file that needs no network: a slider between any two of the pictures, zoom, the importance map, and
    what every file is worth. The other formats get the most bytes that are no more than those of the CWIC file; those
    that this Pillow cannot write are named.
    """
    from pillow_cwic.tools.compare import measure, page, peers

    known = {codec.key: codec for codec in peers.PEERS}
    names = [name.strip().lower() for name in wanted.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise click.UsageError(f"--with: {name} is none of {', '.join(known)}")
    with usage_errors(), pillow_cwic.options(device=device, threads=threads):
        checked = Options.of(options)
        models.by_name(checked.model, checked.tuning)
    target = output or picture.with_suffix(".html")
    try:
        if not force and target.exists():
            raise FileExistsError(f"{target} exists already, --force overwrites it")
        with Image.open(picture) as im, pillow_cwic.options(device=device, threads=threads):
            im.load()
            profile = im.info.get("icc_profile")
            upright = ImageOps.exif_transpose(im)
            found = measure.compare(upright, [known[name] for name in dict.fromkeys(names)], **options)
        html = page.write(found, picture.name, options["tuning"], profile if im.mode in page.WITH_PROFILE else None)
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(target, html.encode(), overwrite=force)
    except FAILURES as error:
        click.echo(complaint(picture, error), err=True)
        sys.exit(1)
    if not quiet:
        click.echo(f"{picture} -> {target}: {len(found.entries)} formats, {len(html.encode()):,} bytes")
        for name, reason in found.missing:
            click.echo(f"{name} left out: {reason}")
