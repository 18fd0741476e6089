"""``cwic shrink``: finished files made smaller without their originals."""

from __future__ import annotations

import sys

import click

import pillow_cwic
from pillow_cwic.file import container
from pillow_cwic.saving import Options
from pillow_cwic.tools.bulk import FAILURES, SUFFIX, cwic_bytes
from pillow_cwic.tools.cli.files import (
    a_name,
    check_cwic,
    for_inputs,
    for_output,
    for_size,
    plan_files,
    usage_errors,
)
from pillow_cwic.tools.cli.places import Place, Stream, check_free, complaint, counted, file_of, say, write


@click.command(short_help="Make .cwic files smaller, without their originals.")
@for_inputs
@click.option("-o", "--output", type=a_name, metavar="FILE|FOLDER", help="Where to write; - is standard output.")
@for_size
@for_output
def shrink(
    inputs: tuple[str, ...], output: str | None, rate: float | None, size: int | None, force: bool, quiet: bool
) -> None:
    """Make .cwic files smaller, without their originals: photographs in a fraction of a second each, by their codes.

    Files with exact pixels, of graphics, lossless and nearly lossless ones, take as long as encoding: what they show
    is encoded anew where that loses less.

    INPUTS are files, folders (with all .cwic files in them), patterns such as '*.cwic', or - for standard input. One
    of --size and --rate says how small. Files that are small enough are copied. Alpha and metadata are kept. With
    --force a file may take its own place.

    \b
    cwic shrink photo.cwic -o mail.cwic --size 20000
    cwic shrink photos/ -o small/ --rate 0.3
    """
    if (rate is None) == (size is None):
        said = "is needed" if rate is None else "can be given, not both"
        raise click.UsageError(f"one of --size and --rate {said}")
    if output is None and inputs != ("-",):
        raise click.UsageError("-o is needed: the file or folder to write")
    with usage_errors():
        Options(rate=rate, size=size)
    failed = False
    for source, target in plan_files(inputs, output, lambda: {SUFFIX}, SUFFIX, check_cwic, in_place=True):
        try:
            report = _shrink(source, target, rate, size, force)
        except FAILURES as error:
            failed = True
            say(complaint(source, error), err=True)
        else:
            if not quiet:
                say(report, err=isinstance(target, Stream))
    sys.exit(int(failed))


def _shrink(source: Place, target: Place, rate: float | None, size: int | None, force: bool) -> str:
    """Makes one file: what to print about it."""
    check_free(target, force)
    before = cwic_bytes(file_of(source))
    data = pillow_cwic.shrink(before, rate=rate, size=size)
    header = container.read_header(data)
    write(target, data, force)
    bpp = 8 * len(data) / (header.width * header.height)
    return f"{source} -> {target}: {counted(len(data), 'byte')} of {len(before):,}, {bpp:.3f} bpp"
