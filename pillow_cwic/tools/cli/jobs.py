"""Doing what ``encode`` and ``decode`` are asked for, several files at a time."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import click

import pillow_cwic
from pillow_cwic import settings
from pillow_cwic.tools.bulk import Recipe, convert, is_whole
from pillow_cwic.tools.cli import INTERRUPTED
from pillow_cwic.tools.cli.files import usage_errors
from pillow_cwic.tools.cli.places import (
    Place,
    Stream,
    check_free,
    complaint,
    counted,
    file_of,
    plain_warnings,
    say,
    write,
)

__all__ = ["Job", "run_jobs"]


class Job(NamedTuple):
    """One file to make; the fields behind the recipe are options of the command."""

    source: Place
    target: Place
    recipe: Recipe
    force: bool
    skip_existing: bool


class Outcome(NamedTuple):
    """What became of a job: what to print, and what it counts as."""

    text: str
    kind: str  # done, skipped or failed


def run_jobs(todo: list[Job], jobs: int, quiet: bool) -> None:
    """Does all jobs and ends the program. What failed is listed at the end, after an interrupt too."""
    with usage_errors(), pillow_cwic.options(device=todo[0].recipe.device, threads=todo[0].recipe.threads):
        pass
    with_bar = not quiet and len(todo) > 1 and sys.stderr is not None and sys.stderr.isatty()
    counts = {"done": 0, "skipped": 0, "failed": 0}
    failures: list[str] = []
    interrupted = False
    try:
        with (
            closing(_outcomes(todo, min(jobs, len(todo)))) as outcomes,
            click.progressbar(length=len(todo), file=sys.stderr, hidden=not with_bar) as bar,
        ):
            for outcome in outcomes:
                counts[outcome.kind] += 1
                if outcome.kind == "failed":
                    failures.append(outcome.text)
                elif not quiet and not with_bar:
                    say(outcome.text, err=isinstance(todo[0].target, Stream))
                bar.update(1)
    except KeyboardInterrupt:
        interrupted = True
    for text in failures:
        say(text, err=True)
    if interrupted:
        left = len(todo) - sum(counts.values())
        say(f"cwic: interrupted, {counted(left, 'file')} left, --skip-existing goes on from here", err=True)
    if len(todo) > 1 and not quiet:
        say(", ".join(f"{count} {kind}" for kind, count in counts.items() if count or kind == "done"))
    sys.exit(INTERRUPTED if interrupted else int(bool(failures)))


def _outcomes(todo: list[Job], jobs: int) -> Generator[Outcome]:
    if jobs == 1:
        for job in todo:
            yield _attempt(job)
        return
    from pillow_cwic.tools.cli import workers

    share = max(1, (os.cpu_count() or 1) // jobs)
    todo = [job if job.recipe.threads else job._replace(recipe=job.recipe._replace(threads=share)) for job in todo]
    with closing(workers.outcomes(todo, _attempt_in_process, jobs)) as outcomes:
        for job, outcome in outcomes:
            if isinstance(outcome, workers.WorkerError):
                outcome = Outcome(complaint(job.source, outcome), "failed")
            yield outcome


def _attempt_in_process(job: Job, first: bool) -> Outcome:
    """In one of several processes, of which the first alone takes the GPU, unless something else is asked for."""
    if not first and job.recipe.device is None and settings.device() is None:
        job = job._replace(recipe=job.recipe._replace(device="cpu"))
    with plain_warnings():
        return _attempt(job)


def _attempt(job: Job) -> Outcome:
    """Makes one file: what to print about it, or what went wrong."""
    source, target, recipe, replace, skip_existing = job
    try:
        if skip_existing and not replace and isinstance(target, Path) and target.is_file():
            if is_whole(target, recipe.save["format"]):
                return Outcome(f"{source}: {target} is there already", "skipped")
            replace = True
        check_free(target, replace, ", --skip-existing leaves it")
        made = convert(file_of(source), recipe)
        write(target, made.data, replace)
    except Exception as error:  # whatever Pillow's plugins raise at a damaged file: the others go on
        return Outcome(complaint(source, error), "failed")
    size = len(made.data)
    bpp = 8 * size / (made.width * made.height)
    return Outcome(f"{source} -> {target}: {counted(size, 'byte')}, {bpp:.3f} bpp", "done")
