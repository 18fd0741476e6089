"""``cwic shrink``: finished files made smaller without their pictures."""

from __future__ import annotations

import sys
from pathlib import Path

import click

import pillow_cwic
from pillow_cwic.file import atomic, container
from pillow_cwic.saving import Options
from pillow_cwic.tools.cli.files import FAILURES, SUFFIX, complaint, plan_files, usage_errors


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUTS...")
@click.option("-o", "--output", required=True, help="File, or folder for several inputs.")
@click.option("--rate", type=float, help="At most so many bits per pixel.")
@click.option("--size", type=int, help="At most so many bytes.")
@click.option("-f", "--force", is_flag=True, help="Overwrite files.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
def shrink(
    inputs: tuple[str, ...], output: str, rate: float | None, size: int | None, force: bool, quiet: bool
) -> None:
    """Make .cwic files smaller, in a fraction of a second each, without encoding their pictures anew.

    INPUTS are files, folders (with all .cwic files in them) and patterns such as '*.cwic'. Files that are small enough
    are copied. Alpha and metadata are kept.
    """
    if rate is None and size is None:
        raise click.UsageError("one of --rate and --size is needed")
    with usage_errors():
        Options(rate=rate, size=size)
    failed = False
    for source, target in plan_files(inputs, output, lambda: {SUFFIX}, SUFFIX):
        try:
            report = _shrink(source, target, rate, size, force)
        except FAILURES as error:
            failed = True
            click.echo(complaint(source, error), err=True)
        else:
            if not quiet:
                click.echo(report)
    sys.exit(int(failed))


def _shrink(source: Path, target: Path, rate: float | None, size: int | None, force: bool) -> str:
    """Makes one file: what to print about it."""
    if not force and target.exists():  # before the work; atomic.write looks again after it
        raise FileExistsError(f"{target} exists already, --force overwrites it")
    before = source.read_bytes()
    data = pillow_cwic.shrink(before, rate=rate, size=size)
    header = container.read_header(data)
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(target, data, overwrite=force)
    bpp = 8 * len(data) / (header.width * header.height)
    return f"{source} -> {target}: {len(data)} bytes of {len(before)}, {bpp:.3f} bpp"
