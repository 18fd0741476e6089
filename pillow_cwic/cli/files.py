"""What the commands share: which files to read and write, and doing the jobs, several at a time."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click
from PIL import ExifTags, Image, ImageOps

import pillow_cwic
from pillow_cwic import atomic, metadata

SUFFIX = ".cwic"
FAILURES = (OSError, ValueError, MemoryError, Image.DecompressionBombError)  # what a picture may do; the rest is a bug
Command = TypeVar("Command", bound=Callable[..., Any])


class Job(NamedTuple):
    """One file to make; the fields behind the files are options of the command, ``save`` those of Image.save."""

    source: Path
    target: Path
    save: dict[str, Any]
    strip: bool
    force: bool
    device: str | None
    threads: int | None


def for_files(command: Command) -> Command:
    """The options that ``encode`` and ``decode`` share."""
    for option in reversed([
        click.argument("inputs", nargs=-1, required=True, metavar="INPUTS..."),
        click.option("-o", "--output", help="File, or folder for several inputs."),
        click.option("--strip", is_flag=True, help="Leave EXIF, XMP and resolution out, and turn upright."),
        click.option("-f", "--force", is_flag=True, help="Overwrite files."),
        click.option("-j", "--jobs", type=click.IntRange(1, 256), default=1, help="Files at a time."),
        click.option("--device", help="Where the networks run: cpu, cuda, cuda:1, mps, xpu."),
        click.option("--threads", type=click.IntRange(1, 1024), help="Threads for one file."),
        click.option("-q", "--quiet", is_flag=True, help="Print errors only."),
    ]):  # fmt: skip
        command = option(command)
    return command


def plan_files(inputs: tuple[str, ...], output: str | None, suffixes: set[str], suffix: str) -> list[tuple[Path, Path]]:
    """(source, target) for every file that the inputs name. Raises click's errors if they make no sense."""
    found: list[tuple[Path, Path]] = []  # with the place below the output folder
    several = len(inputs) > 1
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            several = True
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
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


def run_jobs(todo: list[Job], workers: int, quiet: bool) -> None:
    """Does all jobs and ends the program."""
    failed = False
    for job in todo:
        with usage_errors(), pillow_cwic.options(device=job.device, threads=job.threads):
            pass
    with_bar = not quiet and len(todo) > 1 and sys.stderr.isatty()
    late: list[str] = []  # what must wait for the bar to end
    with click.progressbar(length=len(todo), file=sys.stderr, hidden=not with_bar) as bar:
        for job, outcome in _outcomes(todo, min(workers, len(todo))):
            failed = failed or isinstance(outcome, Exception)
            report = complaint(job.source, outcome) if isinstance(outcome, Exception) else outcome
            if with_bar:
                late.append(report)
            elif isinstance(outcome, Exception) or not quiet:
                click.echo(report, err=isinstance(outcome, Exception))
            bar.update(1)
    for report in late:
        click.echo(report, err=True)
    sys.exit(int(failed))


def _outcomes(todo: list[Job], workers: int) -> Iterator[tuple[Job, str | Exception]]:
    if workers == 1:
        for job in todo:
            yield job, _attempt(job)
        return
    share = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting: dict[Future[str | Exception], Job] = {}
        for job in todo:
            waiting[pool.submit(_attempt, job if job.threads else job._replace(threads=share))] = job
        for done in as_completed(waiting):
            yield waiting[done], done.result()


def _attempt(job: Job) -> str | Exception:
    """Makes one file: what to print about it, or what went wrong."""
    try:
        if not job.force and job.target.exists():  # before the work; atomic.write looks again after it
            raise FileExistsError(f"{job.target} exists already, --force overwrites it")
        with Image.open(job.source) as im, pillow_cwic.options(device=job.device, threads=job.threads):
            im.load()
            picture = _upright(im) if job.strip else im
            data = BytesIO()
            picture.save(data, **_metadata(im, job), **job.save)
        job.target.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(job.target, data.getvalue(), overwrite=job.force)
    except FAILURES as error:
        return error
    size = data.getbuffer().nbytes
    return f"{job.source} -> {job.target}: {size} bytes, {8 * size / (im.width * im.height):.3f} bpp"


def _upright(im: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(im)
    except SyntaxError:  # EXIF that cannot be read
        return im


def _metadata(im: Image.Image, job: Job) -> dict[str, Any]:
    """The options of ``save`` that carry over a picture's metadata."""
    found: dict[str, Any] = {}
    if job.save["format"] != "CWIC":  # which carries it over itself, if it fits
        found["icc_profile"] = im.info.get("icc_profile")
    if not job.strip:
        found |= {"exif": im.info.get("exif"), "xmp": im.info.get("xmp")}
        if found["exif"] is None and (orientation := im.getexif().get(ExifTags.Base.Orientation, 1)) != 1:
            exif = Image.Exif()  # said elsewhere in the file, by XMP for one
            exif[ExifTags.Base.Orientation] = orientation
            found["exif"] = exif
        with suppress(ValueError):  # some formats say in numbers that they do not know
            found["dpi"] = metadata.parse_dpi(im.info.get("dpi"))
    return {name: value for name, value in found.items() if value}


@contextmanager
def usage_errors() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def complaint(source: Path, error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return f"cwic: {source}: {' '.join(text.split())}"
