"""What the commands share: which files to read and write, and doing the jobs, several at a time."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

import pillow_cwic
from pillow_cwic import settings
from pillow_cwic.file import atomic
from pillow_cwic.tools.bulk import FAILURES, SUFFIX, Recipe, convert, is_whole, reason

__all__ = [
    "FAILURES",
    "SUFFIX",
    "Job",
    "complaint",
    "for_files",
    "for_target",
    "plan_files",
    "run_jobs",
    "usage_errors",
]

INTERRUPTED = 130  # exit code, as shells have it
Command = TypeVar("Command", bound=Callable[..., Any])


class Job(NamedTuple):
    """One file to make; the fields behind the files are options of the command, ``save`` those of Image.save."""

    source: Path
    target: Path
    save: dict[str, Any]
    strip: bool
    force: bool
    skip_existing: bool
    device: str | None
    threads: int | None


class Outcome(NamedTuple):
    """What became of a job: what to print, and what it counts as."""

    text: str
    kind: str  # done, skipped or failed


def for_files(command: Command) -> Command:
    """The options that ``encode`` and ``decode`` share."""
    for option in reversed([
        click.argument("inputs", nargs=-1, required=True, metavar="INPUTS..."),
        click.option("-o", "--output", help="File, or folder for several inputs."),
        click.option("--strip", is_flag=True, help="Leave EXIF, XMP and resolution out, and turn upright."),
        click.option("-f", "--force", is_flag=True, help="Overwrite files."),
        click.option("--skip-existing", is_flag=True, help="Pass over files that are there and whole: go on."),
        click.option("-j", "--jobs", type=click.IntRange(1, 256), default=1, help="Files at a time, a process each."),
        click.option("--device", help="Where the networks run: cpu, cuda, cuda:1, xpu."),
        click.option("--threads", type=click.IntRange(1, 1024), help="Threads for one file."),
        click.option("-q", "--quiet", is_flag=True, help="Print errors only."),
    ]):  # fmt: skip
        command = option(command)
    return command


def for_target(command: Command) -> Command:
    """The options that say how large or how good a file shall be, at most one of which may be given."""
    for option in reversed([
        click.option("--rate", type=float, help="At most so many bits per pixel."),
        click.option("--size", type=int, help="At most so many bytes."),
        click.option("--quality", type=int, help="1 to 100; 50 if nothing is given."),
        click.option("--psnr", type=float, help="The smallest file of at least so many dB."),
        click.option("--ssim", type=float, help="The smallest file of at least this SSIM of the luma, 0 to 1."),
    ]):  # fmt: skip
        command = option(command)
    return command


def plan_files(
    inputs: tuple[str, ...], output: str | None, suffixes: Callable[[], set[str]], suffix: str
) -> list[tuple[Path, Path]]:
    """(source, target) for every file that the inputs name; of folders, those with one of ``suffixes()``.

    Raises click's errors if they make no sense.
    """
    found: list[tuple[Path, Path]] = []  # with the place below the output folder
    several = len(inputs) > 1
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            several = True
            wanted = suffixes()
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in wanted and p.is_file())
            found += [(p, p.relative_to(path)) for p in inside]
        elif path.exists() or not glob.has_magic(text):
            found.append((path, Path(path.name)))
        else:
            several = True
            matches = sorted(Path(name) for name in glob.glob(text, recursive=True))
            found += [(p, Path(p.name)) for p in matches if p.is_file()]
    if not found:
        raise click.UsageError(f"no files in {' '.join(inputs)}")
    if output is None:
        plan = [(source, source.with_suffix(suffix)) for source, _ in found]
    elif several or os.path.isdir(output) or output.endswith(("/", os.sep)):
        plan = [(source, output / below.with_suffix(suffix)) for source, below in found]
    else:
        plan = [(found[0][0], Path(output))]
    sources: dict[Path, Path] = {}
    for source, target in plan:
        if (other := sources.setdefault(target, source)) != source:
            raise click.UsageError(f"{other} and {source} would both become {target}")
    return plan


def run_jobs(todo: list[Job], jobs: int, quiet: bool) -> None:
    """Does all jobs and ends the program. What failed is listed at the end, after an interrupt too."""
    with usage_errors(), pillow_cwic.options(device=todo[0].device, threads=todo[0].threads):
        pass
    with_bar = not quiet and len(todo) > 1 and sys.stderr.isatty()
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
                    click.echo(outcome.text)
                bar.update(1)
    except KeyboardInterrupt:
        interrupted = True
    for text in failures:
        click.echo(text, err=True)
    if interrupted:
        left = len(todo) - sum(counts.values())
        click.echo(f"cwic: interrupted, {left} files left, --skip-existing goes on from here", err=True)
    if len(todo) > 1 and not quiet:
        click.echo(", ".join(f"{count} {kind}" for kind, count in counts.items() if count or kind == "done"))
    sys.exit(INTERRUPTED if interrupted else int(bool(failures)))


def _outcomes(todo: list[Job], jobs: int) -> Generator[Outcome]:
    if jobs == 1:
        for job in todo:
            yield _attempt(job)
        return
    from pillow_cwic.tools.cli import workers

    share = max(1, (os.cpu_count() or 1) // jobs)
    todo = [job if job.threads else job._replace(threads=share) for job in todo]
    with closing(workers.outcomes(todo, _attempt_in_process, jobs)) as outcomes:
        for job, outcome in outcomes:
            if isinstance(outcome, workers.WorkerError):
                outcome = Outcome(complaint(job.source, outcome), "failed")
            yield outcome


def _attempt_in_process(job: Job, first: bool) -> Outcome:
    """In one of several processes, of which the first alone takes the GPU, unless something else is asked for."""
    if not first and job.device is None and settings.device() is None:
        job = job._replace(device="cpu")
    return _attempt(job)


def _attempt(job: Job) -> Outcome:
    """Makes one file: what to print about it, or what went wrong."""
    replace = job.force
    try:
        if not replace and job.target.exists():  # before the work; atomic.write looks again after it
            if not job.skip_existing:
                raise FileExistsError(f"{job.target} exists already, --force overwrites it, --skip-existing leaves it")
            if is_whole(job.target, job.save["format"]):
                return Outcome(f"{job.source}: {job.target} is there already", "skipped")
            replace = True
        made = convert(job.source, Recipe(job.save, job.strip, job.device, job.threads))
        job.target.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(job.target, made.data, overwrite=replace)
    except Exception as error:  # whatever Pillow's plugins raise at a damaged file: the others go on
        return Outcome(complaint(job.source, error), "failed")
    size = len(made.data)
    bpp = 8 * size / (made.width * made.height)
    return Outcome(f"{job.source} -> {job.target}: {size} bytes, {bpp:.3f} bpp", "done")


@contextmanager
def usage_errors() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def complaint(source: Path, error: BaseException) -> str:
    return f"cwic: {source}: {reason(error)}"
