"""``cwic encode`` and ``cwic decode``: pictures to CWIC files and back."""

from __future__ import annotations

from typing import Any

import click

from pillow_cwic import models
from pillow_cwic.saving import DEFAULT_EFFORT, DEFAULT_MODEL, TARGETS, Options
from pillow_cwic.tools.bulk import SUFFIX, format_of, suffixes
from pillow_cwic.tools.cli.files import Job, for_files, for_target, plan_files, run_jobs, usage_errors


@click.command()
@for_files
@for_target
@click.option("--model", default=DEFAULT_MODEL, show_default=True)
@click.option("--tuning", help="mse, or ssim for structural similarity; mse if nothing is given.")
@click.option("--effort", type=click.IntRange(0, 9), default=DEFAULT_EFFORT, show_default=True, help="Time to search.")
def encode(
    inputs: tuple[str, ...],
    output: str | None,
    quiet: bool,
    jobs: int,
    model: str,
    tuning: str | None,
    effort: int,
    **options: Any,
) -> None:
    """Make .cwic files of pictures that Pillow can open.

    INPUTS are files, folders (with all that is in them) and patterns such as '*.jpg'. A file is written beside its
    source unless -o says where. Metadata is kept.
    """
    save = {"model": model, "tuning": tuning, "effort": effort, **{name: options.pop(name) for name in TARGETS}}
    with usage_errors():
        Options.of(save)
        models.by_name(model, tuning)
    save["format"] = "CWIC"
    plan = plan_files(inputs, output, lambda: suffixes() - {SUFFIX}, SUFFIX)
    run_jobs([Job(*each, save, **options) for each in plan], jobs, quiet)


@click.command()
@for_files
@click.option("--to", "suffix", default="png", show_default=True, help="Format, where -o does not name it.")
def decode(inputs: tuple[str, ...], output: str | None, quiet: bool, jobs: int, suffix: str, **options: Any) -> None:
    """Make other files of .cwic files.

    INPUTS are files, folders (with all .cwic files in them) and patterns such as '*.cwic'. A file is written beside
    its source unless -o says where. Metadata is kept where the other format has a place for it.
    """
    suffix = "." + suffix.lower().removeprefix(".")
    if format_of(suffix) is None:
        raise click.UsageError(f"--to: {suffix} is no format that Pillow writes")
    todo = []
    for source, target in plan_files(inputs, output, lambda: {SUFFIX}, suffix):
        if (name := format_of(target.suffix.lower())) is None:
            raise click.UsageError(f"{target}: {target.suffix or 'no suffix'} is no format that Pillow writes")
        todo.append(Job(source, target, {"format": name}, **options))
    run_jobs(todo, jobs, quiet)
