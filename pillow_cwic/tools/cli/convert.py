"""``cwic encode`` and ``cwic decode``: pictures to CWIC files and back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pillow_cwic import models
from pillow_cwic.saving import TARGETS, Options
from pillow_cwic.tools.bulk import SUFFIX, Recipe, read_mask, suffixes
from pillow_cwic.tools.cli.files import (
    a_name,
    check_apart,
    check_cwic,
    for_files,
    for_frame,
    for_model,
    for_target,
    picture_format,
    plan_files,
    usage_errors,
)
from pillow_cwic.tools.cli.jobs import Job, run_jobs
from pillow_cwic.tools.cli.places import complaint, say

WITH_QUALITY = {"JPEG", "MPO", "WEBP", "AVIF", "HEIF", "JXL"}  # formats that Pillow's save takes a quality for


@click.command(short_help="Make .cwic files of pictures.")
@for_target
@click.option("--lossless", is_flag=True, help="Keep every pixel as it is: for screenshots, drawings, masters.")
@click.option(
    "--importance",
    type=a_name,
    metavar="MASK",
    help="A picture that says where the bits go: white more, black fewer, grey or transparent as usual.",
)
@for_frame
@for_model
@for_files
def encode(
    inputs: tuple[str, ...],
    output: str | None,
    quiet: bool,
    jobs: int,
    model: str,
    tuning: str | None,
    effort: int,
    importance: str | None,
    lossless: bool,
    **options: Any,
) -> None:
    """Make .cwic files of pictures in any format that Pillow can open.

    INPUTS are files, folders (with all pictures in them), patterns such as '*.jpg', or - for standard input. A .cwic
    file is written beside its source unless -o says where: a file, or a folder for several inputs. EXIF, ICC profile,
    XMP and resolution are kept.

    \b
    cwic encode photo.jpg                       photo.cwic beside it
    cwic encode photo.jpg -q 70 -o better.cwic
    cwic encode screenshot.png --lossless
    cwic encode holiday/ -o small/ --rate 0.3   a whole folder
    cwic encode - < photo.jpg > photo.cwic
    """
    save = {"model": model, "tuning": tuning, "effort": effort, "lossless": lossless}
    save |= {name: options.pop(name) for name in TARGETS}
    with usage_errors():
        Options.of(save)
        models.by_name(model, tuning)
    save["format"] = "CWIC"
    plan = plan_files(inputs, output, lambda: suffixes() - {SUFFIX}, SUFFIX, check_cwic)
    if importance is not None:
        if importance == "-":
            raise click.UsageError("--importance: the mask must be a file, not standard input")
        for _, target in plan:
            check_apart(Path(importance), target)
        try:
            options["mask"] = read_mask(importance)
        except Exception as error:  # whatever Pillow's plugins raise at a damaged file
            say(complaint(importance, error), err=True)
            sys.exit(1)
    run_jobs([_job(*each, save, **options) for each in plan], jobs, quiet)


@click.command(short_help="Make other pictures of .cwic files.")
@click.option("--to", "suffix", type=a_name, default="png", show_default=True, metavar="FORMAT",
              help="Format, where -o names no file: png, jpg, webp, tiff and others.")  # fmt: skip
@click.option("-q", "--quality", type=click.IntRange(0, 100), metavar="0-100",
              help="The quality of that format, where it has one: jpg, webp, avif.")  # fmt: skip
@for_files
def decode(
    inputs: tuple[str, ...],
    output: str | None,
    quiet: bool,
    jobs: int,
    suffix: str,
    quality: int | None,
    **options: Any,
) -> None:
    """Make PNG, JPEG or other pictures of .cwic files.

    INPUTS are files, folders (with all .cwic files in them), patterns such as '*.cwic', or - for standard input. A
    picture is written beside its source unless -o says where: a file, whose suffix says the format, or a folder for
    several inputs. Metadata is kept where the other format has a place for it.

    \b
    cwic decode photo.cwic                 photo.png beside it
    cwic decode photo.cwic -o photo.jpg -q 90
    cwic decode small/ -o large/ --to webp
    cwic decode - --to jpg < photo.cwic > photo.jpg
    """
    suffix = "." + suffix.lower().removeprefix(".")
    picture_format(suffix, "--to")

    def check(target: Path) -> None:
        picture_format(target.suffix, f"-o {target}")

    todo = []
    for source, target in plan_files(inputs, output, lambda: {SUFFIX}, suffix, check):
        ending = target.suffix.lower() if isinstance(target, Path) else suffix
        save: dict[str, Any] = {"format": picture_format(ending, str(target))}
        if quality is not None:
            if save["format"] not in WITH_QUALITY:
                raise click.UsageError(f"--quality: {ending} has none")
            save["quality"] = quality
        todo.append(_job(source, target, save, **options))
    run_jobs(todo, jobs, quiet)


def _job(source: Any, target: Any, save: dict[str, Any], force: bool, skip_existing: bool, **recipe: Any) -> Job:
    return Job(source, target, Recipe(save, **recipe), force, skip_existing)
